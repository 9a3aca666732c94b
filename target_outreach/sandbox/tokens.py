"""Bearer tokens: which are good at this moment, and for what (API reference 7)."""

from __future__ import annotations

import json
import secrets
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from target_outreach.sandbox.signatures import encode_base64url

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from target_outreach.sandbox.issued import Grant, IssuedTokens, Kind
    from target_outreach.sandbox.messages import Request
    from target_outreach.sandbox.profile import Profile


@dataclass(frozen=True, slots=True)
class Permit:
    """What a request may do.

    Attributes:
        scopes: What its token covers; None for everything.
        client_id: The app that the token was issued to, or the installation; else empty.
        of_user: Whether the token speaks for a user; one of server to server does not.
    """

    scopes: Collection[str] | None = None
    client_id: str = ""
    of_user: bool = True

    def covers(self, scope: str) -> bool:
        """Tell whether `scope` is covered; ``X.all`` covers all of ``X``."""
        wide = f"{scope.partition('.')[0]}.all"
        return self.scopes is None or scope in self.scopes or wide in self.scopes


class Tokens:
    """The bearer tokens.

    Args:
        issued: The tokens in the file.
        clock: Returns epoch seconds.
        organisation: Id of the organisation.
    """

    def __init__(self, issued: IssuedTokens, clock: Callable[[], float], organisation: str) -> None:
        self._issued = issued
        self._clock = clock
        self._organisation = organisation
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def permit(self, request: Request, profile: Profile) -> Permit | None:
        """Return what the request may do; None where it carries no token that is good."""
        token = bearer(request)
        if profile.only_token is not None:
            is_it = secrets.compare_digest(token.encode(), profile.only_token.encode())
            return Permit() if is_it else None
        if not token:
            return None
        issued = self._issued.find(token)
        if issued is None:
            return None if self._issued.refuses_unknown() else _foreign(token, profile)
        if not issued.good or issued.kind not in {"access", "s2s"}:
            return None
        if self._is_used_up(token, profile):
            return None
        scopes = frozenset(issued.grant.scope.split())
        return Permit(scopes, issued.grant.client_id, issued.kind == "access")

    def _is_used_up(self, token: str, profile: Profile) -> bool:
        """Count a request, and let a token die that has served for as many as it may."""
        if profile.access_token_calls is None:
            return False
        with self._lock:
            self._calls[token] += 1
            is_used_up = self._calls[token] > profile.access_token_calls
        if is_used_up:
            self._issued.kill(token)
        return is_used_up

    def mint(self, kind: Kind, grant: Grant, seconds: int) -> str:
        """Issue an access token: a JWT to look at, of which only the file knows if it is good."""
        now = int(self._clock())
        claims = {
            "iss": "sandbox",
            "aud": grant.client_id,
            "org": self._organisation,
            "scope": grant.scope,
            "iat": now,
            "exp": now + seconds,
            "jti": secrets.token_urlsafe(16),
        }
        header = {"alg": "HS256", "typ": "JWT"}
        parts = [json.dumps(part).encode() for part in (header, claims)]
        token = ".".join(map(encode_base64url, [*parts, secrets.token_bytes(32)]))
        self._issued.add(token, kind, grant, seconds)
        return token


def bearer(request: Request) -> str:
    """Return the bearer token of a request; empty where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _foreign(token: str, profile: Profile) -> Permit | None:
    """Judge a token that was not issued here."""
    if profile.tokens is None:
        return None if profile.apps or profile.installations else Permit()
    return Permit(profile.tokens[token]) if token in profile.tokens else None
