"""Bearer tokens, their scopes, and the token endpoint in a simple form (API reference 7)."""

from __future__ import annotations

import json
import secrets
import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox.messages import PLAIN_JSON, Answer, Request, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from target_outreach.sandbox.profile import Profile

ACCESS_SECONDS = 7200
_SECRETS = {"refresh_token": "refresh_token", "authorization_code": "code"}


class Tokens:
    """Which tokens are good, and for what.

    Args:
        clock: Returns epoch seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._expiry: dict[str, float] = {}
        self._revoked: set[str] = set()
        self._only_issued = False

    def revoke(self, token: str) -> None:
        """Refuse this access or refresh token from now on."""
        with self._lock:
            self._revoked.add(token)
            self._expiry.pop(token, None)

    def revoke_all(self) -> None:
        """Refuse every access token but those that the token endpoint issues from now on."""
        with self._lock:
            self._expiry.clear()
            self._only_issued = True

    def accepts(self, request: Request, profile: Profile) -> bool:
        """Tell whether the request carries a token that is good at this moment."""
        if profile.anonymous:
            return True
        token = _bearer(request)
        with self._lock:
            if token in self._expiry:
                return self._clock() < self._expiry[token]
            if not token or token in self._revoked or self._only_issued:
                return False
        return profile.tokens is None or token in profile.tokens

    def grants(self, request: Request, profile: Profile, scope: str) -> bool:
        """Tell whether the token covers `scope`; ``X.all`` covers all of ``X``."""
        scopes = _scopes(_bearer(request), profile)
        return scopes is None or scope in scopes or f"{scope.partition('.')[0]}.all" in scopes

    def issue(self, request: Request) -> Answer:
        """Answer the token endpoint: every refresh token and code that was not revoked is good."""
        form = _form(request)
        secret_name = _SECRETS.get(form.get("grant_type", ""))
        if secret_name is None:
            return _oauth_error("unsupported_grant_type", "The grant type is not supported.")
        secret = form.get(secret_name)
        if not secret:
            return _oauth_error("invalid_request", f"The parameter {secret_name} is missing.")
        if secret in self._revoked:
            return _oauth_error("invalid_grant", "The provided grant is invalid or revoked.")
        return json_answer(200, self._grant(), PLAIN_JSON, Cache_Control="no-store")

    def _grant(self) -> dict[str, object]:
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            self._expiry[access] = now + ACCESS_SECONDS
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": ACCESS_SECONDS,
            "refresh_token": refresh,
            "scope": " ".join(f"{name}.all" for name in load_catalog()),
            "created_at": int(now),
        }


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _scopes(token: str, profile: Profile) -> Collection[str] | None:
    """Return the scopes of a token; None where it may do everything."""
    if profile.anonymous or profile.tokens is None:
        return None
    return profile.tokens.get(token)


def _form(request: Request) -> dict[str, str]:
    """Read the parameters of a token request: both form and JSON bodies are in use (7)."""
    text = request.body.decode("utf-8", "replace")
    if "json" not in request.headers.get("content-type", ""):
        return dict(parse_qsl(text))
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return {k: str(v) for k, v in content.items()} if isinstance(content, dict) else {}


def _oauth_error(error: str, description: str) -> Answer:
    return json_answer(400, {"error": error, "error_description": description}, PLAIN_JSON)
