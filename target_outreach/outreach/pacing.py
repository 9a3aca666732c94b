"""When the next request may be sent: one pacer for all threads, fed by the answers' headers.

Outreach counts 10,000 requests an hour for each user, whoever spends them, and says on each answer
how many remain (API reference 5). So the headers are the truth that threads, processes and machines
share. The pacer bursts while there is budget, then waits once for the reset. How fast the budget
falls also tells how many others spend it, whose requests in flight cannot be seen.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from target_outreach.bounds import LONGEST_WINDOW
from target_outreach.errors import EndedEarly
from target_outreach.outreach.answers import first_number, seconds_until
from target_outreach.outreach.outages import Outages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

logger = logging.getLogger("target-outreach")

#: Seconds waited longer than asked, since a server's clock shows whole seconds.
MARGIN = 0.25

#: Seconds by which the end of one and the same window may differ between answers.
SAME_WINDOW = 0.9

#: Seconds after which a thread that waits for other threads' answers looks again.
ANSWER_DUE = 0.5

#: The most runs like this one that are assumed to share the user's limit.
MOST_SHARERS = 16

#: How much one answer changes what is believed of others: some dozens tell it well.
LEARNING_RATE = 1 / 16

#: Seconds of a rest that is no wait for a limit but one between two tries.
SHORT_REST = 10.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What Outreach's last answers said of the user's limit.

    Attributes:
        limit: Requests in a window.
        remaining: How many of them are left.
        resets_in: Time until the next window.
        spendable: How many of them `request_budget_percent` lets this run send.
    """

    limit: int
    remaining: int
    resets_in: timedelta
    spendable: int


class Pacer:
    """Grants permission to send, and waits where the budget is spent.

    Args:
        budget_percent: The share of the limit that may be spent; the rest is left to others.
        max_requests: How many requests may be sent in all, or None.
        max_wait: The longest wait in seconds; a longer one ends the run resumably.
        max_outage: The longest time in seconds without a usable answer.
        clock: A monotonic clock in seconds.

    Attributes:
        outages: Waits for the end of outages.
        sent: How many requests were sent.
        retries_at: When requests that failed are tried again, by the clock.
    """

    def __init__(
        self,
        *,
        budget_percent: int = 100,
        max_requests: int | None = None,
        max_wait: float = 3600.0,
        max_outage: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget_percent = budget_percent
        self._max_requests = max_requests
        self._max_wait = max_wait
        self.outages = Outages(max_outage, clock=clock)
        self._clock = clock
        self._changed = threading.Condition()
        self._in_flight = 0
        self._limit = 0
        self._remaining: int | None = None
        self._sharers = 1.0
        self._reset_at = 0.0
        self._window = 0.0
        self._paused_until = 0.0
        self._announced = 0.0
        self._stopping = False
        self.sent = 0
        self.retries_at: list[float] = []
        self._waiting = 0
        self._waiting_since = 0.0
        self._waited = 0.0

    @property
    def budget(self) -> Budget | None:
        """What is left of the limit, or None where no answer has said it yet."""
        with self._changed:
            if self._remaining is None:
                return None
            left = max(0.0, self._reset_at - self._clock())
            spendable = max(0, self._remaining - self._reserve)
            return Budget(self._limit, self._remaining, timedelta(seconds=left), spendable)

    @property
    def waited(self) -> float:
        """Seconds in which a request waited for Outreach's limit, or for a pause that it asked for.

        Several requests that wait at once count once.
        """
        with self._changed:
            now = self._clock() - self._waiting_since if self._waiting else 0.0
            return self._waited + now

    @property
    def resumes_in(self) -> timedelta | None:
        """Time until requests are sent again, or None where none waits for that."""
        with self._changed:
            left = self._paused_until - self._clock()
            return timedelta(seconds=left) if self._waiting and left > 0 else None

    @property
    def retries_in(self) -> timedelta | None:
        """Time until the next request is tried again, or None where none waits for that."""
        with self._changed:
            if not self.retries_at:
                return None
            return timedelta(seconds=max(0.0, min(self.retries_at) - self._clock()))

    @property
    def _reserve(self) -> int:
        """How much of the limit is left to others."""
        return self._limit * (100 - self._budget_percent) // 100

    def stop(self) -> None:
        """Grant nothing more: waiting threads and later ones get `EndedEarly`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def acquire(self) -> None:
        """Wait until a request may be sent, and count it.

        Raises:
            EndedEarly: `max_requests` are sent, the wait would be too long, or the run ends.
        """
        with self._changed:
            self._wait()
            self.sent += 1
            self._in_flight += 1

    def give_back(self) -> None:
        """Hear that a request is not sent after all, for which permission was granted."""
        with self._changed:
            self.sent -= 1
            self._in_flight -= 1
            self._changed.notify_all()

    def is_free_for(self, requests: int) -> bool:
        """Whether so many requests could be sent right now, without a wait."""
        with self._changed:
            try:
                if self._wait_now() > 0:
                    return False
            except EndedEarly:
                return False
            left = self._left(self._clock())
            allowed = None if self._max_requests is None else self._max_requests - self.sent
            return all(limit is None or limit >= requests for limit in (left, allowed))

    def wait(self) -> None:
        """Wait as `acquire` does, but take nothing.

        Raises:
            EndedEarly: As for `acquire`.
        """
        with self._changed:
            self._wait()

    def rest(self, seconds: float) -> None:
        """Wait some seconds for something else than the limit, unless the run ends meanwhile.

        Raises:
            EndedEarly: That is longer than `max_wait` and no short rest between tries, or the run
                ends.
        """
        if seconds > max(self._max_wait, SHORT_REST):
            raise EndedEarly(
                f"Outreach asks to wait for {seconds / 60:,.0f} minutes, which is longer than "
                f"max_wait_minutes ({self._max_wait / 60:,.0f}); the next run goes on."
            )
        with self._changed:
            if self._changed.wait_for(lambda: self._stopping, seconds):
                raise EndedEarly("The run ends.")

    @contextmanager
    def retry_in(self, seconds: float) -> Iterator[None]:
        """Let `retries_in` say that something is tried again in so many seconds."""
        at = self._clock() + seconds
        with self._changed:
            self.retries_at.append(at)
        try:
            yield
        finally:
            with self._changed:
                self.retries_at.remove(at)

    def _wait(self) -> None:
        while (wait := self._wait_now()) > 0:
            self._announce(wait)
            self._wait_once(min(wait, 60.0))

    def _wait_once(self, seconds: float) -> None:
        """Wait until something changes, counting the time in which any thread waits."""
        if self._waiting == 0:
            self._waiting_since = self._clock()
        self._waiting += 1
        try:
            self._changed.wait(seconds)
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self._waited += self._clock() - self._waiting_since

    def _wait_now(self) -> float:
        """Return the seconds to wait, 0 for none, having checked what forbids sending at all."""
        if self._stopping:
            raise EndedEarly("The run ends.")
        if self._max_requests is not None and self.sent >= self._max_requests:
            raise EndedEarly(
                f"max_requests ({self._max_requests}) is reached; "
                "the next run goes on where this one stopped."
            )
        now = self._clock()
        left = self._left(now)
        # Others are taken to have as many in flight as we, and to be about to send one more each.
        enough = (self._in_flight + 2) * max(self._sharers, 1.0) - 1
        is_enough = left is None or left >= enough
        if left is not None and (left <= 0 or not (is_enough or self._in_flight)):
            self._paused_until = max(self._paused_until, self._reset_at + MARGIN)
        wait = self._paused_until - now
        if wait > self._max_wait:
            raise EndedEarly(
                f"Outreach's limit resets in {wait / 60:,.0f} minutes, which is longer than "
                f"max_wait_minutes ({self._max_wait / 60:,.0f}); the next run goes on."
            )
        if wait <= 0 and not is_enough:
            return ANSWER_DUE  # the answers in flight will say how much is really left
        return wait

    def _left(self, now: float) -> int | None:
        """Return what may still be spent in this window, None where that is not known."""
        if self._remaining is None or now >= self._reset_at:
            return None
        return self._remaining - self._reserve

    def release(self, headers: Mapping[str, str] | None, server_now: datetime | None) -> None:
        """Hear that a request is answered, or lost where there are no headers.

        The server's time is None where the answer did not say it.
        """
        with self._changed:
            self._in_flight -= 1
            if headers is not None:
                self._observe(headers, server_now or datetime.now(UTC))
            self._changed.notify_all()

    def _observe(self, headers: Mapping[str, str], server_now: datetime) -> None:
        """Take in what an answer says of the window; answers overtake each other."""
        remaining = first_number(headers.get("X-RateLimit-Remaining"))
        seconds = seconds_until(headers.get("X-RateLimit-Reset"), server_now)
        if remaining is None or seconds is None or seconds > LONGEST_WINDOW:
            return
        self._limit = first_number(headers.get("X-RateLimit-Limit")) or self._limit
        window = server_now.timestamp() + seconds
        ends_at = self._clock() + seconds
        if self._remaining is None or window > self._window + SAME_WINDOW:
            self._window, self._remaining, self._reset_at = window, remaining, ends_at
        elif window > self._window - SAME_WINDOW:
            # What was spent between two of our answers: one request by us, the rest by others.
            spent = min(max(self._remaining - remaining, 0), MOST_SHARERS)
            self._sharers += (spent - self._sharers) * LEARNING_RATE
            self._remaining = min(remaining, self._remaining)
            # The server's clock shows whole seconds, so the earliest estimate is the best.
            self._reset_at = min(self._reset_at, ends_at)

    def pause(self, seconds: float) -> None:
        """Hold every thread back for so many seconds, as a refusal asked for."""
        with self._changed:
            self._paused_until = max(self._paused_until, self._clock() + seconds + MARGIN)
            if seconds < SHORT_REST:  # the refusal itself is said
                self._announced = max(self._announced, self._paused_until)
            self._changed.notify_all()

    def _announce(self, wait: float) -> None:
        """Say once for each wait until when it lasts."""
        if wait >= 1 and self._paused_until > self._announced + 1:
            self._announced = self._paused_until
            until = clock_time(timedelta(seconds=wait))
            logger.info("Waiting until %s for Outreach's limit to reset.", until)


def clock_time(later: timedelta) -> str:
    """Say what time it will be so much later, as ``17:59:00 -05:00`` or ``22:59:00 UTC``.

    The local time needs its offset: whoever shows the log may put another one before each line.
    """
    then = datetime.now().astimezone() + later
    zone = f"{then:%z}"
    return f"{then:%H:%M:%S} {f'{zone[:3]}:{zone[3:5]}' if then.utcoffset() else 'UTC'}"
