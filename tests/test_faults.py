"""What Outreach, the network and other people may do while a record is on its way."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import fsspec
import pytest
from conftest import record, schema, state

from target_outreach.delivery import writing
from target_outreach.delivery.rejects import RejectsFile
from target_outreach.errors import RecordFault
from target_outreach.sandbox import Fault

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


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(writing, "SECOND_LOOK_AFTER", 0.05)


def ids(fault):
    return fault.kind + (f"_{fault.status}" if "status" in fault.kind else "")


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


@pytest.mark.parametrize("fault", LOST, ids=ids)
def test_a_lookup_whose_answer_is_lost_is_asked_again(sync, sandbox, fault):
    sandbox.add_fault(replace(fault, method="GET"))
    run = sync(
        [schema("prospects"), record("prospects", emails="a@x.test")], request_timeout_seconds=1
    )
    assert run.counts("prospects") == {"received": 1, "created": 1}


def test_without_a_key_an_unknown_outcome_is_rejected_as_that(sync, sandbox):
    sandbox.add_fault(Fault("reset_after", method="POST"))
    run = sync(
        [schema("accounts"), record("accounts", name="Acme")],
        streams=[{"stream": "accounts", "match_on": ["customId"]}],
    )
    assert run.rejects[-1]["error"]["code"] == "outcome_unknown"
    assert run.rejects[-1]["error"]["attempts"] == 1


@pytest.mark.parametrize("wording", ["hash", "emails", "index"])
def test_a_lost_race_for_an_address_becomes_an_update(sync, sandbox, wording):
    sandbox.profile = replace(sandbox.profile, taken_wording=wording, latency_seconds=0.05)

    def win():
        while sandbox.request_count < 1:
            time.sleep(0.002)
        sandbox.store.seed("prospects", {"emails": ["a@x.test"], "title": "Theirs"})

    threading.Thread(target=win, daemon=True).start()
    sandbox.add_fault(Fault("delay", method="POST", seconds=0.3))
    run = sync([schema("prospects"), record("prospects", emails="A@x.test", title="Ours")])
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "Ours"


def test_an_address_whose_owner_cannot_be_seen_has_a_code_of_its_own(sync, sandbox):
    sandbox.store.trash("prospects", sandbox.store.seed("prospects", {"emails": ["a@x.test"]}))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test")])
    assert run.rejects[-1]["error"]["code"] == "owner_not_visible"
    assert "already been taken" in run.rejects[-1]["error"]["message"]


@pytest.mark.parametrize(
    ("mode", "counts"), [("upsert", {"created": 1}), ("update", {"rejected": 1})]
)
def test_a_record_deleted_in_between_is_created_or_rejected_by_mode(sync, sandbox, mode, counts):
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"]})

    def delete():
        while sandbox.request_count < 1:
            time.sleep(0.002)
        sandbox.store.delete("prospects", person)

    threading.Thread(target=delete, daemon=True).start()
    sandbox.add_fault(Fault("delay", method="PATCH", seconds=0.3))
    run = sync(
        [schema("prospects"), record("prospects", emails="a@x.test", title="T")], sync_mode=mode
    )
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
    monkeypatch.setattr("target_outreach.outreach.client.LONGEST_WAIT", 0.05)
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
    monkeypatch.setattr("target_outreach.outreach.client.LONGEST_WAIT", 0.01)
    run = sync(
        [schema("prospects"), record("prospects", emails="a@x.test")],
        api_url="http://127.0.0.1:9/api/v2",
    )
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert "cannot be reached" in run.log


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


def test_rejects_that_cannot_be_written_stop_the_run_before_state_passes(sync, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    rows = [schema("prospects"), record("prospects", emails="nope"), state({"n": 1})]
    run = sync(rows, rejects_path=str(blocked / "folder"))
    assert run.exit_code == 1
    assert run.states == []
    assert "check rejects_path" in run.log


def test_rejects_go_to_any_url_that_fsspec_knows():
    file = RejectsFile("memory://bucket/rejects")
    file.add("s", '{"type": "SCHEMA"}', '{"type": "RECORD"}', RecordFault("code", "Message."))
    file.sync()
    filesystem, path = fsspec.core.url_to_fs(file.path)
    assert filesystem.cat(path).count(b"\n") == 2
