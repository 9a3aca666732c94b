"""Trying again: for how long, after which waits, and how often that is said.

This is the one policy for all that is asked of Outreach, requests and tokens alike.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from backoff import full_jitter

from target_outreach.bounds import TRIES, TRUSTED_WAITS
from target_outreach.errors import Retriable, Unanswered
from target_outreach.outreach.refusals import TOO_MANY

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

logger = logging.getLogger("target-outreach")

#: Seconds of the first wait, which double with each try, up to the longest.
FIRST_WAIT = 0.5
LONGEST_WAIT = 8.0
FIRST_THROTTLE = 1.0
LONGEST_THROTTLE = 60.0

#: Seconds between two lines that say that an outage lasts.
MINUTE = 60.0


def growth(tries: int) -> float:
    """Return how much longer the next wait is than the first one."""
    return 2.0 ** min(tries - 1, TRUSTED_WAITS)


def wait_before_next(error: Retriable, tries: int) -> float:
    """Return how many seconds to wait before the next try: as asked, or longer with each try.

    A 429 without any header comes from a layer in front of the application (API reference 5), which
    takes longer to calm down.
    """
    asked = error.wait or 0.0
    if asked and tries <= TRUSTED_WAITS:
        return asked
    if error.status == TOO_MANY:
        throttle = min(FIRST_THROTTLE * growth(tries), LONGEST_THROTTLE)
        return max(asked, throttle * random.uniform(0.5, 1))  # noqa: S311 - no secret
    return max(asked, full_jitter(min(FIRST_WAIT * growth(tries), LONGEST_WAIT)))


class Outages:
    """Waits for the end of outages, for all threads, up to a limit.

    Attributes:
        now: Returns the time in monotonic seconds.
        served_at: When the latest of the answered writes was sent, by `now`.
    """

    def __init__(
        self, longest: float = 0.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Know of no outage.

        Args:
            longest: The longest outage in seconds that does not end the run; 0 for `TRIES` tries.
            clock: A monotonic clock in seconds.
        """
        self._longest = longest
        self.now = clock
        self._lock = threading.Lock()
        self._said_at = float("-inf")
        self._reasons: dict[str, float] = {}  # when each was said; there are a few
        self.served_at = float("-inf")
        self._silent_since: float | None = None

    def repeat(
        self,
        attempt: Callable[[], T],
        wait: Callable[[Retriable, int, bool], None],
        final: tuple[type[Retriable], ...] = (),
        is_last: Callable[[Retriable, int, float], bool] | None = None,
    ) -> T:
        """Do something again until it succeeds, or the outage is over.

        Args:
            attempt: Does it once.
            wait: Waits before the next try. It is told why the last one failed, how many there
                were, and whether this was said already: of this request, in the last minute of
                another, or that it lasts long.
            final: The errors after which it is not done again.
            is_last: Says why, how often and since when it failed whether it is not done again; by
                default `is_over` does.

        Raises:
            Unanswered: The last try failed, too.
            Retriable: One of `final`.
        """
        began = self.now()
        for tries in itertools.count(1):
            try:
                return attempt()
            except Retriable as error:
                if isinstance(error, final):
                    raise
                if is_last(error, tries, began) if is_last else self.is_over(tries, began):
                    unanswered = Unanswered(f"{error} That was the last of {tries} tries.")
                    unanswered.status = error.status
                    raise unanswered from None
                wait(error, tries, self.is_said(error, began) or not self._is_news(error, tries))
        raise AssertionError  # the count has no end

    def retrying(self, tries: int) -> str:
        """Say which try is next after so many, and how many there may be."""
        minutes = self._longest / MINUTE
        longer = f", for at least {minutes:g} minute{'s' * (minutes != 1)}" if minutes else ""
        return f"Retrying {tries} of {TRIES}{longer}"

    def _is_news(self, error: Exception, tries: int) -> bool:
        """Whether another try is said: that after the first one, and once a minute a reason."""
        now, why = self.now(), str(error)
        with self._lock:
            if tries > 1 or now - self._reasons.get(why, float("-inf")) < MINUTE:
                return False
            self._reasons[why] = now
        return True

    def is_over(self, tries: int, since: float, least: int | None = None) -> bool:
        """Whether nothing is to be tried again after so many tries since a time, by `now`.

        It is tried as often as is said, else `TRIES` times, at least.
        """
        return tries >= (least or TRIES) and self.now() - since >= self._longest

    def is_given_up(self, tries: int, since: float, *, least: int, at_once: bool) -> bool:
        """Whether a write that Outreach fails at (5xx) is not tried again, at least not now.

        Where Outreach answers others meanwhile, that is no outage.

        Args:
            tries: How often it was tried.
            since: From when on others must have been answered, by `now`.
            least: How often it is tried at least.
            at_once: Whether others are to be tried before it is known if this is an outage.
        """
        with self._lock:
            if self._silent_since is None:
                self._silent_since = max(since, self.served_at)
        return tries >= least and (at_once or self.has_served(since) or self.is_too_long)

    def served(self, sent_at: float) -> None:
        """Hear that Outreach has carried a write out, or refused it for what it says.

        Its answer may come long after an outage began, so the time when it was sent counts.
        """
        with self._lock:
            self.served_at, self._silent_since = max(self.served_at, sent_at), None

    def has_served(self, since: float) -> bool:
        """Whether Outreach has answered a write that was sent since then."""
        return self.served_at > since

    @property
    def is_too_long(self) -> bool:
        """Whether all writes have failed for as long as an outage may last."""
        since = self._silent_since
        return since is not None and self.now() - since >= self._longest

    def is_said(self, error: Exception, since: float) -> bool:
        """Say once a minute that an outage lasts.

        Args:
            error: What is wrong, in a sentence without any value of a record.
            since: When the request was first tried, by `now`.

        Returns:
            Whether it lasts so long that it is said only by this.
        """
        now = self.now()
        if now - since < MINUTE:
            return False
        with self._lock:
            if now - self._said_at < MINUTE:
                return True
            self._said_at = now
        logger.warning(
            "%s No usable answer has come for %.0f min; max_outage_minutes is %.0f.",
            error,
            (now - since) / 60,
            self._longest / 60,
        )
        return True
