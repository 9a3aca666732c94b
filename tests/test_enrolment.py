"""Sequences: enrolment must be switched on, happens once, and never to who has opted out."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import record, schema, state

from target_outreach import bounds
from target_outreach.sandbox import Fault

TEXT = {"type": ["null", "string"]}
COLUMNS = {"prospect_email": TEXT, "sequence_name": TEXT, "mailbox_email": TEXT}
ENTRY = {"stream": "welcome", "object": "sequenceStates"}
SETTINGS = {"streams": [ENTRY], "allow_enrolment": True}


@pytest.fixture
def seeded(sandbox):
    """A sandbox with a sequence, a mailbox and three prospects; their ids."""
    user = sandbox.store.seed("users", {"email": "rep@sales.test"})
    return {
        "user": user,
        "sequence": sandbox.store.seed("sequences", {"name": "Trial  Offer", "enabled": True}),
        "mailbox": sandbox.store.seed("mailboxes", {"email": "rep@sales.test"}, {"user": user}),
        "people": [sandbox.store.seed("prospects", {"emails": [f"p{n}@x.test"]}) for n in range(3)],
    }


def rows(*emails, **values):
    said = {"sequence_name": "trial offer", "mailbox_email": "Rep@sales.test"} | values
    return [
        schema("welcome", COLUMNS),
        *(record("welcome", prospect_email=email, **said) for email in emails),
        state({"n": len(emails)}),
    ]


def enrolled(sandbox):
    """Who is in a sequence, by id, with how often."""
    states = sandbox.store.all("sequenceStates")
    return Counter(one["relationships"]["prospect"]["data"]["id"] for one in states)


def test_prospects_are_put_into_a_sequence_once(sync, sandbox, seeded):
    messages = rows("p0@x.test", "P1@x.test", "p0@x.test")
    run = sync(messages, **SETTINGS)
    assert run.exit_code == 0
    assert run.counts("welcome") == {"received": 3, "created": 2, "unchanged": 1}
    assert enrolled(sandbox) == dict.fromkeys(seeded["people"][:2], 1)
    assert run.states == [{"n": 3}]
    before = len(sandbox.requests)
    run = sync(messages, **SETTINGS)
    assert run.counts("welcome") == {"received": 3, "unchanged": 3}
    requests = list(sandbox.requests)[before:]
    assert {one.method for one in requests} == {"GET"}
    assert len(requests) <= 5


def test_who_has_left_the_sequence_is_not_put_in_again(sync, sandbox, seeded):
    sandbox.profile = replace(sandbox.profile, duplicate_enrolment="allow")
    (person, *_), sequence = seeded["people"], seeded["sequence"]
    sandbox.store.seed(
        "sequenceStates",
        {"state": "finished"},
        {"prospect": person, "sequence": sequence, "mailbox": seeded["mailbox"]},
    )
    run = sync(rows("p0@x.test"), **SETTINGS)
    assert run.counts("welcome") == {"received": 1, "unchanged": 1}
    assert enrolled(sandbox) == {person: 1}


@pytest.mark.parametrize(
    "refusal", [{"optedOut": True}, {"emailOptedOut": True}, {"emailsOptStatus": "opted_out"}]
)
@pytest.mark.parametrize("rule", ["refused", "opted_out", "enrolled"])
def test_who_has_opted_out_is_never_enrolled(sync, sandbox, seeded, refusal, rule):
    sandbox.profile = replace(sandbox.profile, opted_out_enrolment=rule)
    sandbox.store.update("prospects", seeded["people"][0], refusal)
    run = sync(rows("p0@x.test", "p1@x.test"), **SETTINGS)
    assert run.exit_code == 0
    assert run.counts("welcome") == {"received": 2, "created": 1, "skipped": 1}
    assert run.report["streams"]["welcome"]["skipped_by_reason"] == {"opted_out": 1}
    assert enrolled(sandbox) == {seeded["people"][1]: 1}
    posted = [one.body["data"]["relationships"] for one in sandbox.requests if one.method == "POST"]
    assert [one["prospect"]["data"]["id"] for one in posted] == [seeded["people"][1]]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"sequence_name": "No such"}, "sequence.name"),
        ({"mailbox_email": "no@such.test"}, "mailbox.email"),
        ({"sequence_name": None}, "sequence"),
    ],
)
def test_what_is_not_there_rejects_that_row_alone(sync, sandbox, seeded, values, field):
    messages = rows("p0@x.test", **values)[:-1] + rows("p1@x.test", "ghost@x.test")[1:]
    run = sync(messages, **SETTINGS)
    assert run.exit_code == 3
    assert run.counts("welcome") == {"received": 3, "created": 1, "rejected": 2}
    fields = [one["error"]["field"] for one in run.rejects if "error" in one]
    assert sorted(fields) == sorted([field, "prospect.email"])
    assert enrolled(sandbox) == {seeded["people"][1]: 1}


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("comes_first", [True, False])
def test_a_prospect_of_the_same_run_is_enrolled_whenever_it_comes(sync, comes_first):
    people = [schema("prospects", {"email": TEXT}), record("prospects", email="new@x.test")]
    messages = rows("new@x.test")
    run = sync([*people, *messages] if comes_first else [*messages, *people], **SETTINGS)
    assert run.exit_code == 0
    assert run.counts("welcome") == {"received": 1, "created": 1}


@pytest.mark.slow
def test_an_answer_that_got_lost_enrols_nobody_twice(sync, sandbox, seeded, monkeypatch):
    monkeypatch.setattr(bounds, "LATER_LOOKS", (0.1, 0.3, 0.9))
    sandbox.profile = replace(sandbox.profile, duplicate_enrolment="allow")
    sandbox.add_fault(Fault("reset_after", method="POST"))
    sandbox.add_fault(Fault("reset_before", method="POST"))
    run = sync(rows("p0@x.test", "p1@x.test"), **SETTINGS)
    assert run.counts("welcome") == {"received": 2, "created": 2}
    assert enrolled(sandbox) == dict.fromkeys(seeded["people"][:2], 1)


@pytest.mark.slow
def test_an_answer_that_got_lost_enrols_nobody_twice_where_lists_lag(
    sync, sandbox, seeded, monkeypatch
):
    monkeypatch.setattr(bounds, "LATER_LOOKS", (0.1, 0.3, 0.9))
    switches = {"duplicate_enrolment": "allow", "list_lag_seconds": 1.0}
    sandbox.profile = replace(sandbox.profile, **switches)
    time.sleep(1)  # until lists show who is to be enrolled
    sandbox.add_fault(Fault("reset_after", method="POST"))
    run = sync(rows("p0@x.test", "p1@x.test"), **SETTINGS)
    assert run.counts("welcome") == {"received": 2, "created": 2}
    assert enrolled(sandbox) == dict.fromkeys(seeded["people"][:2], 1)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("coded", [True, False])
def test_a_refusal_because_of_having_been_there_counts_as_unchanged(sync, sandbox, coded):
    """Somebody else was faster than this run."""
    words = {"id": "validationError", "detail": "Prospect has already been in this sequence"}
    words |= {"code": "has already been in this sequence"} if coded else {}
    body = json.dumps({"errors": [words]})
    headers = (("Content-Type", "application/vnd.api+json"),)
    sandbox.add_fault(Fault("status", method="POST", status=422, body=body, headers=headers))
    run = sync(rows("p0@x.test"), **SETTINGS)
    assert run.counts("welcome") == {"received": 1, "unchanged": 1}


def test_other_refusals_are_rejects_with_the_words_of_outreach(sync, sandbox, seeded):
    sandbox.store.update("sequences", seeded["sequence"], {"locked": True})
    run = sync(rows("p0@x.test"), **SETTINGS)
    assert run.counts("welcome") == {"received": 1, "rejected": 1}
    assert "Sequence is locked." in json.dumps(run.rejects[-1]["error"])


@pytest.mark.usefixtures("seeded")
def test_a_dry_run_says_who_would_be_enrolled(sync, sandbox, tmp_path):
    plan = tmp_path / "plan.jsonl"
    run = sync(rows("p0@x.test", "p1@x.test"), **SETTINGS, dry_run=True, changes_path=str(plan))
    assert run.counts("welcome") == {"received": 2, "created": 2}
    assert enrolled(sandbox) == {}
    planned = list(map(json.loads, Path(plan).read_text(encoding="utf-8").splitlines()))
    assert {one["action"] for one in planned} == {"create"}
    assert sorted(one["key"]["prospect.email"] for one in planned) == ["p0@x.test", "p1@x.test"]
    said = {"sequence.name": "trial offer", "mailbox.email": "Rep@sales.test"}
    assert all(said.items() <= one["key"].items() for one in planned)


def test_ids_do_as_well_as_names(sync, seeded):
    number = {"type": "integer"}
    columns = {f"outreach_{one}_id": number for one in ("prospect", "sequence", "mailbox")}
    ids = (seeded["people"][0], seeded["sequence"], seeded["mailbox"])
    messages = [
        schema("welcome", columns),
        record("welcome", **dict(zip(columns, ids, strict=True))),
        record("welcome", **dict(zip(columns, (999_999, *ids[1:]), strict=True))),
    ]
    run = sync(messages, **SETTINGS)
    assert run.counts("welcome") == {"received": 2, "created": 1, "rejected": 1}
    assert run.rejects[-1]["error"]["code"] == "record_not_found"


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"streams": [ENTRY]}, "allow_enrolment"),
        ({**SETTINGS, "streams": [ENTRY | {"sync_mode": "upsert"}]}, "insert"),
        ({**SETTINGS, "streams": [ENTRY | {"match_on": ["state"]}]}, "match_on"),
    ],
)
def test_nobody_is_enrolled_by_accident(execute, sandbox, settings, words):
    run = execute(rows("p0@x.test"), **settings)
    assert run.exit_code == 1
    assert words in run.log
    assert len(sandbox.requests) == 0


def test_a_stream_without_prospects_or_sequences_is_refused(sync):
    run = sync([schema("welcome", {"prospect_email": TEXT})], **SETTINGS)
    assert run.exit_code == 1
    assert "no column maps to sequence.id or sequence.name" in run.log


def test_allow_enrolment_alone_enrols_nobody_without_an_entry_of_streams(sync, sandbox):
    run = sync([schema("sequenceStates", COLUMNS)], allow_enrolment=True)
    assert run.exit_code == 1
    assert len(sandbox.requests) == 0


@pytest.mark.parametrize("enrolment_first", [True, False])
@pytest.mark.parametrize("size", [1, 500])
def test_three_streams_that_wait_for_each_other(sync, sandbox, seeded, enrolment_first, size):
    person = [
        schema("prospects", {"email": TEXT, "account_domain": TEXT}),
        record("prospects", email="new@x.test", account_domain="late.example"),
    ]
    enrolment = rows("new@x.test")[:-1]
    company = [schema("accounts", {"name": TEXT, "domain": TEXT})]
    company += [record("accounts", name="Late", domain="late.example"), state({"n": 3})]
    parts = [*enrolment, *person] if enrolment_first else [*person, *enrolment]
    run = sync([*parts, *company], **SETTINGS, batch_size_rows=size)
    assert run.exit_code == 0
    assert [*run.report["streams"]] == [
        *dict.fromkeys(one["stream"] for one in [*parts, *company[:-1]])
    ]
    assert run.counts("welcome") == {"received": 1, "created": 1}
    assert run.states == [{"n": 3}]
    assert len(enrolled(sandbox)) == 1
    assert seeded["people"][0] not in enrolled(sandbox)


@pytest.mark.parametrize("by_id", [True, False])
@pytest.mark.parametrize("size", [1, 500])
def test_an_opt_out_of_the_same_run_is_heard(sync, sandbox, seeded, by_id, size):
    sandbox.profile = replace(sandbox.profile, opted_out_enrolment="accepted")
    sandbox.add_fault(Fault("delay", method="PATCH", path="/prospects", seconds=0.4, times=None))
    enrolment = rows("p0@x.test")[:-1]
    if by_id:
        number = {"type": "integer"}
        columns = {f"outreach_{one}_id": number for one in ("prospect", "sequence", "mailbox")}
        ids = (seeded["people"][0], seeded["sequence"], seeded["mailbox"])
        values = dict(zip(columns, ids, strict=True))
        enrolment = [schema("welcome", columns), record("welcome", **values)]
    messages = [
        *rows("p1@x.test", "p0@x.test", sequence_name="welcome")[:-1],
        schema("prospects", {"email": TEXT, "opted_out": {"type": "boolean"}}),
        record("prospects", email="p0@x.test", opted_out=True),
        *enrolment,
    ]
    run = sync(messages, **SETTINGS, batch_size_rows=size)
    assert run.exit_code == 0
    assert run.report["streams"]["welcome"]["skipped_by_reason"]["opted_out"] >= 1
    states = sandbox.store.all("sequenceStates")
    sequences = [one["relationships"]["sequence"]["data"]["id"] for one in states]
    assert seeded["sequence"] not in sequences


@pytest.mark.slow
@pytest.mark.usefixtures("seeded")
def test_an_enrolment_that_is_carried_out_late_is_not_sent_twice(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, duplicate_enrolment="allow")
    sandbox.add_fault(Fault("delay", method="POST", path="/sequenceStates", seconds=2.5))
    run = sync(rows("p0@x.test"), **SETTINGS, request_timeout_seconds=1)
    assert run.counts("welcome") == {"received": 1, "created": 1}
    assert max(enrolled(sandbox).values()) == 1


@pytest.mark.parametrize("dry", [True, False])
def test_a_dry_run_foresees_what_the_prospects_of_the_run_will_be(sync, seeded, dry):
    messages = [
        schema("prospects", {"email": TEXT, "opted_out": {"type": "boolean"}}),
        record("prospects", email="p0@x.test", opted_out=True),
        record("prospects", email="new@x.test", opted_out=False),
        *rows("p0@x.test", "new@x.test"),
    ]
    run = sync(messages, **SETTINGS, dry_run=dry)
    assert run.counts("welcome") == {"received": 2, "created": 1, "skipped": 1}
    assert seeded["people"]
