"""Opportunities: what they are linked to, what they are called by, and what Outreach refuses."""

from __future__ import annotations

import json

import pytest
from conftest import record, schema, state

from target_outreach.sandbox import Fault

REFUSAL = "Name can't be blank."
TEXT = {"type": ["null", "string"]}
DEALS = {
    "custom_id": TEXT,
    "name": TEXT,
    "amount": {"type": ["null", "integer"]},
    "close_date": TEXT,
    "account_domain": TEXT,
    "owner_email": TEXT,
    "opportunity_stage_name": TEXT,
    "primary_prospect_email": TEXT,
    "renewal_risk": TEXT,
}


def deals(*rows):
    columns = dict.fromkeys(name for row in rows for name in row)
    return [
        schema("crm-opportunities", {name: DEALS[name] for name in columns}, keys=()),
        *(record("crm-opportunities", **row) for row in rows),
        state({"deals": len(rows)}),
    ]


def links(sandbox):
    (held,) = sandbox.store.all("opportunities")
    return {
        name: link["data"] and link["data"]["id"] for name, link in held["relationships"].items()
    }


def test_it_is_linked_by_what_people_call_the_others(sync, sandbox):
    account = sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.example"})
    person = sandbox.store.seed("prospects", {"emails": ["ada@acme.example"]})
    row = {
        "custom_id": "D-1",
        "name": "Renewal",
        "account_domain": "acme.example",
        "owner_email": "grace@example.com",
        "opportunity_stage_name": "Won",
        "primary_prospect_email": "Ada@acme.example",
    }
    assert sync(deals(row)).counts("crm-opportunities") == {"received": 1, "created": 1}
    found = links(sandbox)
    assert (found["account"], found["primaryProspect"]) == (account, person)
    assert (found["owner"], found["opportunityStage"]) == (2, 2)
    assert sync(deals(row)).counts("crm-opportunities") == {"received": 1, "unchanged": 1}


@pytest.mark.parametrize("column", ["outreach_opportunity_stage_id", "outreach_owner_id"])
def test_an_id_of_outreach_links_it_by_the_name_of_the_column(sync, sandbox, column):
    columns = {"name": TEXT, column: {"type": "integer"}}
    row = record("opportunities", name="Renewal", **{column: 2})
    sync([schema("opportunities", columns, keys=()), row], sync_mode="insert")
    found = links(sandbox)
    assert 2 in {found["opportunityStage"], found["owner"]}


def test_a_missing_account_is_created_once_for_all_its_opportunities(sync, sandbox):
    rows = [{"custom_id": f"D-{n}", "account_domain": "acme.example"} for n in range(3)]
    run = sync(deals(*rows), on_missing_relation="create")
    assert run.counts("crm-opportunities") == {"received": 3, "created": 3}
    assert sandbox.store.count("accounts") == 1


def test_an_account_that_comes_later_in_the_input_is_waited_for(sync, sandbox):
    companies = {"name": TEXT, "domain": TEXT}
    later = [
        schema("accounts", companies, keys=()),
        record("accounts", name="Acme", domain="acme.example"),
    ]
    rows = deals({"custom_id": "D-1", "account_domain": "acme.example"})
    run = sync([*rows[:-1], *later, rows[-1]])
    assert run.counts("crm-opportunities") == {"received": 1, "created": 1}
    assert links(sandbox)["account"] == 1


def test_a_custom_field_is_called_by_its_label(sync, sandbox):
    sandbox.store.define_custom_field("opportunities", 150, "Renewal risk")
    sync(deals({"custom_id": "D-1", "renewal_risk": "high"}))
    (held,) = sandbox.store.all("opportunities")
    assert held["attributes"]["custom150"] == "high"


def test_one_without_a_name_is_sent_and_the_refusal_is_passed_on(sync, sandbox):
    error = {"id": "validationError", "title": "Validation Error", "detail": REFUSAL}
    body = json.dumps({"errors": [error]})
    sandbox.add_fault(Fault("status", method="POST", status=422, body=body))
    run = sync(deals({"custom_id": "D-1", "amount": 5}))
    (rejected,) = [one["error"] for one in run.rejects if "error" in one]
    assert rejected["status"] == 422
    assert REFUSAL in rejected["message"]


@pytest.mark.parametrize("stream", ["opportunity", "Opportunities", "crm.opportunity"])
def test_the_name_of_a_stream_says_it(sync, sandbox, stream):
    messages = [
        one | {"stream": stream} if "stream" in one else one for one in deals({"name": "x"})
    ]
    run = sync(messages, sync_mode="insert")
    assert run.exit_code == 0
    assert sandbox.store.count("opportunities") == 1


# Found by its name within one account


def two_companies(sandbox):
    return [
        sandbox.store.seed("accounts", {"name": name, "domain": f"{name.lower()}.example"})
        for name in ("Acme", "Globex")
    ]


RENEWALS = [
    {"name": "Renewal", "account_domain": "acme.example", "amount": 1},
    {"name": "Renewal", "account_domain": "globex.example", "amount": 2},
]


def amounts(sandbox):
    return {
        one["relationships"]["account"]["data"]["id"]: one["attributes"]["amount"]
        for one in sandbox.store.all("opportunities")
    }


def test_two_accounts_may_have_an_opportunity_of_one_name(sync, sandbox):
    acme, globex = two_companies(sandbox)
    run = sync(deals(*RENEWALS))
    assert run.counts("crm-opportunities") == {"received": 2, "created": 2}
    assert amounts(sandbox) == {acme: 1, globex: 2}
    changed = [row | {"amount": 10 * row["amount"]} for row in RENEWALS]
    assert sync(deals(*changed)).counts("crm-opportunities") == {"received": 2, "updated": 2}
    assert amounts(sandbox) == {acme: 10, globex: 20}
    assert sync(deals(*changed)).counts("crm-opportunities") == {"received": 2, "unchanged": 2}


def test_rows_of_one_name_and_account_are_one_opportunity(sync, sandbox):
    acme, _ = two_companies(sandbox)
    rows = [RENEWALS[0] | {"amount": amount} for amount in (1, 2, 3)]
    run = sync(deals(*rows))
    assert run.counts("crm-opportunities") == {"received": 3, "created": 1, "superseded": 2}
    assert amounts(sandbox) == {acme: 3}


def test_rows_that_spell_the_account_differently_are_one_opportunity(sync, sandbox):
    acme, _ = two_companies(sandbox)
    spelt = [{"account_domain": "acme.example"}, {"account_domain": "www.acme.example"}]
    rows = [{"name": "Renewal", "amount": n, **one} for n, one in enumerate(spelt)]
    sync(deals(*rows))
    assert amounts(sandbox) == {acme: 1}


def test_a_name_alone_must_be_unambiguous(sync, sandbox):
    two_companies(sandbox)
    sync(deals(*RENEWALS))
    run = sync(deals({"name": "Renewal", "amount": 5}))
    assert run.rejects[-1]["error"]["code"] == "ambiguous_match"


def test_a_row_that_nothing_could_find_again_is_rejected(sync, sandbox):
    run = sync(deals({"amount": 5, "custom_id": None, "name": None}))
    assert run.rejects[-1]["error"]["code"] == "missing_required"
    assert sandbox.store.count("opportunities") == 0


def test_a_name_within_an_account_that_comes_later_is_waited_for(sync):
    companies = {"name": TEXT, "domain": TEXT}
    later = [
        schema("accounts", companies, keys=()),
        record("accounts", name="Acme", domain="acme.example"),
    ]
    for counts in ({"received": 1, "created": 1}, {"received": 1, "unchanged": 1}):
        run = sync([*deals(RENEWALS[0])[:-1], *later])
        assert run.counts("crm-opportunities") == counts
