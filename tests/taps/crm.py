"""An invented CRM: companies and contacts, with columns of every type that taps send."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

#: Columns and their types as PostgreSQL calls them. Columns without an attribute are ignored.
TABLES = {
    "companies": {
        "id": "uuid",
        "name": "text",
        "domain": "varchar(255)",
        "industry": "varchar(80)",
        "employees": "integer",
        "founded_on": "date",
        "intent": "numeric(5,2)",
        "annual_revenue": "numeric(16,2)",
        "customer": "boolean",
        "renewal_at": "timestamptz",
        "naics_codes": "text[]",
        "tags": "jsonb",
        "profile": "jsonb",
        "updated_at": "timestamptz",
    },
    "contacts": {
        "id": "bigint",
        "company_id": "uuid",
        "email": "text",
        "other_emails": "text[]",
        "first_name": "text",
        "last_name": "text",
        "job_title": "varchar(255)",
        "phone": "varchar(40)",
        "tags": "text[]",
        "score": "double precision",
        "lifetime_value": "numeric(20,8)",
        "opted_out": "boolean",
        "seen_at": "timestamp",
        "job_start_date": "date",
        "created_at": "timestamptz",
        "linkedin_connections": "smallint",
        "preferences": "json",
        "updated_at": "timestamptz",
    },
}
#: What the organisation calls its custom fields, by object and number, and what they take.
CUSTOM_FIELDS = {
    "accounts": (
        ("Annual Revenue", "currency"),
        ("Customer", "boolean"),
        ("Renewal At", "date_time"),
    ),
    "prospects": (("Lifetime Value", "currency"), ("Seen At", "date_time")),
}
COMPANIES = 12
CONTACTS = 40
SPACE = uuid.UUID("5b0c4f0e-8a5e-4c39-9f0a-2f9f6d1c7e55")


def at(minute):
    """Return the moment at which a row was changed: each has one of its own."""
    return (datetime(2026, 3, 1, 8, tzinfo=UTC) + timedelta(minutes=minute)).isoformat()


def key(n):
    """Return the id of a company."""
    return str(uuid.uuid5(SPACE, str(n)))


def _row(table, **values):
    return dict.fromkeys(TABLES[table]) | values


def company(n, **values):
    """Invent a company of which only little is known."""
    named = {"name": f"Company {n}", "domain": f"company{n}.example.test"}
    return _row("companies", id=key(n), updated_at=at(n)) | named | values


def contact(n, **values):
    """Invent a contact of which only little is known, at one of the companies."""
    known = {"email": f"p{n}@example.test", "first_name": f"First {n}", "last_name": f"Last {n}"}
    known["company_id"] = key(n % COMPANIES + 1)
    return _row("contacts", id=n, updated_at=at(n)) | known | values


def companies():
    """Invent the table of companies: one with everything, one with nothing, one with odd values."""
    return [
        company(
            1,
            name='Kestrel & Söhne "Optik"',
            domain="kestrel.example",
            industry="Manufacturing",
            employees=140,
            founded_on="1987-06-05",
            intent="71.25",
            annual_revenue="12345678901234.56",
            customer=True,
            renewal_at="2026-11-30T23:30:00+02:00",
            naics_codes=["332710", "333517"],
            tags=["enterprise", "renewal, soon"],
            profile={"tier": 1, "labels": ["a", None]},
        ),
        company(2, name="Nothing Known", domain=None),
        company(
            3,
            name="O'Dd \\ 奇数 🦉",
            domain="odd.example",
            industry="",
            employees=0,
            founded_on="0999-12-31",
            intent="0.00",
            annual_revenue="-0.10",
            customer=False,
            renewal_at="2026-03-29T00:59:59.123456+00:00",
            naics_codes=[],
            tags=[],
            profile={},
        ),
        *map(company, range(4, COMPANIES + 1)),
    ]


def contacts():
    """Invent the table of contacts: one with everything, one with nothing, one with odd values."""
    return [
        contact(
            1,
            company_id=key(1),
            email="Ada.Varga@kestrel.example",
            other_emails=["ada@varga.example", "a+b@varga.example"],
            first_name="Ada",
            last_name="Várga",
            job_title="Head of Optics, EMEA",
            phone="+43 1 555 0100",
            tags=["vip", "speaks, German"],
            score=87.5,
            lifetime_value="123456789012.12345678",
            opted_out=True,
            seen_at="2026-02-03T04:05:06.789",
            job_start_date="2020-02-29",
            created_at="2019-07-01T00:00:00+05:30",
            linkedin_connections=500,
            preferences={"mail": {"weekly": True}},
        ),
        contact(2, company_id=None, email="nothing@example.test", first_name=None, last_name=None),
        contact(
            3,
            company_id=key(3),
            email="odd@odd.example",
            other_emails=[],
            first_name="\t 奇\n数 ",
            last_name="'; --",
            phone="",
            tags=[],
            score=-1e-7,
            lifetime_value="0.00000001",
            opted_out=False,
            seen_at="1969-12-31T23:59:59",
            job_start_date="9999-12-31",
            created_at="2026-10-25T02:30:00+02:00",
            linkedin_connections=32767,
            preferences=[],
        ),
        *map(contact, range(4, CONTACTS + 1)),
    ]
