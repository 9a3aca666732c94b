"""Rejected rows with an opt-out beside rows of other source keys that are about one record."""

from __future__ import annotations

import json

import pytest
from conftest import record, schema, state

TEXT = {"type": ["null", "string"]}
PEOPLE = {
    "id": {"type": "integer"},
    "emails": TEXT,
    "first_name": TEXT,
    "title": TEXT,
    "score": TEXT,
    "account_domain": TEXT,
    "email_opted_out": TEXT,
    "do_not_call": TEXT,
}
SHARED = {"emails": "info@x.test"}


def people(*rows):
    return [
        schema("prospects", PEOPLE),
        *(record("prospects", **{"id": number, **row}) for number, row in enumerate(rows, 1)),
        state({"n": 1}),
    ]


def held(sandbox):
    (person,) = sandbox.store.all("prospects")
    return person["attributes"]


@pytest.fixture(params=[1, 500], ids=["batches of 1", "one batch"])
def size(request):
    return {"batch_size_rows": request.param}


@pytest.fixture(params=[False, True], ids=["without memory", "with memory"])
def settings(request, size, tmp_path):
    memory = {"memory_path": str(tmp_path / "memory.db"), "change_detection": "source"}
    return size | (memory if request.param else {})


def test_a_duplicate_delivers_its_opt_out(sync, sandbox, settings):
    rows = people(
        SHARED | {"first_name": "Ana"},
        SHARED | {"first_name": "Ben", "title": "CTO", "email_opted_out": "Yes"},
    )
    for _ in range(3):
        run = sync(rows, **settings)
        assert run.report["streams"]["prospects"]["rejected_by_code"] == {"duplicate_source_row": 1}
        assert held(sandbox)["emailOptedOut"] is True
        assert held(sandbox)["firstName"] == "Ana"
        assert not held(sandbox)["title"]
    counted = run.report["streams"]["prospects"]["opt_outs_of_rejects"]
    assert counted == {"in Outreach already": 1}
    assert sum(one.method in {"POST", "PATCH"} for one in sandbox.requests) == 2


def test_a_rejected_row_claims_no_record_by_its_opt_out(sync, sandbox, settings):
    sandbox.store.seed("prospects", {"emails": ["info@x.test"]})
    rows = people(
        SHARED | {"score": "abc", "email_opted_out": "Yes"},
        SHARED | {"account_domain": "nobody.test", "do_not_call": "Yes"},
        SHARED | {"first_name": "Ben"},
    )
    run = sync(rows, **settings)
    assert run.report["streams"]["prospects"]["rejected_by_code"] == {
        "invalid_value": 1,
        "relation_not_found": 1,
    }
    assert run.counts("prospects") == {"received": 3, "updated": 1, "rejected": 2}
    known = held(sandbox)
    assert (known["firstName"], known["emailOptedOut"], known["callOptedOut"]) == (
        "Ben",
        True,
        True,
    )


@pytest.mark.parametrize("fault", [{"score": "abc"}, {"account_domain": "nobody.test"}])
def test_a_rejected_last_row_takes_nothing_from_the_earlier_one(sync, sandbox, settings, fault):
    sandbox.store.seed("accounts", {"name": "X", "domain": "x.test"})
    ana = SHARED | {"first_name": "Ana", "title": "Buyer", "account_domain": "x.test"}
    rows = people(ana | {"do_not_call": "Yes"}, SHARED | fault | {"email_opted_out": "Yes"})
    run = sync(rows, on_duplicate="last", allow_opt_in=True, **settings)
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    known = held(sandbox)
    assert (known["firstName"], known["title"]) == ("Ana", "Buyer")
    assert (known["emailOptedOut"], known["callOptedOut"]) == (True, True)
    (person,) = sandbox.store.all("prospects")
    assert person["relationships"]["account"]["data"]["id"] == 1


def test_a_dry_run_plans_the_opt_out_of_a_duplicate(sync, sandbox, size, tmp_path):
    sandbox.store.seed("prospects", {"emails": ["info@x.test"]})
    rows = people(SHARED | {"first_name": "Ana"}, SHARED | {"email_opted_out": "Yes"})
    sync(rows, dry_run=True, changes_path=str(tmp_path / "plan.jsonl"), **size)
    plan = [json.loads(line) for line in (tmp_path / "plan.jsonl").read_text().splitlines()]
    assert "emailOptedOut" in json.dumps(plan)
    assert "duplicate_source_row" in json.dumps(plan)
