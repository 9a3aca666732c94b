"""Every loop of a record has a bound (`bounds`): servers that give one wrong answer for ever."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from conftest import record, schema
from test_transport import serve as serve_each

from target_outreach import bounds
from target_outreach.engine import bulk, resolver, writing
from target_outreach.errors import OutcomeUnknown, Unanswered
from target_outreach.outreach import imports
from target_outreach.outreach.auth import BearerToken, token_retry
from target_outreach.outreach.client import Client
from target_outreach.outreach.pacing import Pacer
from target_outreach.sandbox import App, Fault

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
    "429, nothing remains, and no word of when that ends": {
        "status": 429,
        "headers": (("X-RateLimit-Remaining", "0"),),
    },
}

#: Answers to lists alone.
LISTS = {
    "pages for ever": '{"data": [], "links": {"next": "/api/v2/prospects?page%5Bafter%5D=1"}}',
    "somebody else on each page": json.dumps(
        {
            "data": [{"type": "prospect", "id": 999_999, "attributes": {"emails": ["z@x.test"]}}],
            "links": {"next": "prospects?page%5Bafter%5D=1"},
        }
    ),
    "a next page on another host": '{"data": [], "links": {"next": "http://127.0.0.2:9/"}}',
    "a next page that is no address": '{"data": [], "links": {"next": {"href": "//[::1/"}}}',
    "nothing of what is there": '{"data": []}',
}

#: What else is asked of Outreach than by lists and writes, each with a text in its address.
PLACES = {
    "the organisation": ("GET", r"/api/v2/?$"),
    "types": ("GET", "/types"),
    "one record": ("GET", r"/(accounts|prospects)/\d"),
    "the start of an import": ("POST", "/imports/actions"),
    "the state of an import": ("GET", r"/imports/\d"),
}
FEW = ["301", "404", "422", "503", "429, wait for nothing", "nothing", "no JSON", "reset", "cut"]

#: More than any of these runs, of seven records, needs.
MOST_REQUESTS = 250


serve = serve_each  # a fixture is found by its name


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.005)
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_THROTTLE", 0.005)
    monkeypatch.setattr("target_outreach.outreach.pacing.MARGIN", 0.0)
    monkeypatch.setattr(token_retry, "FIRST_THROTTLE", 0.01)
    monkeypatch.setattr(token_retry, "MINT_INTERVAL", 0.02)
    monkeypatch.setattr(imports, "FIRST_LOOK", 0.01)
    monkeypatch.setattr(bulk, "LOOKS", (0.0, 0.01))
    monkeypatch.setattr(bulk, "LOOKS_FOR_LOST", (0.01, 0.02))
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


def run_all(sync, sandbox, more=(), *, is_once=True, **settings):
    sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.example"})
    sandbox.store.seed("prospects", {"emails": ["a@x.test"], "tags": ["theirs"]})
    sandbox.store.seed("prospects", {"emails": ["b@x.test"]})
    entry = {"stream": "prospects", "columns": {"account_domain": "account.domain"}}
    began = time.monotonic()
    messages = [*rows(), *more]
    run = sync(messages, streams=[entry], on_missing_relation="create", **settings)
    assert time.monotonic() - began < 20
    assert len(sandbox.requests) < MOST_REQUESTS * (1 if is_once else 2)
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


@pytest.mark.parametrize("answer", LISTS)
def test_a_list_that_is_wrong_for_ever_ends_each_record(sync, sandbox, answer):
    said = {"status": 200, "body": LISTS[answer], "headers": JSON}
    sandbox.add_fault(Fault("status", method="GET", path=r"\?filter", times=None, **said))
    run_all(sync, sandbox)


@pytest.mark.parametrize("answer", FEW)
@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_answer_to_whatever_is_asked_ends_each_record(sync, sandbox, place, answer):
    method, path = PLACES[place]
    said = {"kind": "status", **ANSWERS[answer]}
    sandbox.add_fault(Fault(method=method, path=path, times=None, **said))
    if place == "one record":  # requested after a write whose answer is empty
        sandbox.add_fault(Fault("status", method="PATCH", status=204, body="", times=None))
    is_bulk = place.endswith("import")
    if is_bulk:
        emails = [{"emails": [f"p{n}@x.test"]} for n in range(20)]
        sandbox.store.seed_many("prospects", emails)
    more = [record("prospects", emails=f"p{n}@x.test", title="T") for n in range(20 * is_bulk)]
    run_all(sync, sandbox, more, bulk_writes="updates" if is_bulk else "off")


@pytest.mark.parametrize("answer", FEW)
def test_a_wrong_answer_to_a_renewal_ends_each_record(sync, sandbox, config, tmp_path, answer):
    app = App("app-1", "secret-of-app-1")
    sandbox.profile = replace(sandbox.profile, apps=[app])
    del config["access_token"]
    login = {"client_id": app.client_id, "client_secret": app.client_secret}
    login |= {"refresh_token": sandbox.issue_refresh_token(client_id=app.client_id)}
    login |= {"oauth_url": sandbox.oauth_url, "credentials_path": str(tmp_path / "logins.json")}
    sandbox.add_fault(
        Fault(
            method="POST", path="/oauth/token", times=None, **{"kind": "status", **ANSWERS[answer]}
        )
    )
    run = run_all(sync, sandbox, **login)
    assert run.exit_code == 1
    assert len(sandbox.token_requests) + len(sandbox.requests) <= 2 * bounds.TRIES


@pytest.mark.slow
@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_outlasts_what_was_read_each_time_ends_each_record(
    sync, sandbox, monkeypatch, method, status
):
    """As a wait of 62 seconds does, and a longer one each time, at a 60th of the time."""
    monkeypatch.setattr(resolver, "FRESH", 0.02)
    for number in range(100):
        wait = (("Retry-After", f"{0.022 + 0.0005 * number:.4f}"),)
        sandbox.add_fault(Fault("status", method=method, status=status, headers=wait))
    assert run_all(sync, sandbox, is_once=False).exit_code != 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_headers_that_do_not_end_are_waited_for_no_longer_than_an_answer(serve, method):
    def talk(connection, ended):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not ended.wait(0.02):
            connection.sendall(b"X-More: 1\r\n")

    pacer = Pacer()
    client = Client(serve(talk), BearerToken("invented"), pacer, user_agent="test", timeout=0.1)
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown if method == "POST" else Unanswered):
        client.request(method, "/prospects", None if method == "GET" else {"data": {}})
    assert pacer.sent == (1 if method == "POST" else bounds.TRIES)
    assert time.monotonic() - began < 5


def test_nothing_that_remains_is_no_reason_to_wait_if_nobody_says_until_when():
    pacer = Pacer(max_wait=0.0)
    for _ in range(3):
        pacer.acquire()
        pacer.release({"X-RateLimit-Limit": "10000", "X-RateLimit-Remaining": "0"}, None)
    assert pacer.budget is None
    assert pacer.sent == 3


def test_a_record_that_lists_show_and_writes_do_not_find_is_rejected_in_words(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    sandbox.add_fault(Fault("status", method="PATCH", status=404, times=None))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert run.rejects[-1]["error"]["code"] == "record_not_found"
    assert "in the trash" in run.rejects[-1]["error"]["message"]
    patches = [one for one in sandbox.requests if one.method == "PATCH"]
    assert len(patches) == bounds.MOST_GONE + 1


def test_an_address_that_is_always_taken_is_rejected(sync, sandbox):
    fault = Fault("status", method="POST", status=422, body=TAKEN, headers=JSON, times=None)
    sandbox.add_fault(fault)
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert run.rejects[-1]["error"]["code"] == "owner_not_visible"
    assert len(sandbox.requests) < 10
