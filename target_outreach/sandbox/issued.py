"""What the sandbox issued: codes and tokens in its file, by digest, and who asked for them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from target_outreach.sandbox.messages import TokenRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from target_outreach.sandbox.database import Database

Kind = Literal["code", "refresh", "access", "s2s", "revoked"]

ISSUED = "issued"
S2S = "s2s"
_UNKNOWN = "*"  # no digest: stands for all access tokens that were not issued here


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may do what.

    Attributes:
        client_id: The app.
        scope: What it may do: scopes separated by spaces.
        redirect_uri: Where its code was sent; empty for what is no code.
        challenge: The code challenge (RFC 7636) that its code was asked for with; empty if none.
    """

    client_id: str
    scope: str
    redirect_uri: str = ""
    challenge: str = ""


@dataclass(frozen=True, slots=True)
class Issued:
    """A code or token as it is in the file; `good` if it is valid at this moment."""

    kind: Kind
    grant: Grant
    good: bool


class IssuedTokens:
    """The codes and tokens in the sandbox's file; whoever reads the file learns no secret.

    Args:
        database: The file.
        clock: Returns epoch seconds.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._succeeds: dict[str, str] = {}

    def transaction(self) -> AbstractContextManager[object]:
        """Keep everybody else out until all is done."""
        return self._database.transaction()

    def add(self, secret: str, kind: Kind, grant: Grant, seconds: float) -> None:
        """Issue a code or token that lives for so many seconds."""
        now = self._clock()
        values = (_digest(secret), kind, grant.client_id, grant.scope, grant.redirect_uri)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO issued (digest, kind, client_id, scope, redirect_uri, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (*values, now + seconds),
            )
            if grant.challenge:
                connection.execute(
                    "INSERT INTO challenges (digest, challenge) VALUES (?, ?)",
                    (_digest(secret), grant.challenge),
                )

    def find(self, secret: str) -> Issued | None:
        """Return what was issued, or revoked by name; None where nothing is known of it."""
        if (old := self._succeeds.pop(_digest(secret), None)) is not None:
            self._kill(old)
        rows = self._database.rows(
            "SELECT kind, client_id, scope, redirect_uri, coalesce(challenge, ''), expires_at, dead"
            " FROM issued LEFT JOIN challenges USING (digest) WHERE digest = ?",
            (_digest(secret),),
        )
        if not rows:
            return None
        kind, client_id, scope, redirect_uri, challenge, expires_at, dead = rows[0]
        good = not dead and self._clock() < expires_at
        return Issued(kind, Grant(client_id, scope, redirect_uri, challenge), good)

    def refuses_unknown(self) -> bool:
        """Tell whether access tokens that were not issued here were all revoked."""
        return bool(self._database.rows("SELECT 1 FROM issued WHERE digest = ?", (_UNKNOWN,)))

    def kill(self, secret: str) -> None:
        """Let a code or token be good no longer, whether it was issued here or not."""
        self._kill(_digest(secret))

    def kill_on_use(self, old: str, *brought: str) -> None:
        """Let a refresh token be good until one of those that it brought is first used."""
        self._succeeds |= dict.fromkeys(map(_digest, brought), _digest(old))

    def kill_all_access(self) -> None:
        """Let no access token be good any longer but those that are issued from now on."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE issued SET dead = 1 WHERE kind IN ('access', 's2s')")
            self._kill(_UNKNOWN)

    def keep_newest(self, client_id: str, cap: int) -> None:
        """Let all refresh tokens of an app die but the newest `cap` that are alive."""
        alive = "kind = 'refresh' AND client_id = ? AND NOT dead"
        with self._database.transaction() as connection:
            connection.execute(
                f"UPDATE issued SET dead = 1 WHERE {alive} AND number NOT IN"  # noqa: S608 - fixed
                f" (SELECT number FROM issued WHERE {alive} ORDER BY number DESC LIMIT ?)",
                (client_id, client_id, cap),
            )

    def count_refresh_tokens(self) -> int:
        """Return how many refresh tokens are good."""
        sql = "SELECT count(*) FROM issued WHERE kind = 'refresh' AND NOT dead AND expires_at > ?"
        return int(self._database.rows(sql, (self._clock(),))[0][0])

    def log(self, grant_type: str, client_id: str, outcome: str) -> None:
        """Take note of a request for an access token."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO token_requests (at, grant_type, client_id, outcome)"
                " VALUES (?, ?, ?, ?)",
                (self._clock(), grant_type, client_id, outcome),
            )

    def requests(self) -> list[TokenRequest]:
        """Return the requests for access tokens, the oldest first."""
        sql = "SELECT at, grant_type, client_id, outcome FROM token_requests ORDER BY number"
        return [TokenRequest(*row) for row in self._database.rows(sql)]

    def last_minted(self, client_id: str) -> float | None:
        """Return when the token endpoint last issued an access token to a client, or None."""
        ((at,),) = self._database.rows(
            "SELECT max(at) FROM token_requests"
            " WHERE client_id = ? AND outcome = ? AND grant_type != ?",
            (client_id, ISSUED, S2S),
        )
        return None if at is None else float(at)

    def _kill(self, digest: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO issued (digest, kind, client_id, scope, redirect_uri, expires_at,"
                " dead) VALUES (?, 'revoked', '', '', '', 0, 1)"
                " ON CONFLICT (digest) DO UPDATE SET dead = 1",
                (digest,),
            )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
