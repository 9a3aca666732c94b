"""Outages: how long they are borne, what is waited meanwhile, and how often that is said."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest
from conftest import record, schema

from target_outreach.errors import Retriable, Unanswered
from target_outreach.outreach.answers import Answer
from target_outreach.outreach.auth import BearerToken, token_retry
from target_outreach.outreach.client import Client
from target_outreach.outreach.outages import Outages
from target_outreach.outreach.pacing import Pacer
from target_outreach.outreach.refusals import wait_asked_for
from target_outreach.sandbox import Fault

ROW = [schema("prospects"), record("prospects", emails="a@x.test", title="T")]
USELESS = ["0", "-5", "1", "Thu, 01 Jan 2026 00:00:00 GMT", "2026-01-01T00:00:00Z", "soon"]


@pytest.fixture
def asked(sandbox):
    """Clients of the sandbox, by the longest outage that they wait for, in seconds."""
    opened = []

    def start(longest):
        pacer = Pacer(max_outage=longest)
        one = Client(sandbox.api_url, BearerToken("t"), pacer, user_agent="tests")
        opened.append(one)
        return one

    yield start
    for one in opened:
        with closing(one):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "PATCH", "POST"])
@pytest.mark.parametrize("said", [*USELESS[:2], *USELESS[3:]])
def test_a_wait_of_its_own_applies_where_the_servers_is_of_no_use(
    sync, sandbox, monkeypatch, method, said
):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.02)
    monkeypatch.setattr("target_outreach.engine.writing.CREATE_TRIES", 20)
    sandbox.store.seed("prospects", {"emails": ["a@x.test"] if method != "POST" else ["b@x.test"]})
    headers = (("Retry-After", said),)
    times = 12 if method != "POST" else 2
    fault = Fault("status", method=method, status=503, headers=headers, times=times)
    sandbox.add_fault(fault)
    run = sync(ROW, max_outage_minutes=5)
    assert run.exit_code == 0
    assert sum(one.status == 503 for one in sandbox.requests) == times


@pytest.mark.slow
def test_the_wait_grows_where_a_short_retry_after_did_not_help(asked, sandbox, monkeypatch):
    rests = []
    monkeypatch.setattr(Pacer, "rest", lambda _self, seconds: rests.append(seconds))
    monkeypatch.setattr("target_outreach.outreach.outages.full_jitter", float)
    headers = (("Retry-After", "0.01"),)
    sandbox.add_fault(Fault("status", status=503, headers=headers, times=11))
    asked(300).get("/")
    assert rests == [8.0] * 3


def test_a_growing_wait_has_a_limit(asked, sandbox, monkeypatch):
    rests = []
    monkeypatch.setattr(Pacer, "rest", lambda _self, seconds: rests.append(seconds))
    monkeypatch.setattr("target_outreach.outreach.outages.full_jitter", float)
    sandbox.add_fault(Fault("status", status=503, headers=(("Retry-After", "0"),), times=7))
    asked(300).get("/")
    assert rests == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


@pytest.mark.slow
def test_an_outage_is_waited_out_for_as_long_as_the_settings_say(asked, sandbox, monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.05)
    sandbox.add_fault(Fault("status", status=502, times=None))
    began = time.monotonic()
    with pytest.raises(Unanswered, match=r"502.*That was the last of"):
        asked(1.0).get("/")
    assert 1.0 <= time.monotonic() - began < 5
    assert sandbox.request_count > 8


def test_eight_tries_are_made_at_least(asked, sandbox, monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.01)
    sandbox.add_fault(Fault("status", status=502, times=None))
    with pytest.raises(Unanswered, match="That was the last of 8 tries"):
        asked(0).get("/")
    assert sandbox.request_count == 8


def test_an_outage_is_said_once_a_minute_in_one_line(caplog):
    now = [0.0]
    outages = Outages(300, clock=lambda: now[0])
    error = Retriable("Outreach answered 503.", status=503)
    for second in range(0, 300, 5):
        now[0] = float(second)
        for _thread in range(4):
            assert outages.is_said(error, 0.0) == (second >= 60)
    lines = [one.getMessage() for one in caplog.records]
    assert len(lines) == 4
    assert lines[0] == (
        "Outreach answered 503. No usable answer has come for 1 min; max_outage_minutes is 5."
    )


def test_tokens_are_requested_for_as_long_as_an_outage_may_last():
    now = [1000.0]
    tries = []

    def ask():
        tries.append(now[0])
        if now[0] < 1290:
            raise Retriable("The token endpoint answered 503.", status=503)
        return "tokens"

    def rest(seconds):
        now[0] += seconds

    outages = Outages(300, clock=lambda: now[0])
    assert token_retry.ask_patiently(ask, rest, lambda: now[0], None, outages) == "tokens"
    assert len(tries) > 8


@pytest.mark.slow
def test_max_outage_minutes_allow_more_than_eight_tries(sync, sandbox, monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.02)
    sandbox.add_fault(Fault("status", status=502, times=60))
    rows = [record("prospects", emails=f"p{n}@x.test") for n in "abc"]
    run = sync([schema("prospects"), *rows], max_outage_minutes=5)
    assert run.counts("prospects") == {"received": 3, "created": 3}


@pytest.mark.parametrize("said", USELESS)
def test_useless_waits_are_told_from_useful_ones(said):

    answer = Answer(503, {"Retry-After": said}, None, "")
    expected = 1.0 if said == "1" else None
    assert wait_asked_for(answer, datetime(2026, 3, 1, tzinfo=UTC)) == expected


# What is said of it


def test_a_request_is_said_to_be_tried_again_once_with_its_address_and_without_its_query(
    asked, sandbox, caplog, monkeypatch
):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.01)
    sandbox.add_fault(Fault("status", status=502, times=5))
    asked(0).get("/prospects?filter[emails]=ana@example.test")
    (line,) = [one for one in caplog.records if one.levelno >= logging.INFO]
    assert line.levelname == "WARNING"
    assert line.getMessage() == (
        f"Outreach answered 502. Retrying 1 of 8 (GET {sandbox.api_url}/prospects)."
    )


def test_many_requests_that_fail_alike_say_it_once_a_minute(caplog):
    now = [0.0]
    outages = Outages(120, clock=lambda: now[0])
    said = []

    def fail_first(why):
        fails = iter([True, False])

        def attempt():
            if next(fails):
                raise Retriable(why)

        outages.repeat(attempt, lambda error, _tries, is_said: said.append((str(error), is_said)))

    for second in (0, 1, 59, 61):
        now[0] = float(second)
        fail_first("Outreach answered 502.")
    fail_first("Outreach answered 503.")
    assert said == [
        ("Outreach answered 502.", False),
        ("Outreach answered 502.", True),
        ("Outreach answered 502.", True),
        ("Outreach answered 502.", False),
        ("Outreach answered 503.", False),
    ]
    assert outages.retrying(1) == "Retrying 1 of 8, for at least 2 minutes"
    assert caplog.messages == []
