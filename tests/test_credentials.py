"""Credentials that last: tokens renew themselves, once for all threads, processes and runs."""

from __future__ import annotations

import json
import signal
import stat
import sys
import threading
import time
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import documents
import fsspec
import pytest
from conftest import lines, record, schema, state
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from packaging.requirements import Requirement

from target_outreach.errors import CredentialsError, SettingsError
from target_outreach.outreach.auth import renewal, token_retry
from target_outreach.outreach.auth.credentials_file import Chain
from target_outreach.outreach.auth.tokens import Tokens
from target_outreach.sandbox import App, Fault, Installation, Profile, Sandbox

APP = App("app-1", "secret-of-app-1")
OTHER = App("app-2", "secret-of-app-2")
PERSON = [schema("prospects"), record("prospects", emails="a@x.test"), state({"n": 1})]
LOST = ["reset_before", "reset_after", "truncate", "garbage", "hang", "hang_after", "status_after"]


@pytest.fixture
def profile(sandbox):
    """Change the sandbox's switches; at first it knows our apps, and no token is good twice."""

    def change(**switches):
        sandbox.profile = replace(sandbox.profile, **switches)

    change(apps=[APP, OTHER], strict_rotation=True)
    return change


@pytest.fixture
def oauth(sandbox, tmp_path, config, profile):
    """The settings of an OAuth app, instead of an access token."""
    del config["access_token"], profile
    return {
        "client_id": APP.client_id,
        "client_secret": APP.client_secret,
        "refresh_token": sandbox.issue_refresh_token(client_id=APP.client_id),
        "oauth_url": sandbox.oauth_url,
        "credentials_path": str(tmp_path / "state of it" / "credentials.json"),
    }


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.FIRST_WAIT", 0.05)
    monkeypatch.setattr(token_retry, "FIRST_THROTTLE", 0.2)
    monkeypatch.setattr(token_retry, "MINT_INTERVAL", 0.5)
    monkeypatch.setattr("target_outreach.outreach.outages.TRIES", 4)
    monkeypatch.setattr(renewal, "KEPT_WITHIN", 0.05)


def rows(count):
    return [
        schema("prospects"),
        *(record("prospects", emails=f"p{n}@x.test") for n in range(count)),
    ]


def outcomes(sandbox):
    return [request.outcome for request in sandbox.token_requests]


def kept(oauth):
    document = json.loads(Path(oauth["credentials_path"]).read_text("utf-8"))
    return document["chains"]


def test_the_first_run_gets_tokens_and_the_next_ones_use_what_was_kept(sync, sandbox, oauth):
    assert sync(PERSON, **oauth).exit_code == 0
    assert outcomes(sandbox) == ["issued"]
    assert stat.S_IMODE(Path(oauth["credentials_path"]).stat().st_mode) == 0o600
    run = sync(PERSON, **oauth)
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert outcomes(sandbox) == ["issued"]


def test_a_run_without_records_asks_for_no_token(sync, sandbox, oauth):
    assert sync([state({"n": 1})], **oauth).states == [{"n": 1}]
    assert outcomes(sandbox) == []


@pytest.mark.slow
def test_a_token_is_renewed_before_it_ends_and_once_for_all_threads(sync, sandbox, oauth, profile):
    profile(access_token_seconds=2, latency_seconds=0.1)
    run = sync(rows(400), max_parallel_requests=8, **oauth)
    assert run.exit_code == 0
    assert {request.status for request in sandbox.requests if "/api/" in request.path} == {
        200,
        201,
    }
    seconds = run.report["seconds"]
    assert seconds > 4
    assert 3 <= len(outcomes(sandbox)) <= 2 + seconds / 1.6
    assert set(outcomes(sandbox)) == {"issued"}


@pytest.mark.slow
def test_runs_follow_the_rotation_of_the_refresh_token(sync, sandbox, oauth, profile):
    profile(access_token_seconds=1)
    for n in range(4):
        assert sync([*rows(1), state({"n": n})], **oauth).states == [{"n": n}]
        time.sleep(0.9)
    assert outcomes(sandbox) == ["issued"] * 4
    (chain,) = kept(oauth).values()
    assert oauth["refresh_token"] not in chain["refresh_tokens"]


@pytest.mark.slow
@pytest.mark.parametrize("style", ["text", "gateway", "errors"])
def test_a_401_in_the_middle_renews_once_and_repeats_the_request(
    sync, sandbox, oauth, profile, style
):
    profile(unauthorized_style=style, latency_seconds=0.02)

    def revoke():
        while sandbox.store.count("prospects") < 20:
            time.sleep(0.002)
        sandbox.revoke_all()

    thread = threading.Thread(target=revoke)
    thread.start()
    run = sync(rows(100), max_parallel_requests=8, **oauth)
    thread.join()
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 100, "created": 100}
    assert outcomes(sandbox) == ["issued", "issued"]
    assert 1 <= sum(request.status == 401 for request in sandbox.requests) <= 8


def test_a_token_that_is_refused_although_it_is_new_ends_the_run(sync, sandbox, oauth):
    sandbox.add_fault(Fault("status", path="/api/v2", status=401, body="no", times=None))
    run = sync(PERSON, **oauth)
    assert run.exit_code == 1
    assert run.states == []
    assert run.log.count("ERROR") == 1
    assert "renewed a moment ago and is refused all the same" in run.log
    assert sandbox.request_count - len(outcomes(sandbox)) == 2


class StoppedClock:
    """A clock that is stopped until it is started, so that no test is too slow for it."""

    def __init__(self):
        self._at = time.time()
        self._started = None

    def __call__(self):
        return self._at + (time.monotonic() - self._started if self._started else 0)

    def start_when(self, is_time):
        while not is_time():
            time.sleep(0.01)
        self._started = time.monotonic()


@pytest.mark.slow
@pytest.mark.parametrize("style", ["errors", "text"])
@pytest.mark.parametrize("retry_after", ["delta", "epoch", "iso", "none"])
@pytest.mark.parametrize("clock", [StoppedClock], indirect=True)
def test_a_429_of_the_token_endpoint_is_waited_out(  # noqa: PLR0917 - a case of a table
    sync, sandbox, oauth, profile, clock, style, retry_after
):
    profile(mint_throttle_seconds=1, mint_throttle_style=style, retry_after=retry_after)
    assert sync(PERSON, **oauth).exit_code == 0
    sandbox.revoke_all()
    starter = threading.Thread(
        target=clock.start_when, args=(lambda: "throttled" in outcomes(sandbox),)
    )
    starter.start()
    assert sync(PERSON, **oauth).exit_code == 0
    starter.join()
    said = outcomes(sandbox)
    assert (said[0], said[-1]) == ("issued", "issued")
    assert set(said[1:-1]) == {"throttled"}


def test_without_a_word_the_wait_lasts_until_a_minute_after_the_last_token(monkeypatch):
    monkeypatch.setattr(token_retry, "MINT_INTERVAL", 60.0)
    monkeypatch.setattr(token_retry, "FIRST_THROTTLE", 5.0)
    monkeypatch.setattr("target_outreach.outreach.outages.TRIES", 8)
    now, rests = [1000.0], []

    def rest(seconds):
        rests.append(seconds)
        now[0] += seconds

    def ask():
        if now[0] < 1048:
            raise token_retry.Retriable("no", status=429)
        return Tokens("t", 0, 0)

    token_retry.ask_patiently(ask, rest, lambda: now[0], minted_at=988.0)
    assert rests == [48.0]
    rests.clear()
    now[0] = 1000.0
    token_retry.ask_patiently(ask, rest, lambda: now[0], minted_at=None)
    assert rests == [5.0, 10.0, 20.0, 40.0]


@pytest.mark.slow
def test_a_signal_ends_the_wait_for_a_token(start, sandbox, oauth, profile):
    profile(mint_throttle_seconds=100, mint_throttle_style="text")
    # Uses up the token of the minute, as another process would.
    process = start(**oauth)
    process.communicate(lines(PERSON).encode(), timeout=30)
    sandbox.revoke_all()
    process = start(batch_size_rows=1, **oauth)
    process.stdin.write(lines(PERSON).encode())
    process.stdin.flush()
    while "throttled" not in outcomes(sandbox):
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=25) == 143
    assert time.monotonic() - began < 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOST)
def test_a_lost_answer_of_the_token_endpoint_strands_nobody(sync, sandbox, oauth, profile, kind):
    profile(rotation_grace=True)
    sandbox.add_fault(Fault(kind, path="/oauth/token", seconds=2, status=502))
    run = sync(PERSON, request_timeout_seconds=1, **oauth)
    assert run.exit_code == 0
    assert sync(PERSON, **oauth).exit_code == 0


CARRIED_OUT = ["reset_after", "truncate", "garbage", "hang_after", "status_after"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CARRIED_OUT)
def test_a_lost_answer_uses_up_a_refresh_token_that_is_good_once_and_a_login_helps(
    sync, sandbox, oauth, kind
):
    sandbox.add_fault(Fault(kind, path="/oauth/token", seconds=2, status=502))
    run = sync(PERSON, request_timeout_seconds=1, **oauth)
    assert (run.exit_code, run.states) == (1, [])
    assert run.log.count("ERROR") == 1
    assert "The answer with a new refresh token was lost on the way" in run.log
    assert "log in with `target-outreach login`, or set a new refresh_token" in run.log
    assert outcomes(sandbox) == ["issued", "invalid_grant"]
    new = sandbox.issue_refresh_token(client_id=APP.client_id)
    assert sync(PERSON, **oauth | {"refresh_token": new}).states == [{"n": 1}]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CARRIED_OUT)
def test_a_lost_answer_is_requested_again_where_refresh_tokens_survive(
    sync, sandbox, oauth, profile, kind
):
    profile(strict_rotation=False)
    sandbox.add_fault(Fault(kind, path="/oauth/token", seconds=2, status=502))
    assert sync(PERSON, request_timeout_seconds=1, **oauth).states == [{"n": 1}]
    assert outcomes(sandbox) == ["issued", "issued"]
    assert sync(PERSON, **oauth).exit_code == 0


def test_a_throttle_is_no_lost_answer(sync, sandbox, oauth):
    sandbox.add_fault(Fault("status", path="/oauth/token", status=429))
    run = sync(PERSON, **oauth | {"refresh_token": "long-gone"})
    assert "was lost on the way" not in run.log
    assert "Outreach refuses the refresh token" in run.log


def test_after_a_lost_answer_a_run_goes_on_while_its_access_token_lives(sync, sandbox, oauth):
    assert sync(PERSON, **oauth).exit_code == 0
    path = Path(oauth["credentials_path"])
    document = json.loads(path.read_text("utf-8"))
    (chain,) = document["chains"].values()
    ends_soon = chain["expires_at"] - time.time() - 60
    chain["issued_at"] -= ends_soon
    chain["expires_at"] -= ends_soon
    path.write_text(json.dumps(document))
    sandbox.add_fault(Fault("reset_after", path="/oauth/token"))
    run = sync(rows(10), **oauth)
    assert run.counts("prospects") == {"received": 10, "created": 10}
    assert "was lost on the way" in run.log
    assert "The present access token still serves for a while" in run.log


@pytest.mark.slow
def test_tokens_that_were_lost_before_they_were_kept_are_made_up_for(sync, sandbox, oauth, profile):
    profile(rotation_grace=True)
    assert sync(PERSON, **oauth).exit_code == 0
    before = Path(oauth["credentials_path"]).read_text("utf-8")
    sandbox.revoke_all()
    sandbox.add_fault(Fault("hang_after", path="/oauth/token", seconds=2, times=None))
    assert sync(PERSON, request_timeout_seconds=1, **oauth).exit_code == 1
    assert kept(oauth) == json.loads(before)["chains"]
    sandbox.clear_faults()
    assert sync(PERSON, **oauth).exit_code == 0


def test_the_refresh_token_before_the_newest_is_the_fall_back(sync, sandbox, oauth, profile):
    profile(strict_rotation=False)
    assert sync(PERSON, **oauth).exit_code == 0
    (chain,) = kept(oauth).values()
    newest, previous = chain["refresh_tokens"]
    assert previous == oauth["refresh_token"]
    sandbox.revoke_all()
    sandbox.revoke(newest)
    assert sync(PERSON, **oauth).exit_code == 0
    assert outcomes(sandbox) == ["issued", "invalid_grant", "issued"]


def test_a_run_goes_on_while_the_token_is_valid_though_no_other_is_available(
    sync, sandbox, oauth, profile
):
    profile(access_token_seconds=60)
    assert sync(PERSON, **oauth).exit_code == 0
    path = Path(oauth["credentials_path"])
    document = json.loads(path.read_text("utf-8"))
    (chain,) = document["chains"].values()
    chain["issued_at"] -= 50  # so that it is to be renewed, and still good for a while
    chain["expires_at"] -= 50
    path.write_text(json.dumps(document))
    sandbox.add_fault(Fault("status", path="/oauth/token", status=503, times=None))
    run = sync(rows(30), max_parallel_requests=8, **oauth)
    assert run.counts("prospects") == {"received": 30, "created": 30}
    assert run.log.count("The present access token still serves for a while") == 1


@pytest.mark.slow
def test_tokens_whose_file_is_gone_are_kept_again(sync, sandbox, oauth, profile):
    profile(access_token_seconds=1, latency_seconds=0.05)
    path = Path(oauth["credentials_path"])

    def clean_up():
        while not path.exists():
            time.sleep(0.005)
        path.unlink()

    thread = threading.Thread(target=clean_up)
    thread.start()
    assert sync(rows(60), max_parallel_requests=2, **oauth).exit_code == 0
    thread.join()
    assert set(outcomes(sandbox)) == {"issued"}
    assert sync(PERSON, **oauth).exit_code == 0


def test_new_tokens_that_cannot_be_saved_at_once_are_saved_later(sync, sandbox, oauth, monkeypatch):
    monkeypatch.setattr(renewal, "BETWEEN_WRITES", (0.01,))
    failures = iter([True, True])
    write = Chain.write

    def fail_twice(self, tokens):
        if next(failures, False):
            raise CredentialsError("The disk is full.")
        write(self, tokens)

    monkeypatch.setattr(Chain, "write", fail_twice)
    run = sync(PERSON, **oauth)
    assert run.exit_code == 0
    assert "The disk is full. They are used, and saved later" in run.log
    assert sync(PERSON, **oauth).exit_code == 0
    assert outcomes(sandbox) == ["issued"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_until_new_tokens_are_kept(start, sandbox, oauth, tmp_path, number):
    """With a memory, the first token is got on the main thread, which hears the signals."""
    sandbox.add_fault(Fault("drip", path="/oauth/token", seconds=1))
    memory = {"change_detection": "source", "memory_path": str(tmp_path / "m.db")}
    process = start(batch_size_rows=1, **memory, **oauth)
    process.stdin.write(lines(PERSON).encode())
    process.stdin.flush()
    while "issued" not in outcomes(sandbox):
        time.sleep(0.005)
    process.send_signal(number)
    assert process.wait(timeout=20) == 128 + number
    process = start(**oauth)
    process.communicate(lines(PERSON).encode(), timeout=30)
    assert process.returncode == 0
    assert outcomes(sandbox) == ["issued"]


def test_a_clock_that_goes_wrong_forgets_nobodys_tokens(sync, sandbox, oauth):
    other = {
        "client_id": OTHER.client_id,
        "client_secret": OTHER.client_secret,
        "refresh_token": sandbox.issue_refresh_token(client_id=OTHER.client_id),
    }
    assert sync(PERSON, **oauth).exit_code == 0
    path = Path(oauth["credentials_path"])
    document = json.loads(path.read_text("utf-8"))
    (chain,) = document["chains"].values()
    chain["issued_at"] = chain["expires_at"] = 0.0
    path.write_text(json.dumps(document))
    assert sync(PERSON, **oauth | other).exit_code == 0
    assert sync(PERSON, **oauth).exit_code == 0
    assert outcomes(sandbox) == ["issued"] * 3


@pytest.mark.slow
def test_single_use_tokens_that_die_every_90_requests_serve_two_processes_twice(
    start, sandbox, oauth
):
    done = threading.Event()
    deaths: list[int] = []

    def let_them_die():
        seen = 0
        while not done.is_set():
            if sandbox.request_count >= seen + 90:
                seen = sandbox.request_count
                deaths.append(seen)
                sandbox.revoke_all()
            time.sleep(0.001)

    thread = threading.Thread(target=let_them_die)
    thread.start()
    try:
        for turn in range(2):
            processes = [start(**oauth) for _ in range(2)]
            for n, process in enumerate(processes):
                addresses = (f"{turn}.{n}.{one}@x.test" for one in range(200))
                people = (record("prospects", emails=address) for address in addresses)
                process.stdin.write(lines([schema("prospects"), *people]).encode())
                process.stdin.close()
                process.stdin = None
            assert [process.wait(timeout=60) for process in processes] == [0, 0]
    finally:
        done.set()
        thread.join()
    assert sandbox.store.count("prospects") == 800
    assert set(outcomes(sandbox)) == {"issued"}
    assert len(outcomes(sandbox)) <= len(deaths) + 1


@pytest.mark.slow
def test_a_dead_token_in_the_file_is_not_the_last_word(sync, sandbox, oauth, profile):
    """A token that another process has kept may have expired; then a new one is requested."""
    assert sync(PERSON, **oauth).exit_code == 0
    (chain,) = kept(oauth).values()
    dead = chain["access_token"]
    sandbox.revoke_all()
    assert sync(PERSON, **oauth).exit_code == 0
    profile(latency_seconds=0.02)
    path = Path(oauth["credentials_path"])

    def let_both_die():
        while sandbox.store.count("prospects") < 20:
            time.sleep(0.002)
        document = json.loads(path.read_text("utf-8"))
        (chain,) = document["chains"].values()
        chain["access_token"] = dead
        path.write_text(json.dumps(document))
        sandbox.revoke_all()

    thread = threading.Thread(target=let_both_die)
    thread.start()
    run = sync([*rows(60), state({"n": 60})], max_parallel_requests=4, **oauth)
    thread.join()
    assert run.states == [{"n": 60}]
    assert outcomes(sandbox) == ["issued"] * 3


@pytest.mark.slow
def test_processes_that_use_up_each_others_tokens_all_finish(start, sandbox, oauth, profile):
    profile(access_token_calls=12)
    processes = [start(**oauth) for _ in range(6)]
    for n, process in enumerate(processes):
        people = (record("prospects", emails=f"{n}.{one}@x.test") for one in range(40))
        process.stdin.write(lines([schema("prospects"), *people, state({"n": n})]).encode())
        process.stdin.close()
        process.stdin = None
    ended = [(process.wait(timeout=90), process.stderr.read()) for process in processes]
    assert [code for code, _ in ended] == [0] * 6, ended
    assert sandbox.store.count("prospects") == 240
    assert set(outcomes(sandbox)) == {"issued"}
    calls = sum(request.status != 401 for request in sandbox.requests if "/api/" in request.path)
    assert len(outcomes(sandbox)) <= calls / 12 + 6


def test_a_request_that_is_refused_with_every_token_ends_the_run(sync, sandbox, oauth):
    """Reading is let in, writing never is: tokens are not asked for without end."""
    sandbox.add_fault(Fault("status", method="POST", path="/prospects", status=401, times=None))
    run = sync(PERSON, **oauth)
    assert (run.exit_code, run.states) == (1, [])
    assert run.log.count("ERROR") == 1
    assert len(outcomes(sandbox)) <= 6


FAILURES = {
    "dead refresh token": {"refresh_token": "dead-refresh-token"},
    "unknown app": {"client_secret": "wrong-secret-of-app-1"},
    "endpoint elsewhere": {"oauth_url": "http://127.0.0.1:9/oauth"},
    "api elsewhere": {"api_url": "http://127.0.0.1:9/api/v2"},
    "file of something else": {},
    "two kinds": {"access_token": "second-kind-of-secret"},
    "no TLS": {"oauth_url": "http://outreach.test/oauth"},
    "bad characters": {"client_secret": "secret\nof-app-1"},
}
FAULTS = {
    **{f"endpoint: {kind}": Fault(kind, path="/oauth/", seconds=2, times=None) for kind in LOST},
    "endpoint: 500": Fault("status", path="/oauth/", status=500, times=None),
    "endpoint: 429": Fault("status", path="/oauth/", status=429, times=None),
    "endpoint: 302": Fault("status", path="/oauth/", status=302, times=None),
    "api: 401": Fault("status", path="/api/", status=401, times=None),
    "api: 403": Fault("status", path="/api/", status=403, times=None),
    "api: 500": Fault("status", path="/api/", status=500, times=None),
    "api: garbage": Fault("garbage", path="/api/", times=None),
    "none": Fault("delay", path="/api/"),
}


@pytest.mark.slow
@pytest.mark.parametrize("failure", [*FAILURES, *FAULTS])
def test_no_output_of_any_failure_holds_a_secret(sync, sandbox, oauth, failure, monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.TRIES", 2)
    oauth |= FAILURES.get(failure, {})
    if failure == "file of something else":
        Path(oauth["credentials_path"]).parent.mkdir(parents=True)
        Path(oauth["credentials_path"]).write_text("[]")
    if failure in FAULTS:
        sandbox.add_fault(FAULTS[failure])
    try:
        run = sync(PERSON, request_timeout_seconds=1, max_wait_minutes=0, **oauth)
        said = run.log + run.stdout + json.dumps(run.report)
    except (SettingsError, FileNotFoundError) as error:  # such a run writes no report
        said = f"{error!r}{error.__cause__!r}{error.__context__!r}"
    secrets = {oauth["client_secret"], oauth["refresh_token"], "second-kind-of-secret"}
    path = Path(oauth["credentials_path"])
    if failure in FAULTS and path.exists():
        for chain in json.loads(path.read_text("utf-8"))["chains"].values():
            secrets |= {chain["access_token"], *chain["refresh_tokens"]}
    assert not [secret for secret in secrets if secret in said]
    assert "Traceback" not in said


def test_a_dead_refresh_token_is_one_sentence_and_asked_for_once(sync, sandbox, oauth):
    sandbox.revoke(oauth["refresh_token"])
    run = sync(rows(50), max_parallel_requests=8, batch_size_rows=5, **oauth)
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert "log in with `target-outreach login`, or set a new refresh_token" in run.log
    assert outcomes(sandbox) == ["invalid_grant"]


def test_an_unknown_app_is_one_sentence(sync, sandbox, oauth):
    run = sync(PERSON, **oauth | {"client_secret": "wrong"})
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert "check client_id and client_secret" in run.log
    assert outcomes(sandbox) == ["invalid_client"]


def test_a_token_endpoint_that_is_none_is_one_sentence(sync, sandbox, oauth):
    run = sync(PERSON, **oauth | {"oauth_url": sandbox.oauth_url + "/elsewhere"})
    assert run.exit_code == 1
    assert "The token endpoint answered 404" in run.log
    assert "check oauth_url" in run.log


def test_a_token_endpoint_that_stays_down_is_one_sentence(sync, sandbox, oauth):
    sandbox.add_fault(Fault("status", path="/oauth/token", status=503, times=None))
    run = sync(PERSON, **oauth)
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert "No access token is available: The token endpoint answered 503" in run.log


def test_no_redirect_of_the_token_endpoint_is_followed(sync, sandbox, oauth):
    there = [("Location", f"{sandbox.url}/stolen")]
    sandbox.add_fault(Fault("status", path="/oauth/token", status=307, headers=there, times=None))
    run = sync(PERSON, **oauth)
    assert run.exit_code == 1
    assert not any("stolen" in request.path for request in sandbox.requests)


def test_organisations_and_configured_tokens_never_mix(sync, sandbox, oauth):
    other = {
        "client_id": OTHER.client_id,
        "client_secret": OTHER.client_secret,
        "refresh_token": sandbox.issue_refresh_token(client_id=OTHER.client_id),
    }
    again = {"refresh_token": sandbox.issue_refresh_token(client_id=APP.client_id)}
    for settings in ({}, other, again, {}, other):
        assert sync(PERSON, **oauth | settings).exit_code == 0
    assert [request.client_id for request in sandbox.token_requests] == ["app-1", "app-2", "app-1"]
    assert len(kept(oauth)) == 3
    assert oauth["refresh_token"] not in " ".join(kept(oauth))


@pytest.mark.slow
def test_many_processes_at_once_ask_once(start, sandbox, oauth):
    """Each token is good for one use only, so two that ask at once would strand each other."""
    processes = [start(**oauth) for _ in range(4)]
    for n, process in enumerate(processes):
        text = lines([schema("prospects"), record("prospects", emails=f"p{n}@x.test")])
        process.stdin.write(text.encode())
        process.stdin.close()
        process.stdin = None
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert outcomes(sandbox) == ["issued"]
    assert sandbox.store.count("prospects") == 4


@pytest.mark.slow
@pytest.mark.parametrize("kill_after", [0.0, 0.01, 0.05])
def test_a_process_that_is_killed_while_it_renews_leaves_no_lock(
    start, sandbox, oauth, profile, kill_after
):
    profile(rotation_grace=True)
    sandbox.add_fault(Fault("delay", path="/oauth/token", seconds=0.3))
    process = start(batch_size_rows=1, **oauth)
    process.stdin.write(lines(PERSON).encode())
    process.stdin.flush()
    while sandbox.request_count < 1 and process.poll() is None:
        time.sleep(0.001)
    time.sleep(kill_after)
    process.kill()
    process.communicate()
    process = start(**oauth)
    process.communicate(lines(PERSON).encode(), timeout=30)
    assert process.returncode == 0


def test_tokens_can_be_kept_in_an_object_store(sync, sandbox, oauth):
    oauth["credentials_path"] = "memory://bucket/secrets/credentials.json"
    assert sync(PERSON, **oauth).exit_code == 0
    assert sync(PERSON, **oauth).exit_code == 0
    assert outcomes(sandbox) == ["issued"]
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


PACKAGES = {"s3": ["obstore", "boto3"], "gcs": ["obstore", "google-auth"], "azure": ["obstore"]}
PROTOCOLS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("setting", ["credentials_path", "rejects_path"])
def test_a_bucket_whose_package_is_not_installed_names_the_extra(
    sync, oauth, monkeypatch, setting, protocol
):
    extra = PROTOCOLS[protocol]
    monkeypatch.delitem(sys.modules, "target_outreach.buckets", raising=False)
    for package in PACKAGES[extra]:  # as where they are not installed
        monkeypatch.setitem(sys.modules, package.replace("-", "."), None)
    run = sync(PERSON, **oauth | {setting: f"{protocol}://bucket/of/hunter2?token=hunter2"})
    assert run.exit_code == 1
    assert f"{setting} begins with {protocol}://" in run.log
    assert f"Install target-outreach[{extra}]" in run.log
    assert "hunter2" not in run.log


def test_an_extra_brings_the_packages_that_its_protocols_need_and_nothing_else_does():
    project = tomllib.loads(documents.PROJECT.read_text(encoding="utf-8"))["project"]
    for extra, packages in PACKAGES.items():
        needed = map(Requirement, project["optional-dependencies"][extra])
        assert [one.name for one in needed] == packages
    always = {Requirement(one).name for one in project["dependencies"]}
    assert always.isdisjoint(one for packages in PACKAGES.values() for one in packages)


def test_a_url_that_no_extra_is_for_says_what_fsspec_says(sync, oauth):
    oauth["credentials_path"] = "nowhere://bucket/credentials.json"
    run = sync(PERSON, **oauth)
    assert run.exit_code == 1
    assert "credentials_path cannot be used: Protocol not known: nowhere" in run.log


@pytest.mark.slow
def test_without_a_lock_a_refused_token_is_read_again_once(sync, sandbox, oauth, monkeypatch):
    oauth["credentials_path"] = "memory://shared/credentials.json"
    filesystem = fsspec.filesystem("memory")
    assert sync(PERSON, **oauth).exit_code == 0
    old = filesystem.cat_file("/shared/credentials.json")
    sandbox.revoke_all()
    assert sync(PERSON, **oauth).exit_code == 0
    new = filesystem.cat_file("/shared/credentials.json")
    filesystem.pipe_file("/shared/credentials.json", old)
    monkeypatch.setattr(renewal, "KEPT_WITHIN", 0.5)

    def keep_late():
        while "invalid_grant" not in outcomes(sandbox):
            time.sleep(0.005)
        filesystem.pipe_file("/shared/credentials.json", new)

    thread = threading.Thread(target=keep_late)
    thread.start()
    assert sync(PERSON, **oauth).exit_code == 0
    thread.join()
    assert outcomes(sandbox)[:2] == ["issued", "issued"]
    assert set(outcomes(sandbox)[2:]) == {"invalid_grant"}
    filesystem.rm("/shared", recursive=True)


def test_a_file_that_cannot_be_written_is_found_before_a_token_is_used_up(
    sync, sandbox, oauth, tmp_path
):
    blocked = tmp_path / "file"
    blocked.write_text("")
    run = sync(PERSON, **oauth | {"credentials_path": str(blocked / "credentials.json")})
    assert run.exit_code == 1
    assert "check credentials_path" in run.log
    assert outcomes(sandbox) == []


def test_a_path_that_leads_in_circles_is_one_sentence(execute, oauth, tmp_path):
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    run = execute(PERSON, **oauth | {"credentials_path": str(circle)})
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert "credentials_path" in run.log


@pytest.mark.parametrize("content", ["{", "[]", '{"chains": 5}', '{"chains": {"a": 5}}', "\ufffd"])
def test_a_file_with_something_else_is_left_alone(sync, sandbox, oauth, tmp_path, content):
    path = tmp_path / "precious"
    path.write_text(content, encoding="utf-8")
    run = sync(PERSON, **oauth | {"credentials_path": str(path)})
    assert run.exit_code == 1
    assert "holds something else than tokens" in run.log
    assert path.read_text(encoding="utf-8") == content
    assert outcomes(sandbox) == []


def test_an_app_without_a_refresh_token_needs_a_login_first(execute, sandbox, oauth):
    del oauth["refresh_token"]
    run = execute(PERSON, **oauth)
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert "There is no refresh_token yet in" in run.log
    assert sandbox.request_count == 0


@pytest.mark.slow
def test_no_log_holds_a_token_or_a_secret(sync, sandbox, oauth):
    run = sync(PERSON, **oauth)
    sandbox.add_fault(Fault("hang_after", path="/oauth/token", seconds=2))
    sandbox.revoke_all()
    again = sync(PERSON, request_timeout_seconds=1, **oauth)
    (chain,) = kept(oauth).values()
    secrets = [chain["access_token"], *chain["refresh_tokens"], oauth["client_secret"]]
    for secret in [*secrets, oauth["refresh_token"]]:
        assert secret not in run.log + again.log


# Server to server


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def private_key(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def server_app(sandbox, key, private_key, config, tmp_path):
    """The settings of a server-to-server app that is installed in the sandbox."""
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    installed = Installation("install-7", "guid-7", public.decode())
    sandbox.profile = replace(sandbox.profile, installations=[installed])
    del config["access_token"]
    return {
        "s2s_guid": "guid-7",
        "s2s_install_id": "install-7",
        "s2s_private_key": private_key,
        "credentials_path": str(tmp_path / "credentials.json"),
    }


@pytest.mark.parametrize("form", ["text", "one line", "path", "PKCS1"])
def test_a_server_to_server_app_signs_itself_in(  # noqa: PLR0917 - a case of a table
    sync, sandbox, server_app, tmp_path, key, form
):
    text = server_app["s2s_private_key"]
    if form == "one line":
        server_app["s2s_private_key"] = text.replace("\n", "\\n")
    if form == "path":
        path = tmp_path / "the key.pem"
        path.write_text(text)
        server_app["s2s_private_key"] = str(path)
    if form == "PKCS1":
        pkcs1 = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        server_app["s2s_private_key"] = pkcs1.decode()
    for _ in range(2):
        assert sync(PERSON, **server_app).exit_code == 0
    assert outcomes(sandbox) == ["issued"]


def test_a_clock_that_goes_wrong_does_not_keep_a_server_app_out(
    tmp_path, key, private_key, sync, config
):
    ahead = timedelta(hours=5).total_seconds()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    profile = Profile(installations=[Installation("i", "g", public.decode())])
    del config["access_token"]
    with Sandbox(tmp_path / "o.db", profile, clock=lambda: time.time() - ahead) as slow:
        run = sync(
            PERSON,
            api_url=slow.api_url,
            s2s_guid="g",
            s2s_install_id="i",
            s2s_private_key=private_key,
            credentials_path=str(tmp_path / "c.json"),
        )
    assert run.exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"s2s_guid": "other"}, "check s2s_guid, s2s_private_key and s2s_install_id"),
        ({"s2s_install_id": "other"}, "check s2s_guid, s2s_private_key and s2s_install_id"),
        ({"s2s_private_key": "/no/such/file"}, "neither an RSA key in PEM nor the path"),
        ({"s2s_private_key": "-----BEGIN PRIVATE KEY-----\nx"}, "no RSA private key in PEM"),
    ],
)
def test_a_server_app_that_is_refused_is_one_sentence(execute, server_app, wrong, words):
    run = execute(PERSON, **server_app | wrong)
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert words in run.log
    assert "Traceback" not in run.log


def test_a_server_apps_token_is_renewed_when_it_is_refused(sync, sandbox, server_app):
    assert sync(PERSON, **server_app).exit_code == 0
    sandbox.revoke_all()
    assert sync(PERSON, **server_app).exit_code == 0
    assert outcomes(sandbox) == ["issued", "issued"]


# The settings

TOKEN = {"access_token": "t"}
WHOLE = {"client_id": "c", "client_secret": "s", "refresh_token": "r"}
SERVER = {"s2s_guid": "g", "s2s_private_key": "k", "s2s_install_id": "i"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {},
            [
                "No credentials",
                "access_token",
                "redirect_uri",
                "login",
                "s2s_install_id",
                "sandbox",
            ],
        ),
        ({"access_token": " "}, ["No credentials"]),
        (TOKEN | WHOLE, ["2 kinds", "access_token; client_id"]),
        (WHOLE | SERVER, ["2 kinds"]),
        (TOKEN | WHOLE | SERVER, ["3 kinds"]),
        (TOKEN | {"s2s_guid": "g"}, ["2 kinds", "access_token; s2s_guid"]),
        (
            {"client_id": "c"},
            ["with client_id, set client_secret; then run `target-outreach"],
        ),
        ({"refresh_token": "r"}, ["set client_id and client_secret"]),
        ({"redirect_uri": "http://x"}, ["with redirect_uri, set client_id and client_secret."]),
        ({"s2s_guid": "g"}, ["set s2s_private_key and s2s_install_id"]),
        ({"s2s_install_id": "i", "s2s_guid": "g"}, ["set s2s_private_key"]),
    ],
)
def test_credentials_are_of_one_kind_and_whole(execute, config, settings, words):
    del config["access_token"]
    run = execute(PERSON, **settings)
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    for word in words:
        assert word in run.log


def test_secrets_go_over_tls_only(execute, oauth):
    run = execute(PERSON, **oauth | {"oauth_url": "http://outreach.test/oauth"})
    assert run.exit_code == 1
    assert "oauth_url must begin with https://" in run.log


def test_a_lifetime_is_read_however_it_is_said():
    now = datetime.now(UTC).timestamp()
    for said, seconds in [(60, 60), ("60", 60), (None, 7200), (-5, 7200), ("soon", 7200)]:
        document = {"access_token": "t", "expires_in": said}
        tokens = Tokens.read(document, used=None, asked_at=now)
        assert tokens.expires_at == now + seconds
        assert tokens.is_good(now)
        assert not tokens.is_good(now + seconds)
