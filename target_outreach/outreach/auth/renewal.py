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
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from target_outreach.errors import CredentialsError, GrantRefused, OutreachError, RunError
from target_outreach.outreach.auth import Successor

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.outreach.auth.credentials_file import Chain
    from target_outreach.outreach.auth.installation import Installation
    from target_outreach.outreach.auth.signal_guard import SignalGuard
    from target_outreach.outreach.auth.token_endpoint import RefreshGrant
    from target_outreach.outreach.auth.tokens import Tokens

logger = logging.getLogger("target-outreach")

#: Seconds that another process without our lock may need to keep what it has just been given.
KEPT_WITHIN = 2.0

#: Seconds between tries to save new tokens.
BETWEEN_WRITES = (0.2, 1.0)

#: Seconds between tries to renew a token that is not at its end yet.
BETWEEN_TRIES = 20.0


#: Access tokens that are remembered as refused; a file without a lock may bring one back.
REMEMBERED_DEAD = 100


class RenewedToken:
    """The newest access token of a chain, renewed when that is due.

    Attributes:
        tokens: Those that were used last, if any were.
    """

    advice = (
        "it was renewed a moment ago and is refused all the same; check that the app and its "
        "user are still active in Outreach."
    )

    def __init__(
        self,
        minter: RefreshGrant | Installation,
        chain: Chain,
        *,
        guard: SignalGuard,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Ask for nothing yet; the clock tells seconds since the epoch."""
        self._minter = minter
        self._chain = chain
        self._clock = clock
        self._lock = threading.Lock()
        self._guard = guard
        self.tokens: Tokens | None = None
        self._dead: deque[str | None] = deque(maxlen=REMEMBERED_DEAD)
        self._failure: RunError | None = None
        self._next_try_at = 0.0
        self._is_unsaved = False

    def __repr__(self) -> str:
        return "RenewedToken(…)"

    def token(self) -> str:
        """Return an access token that lives long enough to be sent.

        Raises:
            RunError: None is available.
        """
        tokens = self.tokens
        if tokens is None or not self._is_usable(tokens):
            tokens, _ = self._renewed()
        return tokens.access_token

    def refused(self, token: str | None) -> Successor:
        """Get another token than one that Outreach refused, and never one that it refused before.

        Raises:
            RunError: None is available.
        """
        self._dead.append(token)
        _, successor = self._renewed()
        return successor

    def close(self) -> None:
        """Save what could not be saved when it came."""
        with self._lock:
            if self._is_unsaved and self.tokens is not None:
                try:
                    with self._chain.locked(self._guard.rest):
                        self._chain.write(self.tokens)
                except RunError as error:
                    logger.error(  # noqa: TRY400 - a sentence
                        "%s The newest refresh token is lost with this; log in again if the next "
                        "run is refused.",
                        error,
                    )

    def _renewed(self) -> tuple[Tokens, Successor]:
        """Renew the token, unless another thread has done so while we waited."""
        successor = Successor.SHARED
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._is_usable(self.tokens):
                assert self.tokens is not None  # noqa: S101 - for the type checker
                return self.tokens, successor
            try:
                self.tokens, successor = self._shared()
            except (CredentialsError, OutreachError) as error:
                if not self._can_wait():
                    self._failure = error  # the other threads need not ask again
                    raise
                self._next_try_at = self._clock() + BETWEEN_TRIES
                logger.warning("%s The present access token still serves for a while.", error)
            assert self.tokens is not None  # noqa: S101 - for the type checker
            return self.tokens, successor

    def _can_wait(self) -> bool:
        """Whether the present token has not ended, and nobody has refused it."""
        tokens = self.tokens
        return tokens is not None and not self._is_dead(tokens) and tokens.is_alive(self._clock())

    def _is_dead(self, tokens: Tokens) -> bool:
        return tokens.access_token in self._dead

    def _is_usable(self, tokens: Tokens | None) -> bool:
        if tokens is None or self._is_dead(tokens):
            return False
        now = self._clock()
        return tokens.is_good(now) or (now < self._next_try_at and tokens.is_alive(now))

    def _shared(self) -> tuple[Tokens, Successor]:
        """Take what another process has kept, or get new tokens and keep them."""
        if (held := self._held()) is not None and self._serves(held):
            return held, Successor.SHARED  # without a lock, which costs requests in a store
        with self._chain.locked(self._guard.rest):
            held = self._held()
            if held is not None and self._serves(held):
                return held, Successor.SHARED
            if self.tokens is None and held is not None and not self._is_dead(held):
                self.tokens = held  # it is used while no other is available
            self._guard.rest(0)
            self._chain.check()
            with self._guard:  # a signal waits until what was got is kept
                tokens = self._keep(self._minted(held))
        logger.info("The access token was renewed; it lives for %s.", _duration(tokens))
        return tokens, Successor.ISSUED

    def _serves(self, tokens: Tokens) -> bool:
        """Whether tokens that others have kept live long enough, and were not refused to us."""
        return not self._is_dead(tokens) and tokens.is_good(self._clock())

    def _held(self) -> Tokens | None:
        """Return the newest tokens that are known: those of the file, or of this process."""
        held, own = self._chain.read(), self.tokens
        if held is None or own is None:
            return held or own
        known = dict.fromkeys([*held.refresh_tokens, *own.refresh_tokens])
        return replace(held, refresh_tokens=tuple(known))

    def _keep(self, tokens: Tokens) -> Tokens:
        """Save new tokens; where that fails, go on with them, and save them at the end."""
        for pause in (*BETWEEN_WRITES, None):
            try:
                tokens = self._chain.write(tokens)
            except CredentialsError as error:
                if pause is None:
                    self._is_unsaved = True
                    logger.warning("%s They are used, and saved later if that is possible.", error)
                    break
                time.sleep(pause)
            else:
                self._is_unsaved = False
                break
        return tokens

    def _minted(self, held: Tokens | None) -> Tokens:
        """Get new tokens; what is refused may have been used up by a process without our lock."""
        try:
            return self._minter.mint(held)
        except GrantRefused:
            self._guard.rest(KEPT_WITHIN)
            newest = self._held()
            if newest is None or newest == held:
                raise
            if self._serves(newest):
                return newest
            return self._minter.mint(newest)


def _duration(tokens: Tokens) -> str:
    seconds = tokens.expires_at - tokens.issued_at
    return f"{seconds / 60:,.0f} minutes" if seconds >= 120 else f"{seconds:,.0f} seconds"  # noqa: PLR2004
