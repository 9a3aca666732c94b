"""`target-outreach check`: every line that it can print, and its exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from processes import Popen

from target_outreach.sandbox import App, Fault, Installation, Profile, Sandbox

APP = App("app-1", "secret-of-app-1")
TOKEN = "invented-token-7f3a"
DAY = 86_400
ALL = "prospects.read prospects.write accounts.read accounts.write"
READ_ONLY = ["prospects.read", "accounts.read"]


class Clock:
    ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sandbox(tmp_path, watcher, clock):
    profile = Profile(
        apps=[APP],
        tokens={TOKEN: ALL.split()},
        rate_window_seconds=30 * DAY,  # so that none ends in the middle of a test
    )
    with Sandbox(tmp_path / "outreach.db", profile, observer=watcher, clock=clock) as running:
        yield running


@pytest.fixture
def places(sandbox, tmp_path):
    return {
        "api_url": sandbox.api_url,
        "oauth_url": sandbox.oauth_url,
        "credentials_path": str(tmp_path / "credentials.json"),
    }


@pytest.fixture
def bearer(places):
    return places | {"access_token": TOKEN}


@pytest.fixture
def oauth(places, sandbox):
    def configure(*scopes):
        token = sandbox.issue_refresh_token(scopes or None)
        app = {"client_id": APP.client_id, "client_secret": APP.client_secret}
        return places | app | {"refresh_token": token}

    return configure


@pytest.fixture
def server_app(places, sandbox):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    installation = Installation("install-1", "guid-1", public.decode())
    sandbox.profile = replace(sandbox.profile, installations=[installation])
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return places | {
        "s2s_guid": "guid-1",
        "s2s_private_key": private.decode(),
        "s2s_install_id": "install-1",
    }


class Check:
    """What a check printed, by the first word of each line."""

    def __init__(self, code, out, err):
        self.code = code
        self.out = out
        self.err = err
        self.lines = [tuple(line.split(maxsplit=1)) for line in out.splitlines()]

    def said(self, kind):
        return [text for word, text in self.lines if word == kind]


def start(arguments, **options):
    return Popen(
        ["check", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        **options,
    )


def finish(process, config):
    with process:
        out, err = process.communicate(timeout=100)
    assert "Traceback" not in err
    for name in ("access_token", "client_secret", "refresh_token", "s2s_private_key"):
        if name in config:
            assert config[name] not in out + err
    return Check(process.returncode, out, err)


@pytest.fixture
def check(tmp_path):
    def _check(config, **settings):
        merged = config | settings
        path = tmp_path / "config.json"
        path.write_text(json.dumps(merged), encoding="utf-8")
        return finish(start(["--config", str(path)]), merged)

    return _check


def age_tokens(config, *, days, left=3600.0):
    """Let what is kept be of some days ago, with an access token that still lives."""
    path = Path(config["credentials_path"])
    document = json.loads(path.read_text("utf-8"))
    for chain in document["chains"].values():
        chain["issued_at"] = chain["refresh_issued_at"] = time.time() - days * DAY
        chain["expires_at"] = time.time() + left
    path.write_text(json.dumps(document), encoding="utf-8")


# What is well


def test_an_oauth_app_that_is_well_has_a_line_for_each_thing(check, oauth, sandbox):
    found = check(oauth())
    assert found.code == 0
    assert found.err == ""
    asked, token, access, refresh, scopes, *objects, budget = found.lines
    assert asked == ("note", f"Asking {sandbox.api_url} with the tokens of the OAuth app.")
    assert token == (
        "ok",
        "Outreach accepts the token of ada@example.com in the organisation Sandbox.",
    )
    assert access == ("ok", "The access token lives for another 120 minutes, and is renewed.")
    assert refresh[0] == "ok"
    assert re.fullmatch(
        r"The refresh token is 0\.0 days old; it dies on \d{4}-\d\d-\d\d unless a run renews it "
        r"before\.",
        refresh[1],
    )
    assert scopes == ("ok", f"All scopes that the sync needs are there: {ALL}.")
    assert objects == [("ok", "prospects can be read."), ("ok", "accounts can be read.")]
    assert budget[0] == "ok"
    assert re.fullmatch(
        r"9,997 of 10,000 requests are left until \d\d:\d\d:\d\d (UTC|[+-]\d\d:\d\d) for all that "
        r"uses this Outreach user\.",
        budget[1],
    )
    assert {request.method for request in sandbox.requests} == {"GET", "POST"}
    assert [(one.grant_type, one.outcome) for one in sandbox.token_requests] == [
        ("refresh_token", "issued")
    ]


@pytest.mark.slow
def test_a_bearer_token_that_is_well_has_its_scopes_told(check, bearer, sandbox):
    found = check(bearer)
    assert found.code == 0
    assert found.said("note") == [f"Asking {sandbox.api_url} with access_token."]
    assert f"All scopes that the sync needs are there: {ALL}." in found.said("ok")


def test_a_bearer_token_does_not_say_its_scopes_where_outreach_does_not(check, bearer, sandbox):
    sandbox.profile = replace(sandbox.profile, identity="meta")
    found = check(bearer)
    assert found.code == 0
    assert found.said("note") == [
        f"Asking {sandbox.api_url} with access_token.",
        f"Outreach does not say which scopes this token has; needed: {ALL}.",
    ]
    assert "prospects can be read." in found.said("ok")
    assert {request.method for request in sandbox.requests} == {"GET"}


@pytest.mark.slow
def test_a_server_to_server_app_that_is_well_has_no_user(check, server_app, sandbox):
    found = check(server_app)
    assert found.code == 0
    assert found.said("note") == [
        f"Asking {sandbox.api_url} with the tokens of the server-to-server app."
    ]
    assert f"All scopes that the sync needs are there: {ALL}." in found.said("ok")
    assert found.said("ok")[:2] == [
        "Outreach accepts the token in the organisation Sandbox.",
        "The access token lives for another 60 minutes, and is renewed.",
    ]
    assert "refresh token" not in found.out


@pytest.mark.slow
def test_the_sandbox_needs_no_credentials_and_has_no_token_to_speak_of(check, tmp_path):
    path = str(tmp_path / "own.db")
    found = check({"sandbox": path})
    assert found.code == 0
    asked = f"Asking the sandbox in {path}, which needs no credentials."
    new = "There was no such file: it was made, and the sandbox in it is empty."
    assert found.said("note") == [asked, new]
    assert found.said("ok")[:2] == ["prospects can be read.", "accounts can be read."]
    assert "token" not in found.out
    assert check({"sandbox": path}).said("note") == [asked]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bearer", "oauth", "server_app", "sandbox"])
def test_the_configuration_may_come_from_the_environment(
    request, kind, places, tmp_path, monkeypatch
):
    config = {"sandbox": str(tmp_path / "own.db")}
    if kind != "sandbox":
        config = request.getfixturevalue(kind)
        config = config() if kind == "oauth" else config
    if "s2s_private_key" in config:  # a variable that is one line, as in a .env file
        config["s2s_private_key"] = config["s2s_private_key"].replace("\n", "\\n")
    config |= {"credentials_path": places["credentials_path"], "outreach_object": "accounts"}
    config["streams"] = json.dumps([{"stream": "people", "object": "prospects"}])
    for name, value in config.items():
        monkeypatch.setenv(f"TARGET_OUTREACH_{name.upper()}", str(value))
    found = finish(start(["--config", "ENV"], cwd=tmp_path), config)
    assert found.code == 0
    assert "prospects can be read." in found.said("ok")
    assert "accounts can be read." in found.said("ok")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "objects", "scopes"),
    [
        ({}, ["prospects", "accounts"], ALL),
        ({"outreach_object": "accounts"}, ["accounts"], "accounts.read accounts.write"),
        (
            {"streams": [{"stream": "crm-opportunities"}]},
            ["prospects", "accounts", "opportunities"],
            f"{ALL} opportunities.read opportunities.write",
        ),
        ({"dry_run": True}, ["prospects", "accounts"], "prospects.read accounts.read"),
        (
            {"bulk_writes": "updates"},
            ["prospects", "accounts"],
            f"{ALL} imports.read imports.write",
        ),
        (
            {
                "streams": [
                    {"stream": "a", "object": "prospects"},
                    {"stream": "*", "object": "none"},
                ]
            },
            ["prospects"],
            "prospects.read prospects.write",
        ),
        (
            {
                "on_missing_relation": "create",
                "streams": [
                    {
                        "stream": "a",
                        "object": "prospects",
                        "columns": {"x": "owner.email", "y": "account.domain", "z": "stage.id"},
                    },
                    {"stream": "b", "object": "sequenceStates"},
                ],
                "allow_enrolment": True,
            },
            ["prospects", "sequenceStates", "accounts", "users", "sequences", "mailboxes"],
            (
                "prospects.read prospects.write sequenceStates.read sequenceStates.write "
                "accounts.read accounts.write users.read sequences.read "
                "mailboxes.read"
            ),
        ),
    ],
)
def test_only_what_the_configured_sync_needs_is_checked(check, oauth, settings, objects, scopes):
    found = check(oauth(*scopes.split()), **settings)
    assert found.code == 0
    assert [text for text in found.said("ok") if "can be read" in text] == [
        f"{name} can be read." for name in objects
    ]
    assert f"All scopes that the sync needs are there: {scopes}." in found.said("ok")


# Entries of streams


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            {"stream": "people", "object": "prospects", "columns": {"x": "titel"}},
            "Entry 1 of streams ('people'): columns maps 'x' to 'titel', ",
        ),
        (
            {"stream": "crm-accounts", "match_on": ["domian"]},
            "Entry 1 of streams ('crm-accounts'): match_on names 'domian', which accounts do not",
        ),
        (
            {"stream": "people", "object": "prospects", "field_rules": {"Lead scores": "never"}},
            "Entry 1 of streams ('people'): field_rules names 'Lead scores', which cannot be",
        ),
    ],
)
def test_a_wrong_name_in_an_entry_is_a_problem(check, bearer, entry, problem):
    found = check(bearer, streams=[entry])
    assert found.code == 1, found.out
    (said,) = found.said("problem")
    assert said.startswith(problem)


def test_names_in_array_fields_for_all_streams_are_checked_too(check, bearer):
    found = check(bearer, array_fields={"tgas": "replace"})
    assert found.code == 1
    assert found.said("problem")[0].startswith("array_fields names 'tgas', ")


def test_what_cannot_be_checked_before_a_stream_comes_is_noted(check, bearer):
    entries = [
        {"stream": "people", "object": "prospects", "columns": {"x": "title"}},
        {"stream": "*", "columns": {"y": "title"}},
    ]
    found = check(bearer, streams=entries)
    assert found.code == 0, found.out
    assert "Entry 2 of streams ('*') was not checked, since it does not say" in found.out
    assert "All names that streams mentions are known." in found.said("ok")


# Scopes


def test_all_of_an_object_covers_reading_and_writing_it(check, oauth):
    found = check(oauth("prospects.all", "accounts.all"))
    assert found.code == 0
    assert f"All scopes that the sync needs are there: {ALL}." in found.said("ok")


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        (READ_ONLY, ["prospects.write", "accounts.write"]),
        (["prospects.all", "accounts.write"], ["accounts.read"]),
        (["prospects.all", "accounts.delete", "accounts.read"], ["accounts.write"]),
    ],
)
def test_each_missing_scope_is_named_with_what_to_do(check, oauth, granted, missing):
    found = check(oauth(*granted))
    assert found.code == 1
    assert re.findall(r"^problem +The scope (\S+) is missing", found.out, re.MULTILINE) == missing
    assert "give it to the app in Outreach, and log in with `target-outreach login`" in found.out
    unreadable = [name for name in missing if name.endswith(".read")]
    cannot = [text for text in found.said("problem") if "cannot be read" in text]
    assert len(cannot) == len(unreadable)


def test_a_bearer_token_that_may_not_read_is_a_problem(check, bearer, sandbox):
    sandbox.profile = replace(sandbox.profile, tokens={TOKEN: ["prospects.all"]})
    found = check(bearer)
    assert found.code == 1
    *scopes, problem = found.said("problem")
    advice = "give it to the app in Outreach, and get a new token."
    assert scopes == [
        f"The scope {scope} is missing: {advice}" for scope in ("accounts.read", "accounts.write")
    ]
    assert problem.startswith("accounts cannot be read: The token lacks the scope accounts.read")
    assert problem.endswith("or set a token that has it.")
    assert "prospects can be read." in found.said("ok")


# Tokens


@pytest.mark.slow
def test_a_refused_access_token_is_the_only_problem(check, bearer, sandbox):
    sandbox.revoke(TOKEN)
    found = check(bearer)
    assert found.code == 1
    (problem,) = found.said("problem")
    assert problem.startswith("Outreach refuses the access token (401): it has expired or was")
    assert problem.endswith("; set a new access_token.")
    assert found.said("ok") == []


@pytest.mark.slow
def test_an_expired_refresh_token_is_said_with_what_to_do(check, oauth, clock):
    config = oauth()
    clock.ahead = 15 * DAY
    found = check(config)
    assert found.code == 1
    (problem,) = found.said("problem")
    assert "Outreach refuses the refresh token" in problem
    assert "`target-outreach login`" in problem


def test_without_any_refresh_token_there_is_nothing_to_ask(check, oauth, sandbox):
    config = oauth()
    del config["refresh_token"]
    found = check(config)
    assert found.code == 1
    assert found.out == ""
    assert "There is no refresh_token yet in " in found.err
    assert sandbox.request_count == 0


@pytest.mark.slow
@pytest.mark.parametrize(("days", "kind", "code"), [(11.5, "ok", 0), (12.5, "problem", 1)])
def test_a_refresh_token_that_grows_old_becomes_a_problem(check, oauth, days, kind, code):
    config = oauth()
    assert check(config).code == 0
    age_tokens(config, days=days)
    found = check(config)
    assert found.code == code
    (line,) = [text for text in found.said(kind) if "refresh token" in text]
    assert line.startswith(f"The refresh token is {days} days old; it dies on ")


@pytest.mark.slow
def test_the_age_is_that_of_the_refresh_token_where_renewals_bring_no_other(check, oauth):
    config = oauth()
    assert check(config).code == 0
    path = Path(config["credentials_path"])
    document = json.loads(path.read_text("utf-8"))
    for chain in document["chains"].values():
        chain["refresh_issued_at"] = time.time() - 12.5 * DAY
    path.write_text(json.dumps(document), encoding="utf-8")
    found = check(config)
    assert found.code == 1
    (line,) = [text for text in found.said("problem") if "refresh token" in text]
    assert line.startswith("The refresh token is 12.5 days old; it dies on ")


@pytest.mark.slow
def test_a_token_that_is_about_to_end_is_renewed_by_the_check(check, oauth, sandbox):
    config = oauth()
    assert check(config).code == 0
    age_tokens(config, days=13, left=60)
    found = check(config)
    assert found.code == 0
    assert "The access token lives for another 120 minutes, and is renewed." in found.said("ok")
    assert len(sandbox.token_requests) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "secret"), [("oauth", "client_secret"), ("server_app", "s2s_private_key")]
)
def test_a_secret_that_a_kept_token_leaves_untried_is_noted(request, check, kind, secret):
    config = request.getfixturevalue(kind)
    config = config() if kind == "oauth" else config
    assert "was not tried" not in check(config).out
    found = check(config, **({"client_secret": "mistyped"} if kind == "oauth" else {}))
    assert found.code == 0
    notes = [text for text in found.said("note") if "was not tried" in text]
    (note,) = notes
    assert note.startswith(f"{secret} was not tried, since the access token that is kept still ")


@pytest.mark.slow
def test_an_unknown_server_to_server_app_is_a_problem(check, server_app):
    found = check(server_app, s2s_guid="another")
    assert found.code == 1
    assert "check s2s_guid, s2s_private_key and s2s_install_id" in found.said("problem")[0]


def test_no_credentials_at_all_are_one_sentence(check):
    found = check({})
    assert found.code == 1
    assert found.out == ""
    assert "No credentials: set access_token, or client_id" in found.err


# The budget


@pytest.mark.slow
def test_a_budget_that_is_used_up_is_said_at_once_and_not_waited_for(check, bearer, sandbox):
    sandbox.spend(10_000)
    found = check(bearer)
    assert found.code == 1
    (problem,) = found.said("problem")
    assert re.fullmatch(
        r"All 10,000 requests of this Outreach user are used up until \d\d:\d\d:\d\d "
        r"(UTC|[+-]\d\d:\d\d), so no more can be checked before\.",
        problem,
    )


@pytest.mark.slow
def test_a_budget_that_ends_on_the_way_is_said_too(check, bearer, sandbox):
    sandbox.spend(9_998)
    found = check(bearer)
    assert found.code == 1
    assert "prospects can be read." in found.said("ok")
    assert "are used up until" in found.said("problem")[0]


@pytest.mark.slow
def test_check_reports_a_long_retry_after_and_does_not_wait(check, bearer, sandbox):
    headers = (("Retry-After", "3600"),)
    sandbox.add_fault(Fault("status", status=429, body="Retry later", headers=headers))
    found = check(bearer)
    assert found.code == 1
    assert found.said("problem") == [
        "Outreach asks to wait, so no more can be checked now: try again in a few minutes."
    ]


@pytest.mark.slow
def test_what_is_left_to_others_is_said(check, bearer, sandbox):
    sandbox.spend(6_000)
    found = check(bearer, request_budget_percent=50)
    assert found.code == 0
    assert re.fullmatch(
        r"request_budget_percent \(50\) leaves these to others: a run would wait until "
        r"\d\d:\d\d:\d\d (UTC|[+-]\d\d:\d\d)\.",
        found.said("note")[-1],
    )


@pytest.mark.slow
def test_a_server_that_says_nothing_of_the_budget_is_said_to(check, bearer, sandbox):
    sandbox.profile = replace(sandbox.profile, limit_headers="none")
    found = check(bearer)
    assert found.code == 0
    assert "Outreach does not say how many requests are left." in found.said("note")


# The server


@pytest.mark.slow
def test_a_server_that_cannot_be_reached_is_a_problem(check, bearer):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        port = nobody.getsockname()[1]
        found = check(bearer, api_url=f"http://127.0.0.1:{port}/api/v2")
    assert found.code == 1
    assert found.said("note") == [f"Asking http://127.0.0.1:{port}/api/v2 with access_token."]
    refused = f"Connection refused at http://127.0.0.1:{port}; is the sandbox running? That was"
    assert found.said("problem")[0].startswith(refused)


def test_a_wrong_address_is_a_problem(check, bearer):
    with Sandbox() as unobserved:
        found = check(bearer, api_url=f"{unobserved.url}/api/v3")
    assert found.code == 1
    assert "check api_url" in found.said("problem")[0]


@pytest.mark.slow
def test_a_server_that_does_not_say_whose_token_it_is_is_no_problem(check, bearer, sandbox):
    for status in (403, 404):
        sandbox.profile = replace(sandbox.profile, identity_refusal=status)
        found = check(bearer)
        assert found.code == 0
        assert f"Outreach does not say whose token it is ({status})." in found.said("note")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("[]", "."),
        ('{"meta": {"user": 5, "org": {"shortname": "acme"}}}', " in the organisation acme."),
        ('{"meta": {"user": {"name": "Ada"}}}', " of Ada."),
        ('{"data": {"attributes": {"name": "Acme"}}}', " in the organisation Acme."),
        ('{"meta": {"user": {"firstName": "Ada", "lastName": "B"}}}', " of Ada B."),
    ],
)
def test_whose_token_it_is_is_said_as_far_as_it_is_known(check, bearer, sandbox, body, words):
    headers = (("Content-Type", "application/vnd.api+json"),)
    sandbox.add_fault(Fault("garbage", path=r"/api/v2/$", body=body, headers=headers))
    assert check(bearer).said("ok")[0] == f"Outreach accepts the token{words}"


@pytest.mark.slow
def test_an_object_that_cannot_be_read_does_not_hide_the_other(check, bearer, sandbox):
    sandbox.add_fault(Fault("status", path="/prospects", status=404, body="{}"))
    found = check(bearer)
    assert found.code == 1
    assert "prospects cannot be read" in found.said("problem")[0]
    assert "accounts can be read." in found.said("ok")


@pytest.mark.slow
@pytest.mark.parametrize(("ahead", "words"), [(300, True), (-300, True), (5, False)])
def test_clocks_that_differ_are_noted(check, bearer, clock, ahead, words):
    clock.ahead = ahead
    found = check(bearer)
    assert found.code == 0
    notes = [text for text in found.said("note") if "clock" in text]
    assert bool(notes) is words
    if words:
        difference = re.fullmatch(
            r"This machine's clock and Outreach's differ by (\d+) seconds\.", notes[0]
        )
        assert 295 <= int(difference[1]) <= 305


@pytest.mark.slow
def test_a_signal_ends_a_check_that_waits(bearer, sandbox, tmp_path):
    sandbox.add_fault(Fault("hang", path="/api/v2/", seconds=60))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(bearer), encoding="utf-8")
    process = start(["--config", str(path)], env=os.environ | {"PYTHONUNBUFFERED": "1"})
    while sandbox.request_count == 0:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    found = finish(process, bearer)
    assert found.code == 130
    assert found.err == "Stopped.\n"
    assert found.said("problem") == []
