"""How long it is borne that Outreach gives no usable answer, and how often that is said."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("target-outreach")

#: How often a request is tried at least, however long that takes.
TRIES = 8

#: Seconds between two lines that say that an outage lasts.
MINUTE = 60.0


class Outages:
    """Bears outages for some time, for all threads."""

    def __init__(
        self, longest: float = 0.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Know of no outage.

        Args:
            longest: For how many seconds one is borne at least; 0 for `TRIES` tries.
            clock: A monotonic clock in seconds.
        """
        self._longest = longest
        self._clock = clock
        self._lock = threading.Lock()
        self._said_at = float("-inf")

    def now(self) -> float:
        """Return the time in monotonic seconds."""
        return self._clock()

    def is_over(self, tries: int, since: float, least: int | None = None) -> bool:
        """Whether nothing is to be tried again.

        Args:
            tries: How often it was tried.
            since: When it was first tried, by `now`.
            least: How often it is tried at least; None for `TRIES`.
        """
        return tries >= (least or TRIES) and self._clock() - since >= self._longest

    def is_said(self, error: Exception, since: float) -> bool:
        """Say once a minute that an outage lasts.

        Args:
            error: What is wrong, in a sentence without any value of a record.
            since: When the request was first tried, by `now`.

        Returns:
            Whether it lasts so long that it is said only by this.
        """
        now = self._clock()
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
