"""`target-outreach check --probe`: facts about an organisation, and nothing that tells whose they
are."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import pytest

from target_outreach.commands.check import check as command
from target_outreach.outreach.probe.client import MOST_REQUESTS
from target_outreach.outreach.probe.scrubbing import Scrubber
from target_outreach.sandbox import App, Fault, Profile, Sandbox
from target_outreach.sandbox.facts import profile_from_facts

TOKEN = "invented-token-7f3a"
FOREVER = 10**9
PROFILE = Profile(tokens={TOKEN: ["prospects.all", "accounts.all"]}, rate_window_seconds=FOREVER)
CHECK_REQUESTS = 3


@pytest.fixture
def sandbox(tmp_path):
    """A sandbox without a watcher: some of what a probe asks is wrong on purpose."""
    with Sandbox(tmp_path / "outreach.db", PROFILE) as running:
        yield running


@pytest.fixture
def filled(sandbox):
    sandbox.store.seed_many("accounts", [{"name": "Whisperly Ltd", "domain": "Whisperly.test"}])
    sandbox.store.seed_many(
        "prospects",
        [{"emails": [f"Ada{n}@whisperly.test"], "firstName": "Adaline"} for n in range(3)],
    )
    sandbox.store.define_custom_field("accounts", 1, "Whispered on", "date")
    return sandbox


class Probed:
    def __init__(self, code, out, err):
        self.code = code
        self.out = out
        self.err = err

    @property
    def facts(self):
        return json.loads(self.out)


@pytest.fixture
def check(sandbox, tmp_path):
    def _check(*options, **settings):
        config = {"access_token": TOKEN, "api_url": sandbox.api_url} | settings
        config = {name: value for name, value in config.items() if value is not None}
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            command.main(["--config", str(path), *options])
        asked = [one for one in sandbox.requests if not one.path.startswith("/oauth/")]
        assert {one.method for one in asked} <= {"GET"}
        return Probed(ended.value.code, out.getvalue(), err.getvalue())

    return _check


@pytest.fixture
def probe(check):
    return lambda **settings: check("--probe", **settings)


def leaves(document):
    """All texts and numbers of a document, its keys included."""
    if isinstance(document, dict):
        return [leaf for pair in document.items() for part in pair for leaf in leaves(part)]
    if isinstance(document, list):
        return [leaf for part in document for leaf in leaves(part)]
    return [document]


# What is found


def test_a_probe_says_how_outreach_behaves(filled, probe):
    found = probe()
    facts = found.facts
    assert found.code == 0
    assert facts["format"] == 1
    assert facts["api"] == {"host": "another", "version": "v2"}
    readable = {"readable": True, "empty": False, "count_given": True}
    assert facts["objects"] == {"prospects": readable, "accounts": readable}
    assert facts["identity"] == {"organisation": "data", "user": True, "scopes": True}
    assert set(facts["case"].values()) == {"case-insensitive"}
    works = {"largest_that_works": 800, "smallest_that_fails": None, "failure": None}
    assert list(facts["list_length"].values()) == [works] * 3
    assert facts["url_bytes"] == {
        "largest_that_works": 8192,
        "smallest_that_fails": 12_288,
        "failure": "status 414",
    }
    assert facts["page_size"] == {"1000": "accepted", "1001": "accepted"}
    assert facts["types"]["custom_fields"] == {
        "account": {"date": 1},
        "opportunity": {},
        "prospect": {},
    }
    assert facts["rate_limit"] == {"limit": 10_000, "resets_on_the_hour": False}
    remaining = facts["headers"]["known"]["x-ratelimit-remaining"]
    assert remaining == {"forms": ["one number"], "absent_from": [414]}
    assert facts["requests"] == filled.request_count - CHECK_REQUESTS


@pytest.mark.parametrize(
    ("switches", "identity"),
    [
        ({"identity": "meta"}, {"organisation": "meta", "user": True, "scopes": False}),
        ({"identity": "user"}, {"organisation": None, "user": True, "scopes": False}),
        ({"identity_refusal": 403}, {"refused": 403}),
    ],
)
def test_a_probe_says_where_outreach_tells_whose_a_token_is(filled, probe, switches, identity):
    filled.profile = replace(filled.profile, **switches)
    assert probe().facts["identity"] == identity


@pytest.mark.usefixtures("filled")
def test_refusals_are_shown_without_what_they_quote(probe):
    errors = probe().facts["errors"]
    assert errors["unknown_id"] == {
        "status": 404,
        "body": "errors",
        "members": ["detail", "id", "title"],
        "id": "resourceNotFound",
        "title": "Resource Not Found",
        "detail": "Could not find '...' with ID '...'.",
    }
    assert {kind: one["status"] for kind, one in errors.items()} == {
        "unknown_filter": 400,
        "bad_filter_value": 400,
        "unknown_field": 400,
        "bad_page_size": 400,
        "unknown_id": 404,
        "unknown_route": 404,
        "invented_token": 401,
    }


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("answer", ["honoured", "ignored", "refused"])
def test_what_lists_do_with_unnamed_accounts_is_found_out(filled, probe, answer, listed):
    filled.profile = replace(PROFILE, unnamed_parameter=answer, unnamed_listed=listed)
    account = filled.store.seed("accounts", {"name": "Whispered", "named": False})
    filled.store.update("prospects", 2, {}, {"account": account})
    filled.store.update("prospects", 3, {}, {"account": 1})
    assert probe().facts["unnamed_accounts"]["in_lists"] == answer


def test_without_an_unnamed_account_nobody_knows(filled, probe):
    assert "unknown" in probe().facts["unnamed_accounts"]
    filled.store.update("prospects", 3, {}, {"account": 1})
    reason = "none of 1 prospects has an unnamed account"
    assert probe().facts["unnamed_accounts"] == {"unknown": reason}


def test_pages_of_a_large_organisation_are_seen_to_be_clamped(sandbox, probe):
    sandbox.store.seed_many("prospects", [{"firstName": "Ada"}] * 1001)
    assert probe().facts["page_size"] == {"1000": "full", "1001": "clamped"}


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"case_sensitive_filters": True},
        {"list_cap": 8},
        {"list_cap": 50},
        {"list_cap": 500, "max_url_bytes": 16_384},
        {"max_url_bytes": 6144},
        {"oversized_page": "error"},
        {"limit_headers": "double", "rate_limit": 5000},
        {"limit_headers": "none"},
        {"unauthorized_style": "text"},
        {"unauthorized_style": "errors", "case_sensitive_filters": True, "list_cap": 200},
    ],
)
def test_facts_give_back_the_switches_of_the_sandbox_that_was_asked(filled, probe, switches):
    filled.profile = replace(PROFILE, **switches)
    found = probe()
    assert profile_from_facts(found.facts, PROFILE) == filled.profile
    assert found.facts["requests"] <= MOST_REQUESTS


def test_facts_that_are_unknown_leave_all_switches_as_they_are():
    unknown = {"unknown": "no answer"}
    names = ["case", "list_length", "url_bytes", "page_size", "errors", "headers", "rate_limit"]
    assert profile_from_facts(dict.fromkeys(names, unknown), PROFILE) == PROFILE
    assert profile_from_facts({}) == Profile()


# What cannot be found


def test_an_empty_organisation_leaves_only_its_records_unknown(probe):
    found = probe()
    facts = found.facts
    assert found.code == 0
    assert facts["objects"]["prospects"] == {"readable": True, "empty": True, "count_given": True}
    nothing = {"unknown": "no record has a value to try it with"}
    assert list(facts["case"].values()) == [nothing] * 3
    assert list(facts["list_length"].values()) == [nothing] * 3
    assert facts["url_bytes"]["largest_that_works"] == 8192


def test_opportunities_are_asked_about_where_the_settings_name_them(filled, probe):
    filled.profile = replace(PROFILE, tokens={TOKEN: ["opportunities.read", "accounts.read"]})
    filled.store.seed("opportunities", {"name": "Whispered"})
    facts = probe(outreach_object="opportunities").facts
    assert facts["objects"]["opportunities"]["readable"] is True
    assert facts["case"]["opportunities.name"] == "case-insensitive"
    assert facts["requests"] <= MOST_REQUESTS


def test_what_the_token_may_not_read_is_a_fact_too(filled, probe):
    filled.profile = replace(PROFILE, tokens={TOKEN: ["accounts.read"]})
    found = probe()
    refused = found.facts["objects"]["prospects"]
    assert found.code == 1
    assert refused["readable"] is False
    assert refused["refusal"]["id"] == "unauthorizedOauthScope"
    assert found.facts["case"]["prospects.emails"] == {"unknown": "prospects cannot be read"}
    assert found.facts["case"]["accounts.domain"] == "case-insensitive"
    assert found.facts["errors"]["unknown_field"]["status"] == 400


def test_a_refused_token_makes_everything_unknown(filled, probe):
    filled.revoke(TOKEN)
    found = probe()
    assert found.code == 1
    assert "problem  Outreach refuses the access token" in found.err
    assert found.facts["types"] == {"unknown": "Outreach refuses the access token"}
    assert found.facts["requests"] == 1


def test_a_token_that_ends_on_the_way_is_renewed(filled, probe, tmp_path):
    app = App("app-1", "secret-of-app-1")
    filled.profile = replace(PROFILE, tokens=None, apps=[app])
    filled.add_fault(Fault("status", path="/types", status=401, body="Invalid access token"))
    found = probe(
        access_token=None,
        oauth_url=filled.oauth_url,
        credentials_path=str(tmp_path / "credentials.json"),
        client_id=app.client_id,
        client_secret=app.client_secret,
        refresh_token=filled.issue_refresh_token(),
    )
    assert found.facts["types"]["custom_fields"]["account"] == {"date": 1}
    assert [one.outcome for one in filled.token_requests] == ["issued", "issued"]


def test_a_spent_limit_is_not_waited_for(filled, probe):
    filled.spend(9_990)
    found = probe()
    assert found.facts["types"] == {"unknown": "Outreach's limit is reached"}
    assert filled.request_count <= 11


@pytest.mark.slow
def test_a_server_that_falls_silent_is_soon_left_alone(filled, probe):
    filled.add_fault(Fault("reset_before", after=CHECK_REQUESTS + 3, times=None))
    found = probe()
    assert found.code == 0
    assert found.facts["types"] == {"unknown": "Outreach does not answer"}
    assert found.facts["requests"] == 3 + 2 * 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["status", "truncate", "garbage", "reset_before"])
def test_one_answer_that_fails_is_requested_again(filled, probe, kind):
    filled.add_fault(Fault(kind, path="/types", status=503))
    facts = probe().facts
    if kind != "garbage":
        assert facts["types"]["custom_fields"]["account"] == {"date": 1}
    assert facts["url_bytes"]["largest_that_works"] == 8192


@pytest.mark.parametrize(
    "body", ["[]", "5", "null", '{"data": 5}', '{"data": [5]}', '{"data": [{"type": 5}]}', "<html>"]
)
def test_no_answer_is_too_strange(filled, probe, body):
    fault = Fault("garbage", after=CHECK_REQUESTS, times=None, body=body)
    filled.add_fault(fault)
    found = probe()
    assert found.code == 0
    assert "unknown" in found.facts["types"]
    assert found.facts["requests"] <= MOST_REQUESTS


@pytest.mark.slow
def test_a_server_that_always_fails_is_asked_no_more_than_allowed(filled, probe):
    filled.add_fault(Fault("status", after=CHECK_REQUESTS, times=None, status=500))
    found = probe()
    assert found.code == 0
    assert found.facts["requests"] == filled.request_count - CHECK_REQUESTS <= MOST_REQUESTS


# What must not be told


def test_nothing_in_the_facts_tells_whose_they_are(filled, probe):
    stored = [*filled.store.all("accounts"), *filled.store.all("prospects")]
    texts = {
        leaf.lower()
        for one in stored
        for leaf in leaves(list(one["attributes"].values()))
        if isinstance(leaf, str) and len(leaf) > 2
    }
    assert "ada0@whisperly.test" in texts
    told = probe().out.lower()
    private = [*texts, "whisper", "adaline", TOKEN, "bearer", filled.url, "127.0.0.1", "sandbox"]
    assert [text for text in private if text in told] == []


@pytest.mark.parametrize(
    "detail",
    [
        "Whisperly Ltd has no such filter",
        "ada0@whisperly.test has no such filter",
        "ADA0@WHISPERLY.TEST, 'O'Whisper' and \"Whisper\" have no such filter",
        "See https://whisper.test/4711 or whisper.test: 4711",
        "<html><title>Whisper</title></html>",
        {"whisper": ["whisper"]},
    ],
)
@pytest.mark.parametrize("shape", ["errors", "gateway", "text"])
def test_not_even_an_error_that_repeats_values_does(filled, probe, detail, shape):
    error = {"id": "whisper-4711" if shape == "gateway" else "x", "title": detail, "detail": detail}
    body = {
        "errors": json.dumps({"errors": [error | {"whisper": 1}]}),
        "gateway": json.dumps({"error": "whisper@x.test", "description": detail}),
        "text": str(detail).replace("{", "<"),
    }[shape]
    headers = (("X-Whisper", "4711"),)
    fault = Fault("status", path="inventedName", status=400, body=body, headers=headers, times=None)
    filled.add_fault(fault)
    found = probe()
    assert "whisper" not in found.out.lower()
    assert "4711" not in found.out
    assert found.facts["errors"]["unknown_filter"]["body"] == shape


def test_a_sentence_is_kept_apart_from_what_it_is_about():
    scrub = Scrubber()
    scrub.learn({"meta": {"org": {"name": "Whisper & Co"}, "user": {"id": 7, "name": "Ada"}}})
    said = "Ada of Whisper & Co can't read 'x' until 2017-01-01T00:00:00; Adam isn't limited."
    assert scrub.sentence(said) == "... of ... can't read '...' until #; Adam isn't limited."


def test_a_code_of_an_error_is_no_name(filled, probe):
    filled.store.seed("accounts", {"name": "Whisperers"})
    body = json.dumps({"error": "whisperers"})
    filled.add_fault(Fault("status", path="inventedNames", status=400, body=body))
    assert probe().facts["errors"]["unknown_route"]["id"] == "..."


# Where it goes


@pytest.mark.usefixtures("filled")
def test_findings_are_not_printed_with_the_facts(check):
    found = check("--probe")
    assert found.out.startswith("{")
    assert "ok       prospects can be read." in found.err


@pytest.mark.usefixtures("filled")
def test_facts_can_go_to_a_file(check, tmp_path):
    path = tmp_path / "facts.json"
    found = check("--probe", "--facts", str(path))
    assert found.code == 0
    assert "ok       prospects can be read." in found.out
    assert json.loads(path.read_text("utf-8"))["objects"]["accounts"]["readable"] is True


@pytest.mark.usefixtures("filled")
def test_a_file_that_cannot_be_written_is_a_sentence(check, tmp_path, caplog):
    found = check("--probe", "--facts", str(tmp_path / "none" / "facts.json"))
    assert found.code == 1
    assert "The facts cannot be written (FileNotFoundError)." in caplog.text


def test_facts_without_a_probe_are_a_usage_error(check):
    found = check("--facts", "facts.json")
    assert found.code == 2
    assert "--facts needs --probe." in found.err


def test_without_the_option_nothing_more_is_asked(filled, check):
    found = check()
    assert found.code == 0
    assert filled.request_count == CHECK_REQUESTS


def test_the_local_sandbox_can_be_probed_too(check, tmp_path):
    found = check("--probe", sandbox=str(tmp_path / "local.db"))
    assert found.code == 0
    assert found.facts["errors"]["invented_token"]["status"] == 401  # it takes only its own run's
