"""Invented records to begin with: an organisation that has been at work for a while."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from target_outreach.sandbox.store import Store

PROSPECTS = 100

#: One of so many prospects has opted out.
OPTED_OUT = 25

FIRST_NAMES = ("Ada", "Ben", "Chloe", "Dev", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jun")
LAST_NAMES = ("Abara", "Bell", "Costa", "Dahl", "Engel", "Fox", "Garcia", "Haas", "Ito", "Jensen")
TITLES = ("Head of Sales", "Account Executive", "Chief Financial Officer", "Engineer", "Buyer")
COMPANIES = ("Acme", "Birch Labs", "Cobalt Freight", "Delta Foods", "Elm Energy", "Fjord Bank")
CITIES = ("Berlin", "Boston", "Lagos", "Lisbon", "Osaka")
TAGS: tuple[list[str], ...] = (["customer"], ["lead", "webinar"], [], ["trial"])

REGIONS = ("EMEA", "AMER", "APAC")
PLANS = ("Free", "Team", "Enterprise")

USERS = (("Ria", "Rep"), ("Max", "Manager"), ("Ola", "Operations"))
STAGES = ("New", "Working", "Customer", "Closed")
OPPORTUNITY_STAGES = ("Discovery", "Proposal", "Won", "Lost")


def seed_sample(store: Store) -> bool:
    """Put invented records into a file that has none.

    Returns:
        Whether it had none, so that they were put there.
    """
    if store.count("prospects") or store.count("accounts"):
        return False
    users = [
        store.seed(
            "users",
            {"email": f"{first}.{last}@example.com".lower(), "firstName": first, "lastName": last},
        )
        for first, last in USERS
    ]
    stages = store.seed_many("stages", [{"name": name} for name in STAGES])
    store.seed_many("opportunityStages", [{"name": name} for name in OPPORTUNITY_STAGES])
    store.seed_many("personas", [{"name": "Buyer"}, {"name": "Champion"}])
    store.define_custom_field("prospects", 1, "Lead Score", "numerical")
    store.define_custom_field("prospects", 2, "Region", "inclusion", REGIONS)
    store.define_custom_field("accounts", 1, "Plan", "inclusion", PLANS)
    accounts = [
        store.seed(
            "accounts",
            {
                "name": name,
                "domain": f"{name.lower().replace(' ', '-')}.example",
                "industry": "Manufacturing",
                "custom1": plan,
            },
            {"owner": owner},
        )
        for name, owner, plan in zip(COMPANIES, cycle(users), cycle(PLANS), strict=False)
    ]
    with store.transaction():
        for number in range(PROSPECTS):
            account = number % len(accounts)
            first, last = FIRST_NAMES[number % 10], LAST_NAMES[number // 10]
            domain = f"{COMPANIES[account].lower().replace(' ', '-')}.example"
            store.seed(
                "prospects",
                {
                    "emails": [f"{first}.{last}@{domain}".lower()],
                    "firstName": first,
                    "lastName": last,
                    "title": TITLES[number % len(TITLES)],
                    "company": COMPANIES[account],
                    "addressCity": CITIES[number % len(CITIES)],
                    "tags": TAGS[number % len(TAGS)],
                    "workPhones": [f"+1415555{number:04}"],
                    "optedOut": not number % OPTED_OUT,
                    "custom1": str(number),
                    "custom2": REGIONS[number % len(REGIONS)],
                },
                {
                    "account": accounts[account],
                    "owner": users[number % len(users)],
                    "stage": stages[number % len(stages)],
                },
            )
    return True
