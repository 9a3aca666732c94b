"""Invented records with a value for every attribute that can be written, and their delivery."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial

from conftest import schema

from target_outreach.records.catalog import load_catalog

CATALOG = load_catalog()
ANYTHING = {"type": ["null", "string", "number", "boolean", "array"]}
FEWEST = 40
LINKS = {"account": FEWEST, "owner": 2, "stage": 3, "persona": 2}
BY_NAME = {
    "emails": lambda n, _turn: [f"Person{n}+x@example.test", f"p{n}@example.test"],
    "name": lambda n, _turn: f"Company, Inc. & Söhne {n}",
    "domain": lambda n, _turn: f"company{n}.example.test",
    "customId": lambda n, _turn: f"C-{n}..{n}",
}
BY_KIND = {
    "integer": lambda n, turn: 1000 * turn + n,
    "number": lambda n, turn: turn + n / 4,
    "boolean": lambda _n, turn: turn == 2,
    "date": lambda n, turn: str(date(2000, turn, 1) + timedelta(days=n)),
    "date-time": lambda n, turn: datetime(2000, turn, 1, n % 24, 30, tzinfo=UTC).isoformat(),
    "phones": lambda n, turn: [f"+1 (555) {turn:03}{n:04}", f"+49 30 {turn}{n:06}"],
    "texts": lambda n, turn: [f"“{turn}”", f"of {n}"],
}


def links(name):
    return [link.name for link in CATALOG[name].relationships.values() if not link.read_only]


def text(attribute, n, turn):
    """Invent a text; that of one record is as long as it may be."""
    if sum(map(ord, attribute.name)) % FEWEST == n:
        return str(turn).ljust(attribute.max_length or 1000, ".")
    return f"{attribute.name} {turn}, “{n}”"


def invent(name, n, turn):
    """Invent a value for all that can be written; values differ by record and turn."""
    return {
        attribute.name: (
            BY_NAME.get(attribute.name) or BY_KIND.get(attribute.kind) or partial(text, attribute)
        )(n, turn)
        for attribute in CATALOG[name].writable.values()
    }


def linked(name, n, turn):
    return {f"outreach_{link}_id": 1 + (n + turn) % LINKS[link] for link in links(name)}


def rows(name, count, turn):
    """Invent records of which every other one has links."""
    return [invent(name, n, turn) | (linked(name, n, turn) if n % 2 else {}) for n in range(count)]


def deliver(sync, name, rows, match_on=None, **settings):
    """Run the target on rows of one object; return how many came to what."""
    columns = dict.fromkeys(column for row in rows for column in row)
    attributes = CATALOG[name].attributes
    explicit = {x: x for x in columns if x in attributes and attributes[x].explicit_only}
    run = sync(
        [
            schema(name, dict.fromkeys(columns, ANYTHING), keys=()),
            *({"type": "RECORD", "stream": name, "record": row} for row in rows),
        ],
        streams=[{"stream": name, "columns": explicit, "match_on": match_on}],
        allow_opt_in=True,
        **settings,
    )
    assert run.exit_code == 0, run.log
    return run.counts(name)
