"""Outreach makes an unnamed account for each new prospect without one; only named ones count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import record, schema

TEXT = {"type": ["null", "string"]}
NUMBER = {"type": ["null", "integer"]}
FIELDS = {
    "id": NUMBER,
    "email": TEXT,
    "title": TEXT,
    "company": TEXT,
    "account_name": TEXT,
    "outreach_account_id": NUMBER,
}

#: What lists may do with links to unnamed accounts, and with these accounts themselves.
SIDES = [
    {},
    {"unnamed_listed": True},
    {"unnamed_parameter": "ignored"},
    {"unnamed_parameter": "ignored", "unnamed_listed": True},
    {"unnamed_parameter": "refused"},
    {"unnamed_parameter": "refused", "unnamed_listed": True},
    {"company_account": "linked"},
    {"company_account": "none"},
]


@pytest.fixture(params=SIDES, ids=str)
def outreach(sandbox, request):
    sandbox.profile = replace(sandbox.profile, **request.param)
    return sandbox


def people(count=30, **values):
    columns = {name: FIELDS[name] for name in ("id", "email", *values)}
    yield schema("prospects", columns)
    for n in range(count):
        row = {name: value(n) if callable(value) else value for name, value in values.items()}
        yield record("prospects", id=n, email=f"p{n}@people{n}.test", **row)


def companies(sandbox):
    return {one["attributes"]["company"] for one in sandbox.store.all("prospects")}


def linked(sandbox):
    """The names of the accounts of all prospects, None where one is unnamed."""
    names = []
    for one in sandbox.store.all("prospects"):
        account = one["relationships"]["account"]["data"]
        found = account and sandbox.store.get("accounts", account["id"])["attributes"]
        names.append(found["name"] if found and found["named"] else None)
    return names


def named(sandbox):
    return [
        one["attributes"]["name"]
        for one in sandbox.store.all("accounts")
        if one["attributes"]["named"]
    ]


def test_a_changed_company_arrives_behind_unnamed_accounts(sync, outreach):
    made = sync(people(company="Old", title="Clerk"))
    changed = sync(people(company="New", title="Clerk"))
    again = sync(people(company="New", title="Clerk"))
    assert made.counts("prospects") == {"received": 30, "created": 30}
    assert changed.counts("prospects") == {"received": 30, "updated": 30}
    assert again.counts("prospects") == {"received": 30, "unchanged": 30}
    assert companies(outreach) == {"New"}
    assert made.report["requests"] + changed.report["requests"] <= 74
    assert again.report["requests"] <= 2 + (outreach.profile.unnamed_parameter == "refused")
    assert named(outreach) == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["source", "drift"])
def test_it_does_so_with_a_memory_too(sync, outreach, tmp_path, mode):
    settings = {"change_detection": mode, "memory_path": str(tmp_path / "memory.db")}
    runs = [sync(people(company=name), **settings) for name in ("Old", "New", "New")]
    assert [run.counts("prospects") for run in runs] == [
        {"received": 30, outcome: 30} for outcome in ("created", "updated", "unchanged")
    ]
    assert companies(outreach) == {"New"}
    assert all(run.report["streams"]["prospects"].get("edited_by_others", {}) == {} for run in runs)


def test_a_company_beside_a_named_account_is_not_overwritten(sync, outreach):
    acme = outreach.store.seed("accounts", {"name": "Acme"})
    sync(people(8, company="Old"))
    for person in range(1, 5):
        outreach.store.update("prospects", person, {}, {"account": acme})
    before = outreach.request_count
    run = sync(people(8, company="New"))
    assert run.counts("prospects") == {"received": 8, "updated": 4, "unchanged": 4}
    kept = [one["attributes"]["company"] for one in outreach.store.all("prospects")]
    assert kept == ["Old"] * 4 + ["New"] * 4
    assert run.report["streams"]["prospects"]["held_back"] == {"company": 4}
    # A look-up, the accounts, one prospect to test the parameter, and the page that is refused.
    assert outreach.request_count - before - 4 <= 5


@pytest.mark.parametrize("column", ["account_name", "outreach_account_id"])
def test_if_empty_links_over_an_unnamed_account_but_not_over_a_named_one(sync, outreach, column):
    theirs = outreach.store.seed("accounts", {"name": "Theirs"})
    ours = outreach.store.seed("accounts", {"name": "Ours"})
    sync(people(6, company="Old"))
    for person in range(1, 3):
        outreach.store.update("prospects", person, {}, {"account": theirs})
    values = {column: "Ours" if column == "account_name" else ours}
    streams = [{"stream": "prospects", "field_rules": {"account": "if_empty"}}]
    runs = [sync(people(6, **values), streams=streams) for _ in range(2)]
    assert runs[0].counts("prospects") == {"received": 6, "updated": 4, "unchanged": 2}
    assert runs[1].counts("prospects") == {"received": 6, "unchanged": 6}
    assert linked(outreach) == ["Theirs"] * 2 + ["Ours"] * 4


def test_a_null_unlinks_a_named_account_only(sync, outreach):
    acme = outreach.store.seed("accounts", {"name": "Acme"})
    sync(people(4, company="Old"))
    outreach.store.update("prospects", 1, {}, {"account": acme})
    run = sync(people(4, outreach_account_id=None), on_null="clear")
    assert run.counts("prospects") == {"received": 4, "updated": 1, "unchanged": 3}
    assert linked(outreach) == [None] * 4


def test_an_account_of_the_name_of_an_unnamed_one_is_made(sync, outreach):
    sync(people(3, company="Acme"))
    rows = [schema("accounts"), record("accounts", id=1, name="Acme", domain="acme.test")]
    assert sync(rows).counts("accounts") == {"received": 1, "created": 1}
    assert sync(rows).counts("accounts") == {"received": 1, "unchanged": 1}
    assert named(outreach) == ["Acme"]
    linked_now = sync(people(3, account_name="Acme"))
    assert linked_now.counts("prospects") == {"received": 3, "updated": 3}
    assert linked(outreach) == ["Acme"] * 3


def test_nothing_is_linked_to_an_unnamed_account_by_its_name(sync, outreach):
    sync(people(2, company="Acme"))
    run = sync(people(2, account_name="Acme"))
    assert run.counts("prospects") == {"received": 2, "rejected": 2}
    assert {line["error"]["code"] for line in run.rejects if "error" in line} == {
        "relation_not_found"
    }
    made = sync(people(2, account_name="Acme"), on_missing_relation="create")
    assert made.counts("prospects") == {"received": 2, "updated": 2}
    assert linked(outreach) == ["Acme"] * 2


@pytest.mark.slow
def test_accounts_are_looked_up_only_where_a_plan_depends_on_it(sync, outreach):
    sync(people(60, company="Same", title="Old"))
    before = outreach.request_count
    run = sync(people(60, company="Same", title="New"))
    assert run.counts("prospects") == {"received": 60, "updated": 60}
    paths = [entry.path for entry in list(outreach.requests)[before:]]
    assert not any(path.endswith("/accounts") for path in paths)


def test_a_token_that_may_not_read_accounts_does_no_harm(sync, sandbox):
    scopes = ["prospects.all"]
    sandbox.profile = replace(
        sandbox.profile, tokens={"invented-token-7f3a": scopes}, unnamed_parameter="ignored"
    )
    sync(people(3, company="Old"))
    run = sync(people(3, company="New"))
    assert run.counts("prospects") == {"received": 3, "unchanged": 3}
    assert run.report["streams"]["prospects"]["held_back"] == {"company": 3}


def test_an_account_that_the_user_may_not_see_counts_as_named(sync, sandbox):
    """It is not in the list of accounts, as an unnamed one; a single read tells them apart."""
    hidden = sandbox.store.seed("accounts", {"name": "Hidden"})
    sync(people(2, company="Old"))
    sandbox.store.update("prospects", 1, {}, {"account": hidden})
    genuine = sandbox.work

    def work(request):
        if request.path.endswith("/accounts"):
            request = replace(request, query=f"{request.query}&filter[name]=none")
        return genuine(request)

    sandbox.work = work
    run = sync(people(2, company="New"))
    assert run.counts("prospects") == {"received": 2, "updated": 1, "unchanged": 1}
    assert [one["attributes"]["company"] for one in sandbox.store.all("prospects")] == [
        "Old",
        "New",
    ]
