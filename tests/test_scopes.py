"""Scopes of a token are held against each stream at its SCHEMA, before it is delivered."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import record, schema, state

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox import App
from target_outreach.scopes import stream_scopes

TOKEN = "invented-token-7f3a"
APP = App("app-1", "secret-of-app-1")
PEOPLE = [schema("prospects"), record("prospects", id=1, emails="a@x.test")]
COMPANIES = [schema("accounts"), record("accounts", id=1, name="Acme"), state({"n": 1})]


@pytest.fixture
def grant(sandbox):
    """Let the configured token have these scopes only."""

    def _grant(*scopes):
        sandbox.profile = replace(sandbox.profile, tokens={TOKEN: list(scopes)})

    return _grant


@pytest.fixture
def oauth(sandbox, tmp_path):
    """A configuration of an app whose login has granted these scopes."""

    def _oauth(*scopes):
        sandbox.profile = replace(sandbox.profile, apps=[APP])
        return {
            "access_token": None,
            "client_id": APP.client_id,
            "client_secret": APP.client_secret,
            "refresh_token": sandbox.issue_refresh_token(scopes),
            "oauth_url": sandbox.oauth_url,
            "credentials_path": str(tmp_path / "credentials.json"),
        }

    return _oauth


def writes(sandbox):
    return [one.path for one in sandbox.requests if one.method != "GET"]


def test_a_stream_that_the_token_may_not_write_ends_the_run_at_its_schema(sync, sandbox, grant):
    grant("prospects.all", "accounts.read")
    run = sync([*PEOPLE, *COMPANIES])
    assert run.exit_code == 1
    assert (
        "The token lacks accounts.write, which stream 'accounts' needs: give it to the app in "
        "Outreach, then log in with `target-outreach login --scope accounts.write`"
    ) in run.log
    assert sandbox.store.count("accounts") == 0
    assert not [path for path in writes(sandbox) if "accounts" in path]


def test_scopes_that_a_login_has_kept_are_checked_before_any_write(sync, sandbox, oauth):
    config = oauth("prospects.read", "prospects.write", "accounts.read")
    assert sync(PEOPLE, **config).exit_code == 0
    sent = sandbox.request_count
    run = sync([*COMPANIES, *PEOPLE], **config)
    assert run.exit_code == 1
    assert "The token lacks accounts.write, which stream 'accounts' needs" in run.log
    assert sandbox.request_count == sent


def test_a_dry_run_needs_no_scope_to_write(sync, sandbox, grant):
    grant("prospects.read", "accounts.read")
    assert sync([*PEOPLE, *COMPANIES], dry_run=True).exit_code == 0
    assert writes(sandbox) == []


def test_a_run_of_one_object_is_asked_nothing_more(sync, sandbox, grant):
    grant("prospects.all")
    assert sync(PEOPLE).exit_code == 0
    assert "/api/v2" not in {one.path.rstrip("/") for one in sandbox.requests}


def test_where_outreach_does_not_say_the_scopes_a_run_begins(sync, sandbox, grant):
    grant("prospects.all", "accounts.all")
    sandbox.profile = replace(sandbox.profile, identity="meta")
    assert sync([*PEOPLE, *COMPANIES]).exit_code == 0


@pytest.mark.parametrize(
    ("name", "goals", "options", "more"),
    [
        ("accounts", ["name", "id"], {}, []),
        ("accounts", ["name"], {"in_bulk": True}, ["imports.read", "imports.write"]),
        (
            "prospects",
            ["owner.email", "account.id", "stage.name"],
            {},
            ["users.read", "stages.read"],
        ),
        (
            "prospects",
            ["account.domain"],
            {"creates_links": True},
            ["accounts.read", "accounts.write"],
        ),
    ],
)
def test_a_stream_needs_what_its_columns_lead_to(name, goals, options, more):
    options = {"creates_links": False, "in_bulk": False} | options
    needed = stream_scopes(load_catalog()[name], goals, **options)
    assert list(needed) == [f"{name}.read", f"{name}.write", *more]
