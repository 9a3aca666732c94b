"""Access tokens that renew themselves: ahead of their end, once for all threads and processes.

No OAuth library that was tried keeps eight threads and a refresh token that is good for one use
apart from each other, so these few lines are our own. A thread that finds the token ending, or
hears that it was refused, takes the lock of the process, then the lock of the credentials file,
and looks whether somebody else has renewed it meanwhile. Only if nobody has does it ask.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol

from target_outreach.errors import GrantRefused, RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.outreach.credentials_file import Chain
    from target_outreach.outreach.tokens import Tokens

logger = logging.getLogger("target-outreach")

#: Seconds that another process without our lock may need to keep what it has just been given.
KEPT_WITHIN = 2.0


class Minter(Protocol):
    """Gets new tokens."""

    def mint(self, held: Tokens | None) -> Tokens:
        """Ask for new tokens.

        Args:
            held: The newest that are known.

        Raises:
            GrantRefused: What we have to show is not accepted any more.
            RunError: No tokens are to be had.
        """


class RenewedToken:
    """The newest access token of a chain, renewed when that is due."""

    advice = (
        "it was renewed a moment ago and is refused all the same; check that the app and its "
        "user are still active in Outreach."
    )

    def __init__(
        self,
        minter: Minter,
        chain: Chain,
        *,
        rest: Callable[[float], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Ask for nothing yet.

        Args:
            minter: Gets new tokens.
            chain: Keeps them between runs, and shares them with other processes.
            rest: Waits for some seconds, or raises because the run ends.
            clock: Tells the time in seconds since the epoch.
        """
        self._minter = minter
        self._chain = chain
        self._rest = rest
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: Tokens | None = None
        self._failure: RunError | None = None

    def __repr__(self) -> str:
        return "RenewedToken(…)"

    @property
    def tokens(self) -> Tokens | None:
        """The tokens that were used last, if any were."""
        return self._tokens

    def token(self) -> str:
        """Return an access token that lives long enough to be sent.

        Raises:
            RunError: None is to be had.
        """
        tokens = self._tokens
        if tokens is None or not tokens.is_good(self._clock()):
            tokens = self._renewed(refused=None)
        return tokens.access_token

    def refused(self, token: str | None) -> bool:
        """Get a newer token than one that Outreach refused.

        Raises:
            RunError: None is to be had.
        """
        self._renewed(refused=token)
        return True

    def _renewed(self, refused: str | None) -> Tokens:
        """Renew the token, unless another thread has done so while we waited."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if not self._is_usable(self._tokens, refused):
                try:
                    self._tokens = self._shared(refused)
                except RunError as error:
                    self._failure = error  # the other threads need not ask again
                    raise
            assert self._tokens is not None  # noqa: S101 - for the type checker
            return self._tokens

    def _is_usable(self, tokens: Tokens | None, refused: str | None) -> bool:
        return (
            tokens is not None and tokens.access_token != refused and tokens.is_good(self._clock())
        )

    def _shared(self, refused: str | None) -> Tokens:
        """Take what another process has kept, or get new tokens and keep them."""
        with self._chain.locked():
            held = self._chain.read()
            if held is not None and self._is_usable(held, refused):
                return held
            self._rest(0)
            self._chain.check()
            tokens = self._minted(held, refused)
            self._chain.write(tokens)
        logger.info("The access token was renewed; it lives for %s.", _duration(tokens))
        return tokens

    def _minted(self, held: Tokens | None, refused: str | None) -> Tokens:
        """Get new tokens; what is refused may have been used up by a process without our lock."""
        try:
            return self._minter.mint(held)
        except GrantRefused:
            self._rest(KEPT_WITHIN)
            newest = self._chain.read()
            if newest is None or newest == held:
                raise
            return newest if self._is_usable(newest, refused) else self._minter.mint(newest)


def _duration(tokens: Tokens) -> str:
    seconds = tokens.expires_at - tokens.issued_at
    return f"{seconds / 60:,.0f} minutes" if seconds >= 120 else f"{seconds:,.0f} seconds"  # noqa: PLR2004
