"""Every loop of a record has a bound: servers that give one wrong answer for ever."""

from __future__ import annotations

import json
import time

import pytest
from conftest import record, schema

from target_outreach.engine import deliver, writing
from target_outreach.outreach import client
from target_outreach.sandbox import Fault

TAKEN = '{"errors":[{"id":"validationDuplicateValueError","detail":"has already been taken"}]}'
NO_RELATION = (
    '{"errors":[{"id":"validationError","title":"Validation Error",'
    '"detail":"Relationship could not be found",'
    '"source":{"pointer":"/data/relationships/account"}}]}'
)
ANOTHER = json.dumps({"data": {"type": "prospect", "id": 999_999, "attributes": {}}})
NONE = '{"data": null}'
ERRORS = '{"errors":[{"id":"badRequest","title":"Bad Request"}]}'
JSON = (("Content-Type", "application/vnd.api+json"),)

ANSWERS = {
    **{str(status): {"status": status} for status in (301, 400, 401, 403, 404, 408, 409, 410)},
    **{str(status): {"status": status} for status in (413, 415, 422, 423, 425, 451, 500, 502, 503)},
    "429": {"status": 429},
    "429, wait for nothing": {"status": 429, "headers": (("Retry-After", "0"),)},
    "503, wait for the past": {"status": 503, "headers": (("Retry-After", "1000000000"),)},
    "404 in JSON": {"status": 404, "body": ERRORS, "headers": JSON},
    "taken": {"status": 422, "body": TAKEN, "headers": JSON},
    "taken, as a conflict": {"status": 409, "body": TAKEN, "headers": JSON},
    "no such relation": {"status": 422, "body": NO_RELATION, "headers": JSON},
    "another record": {"status": 200, "body": ANOTHER, "headers": JSON},
    "nothing": {"status": 200, "body": NONE, "headers": JSON},
    "errors in a success": {"status": 200, "body": ERRORS, "headers": JSON},
    "no JSON": {"status": 200},
    "no content": {"status": 204, "body": ""},
    "carried out, then 503": {"kind": "status_after", "status": 503},
    "carried out, then 404": {"kind": "status_after", "status": 404},
    "reset": {"kind": "reset_before"},
    "carried out, then reset": {"kind": "reset_after"},
    "cut": {"kind": "truncate"},
}

#: More than any of these runs, of seven records, needs.
MOST_REQUESTS = 250


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.005)
    monkeypatch.setattr(client, "LONGEST_THROTTLE", 0.005)
    monkeypatch.setattr("target_outreach.outreach.pacing.MARGIN", 0.0)
    defaults = writing.Writer.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "sleep", lambda _seconds: None)


def rows():
    people = {"emails": {"type": ["null", "string"]}, "title": {"type": ["null", "string"]}}
    people |= {"tags": {"type": ["null", "string"]}, "account_domain": {"type": "string"}}
    links = {"tags": "vip", "account_domain": "acme.example"}
    return [
        schema("accounts"),
        record("accounts", name="Acme", domain="acme.example", industry="Tools"),
        record("accounts", name="New", domain="new.example"),
        schema("prospects", people),
        record("prospects", emails="a@x.test", title="T", **links),
        record("prospects", emails="b@x.test", title="T", tags="vip"),
        record("prospects", emails="new@x.test", title="T", **links),
        record("prospects", emails="made@x.test", account_domain="made.example"),
        record("prospects", emails="other@x.test", title="T"),
    ]


def run_all(sync, sandbox, **settings):
    sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.example"})
    sandbox.store.seed("prospects", {"emails": ["a@x.test"], "tags": ["theirs"]})
    sandbox.store.seed("prospects", {"emails": ["b@x.test"]})
    entry = {"stream": "prospects", "columns": {"account_domain": "account.domain"}}
    began = time.monotonic()
    run = sync(rows(), streams=[entry], on_missing_relation="create", **settings)
    assert time.monotonic() - began < 20
    assert len(sandbox.requests) < MOST_REQUESTS
    assert "please report" not in run.log.lower()
    if run.exit_code == 0:
        assert not run.report["totals"].get("rejected")
    return run


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_a_wrong_answer_for_ever_ends_each_record(sync, sandbox, method, answer):
    said = {"kind": "status", **ANSWERS[answer]}
    sandbox.add_fault(Fault(method=method, times=None, **said))
    run_all(sync, sandbox)


@pytest.mark.parametrize("answer", ["404", "409", "taken", "503", "another record", "reset"])
@pytest.mark.parametrize("mode", ["insert", "update"])
def test_a_wrong_answer_to_each_write_ends_each_record_in_each_mode(sync, sandbox, mode, answer):
    said = {"kind": "status", **ANSWERS[answer]}
    for method in ("POST", "PATCH"):
        sandbox.add_fault(Fault(method=method, times=None, **said))
    run_all(sync, sandbox, sync_mode=mode)


def test_a_record_that_lists_show_and_writes_do_not_find_is_rejected_in_words(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    sandbox.add_fault(Fault("status", method="PATCH", status=404, times=None))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert run.rejects[-1]["error"]["code"] == "record_not_found"
    assert "in the trash" in run.rejects[-1]["error"]["message"]
    patches = [one for one in sandbox.requests if one.method == "PATCH"]
    assert len(patches) == deliver.MOST_GONE + 1


def test_an_address_that_is_always_taken_is_rejected(sync, sandbox):
    fault = Fault("status", method="POST", status=422, body=TAKEN, headers=JSON, times=None)
    sandbox.add_fault(fault)
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert run.rejects[-1]["error"]["code"] == "owner_not_visible"
    assert len(sandbox.requests) < 10
