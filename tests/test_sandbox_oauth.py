"""OAuth, server to server and bearer tokens of the sandbox, as any client sees them."""

from __future__ import annotations

import base64
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sandbox_client import Clock, adjust

from target_outreach.sandbox import SANDBOX_APP, App, Fault, Installation, Profile, Sandbox

NOW = 1_722_592_612.0
DAY = 86_400
HOME = "https://127.0.0.1:8765/callback"
APP = {"client_id": SANDBOX_APP.client_id, "client_secret": SANDBOX_APP.client_secret}
OTHER = App("other", "its-secret", ["https://client.example.test/oauth"], "The other <app>")


class Form(HTMLParser):
    """Reads the one form of a page, as a browser would."""

    def __init__(self, text):
        super().__init__()
        self.fields, self.buttons, self.action, self.links = {}, [], None, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [given[name] for name in ("src", "href") if name in given]
        if tag == "form":
            self.action = given["action"]
        elif tag == "input":
            self.fields[given["name"]] = given["value"]
        elif tag == "button":
            self.buttons.append((given["name"], given["value"]))


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outreach.db"


@pytest.fixture
def sandbox(path, clock):
    profile = Profile(apps=[SANDBOX_APP, OTHER], unauthorized_style="errors")
    with Sandbox(path, profile, clock=clock) as running:
        yield running


def wish(**changes):
    parameters = {
        "client_id": SANDBOX_APP.client_id,
        "redirect_uri": HOME,
        "response_type": "code",
        "scope": "prospects.read accounts.all",
        "state": "s t&te",
    }
    return {name: value for name, value in (parameters | changes).items() if value is not None}


def authorize(sandbox, method="GET", **changes):
    """Ask for consent, or with `decision` and POST give it; redirects are not followed."""
    place = {"params": wish(**changes)} if method == "GET" else {"data": wish(**changes)}
    url = f"{sandbox.oauth_url}/authorize"
    return requests.request(method, url, **place, timeout=5, allow_redirects=False)


def sent_to(answer):
    """Where a redirect leads, and with which parameters."""
    assert answer.status_code == 302
    url = urlsplit(answer.headers["Location"])
    parameters = {name: value for name, (value,) in parse_qs(url.query).items()}
    return f"{url.scheme}://{url.netloc}{url.path}", parameters


def code(sandbox, **changes):
    return sent_to(authorize(sandbox, "POST", decision="authorize", **changes))[1]["code"]


def trade(sandbox, app=APP, encoding="data", **grant):
    """Ask the token endpoint."""
    return requests.post(f"{sandbox.oauth_url}/token", **{encoding: app | grant}, timeout=5)


def exchange(sandbox, code, redirect_uri=HOME, **more):
    more = {"grant_type": "authorization_code", "redirect_uri": redirect_uri} | more
    return trade(sandbox, code=code, **more)


def refresh(sandbox, token, **more):
    return trade(sandbox, grant_type="refresh_token", refresh_token=token, **more)


def get(sandbox, token, path="/prospects"):
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(sandbox.api_url + path, headers=headers, timeout=5)


def error(answer):
    return answer.status_code, answer.json()["error"]


def outcomes(sandbox):
    return [request.outcome for request in sandbox.token_requests]


# The consent page


def test_the_consent_page_says_who_asks_for_what_and_needs_nothing_from_elsewhere(sandbox):
    redirect_uri = OTHER.redirect_uris[0]
    answer = authorize(sandbox, client_id="other", redirect_uri=redirect_uri, state='"><b>')
    form = Form(answer.text)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "The other &lt;app&gt; asks for access" in answer.text
    assert "<code>prospects.read</code>" in answer.text
    assert "<code>accounts.all</code>" in answer.text
    assert "<b>" not in answer.text
    assert form.fields["state"] == '"><b>'
    assert form.buttons == [("decision", "authorize"), ("decision", "deny")]
    assert form.links == []


def test_who_authorizes_is_sent_back_with_a_code_that_gets_tokens(sandbox):
    form = Form(authorize(sandbox).text)
    answer = requests.post(
        sandbox.url + form.action,
        data=form.fields | {"decision": "authorize"},
        timeout=5,
        allow_redirects=False,
    )
    place, parameters = sent_to(answer)
    assert place == HOME
    assert parameters["state"] == "s t&te"
    assert parameters.keys() == {"code", "state"}
    assert exchange(sandbox, parameters["code"]).status_code == 200


def test_who_denies_is_sent_back_with_an_error(sandbox):
    place, parameters = sent_to(authorize(sandbox, "POST", decision="deny"))
    assert place == HOME
    assert parameters == {"error": "access_denied", "state": "s t&te"}


def test_a_redirect_keeps_the_query_of_its_address_and_adds_no_state(sandbox):
    answer = authorize(sandbox, "POST", decision="deny", redirect_uri=f"{HOME}?port=1", state=None)
    assert answer.headers["Location"] == f"{HOME}?port=1&error=access_denied"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"client_id": "nobody"}, 401),
        ({"client_id": None}, 401),
        ({"redirect_uri": None}, 400),
        ({"redirect_uri": "https://elsewhere.example.test/"}, 400),
        ({"redirect_uri": "http://127.0.0.1@elsewhere.example.test/"}, 400),
        ({"redirect_uri": "http://elsewhere.example.test\\@127.0.0.1/"}, 400),
        ({"redirect_uri": "http://127.0.0.1.example.test/"}, 400),
        ({"redirect_uri": f"{HOME}#fragment"}, 400),
        ({"redirect_uri": f"{HOME}\r\nSet-Cookie: a=b"}, 400),
        ({"client_id": "other"}, 400),
        ({"client_id": "other", "redirect_uri": "https://client.example.test/oauth/"}, 400),
        ({"response_type": "token"}, 400),
        ({"response_type": None}, 400),
        ({"scope": " "}, 400),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_wrong_request_is_told_to_the_user_and_never_redirected(sandbox, changes, status, method):
    answer = authorize(sandbox, method, decision="authorize", **changes)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "address",
    ["https://localhost:1/a?b=c", "https://[::1]:65535", "https://127.0.0.1/deep/path", HOME],
)
def test_an_app_without_addresses_may_use_any_https_one_of_this_machine(sandbox, address):
    assert authorize(sandbox, redirect_uri=address).status_code == 200
    plain = address.replace("https:", "http:")
    assert authorize(sandbox, redirect_uri=plain).status_code == 400
    adjust(sandbox, http_redirects=True)
    assert authorize(sandbox, redirect_uri=plain).status_code == 200


def test_an_http_address_that_an_app_lists_is_good(sandbox):
    plain = "http://127.0.0.1:8765/callback"
    adjust(sandbox, apps=[replace(SANDBOX_APP, redirect_uris=[plain])])
    assert authorize(sandbox, redirect_uri=plain).status_code == 200


def test_an_app_may_not_ask_for_more_than_it_is_registered_for(sandbox):
    adjust(sandbox, apps=[replace(SANDBOX_APP, scopes=["prospects.read"])])
    assert authorize(sandbox).status_code == 400
    assert authorize(sandbox, scope="prospects.read").status_code == 200


def test_only_two_decisions_are_known(sandbox):
    assert authorize(sandbox, "POST").status_code == 400
    assert authorize(sandbox, "POST", decision="maybe").status_code == 400


# Codes


def test_a_code_gets_tokens_with_the_scopes_that_the_user_saw(sandbox, clock):
    answer = exchange(sandbox, code(sandbox))
    body = answer.json()
    assert answer.headers["Cache-Control"] == "no-store"
    assert body.keys() == {
        "access_token",
        "token_type",
        "expires_in",
        "refresh_token",
        "scope",
        "created_at",
    }
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 7200)
    assert (body["scope"], body["created_at"]) == ("prospects.read accounts.all", int(clock.now))
    assert get(sandbox, body["access_token"]).status_code == 200
    assert get(sandbox, body["access_token"], "/accounts").status_code == 200
    refused = get(sandbox, body["access_token"], "/stages")
    assert refused.json()["errors"][0]["id"] == "unauthorizedOauthScope"


def test_an_access_token_looks_like_a_jwt(sandbox, clock):
    token = exchange(sandbox, code(sandbox)).json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": False})
    assert claims["aud"] == SANDBOX_APP.client_id
    assert claims["scope"] == "prospects.read accounts.all"
    assert (claims["iat"], claims["exp"]) == (clock.now, clock.now + 7200)


def test_a_code_is_good_once(sandbox):
    first = code(sandbox)
    assert exchange(sandbox, first).status_code == 200
    assert error(exchange(sandbox, first)) == (400, "invalid_grant")


def test_of_two_clients_with_one_code_one_gets_tokens(sandbox):
    first = code(sandbox)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: exchange(sandbox, first).status_code, range(8)))
    assert sorted(answers) == [200] + [400] * 7


def test_a_code_is_good_for_ten_minutes(sandbox, clock):
    first, second = code(sandbox), code(sandbox)
    clock.now += 599
    assert exchange(sandbox, first).status_code == 200
    clock.now += 1
    assert error(exchange(sandbox, second)) == (400, "invalid_grant")


@pytest.mark.parametrize("redirect_uri", [None, f"{HOME}/", "https://127.0.0.1:8766/callback"])
def test_a_code_is_good_for_the_address_it_was_sent_to(sandbox, redirect_uri):
    given = code(sandbox)
    assert error(exchange(sandbox, given, redirect_uri)) == (400, "invalid_grant")
    assert exchange(sandbox, given).status_code == 200


#: RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = {
    "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    "code_challenge_method": "S256",
}


def test_a_code_with_a_challenge_is_good_for_who_has_the_verifier(sandbox):
    given = code(sandbox, **CHALLENGE)
    for wrong in ({}, {"code_verifier": ""}, {"code_verifier": VERIFIER.lower()}):
        assert error(exchange(sandbox, given, **wrong)) == (400, "invalid_grant")
    assert exchange(sandbox, given, code_verifier=VERIFIER).status_code == 200


def test_a_code_without_a_challenge_is_no_good_for_who_has_a_verifier(sandbox):
    given = code(sandbox)
    assert error(exchange(sandbox, given, code_verifier=VERIFIER)) == (400, "invalid_grant")
    assert exchange(sandbox, given).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": "too-short"},
    ],
)
def test_a_challenge_is_one_of_sha_256(sandbox, changes):
    assert authorize(sandbox, **(CHALLENGE | changes)).status_code == 400


def test_the_consent_page_hands_the_challenge_on(sandbox):
    fields = Form(authorize(sandbox, **CHALLENGE).text).fields
    assert {name: fields[name] for name in CHALLENGE} == CHALLENGE


def test_a_code_is_no_refresh_token_and_no_access_token(sandbox):
    given = code(sandbox)
    assert error(refresh(sandbox, given)) == (400, "invalid_grant")
    assert get(sandbox, given).status_code == 401
    assert error(exchange(sandbox, sandbox.issue_refresh_token())) == (400, "invalid_grant")


# Clients


@pytest.mark.parametrize("encoding", ["data", "json"])
@pytest.mark.parametrize(
    "app",
    [
        {},
        {"client_id": SANDBOX_APP.client_id},
        {"client_id": SANDBOX_APP.client_id, "client_secret": "wrong"},
        {"client_id": "nobody", "client_secret": SANDBOX_APP.client_secret},
        {"client_id": "other", "client_secret": SANDBOX_APP.client_secret},
    ],
)
def test_an_app_is_known_by_its_id_and_secret(sandbox, encoding, app):
    token = sandbox.issue_refresh_token()
    answer = refresh(sandbox, token, app=app, encoding=encoding)
    assert error(answer) == (401, "invalid_client")
    assert answer.headers["Content-Type"] == "application/json"
    assert refresh(sandbox, token).status_code == 200


def test_an_app_may_name_itself_by_basic_authentication(sandbox):
    grant = {"grant_type": "refresh_token", "refresh_token": sandbox.issue_refresh_token()}
    url = f"{sandbox.oauth_url}/token"
    auth = (SANDBOX_APP.client_id, SANDBOX_APP.client_secret)
    assert requests.post(url, data=grant, auth=auth, timeout=5).status_code == 200
    assert requests.post(url, data=grant, auth=("x", "y"), timeout=5).status_code == 401


def test_what_was_issued_to_one_app_is_no_good_for_another(sandbox):
    other = {"client_id": "other", "client_secret": OTHER.client_secret}
    token = sandbox.issue_refresh_token()
    assert error(refresh(sandbox, token, app=other)) == (400, "invalid_grant")
    assert error(exchange(sandbox, code(sandbox), app=other)) == (400, "invalid_grant")
    its_own = sandbox.issue_refresh_token(client_id="other")
    assert refresh(sandbox, its_own, app=other).status_code == 200


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        ({}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": None}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": ""}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "unknown"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": ["\ud800"]}, "invalid_grant"),
        ({"grant_type": "authorization_code", "code": "unknown"}, "invalid_grant"),
    ],
)
def test_a_wrong_token_request_is_refused_with_400(sandbox, grant, expected):
    answer = trade(sandbox, encoding="json", **grant)
    assert error(answer) == (400, expected)
    assert answer.json()["error_description"]


@pytest.mark.parametrize("body", ["", "[1]", "{", "null"])
def test_a_body_that_is_no_json_object_names_no_grant(sandbox, body):
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{sandbox.oauth_url}/token", data=body, headers=headers, timeout=5)
    assert error(answer) == (400, "unsupported_grant_type")


def test_other_paths_and_methods_of_oauth_are_not_found(sandbox):
    assert requests.get(f"{sandbox.oauth_url}/token", timeout=5).status_code == 404
    assert requests.post(f"{sandbox.oauth_url}/revoke", timeout=5).status_code == 404


# Refresh tokens


@pytest.mark.parametrize("encoding", ["data", "json"])
def test_a_refresh_brings_new_tokens_with_the_same_scopes(sandbox, encoding):
    token = sandbox.issue_refresh_token(["stages.read", "prospects.read"])
    # The address comes with a refresh too, from clients that send it always.
    body = refresh(sandbox, token, encoding=encoding, redirect_uri="https://any.test/").json()
    assert body["scope"] == "stages.read prospects.read"
    assert body["refresh_token"] != token
    assert get(sandbox, body["access_token"], "/stages").status_code == 200
    assert refresh(sandbox, body["refresh_token"]).json()["scope"] == body["scope"]


def test_without_rotation_an_old_refresh_token_lives_on(sandbox):
    adjust(sandbox, strict_rotation=False)
    token = sandbox.issue_refresh_token()
    answers = [refresh(sandbox, token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["refresh_token"] for answer in answers}) == 3
    assert sandbox.live_refresh_tokens == 4


def test_a_refresh_token_dies_of_its_use(sandbox):
    old = sandbox.issue_refresh_token()
    new = refresh(sandbox, old).json()["refresh_token"]
    assert error(refresh(sandbox, old)) == (400, "invalid_grant")
    assert refresh(sandbox, new).status_code == 200
    assert sandbox.live_refresh_tokens == 1


def test_a_refused_request_uses_nothing_up(sandbox):
    adjust(sandbox, strict_rotation=True)
    token = sandbox.issue_refresh_token()
    assert refresh(sandbox, token, app={}).status_code == 401
    assert refresh(sandbox, token).status_code == 200


def test_a_refresh_token_lives_for_fourteen_days(sandbox, clock):
    token = sandbox.issue_refresh_token()
    clock.now += 14 * DAY - 1
    newer = refresh(sandbox, token).json()["refresh_token"]
    clock.now += 1
    assert error(refresh(sandbox, token)) == (400, "invalid_grant")
    assert sandbox.live_refresh_tokens == 1
    assert refresh(sandbox, newer).status_code == 200


def test_the_days_of_a_refresh_token_can_be_set(sandbox, clock):
    adjust(sandbox, refresh_token_days=0.5)
    token = sandbox.issue_refresh_token()
    clock.now += DAY / 2
    assert error(refresh(sandbox, token)) == (400, "invalid_grant")


def test_a_refresh_token_dies_when_a_hundred_newer_ones_live(sandbox):
    oldest = sandbox.issue_refresh_token()
    other = sandbox.issue_refresh_token(client_id="other")
    second, *_ = [sandbox.issue_refresh_token() for _ in range(99)]
    assert sandbox.live_refresh_tokens == 101
    assert refresh(sandbox, oldest).status_code == 200
    assert error(refresh(sandbox, oldest)) == (400, "invalid_grant")
    assert refresh(sandbox, second).status_code == 200
    assert sandbox.live_refresh_tokens == 101
    its_app = {"client_id": "other", "client_secret": OTHER.client_secret}
    assert refresh(sandbox, other, app=its_app).status_code == 200


def test_a_revoked_refresh_token_is_refused(sandbox):
    token = sandbox.issue_refresh_token()
    sandbox.revoke(token)
    assert error(refresh(sandbox, token)) == (400, "invalid_grant")
    assert sandbox.live_refresh_tokens == 0


# Access tokens


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("text", "Invalid access token"),
        ("gateway", '"error":"Invalid JWT token."'),
        ("errors", '"id":"expiredAccessToken"'),
    ],
)
def test_an_expired_access_token_is_refused_in_the_form_of_the_profile(sandbox, clock, style, text):
    adjust(sandbox, unauthorized_style=style, access_token_seconds=90)
    body = refresh(sandbox, sandbox.issue_refresh_token()).json()
    assert body["expires_in"] == 90
    clock.now += 89
    assert get(sandbox, body["access_token"]).status_code == 200
    clock.now += 1
    answer = get(sandbox, body["access_token"])
    assert answer.status_code == 401
    assert text in answer.text


def test_an_access_token_may_be_good_for_a_number_of_requests(sandbox):
    adjust(sandbox, access_token_calls=2)
    tokens = refresh(sandbox, sandbox.issue_refresh_token()).json()
    answers = [get(sandbox, tokens["access_token"]).status_code for _ in range(4)]
    assert answers == [200, 200, 401, 401]
    newer = refresh(sandbox, tokens["refresh_token"]).json()["access_token"]
    assert get(sandbox, newer).status_code == 200


def test_where_apps_are_listed_only_known_tokens_are_good(sandbox):
    assert get(sandbox, "unknown").status_code == 401
    adjust(sandbox, tokens={"given": ["accounts.read"]})
    assert get(sandbox, "given", "/accounts").status_code == 200
    assert get(sandbox, "given").status_code == 403
    issued = refresh(sandbox, sandbox.issue_refresh_token(["prospects.read"])).json()
    assert get(sandbox, issued["access_token"]).status_code == 200
    assert get(sandbox, issued["refresh_token"]).status_code == 401


def test_all_access_tokens_can_be_revoked_at_once(sandbox):
    adjust(sandbox, tokens={"given": ["prospects.all"]})
    token = sandbox.issue_refresh_token()
    before = refresh(sandbox, token).json()
    sandbox.revoke_all()
    assert get(sandbox, before["access_token"]).status_code == 401
    assert get(sandbox, "given").status_code == 401
    after = refresh(sandbox, before["refresh_token"]).json()["access_token"]
    assert get(sandbox, after).status_code == 200


def test_without_apps_the_sandbox_takes_what_it_has_never_seen(clock):
    with Sandbox(clock=clock) as sandbox:
        assert get(sandbox, "unknown").status_code == 200
        answer = refresh(sandbox, "other", app={"client_id": "any", "client_secret": "any"})
        assert answer.status_code == 200
        assert error(refresh(sandbox, "unknown", app=APP | {"client_secret": "wrong"})) == (
            401,
            "invalid_client",
        )
        given = code(sandbox)
        assert exchange(sandbox, given).status_code == 200
        assert error(exchange(sandbox, given)) == (400, "invalid_grant")
        assert authorize(sandbox, client_id="any").status_code == 401
        assert refresh(sandbox, "unknown").status_code == 200
        assert error(refresh(sandbox, "unknown")) == (400, "invalid_grant")


# The file


def test_a_restarted_sandbox_knows_its_tokens_and_holds_no_secret(path, clock):
    profile = Profile(apps=[SANDBOX_APP], strict_rotation=True)
    with Sandbox(path, profile, clock=clock) as sandbox:
        used, revoked = sandbox.issue_refresh_token(), sandbox.issue_refresh_token()
        given = code(sandbox)
        sandbox.revoke(revoked)
        tokens = refresh(sandbox, used).json()
        secrets = [given, used, tokens["access_token"], tokens["refresh_token"]]
    with closing(sqlite3.connect(path)) as file:
        dump = "\n".join(file.iterdump())
    assert not any(secret in dump for secret in secrets)
    with Sandbox(path, profile, clock=clock) as sandbox:
        assert get(sandbox, tokens["access_token"]).status_code == 200
        assert exchange(sandbox, given).status_code == 200
        assert error(refresh(sandbox, used)) == (400, "invalid_grant")
        assert error(refresh(sandbox, revoked)) == (400, "invalid_grant")
        assert refresh(sandbox, tokens["refresh_token"]).status_code == 200
        assert outcomes(sandbox) == ["issued"] * 2 + ["invalid_grant"] * 2 + ["issued"]
        sandbox.revoke_all()
    clock.now += 1
    with Sandbox(path, Profile(), clock=clock) as sandbox:
        assert get(sandbox, tokens["access_token"]).status_code == 401
        assert get(sandbox, "unknown").status_code == 401


def test_a_file_from_before_tokens_were_kept_gets_their_tables(path, clock):
    with Sandbox(path, clock=clock) as sandbox:
        sandbox.store.seed("prospects", {"emails": ["ada@example.com"]})
    with closing(sqlite3.connect(path)) as file:
        file.execute("DROP TABLE issued")
        file.execute("DROP TABLE token_requests")
    with Sandbox(path, clock=clock) as sandbox:
        assert refresh(sandbox, sandbox.issue_refresh_token()).status_code == 200
        assert len(sandbox.store.all("prospects")) == 1


def test_token_requests_are_told_in_order_without_secrets(sandbox, clock):
    token = sandbox.issue_refresh_token()
    refresh(sandbox, token)
    clock.now += 5
    refresh(sandbox, "unknown")
    trade(sandbox, app={"client_id": "nobody"}, grant_type="authorization_code", code="c")
    trade(sandbox, app={}, grant_type="")
    told = [
        (each.at - NOW, each.grant_type, each.client_id, each.outcome)
        for each in sandbox.token_requests
    ]
    assert told == [
        (0, "refresh_token", "sandbox-client", "issued"),
        (5, "refresh_token", "sandbox-client", "invalid_grant"),
        (5, "authorization_code", "nobody", "invalid_client"),
        (5, "", "", "unsupported_grant_type"),
    ]


# Limits and faults


def test_a_second_token_within_the_minute_is_refused(sandbox, clock):
    adjust(sandbox, mint_throttle_seconds=60, strict_rotation=True, retry_after="delta")
    token = refresh(sandbox, sandbox.issue_refresh_token()).json()["refresh_token"]
    clock.now += 59
    refused = refresh(sandbox, token)
    assert refused.status_code == 429
    assert refused.json()["errors"][0]["id"] == "rateLimitExceeded"
    assert refused.headers["Retry-After"] == "1"
    other = {"client_id": "other", "client_secret": OTHER.client_secret}
    its_own = sandbox.issue_refresh_token(client_id="other")
    assert refresh(sandbox, its_own, app=other).status_code == 200
    clock.now += 1
    assert refresh(sandbox, token).status_code == 200
    assert outcomes(sandbox) == ["issued", "throttled", "issued", "issued"]


def test_only_a_token_that_was_issued_makes_the_next_one_wait(sandbox):
    adjust(sandbox, mint_throttle_seconds=60)
    assert refresh(sandbox, "unknown").status_code == 400
    assert refresh(sandbox, sandbox.issue_refresh_token()).status_code == 200
    assert refresh(sandbox, "unknown").status_code == 429


def test_the_refusal_can_be_the_plain_text_of_a_throttle_in_front(sandbox):
    adjust(sandbox, mint_throttle_seconds=60, mint_throttle_style="text")
    token = sandbox.issue_refresh_token()
    assert refresh(sandbox, token).status_code == 200
    refused = refresh(sandbox, token)
    assert (refused.status_code, refused.text.strip()) == (429, "Retry later")
    assert refused.headers["Content-Type"] == "text/plain"
    assert "Retry-After" not in refused.headers


def test_tokens_cost_nothing_of_the_rate_limit(sandbox):
    adjust(sandbox, rate_limit=1)
    answer = refresh(sandbox, sandbox.issue_refresh_token())
    assert "X-RateLimit-Remaining" not in answer.headers
    authorize(sandbox)
    token = answer.json()["access_token"]
    assert get(sandbox, token).headers["X-RateLimit-Remaining"] == "0"
    assert get(sandbox, token).status_code == 429
    assert refresh(sandbox, sandbox.issue_refresh_token()).status_code == 200


@pytest.mark.parametrize("kind", ["hang_after", "reset_after", "status_after"])
def test_a_token_can_be_issued_and_its_answer_lost(sandbox, kind):
    adjust(sandbox, strict_rotation=True)
    token = sandbox.issue_refresh_token()
    sandbox.add_fault(Fault(kind, "POST", "/oauth/token"))
    if kind == "status_after":
        assert refresh(sandbox, token).status_code == 503
    else:
        with pytest.raises(requests.ConnectionError):
            refresh(sandbox, token)
    assert outcomes(sandbox) == ["issued"]
    assert sandbox.live_refresh_tokens == 1
    assert error(refresh(sandbox, token)) == (400, "invalid_grant")


@pytest.mark.parametrize("kind", ["status", "reset_before"])
def test_a_fault_before_the_work_issues_no_token(sandbox, kind):
    adjust(sandbox, strict_rotation=True)
    token = sandbox.issue_refresh_token()
    sandbox.add_fault(Fault(kind, path="/oauth/"))
    if kind == "status":
        assert refresh(sandbox, token).status_code == 503
    else:
        with pytest.raises(requests.ConnectionError):
            refresh(sandbox, token)
    assert sandbox.token_requests == []
    assert refresh(sandbox, token).status_code == 200


# Whose token it is


def test_the_root_tells_user_organisation_and_app_of_a_token(sandbox):
    token = refresh(sandbox, sandbox.issue_refresh_token(["users.read"])).json()["access_token"]
    told = get(sandbox, token, "/").json()
    meta = told["meta"]
    assert meta["user"] == {
        "id": 1,
        "email": "ada@example.com",
        "firstName": "Ada",
        "lastName": "Byron",
        "name": "Ada Byron",
    }
    assert told["data"]["attributes"]["name"] == "Sandbox"
    assert meta["scopes"] == ["users.read"]
    assert meta["application"] == {"name": SANDBOX_APP.name}
    user = get(sandbox, token, "/users/1").json()["data"]
    assert user["attributes"]["email"] == meta["user"]["email"]


# Server to server


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(65537, 2048)


def pem(public_key, form=PublicFormat.SubjectPublicKeyInfo):
    return public_key.public_bytes(Encoding.PEM, form).decode()


@pytest.fixture
def server(sandbox, key):
    """A sandbox in which an app of servers is installed."""
    adjust(sandbox, installations=[Installation("42", "guid-of-app", pem(key.public_key()))])
    return sandbox


CLAIMS = {"iss": "guid-of-app", "iat": int(NOW), "exp": int(NOW) + 3600}


def signed(key, algorithm="RS256", **changes):
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm)


def ask(sandbox, token, install_id="42"):
    url = f"{sandbox.url}/api/app/installs/{install_id}/actions/accessToken"
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(url, headers=headers, timeout=5)


def test_a_signed_jwt_gets_a_token_of_one_hour(server, key, clock):
    answer = ask(server, signed(key))
    assert (answer.status_code, list(answer.json())) == (200, ["data"])
    assert "X-RateLimit-Remaining" not in answer.headers
    token = answer.json()["data"]["meta"]["accessToken"]
    assert len(token.split(".")) == 3
    assert get(server, token).status_code == 200
    assert get(server, token, "/stages").status_code == 403
    assert get(server, token, "/").json()["meta"]["user"] is None
    clock.now += 3599
    assert get(server, token).status_code == 200
    clock.now += 1
    assert get(server, token).status_code == 401


def test_the_token_of_an_installation_has_its_scopes(server, key):
    (installation,) = server.profile.installations
    adjust(server, installations=[replace(installation, scopes=["accounts.read"])])
    token = ask(server, signed(key)).json()["data"]["meta"]["accessToken"]
    assert get(server, token, "/accounts").status_code == 200
    assert get(server, token).status_code == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"iss": None},
        {"iat": None},
        {"exp": None},
        {"exp": True},
        {"exp": str(NOW + 60)},
        {"exp": int(NOW)},
        {"exp": int(NOW) + 3601},
        {"exp": float("nan")},
        {"iat": int(NOW) + 61},
        {"iat": int(NOW) - 3601, "exp": int(NOW) + 60},
    ],
)
def test_a_jwt_needs_the_right_issuer_and_an_hour_at_most(server, key, changes):
    claims = json.dumps(CLAIMS | changes)  # PyJWT would not write all of these
    content = {name: value for name, value in json.loads(claims).items() if value is not None}
    token = jwt.api_jws.encode(json.dumps(content).encode(), key, "RS256")
    assert ask(server, token).status_code == 401
    assert [each.outcome for each in server.token_requests] == ["unauthorized"]


def test_a_jwt_needs_the_signature_of_the_installed_app(server, key):
    good = signed(key)
    head, claims, seal = good.split(".")
    forged = base64.urlsafe_b64encode(json.dumps(CLAIMS | {"jti": "x"}).encode()).decode()
    bad = [
        "",
        "not-a-jwt",
        f"{head}.{claims}",
        f"{head}.{claims}.",
        f"{head}.{forged.rstrip('=')}.{seal}",
        f"{head}.{claims}.{seal[:-4]}",
        f"{head}.{claims}.{'A' * len(seal)}",
        f"{head}.{claims}.{seal}.{seal}",
        signed(rsa.generate_private_key(65537, 2048)),
        signed(key, "RS512"),
        signed(key, "PS256"),
        signed("a text that both know, of thirty-two bytes", "HS256"),
        jwt.encode(CLAIMS, None, "none"),
    ]
    assert [ask(server, token).status_code for token in bad] == [401] * len(bad)
    assert ask(server, good, install_id="43").status_code == 401
    assert ask(server, good).status_code == 200


def test_a_jwt_itself_is_no_access_token(server, key):
    assert get(server, signed(key)).status_code == 401


def test_server_to_server_requests_are_told_with_the_others(server, key):
    adjust(server, mint_throttle_seconds=60)
    ask(server, signed(key))
    ask(server, "wrong", install_id="43")
    told = [(each.grant_type, each.client_id, each.outcome) for each in server.token_requests]
    assert told == [("s2s", "42", "issued"), ("s2s", "43", "unauthorized")]


def test_the_answer_to_a_server_can_be_lost_too(server, key):
    server.add_fault(Fault("hang_after", path="/actions/accessToken"))
    with pytest.raises(requests.ConnectionError):
        ask(server, signed(key))
    assert outcomes(server) == ["issued"]
    assert ask(server, signed(key)).status_code == 200


@pytest.mark.parametrize("form", ["spki", "pkcs1", "jwk", "numbers"])
@pytest.mark.parametrize("size", [2048, 2056])
def test_the_public_key_comes_in_any_usual_form(sandbox, form, size):
    key = rsa.generate_private_key(65537, size)
    numbers = key.public_key().public_numbers()
    forms = {
        "spki": pem(key.public_key()),
        "pkcs1": pem(key.public_key(), PublicFormat.PKCS1),
        "jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())),
        "numbers": (numbers.n, numbers.e),
    }
    adjust(sandbox, installations=[Installation("42", "guid-of-app", forms[form])])
    assert ask(sandbox, signed(key)).status_code == 200


@pytest.mark.parametrize(
    "public_key",
    [
        "no key",
        pem(ec.generate_private_key(ec.SECP256R1()).public_key()),
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\nA\n-----END PUBLIC KEY-----",
        {"kty": "RSA", "e": "AQAB"},
        {"n": "§", "e": "AQAB"},
        (0, 3),
        (15, 1),
    ],
)
def test_an_installation_without_an_rsa_key_is_refused_at_once(public_key):
    with pytest.raises(ValueError, match="no RSA public key"):
        Installation("42", "guid-of-app", public_key)
