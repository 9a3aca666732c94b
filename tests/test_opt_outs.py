"""An opt-out always gets through, whatever else is wrong with its row."""

from __future__ import annotations

import json

import pytest
from conftest import record, schema, state

from target_outreach.sandbox import Fault

TEXT = {"type": ["null", "string"]}
PEOPLE = {
    "id": {"type": "integer"},
    "emails": TEXT,
    "title": TEXT,
    "score": TEXT,
    "account_domain": TEXT,
    "stage_name": TEXT,
    "outreach_id": TEXT,
    "unsubscribed": {"type": ["null", "string", "boolean"]},
    "do_not_call": TEXT,
    "emails_opt_status": TEXT,
}


def people(*rows, stream="prospects"):
    return [
        schema(stream, PEOPLE),
        *(record(stream, **{"id": number, **row}) for number, row in enumerate(rows, 1)),
        state({"n": 1}),
    ]


@pytest.fixture
def ann(sandbox):
    return sandbox.store.seed("prospects", {"emails": ["ann@x.test"], "title": "CEO"})


def held(sandbox, number):
    return sandbox.store.get("prospects", number)["attributes"]


OUT = {"emails": "ann@x.test", "title": "CTO", "unsubscribed": "Yes"}

FAULTS = {
    "invalid_value": {"score": "abc"},
    "schema_violation": {"title": ["CTO"]},
    "relation_not_found": {"account_domain": "nobody.test"},
    "invalid_id": {"outreach_id": "none"},
    "too_long": {"title": "x" * 300},
}


@pytest.mark.parametrize("code", FAULTS)
@pytest.mark.parametrize("mode", ["upsert", "update"])
def test_a_rejected_row_still_delivers_its_opt_out_alone(sync, sandbox, ann, code, mode):
    entry = {"stream": "prospects", "ignore_columns": ["id"]}
    run = sync(people(OUT | FAULTS[code]), sync_mode=mode, streams=[entry])
    assert run.counts("prospects") == {"received": 1, "rejected": 1}
    assert held(sandbox, ann)["emailOptedOut"] is True
    assert held(sandbox, ann)["title"] == "CEO"
    (error,) = [one["error"] for one in run.rejects if "error" in one]
    assert error["opt_out"] == "delivered"
    assert error["message"].endswith("The row's opt-out: delivered.")
    assert run.report["streams"]["prospects"]["opt_outs_of_rejects"] == {"delivered": 1}
    assert run.report["streams"]["prospects"]["written"] == {"emailOptedOut": 1}
    assert "opt-outs of rejected records: delivered (1)" in run.log
    assert run.states == [{"n": 1}]
    (written,) = [one for one in sandbox.requests if one.method in {"PATCH", "POST"}]
    assert written.body["data"]["attributes"] == {"emailOptedOut": True}


def test_every_attribute_about_consent_gets_through(sync, sandbox, ann):
    out = {"score": "abc", "do_not_call": "TRUE", "emails_opt_status": "opted_out"}
    sync(people(OUT | out))
    known = held(sandbox, ann)
    assert (known["emailOptedOut"], known["callOptedOut"]) == (True, True)
    assert known["emailsOptStatus"] == "opted_out"


def test_what_outreach_refuses_delivers_its_opt_out_alone(sync, sandbox, ann):
    sandbox.add_fault(Fault("status", method="PATCH", status=422))
    run = sync(people(OUT))
    assert run.counts("prospects") == {"received": 1, "rejected": 1}
    assert (held(sandbox, ann)["emailOptedOut"], held(sandbox, ann)["title"]) == (True, "CEO")
    assert run.report["streams"]["prospects"]["opt_outs_of_rejects"] == {"delivered": 1}


def test_an_opt_out_that_is_refused_too_is_said_to_be_lost(sync, sandbox, ann):
    sandbox.add_fault(Fault("status", method="PATCH", status=422, times=None))
    run = sync(people(OUT))
    (error,) = [one["error"] for one in run.rejects if "error" in one]
    assert (error["opt_out"], error["status"]) == ("not delivered", 422)
    assert held(sandbox, ann)["emailOptedOut"] is not True


def test_nobody_is_created_or_guessed_for_an_opt_out(sync, sandbox, ann):
    ben = sandbox.store.seed("prospects", {"emails": ["ben@x.test"]})
    rows = [
        OUT | {"emails": "new@x.test", "score": "abc"},
        OUT | {"emails": "ann@x.test;ben@x.test"},
        OUT | {"emails": None, "score": "abc"},
        OUT | {"outreach_id": "999"},
    ]
    run = sync(people(*rows))
    assert run.counts("prospects") == {"received": 4, "rejected": 4}
    assert len(sandbox.store.all("prospects")) == 2
    assert not held(sandbox, ann).get("emailOptedOut")
    assert not held(sandbox, ben).get("emailOptedOut")
    assert run.report["streams"]["prospects"]["opt_outs_of_rejects"] == {"not delivered": 4}


@pytest.mark.parametrize("size", [1, 500])
@pytest.mark.parametrize("opted_out", [None, "No"])
def test_who_is_created_after_a_rejected_row_has_its_opt_out(sync, sandbox, size, opted_out):
    rows = [
        OUT | {"emails": "new@x.test", "score": "abc", "do_not_call": "yes"},
        {"emails": "other@x.test"},
        {"emails": "NEW@x.test", "title": "CFO", "unsubscribed": opted_out},
    ]
    run = sync(people(*rows), batch_size_rows=size)
    assert run.counts("prospects") == {"received": 3, "created": 2, "rejected": 1}
    known = {
        one["attributes"]["emails"][0]: one["attributes"] for one in sandbox.store.all("prospects")
    }
    new, other = known["NEW@x.test"], known["other@x.test"]
    assert (new["title"], new["emailOptedOut"], new["callOptedOut"]) == ("CFO", True, True)
    assert not other.get("emailOptedOut")


def test_allow_opt_in_lets_a_later_row_opt_in(sync, sandbox):
    rows = [OUT | {"score": "abc"}, {"emails": "ann@x.test", "unsubscribed": "No"}]
    sync(people(*rows), allow_opt_in=True)
    assert not held(sandbox, 1).get("emailOptedOut")


@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize("value", ["No", None, "", "maybe"])
def test_a_rejected_row_without_an_opt_out_delivers_nothing(sync, sandbox, value):
    run = sync(people(OUT | {"score": "abc", "unsubscribed": value}))
    assert run.counts("prospects") == {"received": 1, "rejected": 1}
    assert run.report["streams"]["prospects"]["opt_outs_of_rejects"] == {}
    assert not any(one.method == "PATCH" for one in sandbox.requests)
    assert "opt_out" not in run.rejects[-1]["error"]


@pytest.mark.usefixtures("ann")
def test_an_opt_out_that_is_there_is_not_written_again(sync, sandbox):
    rows = people(OUT | {"score": "abc"})
    sync(rows)
    run = sync(rows)
    counted = run.report["streams"]["prospects"]["opt_outs_of_rejects"]
    assert counted == {"in Outreach already": 1}
    assert sum(one.method == "PATCH" for one in sandbox.requests) == 1


def test_a_field_rule_protects_from_an_opt_out_of_a_rejected_row_too(sync, sandbox, ann):
    entry = {"stream": "prospects", "field_rules": {"emailOptedOut": "never"}}
    run = sync(people(OUT | {"score": "abc"}), streams=[entry])
    counted = run.report["streams"]["prospects"]["opt_outs_of_rejects"]
    assert counted == {"not delivered": 1}
    assert not held(sandbox, ann).get("emailOptedOut")


def test_rows_of_one_person_keep_their_order_around_an_opt_out(sync, sandbox, ann):
    rows = [
        {"id": 1, "emails": "ann@x.test", "title": "VP"},
        OUT | {"id": 1, "score": "abc"},
        {"id": 1, "emails": "ann@x.test", "title": "COO", "unsubscribed": "No"},
    ]
    run = sync(people(*rows))
    assert run.counts("prospects")["rejected"] == 1
    assert (held(sandbox, ann)["emailOptedOut"], held(sandbox, ann)["title"]) == (True, "COO")
    counts = run.counts("prospects")
    assert counts["received"] == sum(counts.values()) - counts["received"]


def test_a_dry_run_plans_the_opt_out_and_writes_nothing(sync, sandbox, ann, tmp_path):
    path = tmp_path / "plan.jsonl"
    run = sync(people(OUT | {"score": "abc"}), dry_run=True, changes_path=str(path))
    assert run.counts("prospects") == {"received": 1, "rejected": 1}
    (planned,) = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert (planned["action"], planned["reason"]) == ("reject", "invalid_value")
    assert planned["opt_out"]["id"] == ann
    assert list(planned["opt_out"]["changes"]) == ["emailOptedOut"]
    assert not held(sandbox, ann).get("emailOptedOut")


def test_a_fixed_row_is_delivered_whole(sync, sandbox, ann):
    sync(people(OUT | {"score": "abc"}))
    run = sync(people(OUT | {"score": "7"}))
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    known = held(sandbox, ann)
    assert (known["title"], known["score"], known["emailOptedOut"]) == ("CTO", 7, True)


def test_a_row_that_stream_maps_cannot_read_delivers_its_opt_out(sync, sandbox, ann):
    maps = {
        "prospects": {
            "title": "title.upper()",
            "__else__": None,
            **{name: name for name in ("id", "emails", "unsubscribed")},
        }
    }
    run = sync(people(OUT | {"title": None}), stream_maps=maps)
    assert run.counts("prospects") == {"received": 1, "rejected": 1}
    assert held(sandbox, ann)["emailOptedOut"] is True


@pytest.mark.parametrize("rows_a_batch", [1, 100])
def test_abort_delivers_the_opt_out_of_its_row_and_nothing_behind_it(
    sync, sandbox, ann, rows_a_batch
):
    rows = [
        OUT | {"score": "abc"},
        *({"emails": f"p{number}@x.test"} for number in range(20)),
    ]
    run = sync(people(*rows), on_reject="abort", batch_size_rows=rows_a_batch)
    assert run.exit_code == 1
    assert held(sandbox, ann)["emailOptedOut"] is True
    assert len(sandbox.store.all("prospects")) == 1
    assert run.states == []


@pytest.mark.parametrize("detection", ["source", "drift"])
def test_a_memory_neither_hides_nor_keeps_an_opt_out_of_a_rejected_row(
    sync, sandbox, ann, tmp_path, detection
):
    memory = {"memory_path": str(tmp_path / "m.db"), "change_detection": detection}
    sync(people({"emails": "ann@x.test", "title": "CEO"}), **memory)
    moved = OUT | {"emails": "ann@new.test", "score": "abc"}
    run = sync(people(moved), **memory)
    assert run.report["streams"]["prospects"]["opt_outs_of_rejects"] == {"delivered": 1}
    known = held(sandbox, ann)
    assert (known["emailOptedOut"], known["emails"]) == (True, ["ann@x.test"])
    run = sync(people(moved | {"score": "5"}), **memory)
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    assert held(sandbox, ann)["emails"] == ["ann@x.test", "ann@new.test"]


@pytest.mark.usefixtures("ann")
def test_insert_finds_nobody_to_opt_out(sync):
    run = sync(people(OUT | {"score": "abc"}), sync_mode="insert")
    counted = run.report["streams"]["prospects"]["opt_outs_of_rejects"]
    assert counted == {"not delivered": 1}


def test_one_readable_opt_out_of_several_columns_counts(sync, sandbox, ann):
    columns = {"do_not_contact": TEXT, "donotcontact": TEXT}
    row = OUT | {"do_not_contact": "maybe", "donotcontact": "1"}
    sync([schema("prospects", PEOPLE | columns), record("prospects", **row, id=1)])
    assert held(sandbox, ann)["optedOut"] is True


@pytest.mark.slow
def test_a_bulk_update_takes_the_opt_out_along(sync, sandbox, ann):
    rows = [{"emails": f"p{number}@x.test", "title": "new"} for number in range(12)]
    sandbox.store.seed_many("prospects", [{"emails": [row["emails"]]} for row in rows])
    run = sync(people(*rows, OUT | {"score": "abc"}), bulk_writes="updates")
    assert run.counts("prospects") == {"received": 13, "updated": 12, "rejected": 1}
    assert (held(sandbox, ann)["emailOptedOut"], held(sandbox, ann)["title"]) == (True, "CEO")


def test_a_late_account_that_never_comes_does_not_hold_an_opt_out_back(sync, sandbox, ann):
    rows = [OUT | {"account_domain": "nobody.test"}, {"emails": "ann@x.test", "title": "COO"}]
    run = sync(people(*rows), batch_size_rows=1)
    assert run.counts("prospects") == {"received": 2, "updated": 1, "rejected": 1}
    assert (held(sandbox, ann)["emailOptedOut"], held(sandbox, ann)["title"]) == (True, "COO")


def test_an_opt_out_does_not_wait_for_an_account_that_may_yet_come(sync, sandbox, ann):
    rows = [OUT | {"account_domain": "nobody.test"}]
    rows += [{"emails": f"p{number}@x.test", "title": "new"} for number in range(20)]
    run = sync(people(*rows), batch_size_rows=1, max_requests=14)
    assert run.exit_code == 4
    assert held(sandbox, ann)["emailOptedOut"] is True
    assert held(sandbox, ann)["title"] == "CEO"
    assert run.counts("prospects")["rejected"] == 1
    assert run.report["streams"]["prospects"]["opt_outs_of_rejects"] == {"delivered": 1}


def test_rows_that_are_written_as_one_and_refused_deliver_each_opt_out(sync, sandbox, ann):
    sandbox.add_fault(Fault("status", method="PATCH", status=422, times=2))
    rows = [
        {"id": 1, "emails": "ann@x.test", "title": "VP", "do_not_call": "yes"},
        {"id": 1, "emails": "ann@x.test", "title": "CTO"},
    ]
    run = sync(people(*rows))
    counts = run.counts("prospects")
    assert counts["received"] == counts["rejected"] + counts.get("updated", 0)
    assert held(sandbox, ann)["callOptedOut"] is True
    assert run.report["streams"]["prospects"]["opt_outs_of_rejects"] == {"delivered": 1}


@pytest.mark.parametrize("rows_a_batch", [1, 500])
@pytest.mark.parametrize("is_rejected", [False, True])
def test_where_nobody_has_opted_out_if_empty_finds_nothing(
    sync, sandbox, ann, rows_a_batch, is_rejected
):
    rules = [{"stream": "prospects", "field_rules": {"emailOptedOut": "if_empty"}}]
    rows = people(
        {"id": 1, "emails": "ann@x.test", "unsubscribed": False},
        {"id": 1, "emails": "ann@x.test", "unsubscribed": True, "title": is_rejected or "CEO"},
    )
    sync(rows, streams=rules, batch_size_rows=rows_a_batch)
    assert held(sandbox, ann)["emailOptedOut"] is True


@pytest.mark.parametrize("rows_a_batch", [1, 500])
def test_a_new_person_opts_out_in_a_later_row_under_if_empty(sync, sandbox, rows_a_batch):
    rules = [{"stream": "prospects", "field_rules": {"emailOptedOut": "if_empty"}}]
    rows = people(
        {"id": 1, "emails": "new@x.test", "unsubscribed": False},
        {"id": 1, "emails": "new@x.test", "unsubscribed": True},
    )
    sync(rows, streams=rules, batch_size_rows=rows_a_batch)
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["emailOptedOut"] is True
