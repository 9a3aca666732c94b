"""What Outreach, the network and other people may do while a record is on its way."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import fsspec
import pytest
from conftest import PROSPECTS, record, schema, state

from target_outreach.delivery.rejects import RejectsFile
from target_outreach.errors import RecordFault
from target_outreach.sandbox import Fault, Sandbox, paging

LOST = [
    Fault("reset_before", method="POST"),
    Fault("reset_after", method="POST"),
    Fault("truncate", method="POST"),
    Fault("garbage", method="POST"),
    Fault("status", method="POST", status=500),
    Fault("status", method="POST", status=503),
    Fault("status_after", method="POST", status=502),
    Fault("hang", method="POST", seconds=3),
    Fault("hang_after", method="POST", seconds=3),
]


@pytest.fixture
def outreach(tmp_path, watcher):
    """Start a sandbox that is told of each exchange before its client is, and may have a clock."""
    with ExitStack() as running:

        def _start(react=None, clock=time.time):
            def observe(exchange):
                watcher(exchange)
                if react is not None:
                    react(exchange)

            return running.enter_context(
                Sandbox(tmp_path / "other.db", observer=observe, clock=clock)
            )

        yield _start


def people(count, **values):
    return [record("prospects", id=n, emails=f"p{n}@x.test", **values) for n in range(count)]


def refusals(sandbox):
    return sum(entry.status == 429 for entry in sandbox.requests)


def ids(fault):
    return fault.kind + (f"_{fault.status}" if "status" in fault.kind else "")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["upsert", "insert"])
@pytest.mark.parametrize("name", ["prospects", "accounts"])
@pytest.mark.parametrize("fault", LOST, ids=ids)
def test_a_create_whose_answer_is_lost_is_there_once(sync, sandbox, fault, name, mode):
    sandbox.add_fault(fault)
    values = {"prospects": {"emails": "a@x.test"}, "accounts": {"name": "Acme"}}[name]
    run = sync(
        [schema(name), record(name, **values), state({"n": 1})],
        sync_mode=mode,
        request_timeout_seconds=1,
    )
    assert run.exit_code == 0
    assert run.counts(name) == {"received": 1, "created": 1}
    assert run.states == [{"n": 1}]
    assert sandbox.store.count(name) == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", LOST, ids=ids)
def test_an_update_whose_answer_is_lost_is_sent_again(sync, sandbox, fault):
    sandbox.add_fault(replace(fault, method="PATCH"))
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    run = sync(
        [schema("prospects"), record("prospects", emails="a@x.test", title="T")],
        request_timeout_seconds=1,
    )
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    assert sandbox.store.get("prospects", person)["attributes"]["title"] == "T"


@pytest.mark.slow
@pytest.mark.parametrize("fault", LOST, ids=ids)
def test_a_lookup_whose_answer_is_lost_is_asked_again(sync, sandbox, fault):
    sandbox.add_fault(replace(fault, method="GET"))
    run = sync(
        [schema("prospects"), record("prospects", emails="a@x.test")], request_timeout_seconds=1
    )
    assert run.counts("prospects") == {"received": 1, "created": 1}


@pytest.mark.slow
def test_without_a_key_an_unknown_outcome_is_rejected_as_that(sync, sandbox):
    sandbox.add_fault(Fault("reset_after", method="POST"))
    run = sync(
        [schema("accounts"), record("accounts", name="Acme")],
        streams=[{"stream": "accounts", "match_on": ["customId"]}],
    )
    assert run.rejects[-1]["error"]["code"] == "outcome_unknown"
    assert run.rejects[-1]["error"]["attempts"] == 1


@pytest.mark.parametrize("wording", ["hash", "emails", "index"])
def test_a_lost_race_for_an_address_becomes_an_update(sync, outreach, wording):
    def win(_exchange):
        if not sandbox.store.count("prospects"):
            sandbox.store.seed("prospects", {"emails": ["a@x.test"], "title": "Theirs"})

    sandbox = outreach(win)
    sandbox.profile = replace(sandbox.profile, taken_wording=wording)
    rows = [schema("prospects"), record("prospects", emails="A@x.test", title="Ours")]
    run = sync(rows, api_url=sandbox.api_url)
    assert [entry.status for entry in sandbox.requests][:2] == [200, 422]
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "Ours"


@pytest.mark.slow
def test_an_address_whose_owner_cannot_be_seen_has_a_code_of_its_own(sync, sandbox):
    sandbox.store.trash("prospects", sandbox.store.seed("prospects", {"emails": ["a@x.test"]}))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test")])
    assert run.rejects[-1]["error"]["code"] == "owner_not_visible"
    assert "already been taken" in run.rejects[-1]["error"]["message"]


@pytest.mark.parametrize(
    ("mode", "counts"), [("upsert", {"created": 1}), ("update", {"rejected": 1})]
)
def test_a_record_deleted_in_between_is_created_or_rejected_by_mode(sync, outreach, mode, counts):
    def delete(_exchange):
        if sandbox.request_count == 1:
            sandbox.store.delete("prospects", person)

    sandbox = outreach(delete)
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    rows = [schema("prospects"), record("prospects", emails="a@x.test", title="T")]
    run = sync(rows, sync_mode=mode, api_url=sandbox.api_url)
    assert [entry.status for entry in sandbox.requests][:2] == [200, 404]
    assert run.counts("prospects") == {"received": 1} | counts
    if mode == "update":
        assert run.rejects[-1]["error"]["code"] == "record_not_found"


@pytest.mark.parametrize("style", ["text", "gateway", "errors"])
def test_a_refused_token_is_one_sentence(sync, sandbox, style):
    sandbox.profile = replace(sandbox.profile, unauthorized_style=style)
    sandbox.revoke_all()
    run = sync([schema("prospects"), record("prospects", emails="a@x.test"), state({"n": 1})])
    assert run.exit_code == 1
    assert run.states == []
    assert run.log.count("ERROR") == 1
    assert "set a new access_token" in run.log


@pytest.mark.parametrize("missing", ["prospects.read", "prospects.write"])
def test_a_missing_scope_is_one_sentence_that_names_it(sync, sandbox, config, missing):
    scopes = {"prospects.read", "prospects.write"} - {missing}
    sandbox.profile = replace(sandbox.profile, tokens={config["access_token"]: scopes})
    run = sync([schema("prospects"), record("prospects", emails="a@x.test")])
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert missing in run.log


def test_a_record_that_governance_forbids_is_rejected_and_the_others_are_not(sync, sandbox):
    theirs = sandbox.store.seed("prospects", {"emails": ["theirs@x.test"]})
    sandbox.profile = replace(sandbox.profile, governed=[f"prospects/{theirs}"])
    run = sync(
        [
            schema("prospects"),
            record("prospects", emails="theirs@x.test", title="T"),
            record("prospects", emails="ours@x.test", title="T"),
        ]
    )
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.rejects[-1]["error"]["status"] == 403


def test_a_changed_media_type_points_at_a_proxy(sync, sandbox):
    body = '{"errors":[{"id":"unsupportedMediaType","title":"Unsupported Media Type"}]}'
    sandbox.add_fault(Fault("status", method="POST", status=415, body=body, times=None))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test")])
    assert run.exit_code == 1
    assert "proxy" in run.log


def test_a_server_that_stays_down_ends_the_run_with_the_state_of_what_was_delivered(
    sync, sandbox, monkeypatch
):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.05)
    sandbox.add_fault(Fault("status", method="GET", path="b@x.test", status=502, times=None))
    rows = [
        schema("prospects"),
        record("prospects", emails="a@x.test"),
        state({"n": 1}),
        record("prospects", emails="b@x.test"),
        state({"n": 2}),
    ]
    run = sync(rows, batch_size_rows=1)
    assert run.exit_code == 1
    assert run.states == [{"n": 1}]
    assert "Outreach answered 502" in run.log
    assert "goes on from STATE" in run.log


@pytest.mark.slow
def test_a_time_for_maintenance_is_waited_out(sync, sandbox):
    until = (datetime.now(UTC) + timedelta(seconds=2)).isoformat(timespec="seconds")
    body = '{"errors":[{"id":"scheduledServerMaintenance","title":"Maintenance"}]}'
    headers = [("Retry-After", until)]
    sandbox.add_fault(Fault("status", method="GET", status=503, body=body, headers=headers))
    began = time.monotonic()
    run = sync([schema("prospects"), record("prospects", emails="a@x.test")])
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert 1 <= time.monotonic() - began < 5


def test_a_redirect_is_not_followed_and_the_token_stays_here(sync, sandbox):
    headers = [("Location", "http://127.0.0.1:9/elsewhere")]
    sandbox.add_fault(Fault("status", method="GET", status=302, headers=headers, times=None))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test")])
    assert run.exit_code == 1
    assert "redirect, which is not followed" in run.log


def test_a_next_page_on_another_host_is_not_followed(sync, sandbox):
    body = '{"data": [], "links": {"next": "http://127.0.0.2:9/api/v2/prospects"}}'
    sandbox.add_fault(Fault("status", method="GET", status=200, body=body))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test")])
    assert run.exit_code == 1
    assert "on another host" in run.log


def test_an_address_that_answers_nothing_is_said_in_one_sentence(sync, monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.01)
    run = sync(
        [schema("prospects"), record("prospects", emails="a@x.test")],
        api_url="http://127.0.0.1:9/api/v2",
    )
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    refused = "Connection refused at http://127.0.0.1:9; is the sandbox running?"
    retries = [line for line in run.log.splitlines() if "Retrying" in line]
    assert [line.split()[0] for line in retries] == ["WARNING"] + 6 * ["DEBUG"]
    assert f"{refused} Retrying 1 of 8 (GET http://127.0.0.1:9/api/v2/" in retries[0]
    assert f"{refused} That was the last of 8 tries." in run.log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "bad", "code"), [(2, 2, 3), (2, 3, 1), ("5%", 5, 3), ("5%", 20, 1)]
)
def test_too_many_rejects_stop_the_run(sync, limit, bad, code):
    rows = [record("prospects", emails=f"p{n}@x.test") for n in range(150 - bad)]
    rows += [record("prospects", emails="nope") for _ in range(bad)]
    run = sync([schema("prospects"), *rows, state({"n": 1})], max_rejects=limit)
    assert run.exit_code == code
    if code == 1:
        assert "max_rejects" in run.log


def test_rejects_that_cannot_be_written_stop_the_run_before_state_passes(
    sync, tmp_path, monkeypatch
):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))  # unlike a rejects_path it is not tried
    rows = [schema("prospects"), record("prospects", emails="nope"), state({"n": 1})]
    run = sync(rows, rejects_path=None)
    assert run.exit_code == 1
    assert run.states == []
    assert "check rejects_path" in run.log


def test_rejects_go_to_any_url_that_fsspec_knows():
    file = RejectsFile("memory://bucket/rejects")
    file.add("s", '{"type": "SCHEMA"}', '{"type": "RECORD"}', RecordFault("code", "Message."))
    file.sync()
    filesystem, path = fsspec.core.url_to_fs(file.path)
    assert filesystem.cat(path).count(b"\n") == 2


# What is taken, and by whom


def taken(status):
    body = '{"errors":[{"id":"validationError","title":"Validation Error","detail":"%s"}]}'
    detail = "Contacts email hash has already been taken."
    return {"kind": "status", "status": status, "body": body % detail}


@pytest.mark.parametrize("wording", ["hash", "emails", "index"])
def test_an_update_that_would_take_anothers_address_is_rejected_and_nothing_else_is(
    sync, sandbox, wording
):
    sandbox.profile = replace(sandbox.profile, taken_wording=wording)
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"], "title": "Clerk"})
    sandbox.store.trash("prospects", sandbox.store.seed("prospects", {"emails": ["b@x.test"]}))
    rows = [
        record("prospects", id=1, emails=["a@x.test", "b@x.test"], title="Head"),
        record("prospects", id=2, emails="c@x.test"),
    ]
    run = sync([schema("prospects"), *rows, state({"n": 2})])
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.states == [{"n": 2}]
    error = run.rejects[-1]["error"]
    assert (error["code"], error["status"], error["attempts"]) == ("already_taken", 422, 1)
    attributes = sandbox.store.get("prospects", person)["attributes"]
    assert (attributes["emails"], attributes["title"]) == (["a@x.test"], "Clerk")


def test_an_address_of_somebody_else_is_rejected_with_an_outreach_id_too(sync, sandbox):
    mine, _ = sandbox.store.seed_many(
        "prospects", [{"emails": ["a@x.test"]}, {"emails": ["b@x.test"]}]
    )
    columns = PROSPECTS | {"outreach_id": {"type": "integer"}}
    run = sync(
        [schema("prospects", columns), record("prospects", emails="b@x.test", outreach_id=mine)]
    )
    assert run.rejects[-1]["error"]["code"] == "already_taken"
    assert sandbox.store.get("prospects", mine)["attributes"]["emails"] == ["a@x.test"]


@pytest.mark.parametrize("status", [409, 422])
def test_a_taken_address_is_understood_with_either_status(sync, sandbox, status):
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    sandbox.add_fault(Fault("status", method="GET", status=200, body='{"data": []}'))
    sandbox.add_fault(Fault(**taken(status), method="POST"))
    rows = [schema("prospects"), record("prospects", emails="a@x.test", title="T")]
    assert sync(rows).counts("prospects") == {"received": 1, "updated": 1}
    sandbox.add_fault(Fault(**taken(status), method="PATCH"))
    rows[1]["record"]["title"] = "U"
    error = sync(rows).rejects[-1]["error"]
    assert (error["code"], error["status"]) == ("already_taken", status)
    assert sandbox.store.get("prospects", person)["attributes"]["title"] == "T"


@pytest.mark.parametrize(
    ("rival", "detail"),
    [
        ({"name": "Acme"}, "Name has already been taken."),
        ({"name": "Old Acme", "customId": "A-1"}, "Custom has already been taken."),
    ],
)
def test_an_account_whose_name_or_number_is_taken_meanwhile_is_updated(
    sync, outreach, rival, detail
):
    def react(exchange):
        # The last look before an account is created is the one that tests the lists.
        if exchange.method == "GET" and "filter" not in exchange.url:
            sandbox.store.seed("accounts", rival)

    sandbox = outreach(react)
    body = json.dumps({"errors": [{"id": "validationError", "detail": detail}]})
    sandbox.add_fault(Fault("status", method="POST", status=422, body=body))
    rows = [schema("accounts"), record("accounts", name="Acme", custom_id="A-1", industry="X")]
    run = sync(rows, api_url=sandbox.api_url)
    assert run.counts("accounts") == {"received": 1, "updated": 1}
    (account,) = sandbox.store.all("accounts")
    assert account["attributes"]["industry"] == "X"


CODED = {
    "taken": "already_taken",
    "is_using_excluded_email_address": "excluded_address",
}


def coded(code, detail="In other words.", **more):
    errors = [*more.get("before", []), {"id": "validationError", "detail": detail, "code": code}]
    return {"kind": "status", "status": 422, "body": json.dumps({"errors": errors})}


@pytest.mark.parametrize("code", CODED)
@pytest.mark.parametrize("before", [[], [{"id": "validationError", "detail": "Name is odd."}]])
def test_the_code_of_an_error_is_read_before_its_words(sync, sandbox, code, before):
    sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    wrong = "Contacts email hash has already been taken." if "excluded" in code else "Not so."
    sandbox.add_fault(Fault(**coded(code, wrong, before=before), method="PATCH"))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert run.rejects[-1]["error"]["code"] == CODED[code]


def test_a_code_that_is_not_known_leaves_the_word_to_the_words(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    fault = coded("something_new", "Emails has already been taken")
    sandbox.add_fault(Fault(**fault, method="PATCH"))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert run.rejects[-1]["error"]["code"] == "already_taken"


@pytest.mark.parametrize("codes", [True, False])
def test_an_excluded_address_names_the_exclusion_list(sync, sandbox, codes):
    sandbox.profile = replace(sandbox.profile, error_codes=codes)
    run = sync([schema("prospects"), record("prospects", emails="someone@outreach.io")])
    error = run.rejects[-1]["error"]
    assert (error["code"], error["status"]) == ("excluded_address", 422)
    assert "exclusion list" in error["message"]


@pytest.mark.slow
@pytest.mark.parametrize("codes", [True, False])
def test_an_owner_that_cannot_be_seen_may_be_in_the_trash_or_hidden(sync, sandbox, codes):
    sandbox.profile = replace(sandbox.profile, error_codes=codes)
    sandbox.store.trash("prospects", sandbox.store.seed("prospects", {"emails": ["a@x.test"]}))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test")])
    error = run.rejects[-1]["error"]
    assert error["code"] == "owner_not_visible"
    assert "in the trash, for 15 days at most" in error["message"]
    assert "governance profile" in error["message"]


# Answers that do not fit what was asked

USELESS = {
    "errors": {"errors": [{"id": "x", "detail": "Said."}]},
    "errors beside data": {"errors": [{"id": "x"}], "data": {"type": "prospect", "id": 1}},
    "null": {"data": None},
    "nothing": {},
    "a list": {"data": [{"type": "prospect", "id": 1}]},
    "no id": {"data": {"type": "prospect", "attributes": {}}},
    "an odd id": {"data": {"type": "prospect", "id": float("inf")}},
    "text": "Said.",
}
ANOTHER = {
    "another record": {"data": {"type": "prospect", "id": 2, "attributes": {"title": "U"}}},
    "another object": {"data": {"type": "account", "id": 1, "attributes": {}}},
}


@pytest.mark.slow
@pytest.mark.parametrize("what", [*USELESS, *ANOTHER])
def test_a_patch_whose_answer_does_not_fit_is_sent_again(sync, sandbox, what):
    person, _ = sandbox.store.seed_many(
        "prospects", [{"emails": ["a@x.test"]}, {"emails": ["b@x.test"]}]
    )
    body = json.dumps((USELESS | ANOTHER)[what])
    sandbox.add_fault(Fault("status", method="PATCH", status=200, body=body, times=2))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    assert sandbox.store.get("prospects", person)["attributes"]["title"] == "T"
    assert [one.method for one in sandbox.requests].count("PATCH") == 3
    assert "Said." not in run.log


@pytest.mark.slow
@pytest.mark.parametrize("what", USELESS)
@pytest.mark.parametrize("name", ["prospects", "accounts"])
def test_a_create_whose_answer_does_not_fit_is_looked_up(sync, sandbox, what, name):
    body = json.dumps(USELESS[what])
    sandbox.add_fault(Fault("status_after", method="POST", status=201, body=body))
    values = {"prospects": {"emails": "a@x.test"}, "accounts": {"name": "Acme"}}[name]
    run = sync([schema(name), record(name, **values)])
    assert run.counts(name) == {"received": 1, "created": 1}
    assert [one.method for one in sandbox.requests].count("POST") == 1
    assert sandbox.store.count(name) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["status", "status_after"])
@pytest.mark.parametrize("name", ["prospects", "accounts"])
def test_after_a_408_a_create_may_have_been_carried_out(sync, sandbox, kind, name):
    sandbox.add_fault(Fault(kind, method="POST", status=408))
    values = {"prospects": {"emails": "a@x.test"}, "accounts": {"name": "Acme"}}[name]
    run = sync([schema(name), record(name, **values)])
    assert run.counts(name) == {"received": 1, "created": 1}
    assert sandbox.store.count(name) == 1


@pytest.mark.slow
def test_a_server_that_answers_each_patch_with_another_record_ends_the_run(
    sync, sandbox, monkeypatch
):
    monkeypatch.setattr("target_outreach.engine.writing.TRIES", 3)
    sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    body = json.dumps(ANOTHER["another record"])
    sandbox.add_fault(Fault("status", method="PATCH", status=200, body=body, times=None))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert (run.exit_code, run.states) == (1, [])
    assert "Outreach answered 200 with another record. That was the last of 3 tries" in run.log


# What a record is refused for

REFUSALS = {
    "envelope": {
        "errors": [{"id": "x", "title": "T", "detail": "Said.", "source": {"pointer": "/data"}}]
    },
    "pointer": {
        "errors": [{"id": "x", "detail": "Said.", "source": {"pointer": "/data/attributes/title"}}]
    },
    "details": {"errors": [{"id": "x", "details": "Said."}]},
    "gateway": {"error": "x", "description": "Said."},
    "text": "Said.",
}


@pytest.mark.parametrize(
    ("status", "code", "shape"),
    [
        (400, "bad_request", "pointer"),
        (403, "not_authorized", "envelope"),
        (404, "record_not_found", "gateway"),
        (409, "conflict", "text"),
        (422, "validation_error", "details"),
        (422, "validation_error", "pointer"),
    ],
)
def test_a_refusal_in_any_shape_rejects_its_record_in_outreachs_words(
    sync, sandbox, status, code, shape
):
    body = REFUSALS[shape] if shape == "text" else json.dumps(REFUSALS[shape])
    sandbox.add_fault(Fault("status", method="POST", status=status, body=body))
    run = sync([schema("prospects"), *people(2), state({"n": 2})], max_parallel_requests=1)
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.states == [{"n": 2}]
    error = run.rejects[-1]["error"]
    assert (error["code"], error["status"]) == (code, status)
    assert error["field"] == ("title" if shape == "pointer" else None)
    assert "Said." in error["message"]
    assert "Said." not in run.log


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"emails": "someone@outreach.io"}, ("excluded_address", "excluded email address")),
        ({"last_name": "x" * 51}, ("validation_error", "Data provided is too long")),
    ],
)
def test_an_excluded_address_and_a_long_name_are_rejected_and_the_others_are_not(
    sync, sandbox, bad, words
):
    sandbox.profile = replace(sandbox.profile, max_name_length=50)
    rows = people(3, last_name="Fine")
    rows[1]["record"] |= bad
    run = sync([schema("prospects"), *rows, state({"n": 3})])
    assert run.counts("prospects") == {"received": 3, "created": 2, "rejected": 1}
    assert run.states == [{"n": 3}]
    error = run.rejects[-1]["error"]
    assert (error["code"], error["status"]) == (words[0], 422)
    assert words[1] in error["message"]


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_lookup_that_is_refused_stops_the_run_before_anything_is_created(sync, sandbox, status):
    body = '{"errors":[{"id":"filterParameter.unfilterableAttribute","title":"No","detail":"No."}]}'
    sandbox.add_fault(Fault("status", method="GET", status=status, body=body, times=None))
    run = sync([schema("prospects"), *people(2), state({"n": 2})])
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert f"{status} filterParameter.unfilterableAttribute" in run.log
    assert run.states == []
    assert sandbox.store.count("prospects") == 0


def test_a_prospect_without_an_address_is_never_sent(sync, sandbox):
    rows = [schema("prospects"), record("prospects", emails=None, first_name="Ann")]
    for mode in "insert", "upsert":
        assert sync(rows, sync_mode=mode).rejects[-1]["error"]["code"] == "missing_required"
    assert not [entry for entry in sandbox.requests if entry.method == "POST"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "hang_after"])
def test_a_prospect_whose_key_is_empty_is_not_sent_twice_on_a_guess(sync, sandbox, kind):
    sandbox.add_fault(Fault(kind, method="POST", seconds=3))
    columns = PROSPECTS | {"linked_in_id": {"type": ["null", "string"]}}
    run = sync(
        [schema("prospects", columns), record("prospects", emails="a@x.test", linked_in_id=None)],
        streams=[{"stream": "prospects", "match_on": ["linkedInId"]}],
        request_timeout_seconds=1,
    )
    error = run.rejects[-1]["error"]
    assert (error["code"], error["attempts"]) == ("outcome_unknown", 1)
    assert sandbox.request_count == 2  # with the question whose rejects these are


# What lists hold


def test_lists_that_count_nothing_and_have_small_pages_are_read_to_their_end(
    sync, outreach, monkeypatch
):
    monkeypatch.setattr(paging, "MAX_SIZE", 7)
    lists = []

    def react(exchange):
        if exchange.method == "GET":
            lists.append(json.loads(exchange.body))

    sandbox = outreach(react)
    sandbox.store.seed_many("prospects", [{"emails": [f"p{n}@x.test"]} for n in range(100)])
    run = sync([schema("prospects"), *people(110)], api_url=sandbox.api_url)
    assert run.counts("prospects") == {"received": 110, "unchanged": 100, "created": 10}
    assert {one["meta"]["count"] for one in lists} == {None}
    assert max(len(one["data"]) for one in lists) == 7


def test_a_lookup_filters_by_one_field_at_a_time(sync, sandbox):
    account = sandbox.store.seed("accounts", {"name": "Acme, Inc.", "domain": "acme.example"})
    rows = [
        record("accounts", id=1, name="Acme, Inc.", domain="acme.test", custom_id="A-1"),
        record("accounts", id=2, name="Acme, Inc.", custom_id="A-2", industry="X"),
    ]
    run = sync([schema("accounts"), *rows])
    assert run.counts("accounts") == {"received": 2, "created": 1, "updated": 1}
    assert sandbox.store.get("accounts", account)["attributes"]["industry"] == "X"
    filters = [{key for key, _ in one.parameters if "filter" in key} for one in sandbox.requests]
    assert {len(keys) for keys in filters} == {0, 1}


def test_no_page_is_requested_that_is_larger_than_outreach_allows(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, oversized_page="error")
    sandbox.store.seed_many("accounts", [{"name": f"A{n}"} for n in range(60)])
    rows = [record("accounts", id=n, name=f"A{n}") for n in range(70)]
    run = sync([schema("accounts"), *rows])
    assert run.counts("accounts") == {"received": 70, "unchanged": 60, "created": 10}
    sizes = [dict(one.parameters).get("page[size]") for one in sandbox.requests]
    assert max(int(size) for size in sizes if size) <= 1000


@pytest.mark.parametrize(
    ("policy", "counts"),
    [("reject", {"rejected": 1}), ("oldest", {"updated": 1}), ("newest", {"updated": 1})],
)
def test_two_prospects_of_one_address_are_distinguished_by_age_or_not_at_all(
    sync, sandbox, policy, counts
):
    sandbox.profile = replace(sandbox.profile, purposeful_duplicates=True)
    moments = ["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]
    old, new = sandbox.store.seed_many(
        "prospects", [{"emails": ["a@x.test"], "createdAt": moment} for moment in moments]
    )
    rows = [schema("prospects"), record("prospects", emails="a@x.test", title="T")]
    run = sync(rows, on_ambiguous=policy)
    assert run.counts("prospects") == {"received": 1} | counts
    titled = [one["id"] for one in sandbox.store.all("prospects") if one["attributes"]["title"]]
    assert titled == {"reject": [], "oldest": [old], "newest": [new]}[policy]
    if policy == "reject":
        assert run.rejects[-1]["error"]["code"] == "ambiguous_match"


@pytest.mark.parametrize("links", ["null", '{"account": null}', '{"account": {"data": null}}'])
def test_a_relationship_that_is_null_is_one_that_is_not_set(sync, sandbox, links):
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    shown = {"type": "prospect", "id": person, "attributes": {"emails": ["a@x.test"]}}
    shown["relationships"] = json.loads(links)
    body = json.dumps({"data": [shown]})
    sandbox.add_fault(Fault("status", method="GET", status=200, body=body))
    columns = PROSPECTS | {"outreach_account_id": {"type": ["null", "integer"]}}
    rows = [record("prospects", emails="a@x.test", outreach_account_id=account)]
    run = sync([schema("prospects", columns), *rows])
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    linked = sandbox.store.get("prospects", person)["relationships"]["account"]["data"]["id"]
    assert linked == account
    rows[0]["record"]["outreach_account_id"] = None
    run = sync([schema("prospects", columns), *rows])
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}


@pytest.mark.parametrize("text_is_taken", [False, True])
def test_related_ids_are_sent_as_integers_whether_text_is_taken_or_not(
    sync, sandbox, text_is_taken
):
    sandbox.profile = replace(sandbox.profile, string_relationship_ids=text_is_taken)
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    columns = PROSPECTS | {"outreach_account_id": {"type": "string"}}
    rows = [record("prospects", emails="a@x.test", outreach_account_id=str(account))]
    assert sync([schema("prospects", columns), *rows]).exit_code == 0
    (post,) = [entry for entry in sandbox.requests if entry.method == "POST"]
    assert post.body["data"]["relationships"]["account"]["data"] == {
        "type": "account",
        "id": account,
    }


def test_what_was_softly_deleted_is_not_written_to(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, soft_delete=True)
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"], "title": "Old"})
    sandbox.store.trash("prospects", person)
    columns = PROSPECTS | {"outreach_id": {"type": ["null", "integer"]}}
    rows = [
        record("prospects", emails="b@x.test", outreach_id=person),
        record("prospects", emails="c@x.test", outreach_id=None),
    ]
    run = sync([schema("prospects", columns), *rows])
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.rejects[-1]["error"]["code"] == "record_not_found"


# Servers that are down, and limits


@pytest.mark.slow
@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("kind", ["status", "status_after"])
def test_a_burst_of_errors_loses_and_doubles_nothing(sync, sandbox, monkeypatch, status, kind):
    monkeypatch.setattr("target_outreach.outreach.outages.FIRST_WAIT", 0.01)
    sandbox.store.seed_many("prospects", [{"emails": [f"p{n}@x.test"]} for n in range(5)])
    for method in "GET", "POST", "PATCH":
        sandbox.add_fault(Fault(kind, method=method, after=1, times=3, status=status))
    run = sync([schema("prospects"), *people(15, title="T"), state({"n": 15})], batch_size_rows=5)
    assert run.exit_code == 0
    assert run.states[-1] == {"n": 15}
    assert run.counts("prospects") == {"received": 15, "updated": 5, "created": 10}
    assert sandbox.store.count("prospects") == 15
    assert {one["attributes"]["title"] for one in sandbox.store.all("prospects")} == {"T"}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_a_throttle_in_front_that_says_nothing_but_retry_later_is_waited_out(sync, sandbox, method):
    sandbox.store.seed("prospects", {"emails": ["p0@x.test"]})
    plain = [("Content-Type", "text/plain")]
    sandbox.add_fault(
        Fault("status", method=method, status=429, body="Retry later", headers=plain, times=2)
    )
    run = sync([schema("prospects"), *people(2, title="T")])
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 2, "updated": 1, "created": 1}
    assert refusals(sandbox) == 2


@pytest.mark.slow
def test_a_second_client_that_eats_the_budget_is_waited_for(sync, outreach):
    def react(exchange):
        if exchange.method == "POST" and sandbox.store.count("prospects") % 10 == 0:
            sandbox.spend(15)

    sandbox = outreach(react)
    sandbox.profile = replace(sandbox.profile, rate_limit=30, rate_window_seconds=1)
    run = sync([schema("prospects"), *people(40)], api_url=sandbox.api_url)
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 40, "created": 40}
    # What is in flight while the other one spends cannot be called back.
    assert refusals(sandbox) <= 4 * 4


# A clock that is wrong


@pytest.mark.slow
@pytest.mark.parametrize("hours", [-5, 5])
@pytest.mark.parametrize(
    ("headers", "form"), [("single", "epoch"), ("none", "epoch"), ("none", "iso")]
)
def test_the_end_of_a_limit_is_read_by_the_servers_clock(sync, outreach, hours, headers, form):
    sandbox = outreach(clock=lambda: time.time() + 3600 * hours)
    sandbox.profile = replace(
        sandbox.profile,
        rate_limit=15,
        rate_window_seconds=1,
        limit_headers=headers,
        retry_after=form,
    )
    began = time.monotonic()
    run = sync([schema("prospects"), *people(20)], api_url=sandbox.api_url, max_wait_minutes=1)
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 20, "created": 20}
    assert time.monotonic() - began < 30


@pytest.mark.slow
@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_jumps_halfway_neither_stops_nor_doubles_anything(sync, outreach, hours):
    jumped = threading.Event()

    def react(_exchange):
        if sandbox.request_count >= 20:
            jumped.set()

    def clock():
        return time.time() + 3600 * hours * jumped.is_set()

    sandbox = outreach(react, clock)
    sandbox.profile = replace(sandbox.profile, rate_limit=25, rate_window_seconds=1)
    sandbox.add_fault(Fault("reset_after", method="POST", after=25))
    began = time.monotonic()
    run = sync([schema("prospects"), *people(60)], api_url=sandbox.api_url, max_wait_minutes=1)
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 60, "created": 60}
    assert sandbox.store.count("prospects") == 60
    assert time.monotonic() - began < 30


@pytest.mark.slow
@pytest.mark.parametrize("hours", [-5, 5])
def test_what_we_created_is_told_by_the_servers_clock(sync, outreach, hours):
    sandbox = outreach(clock=lambda: time.time() + 3600 * hours)
    sandbox.add_fault(Fault("reset_after", method="POST"))
    rows = [schema("prospects"), record("prospects", emails="a@x.test")]
    run = sync(rows, sync_mode="insert", api_url=sandbox.api_url)
    assert run.counts("prospects") == {"received": 1, "created": 1}


@pytest.mark.slow
@pytest.mark.parametrize("hours", [-5, 5])
def test_what_was_there_before_is_told_by_the_servers_clock(sync, outreach, hours):
    sandbox = outreach(clock=lambda: time.time() + 3600 * hours)
    an_hour_ago = datetime.now(UTC) + timedelta(hours=hours - 1)
    sandbox.store.seed("prospects", {"emails": ["a@x.test"], "createdAt": an_hour_ago.isoformat()})
    sandbox.add_fault(Fault("reset_before", method="POST"))
    rows = [schema("prospects"), record("prospects", emails="a@x.test")]
    run = sync(rows, sync_mode="insert", api_url=sandbox.api_url)
    assert run.rejects[-1]["error"]["code"] == "already_taken"
    assert sandbox.store.count("prospects") == 1


@pytest.mark.parametrize("style", ["text", "gateway", "errors"])
def test_a_token_that_is_revoked_halfway_ends_the_run_with_the_state_of_what_was_delivered(
    sync, outreach, style
):
    def react(exchange):
        if exchange.method == "POST" and sandbox.store.count("prospects") == 10:
            sandbox.revoke_all()

    sandbox = outreach(react)
    sandbox.profile = replace(sandbox.profile, unauthorized_style=style)
    rows = [schema("prospects")]
    for n, row in enumerate(people(40)):
        rows += [row, state({"n": n + 1})]
    run = sync(rows, api_url=sandbox.api_url, batch_size_rows=2, max_parallel_requests=1)
    assert run.exit_code == 1
    assert run.states[-1] == {"n": 10}
    assert sandbox.store.count("prospects") == 10
    assert run.log.count("ERROR") == 1
    assert "401" in run.log


@pytest.mark.parametrize("is_hidden", [True, False])
def test_an_update_says_whether_the_owner_of_an_address_can_be_seen(sync, sandbox, is_hidden):
    sandbox.store.seed("prospects", {"emails": ["ok@x.test"]})
    sandbox.store.seed("prospects", {"emails": ["ghost@x.test"], "createdAt": "2020-01-01"})
    if is_hidden:
        body = '{"data": []}'
        for _ in range(2):
            sandbox.add_fault(Fault("status", path="ghost@x.test", status=200, body=body))
    ours = record("prospects", outreach_id=1, emails=["ok@x.test", "ghost@x.test"])
    columns = PROSPECTS | {"outreach_id": {"type": "integer"}}
    run = sync([schema("prospects", columns), ours])
    error = run.rejects[-1]["error"]
    assert error["code"] == "already_taken"
    assert ("in the trash, for 15 days at most" in error["message"]) is is_hidden
