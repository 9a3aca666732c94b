"""Outreach fails at writes (5xx): at those of single records, or at all of them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from conftest import record, schema, state

from target_outreach.bounds import CREATE_TRIES
from target_outreach.engine import writing
from target_outreach.engine.job import Unserved
from target_outreach.engine.server_errors import ServerErrors
from target_outreach.errors import RecordFault, Unanswered
from target_outreach.sandbox import Fault


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.005)
    defaults = writing.Writer.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "sleep", lambda _seconds: None)


def people(numbers, **values):
    return [record("prospects", emails=f"p{n}@x.test", title="T", **values) for n in numbers]


def seed(sandbox, count):
    return sandbox.store.seed_many(
        "prospects", [{"emails": [f"p{n}@x.test"]} for n in range(count)]
    )


def fail_at(sandbox, ids, kind="status", times=None):
    for one in ids:
        path = rf"/prospects/{one}$"
        sandbox.add_fault(Fault(kind, method="PATCH", path=path, status=500, times=times))


def codes(run):
    return [one["error"]["code"] for one in run.rejects if "error" in one]


@pytest.mark.parametrize("minutes", [0, 5])
def test_a_record_that_outreach_always_fails_at_is_rejected_in_each_run(sync, sandbox, minutes):
    ids = seed(sandbox, 6)
    fail_at(sandbox, ids[2:3])
    rows = [schema("prospects"), *people(range(6)), state({"n": 6})]
    run = sync(rows, max_outage_minutes=minutes)
    assert (run.exit_code, run.states) == (3, [{"n": 6}])
    assert codes(run) == ["server_error"]
    assert run.rejects[-1]["error"]["message"].startswith("Outreach fails at each try to update")
    assert run.counts("prospects") == {"received": 6, "updated": 5, "rejected": 1}
    again = sync(rows, max_outage_minutes=0)
    assert (again.exit_code, again.states) == (3, [{"n": 6}])
    assert again.counts("prospects") == {"received": 6, "unchanged": 5, "rejected": 1}


@pytest.mark.parametrize("name", ["prospects", "accounts"])
def test_a_create_that_outreach_always_fails_at_is_rejected_after_a_look(sync, sandbox, name):
    seed(sandbox, 2)
    sandbox.add_fault(Fault("status", method="POST", path=name, status=500, times=None))
    new = {"prospects": {"emails": "new@x.test"}, "accounts": {"name": "New"}}[name]
    rows = [*people(range(2)), schema(name), record(name, **new), state({"n": 3})]
    run = sync([schema("prospects"), *rows], max_outage_minutes=0)
    assert (run.exit_code, run.states) == (3, [{"n": 3}])
    assert codes(run) == ["server_error"]
    assert "cannot be known" in run.rejects[-1]["error"]["message"]
    posts = [one for one in sandbox.requests if one.method == "POST"]
    assert len(posts) == CREATE_TRIES


@pytest.mark.slow
@pytest.mark.parametrize("method", ["PATCH", "POST"])
@pytest.mark.parametrize("count", [1, 30])
def test_failures_at_all_writes_are_an_outage(sync, sandbox, method, count):
    if method == "PATCH":
        seed(sandbox, count)
    sandbox.add_fault(Fault("status", method=method, status=500, times=None))
    rows = [schema("prospects"), *people(range(count)), state({"n": count})]
    run = sync(rows, max_outage_minutes=0)
    assert (run.exit_code, run.states, run.rejects) == (1, [], [])
    assert "tries" in run.log
    assert len(sandbox.requests) < 30 * 10 * 2


@pytest.mark.slow
def test_a_hundred_such_records_take_their_usual_tries_and_no_more(sync, sandbox):
    ids = seed(sandbox, 120)
    fail_at(sandbox, ids[10:110])
    run = sync([schema("prospects"), *people(range(120)), state({"n": 120})], max_outage_minutes=0)
    assert (run.exit_code, run.states) == (3, [{"n": 120}])
    assert codes(run) == ["server_error"] * 100
    assert len(sandbox.requests) < 120 + 100 * 18


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [1, 4])
def test_such_records_that_come_first_let_the_others_be_tried(sync, sandbox, parallel):
    ids = seed(sandbox, 12)
    fail_at(sandbox, ids[:10])
    run = sync(
        [schema("prospects"), *people(range(12)), state({"n": 12})],
        max_outage_minutes=0,
        max_parallel_requests=parallel,
    )
    assert (run.exit_code, run.states) == (3, [{"n": 12}])
    assert codes(run) == ["server_error"] * 10


def test_an_update_that_is_carried_out_and_answered_by_an_error_is_delivered(sync, sandbox):
    ids = seed(sandbox, 3)
    fail_at(sandbox, ids[:1], kind="status_after")
    run = sync([schema("prospects"), *people(range(3)), state({"n": 3})], max_outage_minutes=0)
    assert (run.exit_code, run.states) == (0, [{"n": 3}])
    assert run.counts("prospects") == {"received": 3, "updated": 3}


@pytest.mark.slow
def test_no_record_is_rejected_for_an_outage_that_ends_in_time(sync, sandbox):
    seed(sandbox, 12)
    sandbox.add_fault(Fault("status", method="PATCH", status=502, after=4, times=150))
    run = sync([schema("prospects"), *people(range(12)), state({"n": 12})], max_outage_minutes=5)
    assert (run.exit_code, run.states) == (0, [{"n": 12}])
    assert run.counts("prospects") == {"received": 12, "updated": 12}


def test_an_update_that_is_answered_by_204_is_read_back_once_and_delivered(sync, sandbox):
    ids = seed(sandbox, 1)
    fault = Fault("status_after", method="PATCH", status=204, body="", times=None)
    sandbox.add_fault(fault)
    run = sync([schema("prospects"), *people(range(1)), state({"n": 1})])
    assert (run.exit_code, run.states) == (0, [{"n": 1}])
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    read = [one for one in sandbox.requests if one.path.endswith(f"/prospects/{ids[0]}")]
    assert [one.method for one in read] == ["PATCH", "GET"]


@pytest.mark.parametrize(("served_at", "is_rejected"), [(4.0, True), (0.5, False)])
def test_a_record_is_rejected_only_if_others_were_answered_before_its_last_try(
    served_at, is_rejected
):
    outages = SimpleNamespace(has_served=lambda since: since < 5.0, is_too_long=False)
    queue, settlement = SimpleNamespace(is_used=False), SimpleNamespace(has_delivered=True)
    item = SimpleNamespace(failing_since=None, is_patient=False, stage=None)
    fault = RecordFault("server_error", "It fails.")
    unserved = Unserved(fault, Unanswered("It fails."), 1.0, 3.0, served_at)
    waiting = ServerErrors(queue, settlement, outages).wait_out(item, unserved)
    if is_rejected:
        with pytest.raises(RecordFault):
            asyncio.run(waiting)
    else:
        asyncio.run(waiting)
        assert (item.failing_since, item.is_patient) == (1.0, False)
