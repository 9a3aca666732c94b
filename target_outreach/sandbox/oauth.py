"""The token endpoint: codes and refresh tokens against access tokens (API reference 5 and 7)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_plus

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox import errors
from target_outreach.sandbox.apps import SANDBOX_APP, App
from target_outreach.sandbox.issued import ISSUED, Grant
from target_outreach.sandbox.limits import Allowance, retry_after
from target_outreach.sandbox.messages import PLAIN_JSON, Answer, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from target_outreach.sandbox.issued import Issued, IssuedTokens
    from target_outreach.sandbox.messages import Request
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.tokens import Tokens

_DAY = 86_400
_SECRETS = {"refresh_token": "refresh_token", "authorization_code": "code"}


class RefusedError(Exception):
    """A token request that is refused.

    Args:
        outcome: One word for the log.
        answer: The HTTP answer.
    """

    def __init__(self, outcome: str, answer: Answer) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.answer = answer


class TokenEndpoint:
    """Issues tokens; each request is worked on alone, so that no code serves twice.

    Args:
        tokens: Where access tokens come from.
        issued: The codes and tokens in the file.
        clock: Returns epoch seconds.
    """

    def __init__(self, tokens: Tokens, issued: IssuedTokens, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._issued = issued
        self._clock = clock

    def answer(self, request: Request, profile: Profile) -> Answer:
        """Answer a token request; refusals are answers too."""
        form = read_form(request)
        with self._issued.transaction():
            try:
                answer, outcome = self._grant(form, profile), ISSUED
            except RefusedError as refusal:
                answer, outcome = _said(refusal, profile), refusal.outcome
            self._issued.log(form.get("grant_type", ""), form.get("client_id", ""), outcome)
        return answer

    def issue_refresh_token(self, grant: Grant, profile: Profile) -> str:
        """Issue a refresh token; where an app has too many, its oldest one dies."""
        token = secrets.token_urlsafe(32)
        with self._issued.transaction():
            self._issued.add(token, "refresh", grant, profile.refresh_token_days * _DAY)
            self._issued.keep_newest(grant.client_id, profile.refresh_token_cap)
        return token

    def _grant(self, form: dict[str, str], profile: Profile) -> Answer:
        self._throttle(form.get("client_id", ""), profile)
        name = _SECRETS.get(form.get("grant_type", ""))
        if name is None:
            raise _refusal("unsupported_grant_type", "This grant type is not supported.")
        client_id = _client(form, profile)
        if name not in form:
            raise _refusal("invalid_request", f"The parameter {name} is missing.")
        grant = self._redeem(name, form, client_id, profile)
        access = self._tokens.mint("access", grant, profile.access_token_seconds)
        refresh = self.issue_refresh_token(grant, profile)
        if name == "refresh_token" and profile.strict_rotation and profile.rotation_grace:
            self._issued.kill_on_use(form[name], access, refresh)
        content = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": profile.access_token_seconds,
            "refresh_token": refresh,
            "scope": grant.scope,
            "created_at": int(self._clock()),
        }
        return json_answer(200, content, PLAIN_JSON, Cache_Control="no-store")

    def _throttle(self, client_id: str, profile: Profile) -> None:
        """Refuse before anything else is looked at, as a gateway in front would."""
        last, now = self._issued.last_minted(client_id), self._clock()
        until = -math.inf if last is None else last + profile.mint_throttle_seconds
        if now >= until:
            return
        if profile.mint_throttle_style == "text":
            raise RefusedError("throttled", Answer(429, b"Retry later\n", media_type="text/plain"))
        reset = math.ceil(until)
        wait = retry_after(Allowance(1, 0, reset, granted=False), profile, now)
        raise RefusedError("throttled", errors.rate_limited(1, reset).answer(**wait))

    def _redeem(self, name: str, form: dict[str, str], client_id: str, profile: Profile) -> Grant:
        """Return what a code or refresh token stands for, and use it up where it is used up."""
        secret = form[name]
        issued = self._issued.find(secret)
        if issued is None and not profile.apps:
            grant = Grant(client_id, everything())
        elif issued is not None and _fits(issued, name, form, client_id):
            grant = issued.grant
        else:
            description = "It is wrong, expired, used, revoked, or of another client or address."
            raise _refusal("invalid_grant", description)
        at_once = profile.strict_rotation and not profile.rotation_grace
        if at_once if name == "refresh_token" else issued is not None:
            self._issued.kill(secret)
        return grant


def known_apps(profile: Profile) -> dict[str, App]:
    """Return the OAuth clients by client id."""
    return {app.client_id: app for app in profile.apps or (SANDBOX_APP,)}


def everything() -> str:
    """Return the scopes for all that the sandbox has."""
    return join_scopes(f"{name}.all" for name in (*load_catalog(), "imports"))


def join_scopes(scopes: Iterable[str]) -> str:
    """Write scopes as OAuth does, each once."""
    return " ".join(dict.fromkeys(scopes))


def read_form(request: Request) -> dict[str, str]:
    """Read the parameters of a POST: both form and JSON bodies are in use (7).

    What is empty or null counts as missing. A client may name itself by HTTP Basic instead.
    """
    text = request.body.decode("utf-8", "replace")
    content: object = dict(parse_qsl(text))
    if "json" in request.headers.get("content-type", ""):
        try:
            content = json.loads(text)
        except ValueError:
            content = None
    members = content if isinstance(content, dict) else {}
    # JSON can hold half a surrogate pair, which no file takes.
    form = {
        name: str(value).encode("utf-8", "replace").decode()
        for name, value in members.items()
        if value is not None and value != ""
    }
    return _basic(request) | form


def _basic(request: Request) -> dict[str, str]:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        pair = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return {}
    client_id, _, secret = pair.partition(":")
    return {"client_id": unquote_plus(client_id), "client_secret": unquote_plus(secret)}


def _client(form: dict[str, str], profile: Profile) -> str:
    """Return the client's id, once its secret has proved right."""
    client_id = form.get("client_id", "")
    app = known_apps(profile).get(client_id)
    if app is None and not profile.apps:
        return client_id
    if app is None or app.client_secret != form.get("client_secret"):
        description = "The client is unknown, or its secret is wrong or missing."
        raise _refusal("invalid_client", description, 401)
    return client_id


def _fits(issued: Issued, name: str, form: dict[str, str], client_id: str) -> bool:
    """Tell whether a code or refresh token is good, and meant for this client and address."""
    if not issued.good or issued.grant.client_id != client_id:
        return False
    if name == "refresh_token":
        return issued.kind == "refresh"
    return (
        issued.kind == "code"
        and issued.grant.redirect_uri == form.get("redirect_uri")
        and hmac.compare_digest(issued.grant.challenge, _challenge(form.get("code_verifier", "")))
    )


def _challenge(verifier: str) -> str:
    """Return the code challenge of a verifier by the method S256; that of none is none.

    So a code that was asked for without a challenge is no good for a client that has a verifier:
    somebody else asked for it (RFC 9700, 2.1.1).
    """
    if not verifier:
        return ""
    digest = hashlib.sha256(verifier.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _said(refusal: RefusedError, profile: Profile) -> Answer:
    if profile.grant_refusal == "empty" and refusal.outcome in {"invalid_client", "invalid_grant"}:
        return Answer(refusal.answer.status, media_type=PLAIN_JSON)
    return refusal.answer


def _refusal(error: str, description: str, status: int = 400) -> RefusedError:
    content = {"error": error, "error_description": description}
    return RefusedError(error, json_answer(status, content, PLAIN_JSON, Cache_Control="no-store"))
