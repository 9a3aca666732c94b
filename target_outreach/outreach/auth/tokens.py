"""Tokens as a value: what the token endpoint gave, how long it lives, and how it is kept.

Facts about lifetimes are in API reference 7: an access token lives for two hours at most and says
for how long, a refresh token for 14 days; whether a refresh token survives its use is contested,
so the one that was used stays at hand behind the one that it brought.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

#: Seconds that an access token lives if the answer does not say (API reference 7).
USUAL_LIFETIME = 7200.0

DAY = 24 * 3600.0

#: Seconds that a refresh token lives (API reference 7).
REFRESH_LIFETIME = 14 * DAY

#: Seconds before its end at which a token is renewed, or a fifth of a life that is shorter.
LEEWAY = 120.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token, and the refresh tokens that can bring the next one.

    Attributes:
        access_token: What requests carry.
        expires_at: When it ends, in seconds since the epoch by this machine's clock.
        issued_at: When it was asked for, likewise.
        refresh_tokens: The newest, and behind it the one that brought it; empty for a
            server-to-server app.
        scopes: What it may do, or None where the answer did not say.
        refresh_issued_at: When the newest refresh token was issued, likewise.
        organisation: Whose they are, where a login has found that out.
        login: Stands for the login that they come from; None where they come from none that is
            known.
    """

    access_token: str = field(repr=False)
    expires_at: float
    issued_at: float
    refresh_tokens: tuple[str, ...] = field(default=(), repr=False)
    scopes: tuple[str, ...] | None = None
    refresh_issued_at: float | None = None
    organisation: str | None = None
    login: str | None = None

    def is_alive(self, now: float) -> bool:
        """Say whether the access token has not ended yet."""
        return self.issued_at <= now < self.expires_at

    def is_good(self, now: float) -> bool:
        """Say whether the access token lives long enough to be sent at this time."""
        lifetime = self.expires_at - self.issued_at
        return self.issued_at <= now < self.expires_at - min(LEEWAY, lifetime / 5)

    @classmethod
    def read(cls, document: Any, *, used: str | None, asked_at: float) -> Tokens:  # noqa: ANN401 - JSON
        """Read the token endpoint's answer.

        Args:
            document: Its JSON.
            used: The refresh token that was sent, if any.
            asked_at: When the request was sent, in seconds since the epoch.

        Raises:
            ValueError: It holds no access token.
        """
        given = document if isinstance(document, dict) else {}
        access, refresh, scope = (
            value if isinstance(value := given.get(name), str) else ""
            for name in ("access_token", "refresh_token", "scope")
        )
        if not _is_plain(access):
            raise ValueError("no access token")
        refresh = refresh if _is_plain(refresh) else ""
        return cls(
            access_token=access,
            expires_at=asked_at + lifetime(given.get("expires_in")),
            issued_at=asked_at,
            refresh_tokens=tuple(dict.fromkeys(token for token in (refresh, used) if token)),
            scopes=tuple(scope.split()) or None,
            refresh_issued_at=asked_at if refresh else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept in the credentials file."""
        kept: dict[str, Any] = msgspec.to_builtins(self)
        return kept

    @classmethod
    def from_json(cls, kept: object) -> Tokens:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It is something else.
        """
        return msgspec.convert(kept, cls)


def _is_plain(token: str) -> bool:
    """Whether a token can be in a header."""
    return bool(token) and token.isascii() and token.isprintable()


def lifetime(expires_in: Any) -> float:  # noqa: ANN401 - JSON
    """Read a token's life in seconds as the server says it, even in text."""
    try:
        seconds = float(expires_in)
    except (OverflowError, TypeError, ValueError):
        return USUAL_LIFETIME
    return seconds if 0 < seconds < float("inf") else USUAL_LIFETIME
