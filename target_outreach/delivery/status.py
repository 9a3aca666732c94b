"""How far a run is, for whoever asks on whatever thread; nothing is noted where records pass."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from target_outreach.delivery.tally import Count
from target_outreach.delivery.timeline import Point

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.delivery.tally import Tally
    from target_outreach.outreach.pacing import Budget, Pacer


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a run is.

    Attributes:
        point: Its figures in all.
        streams: The counts by stream.
        budget: What Outreach last said of its limit, or None where it did not yet.
        resumes_in: Time until requests are sent again, or None where none waits for that.
        retries_in: Time until a request that failed is tried again, or None where none waits.
        input_ended: Whether all records are received.
        dry_run: Whether nothing is written.
    """

    point: Point = field(default_factory=Point)
    streams: Mapping[str, Count] = field(default_factory=dict)
    budget: Budget | None = None
    resumes_in: timedelta | None = None
    retries_in: timedelta | None = None
    input_ended: bool = False
    dry_run: bool = False

    @property
    def pace(self) -> float:
        """Records settled in a second, without the waits for Outreach's limit."""
        active = self.point.seconds - self.point.waited
        return self.point.settled / active if active > 0 else 0.0

    @property
    def ends_in(self) -> timedelta | None:
        """Time until the run is expected to end, or None where that cannot be known.

        It cannot before all records are received, since a tap does not say how many it has, nor
        where the rest takes more than one more window of Outreach's limit.
        """
        point, left = self.point, self.point.received - self.point.settled
        if not self.input_ended or not left or not self.pace:
            return None
        seconds = left / self.pace
        wait = (self.resumes_in or timedelta()).total_seconds()
        budget = self.budget
        if budget is not None and budget.resets_in:
            missing = left * point.requests / point.settled - budget.spendable
            if missing > budget.limit:
                return None
            if missing > 0:
                wait = max(wait, budget.resets_in.total_seconds())
        return timedelta(seconds=seconds + wait)

    def since(self, earlier: Moment) -> list[str]:
        """Name the streams of which something has changed since another moment."""
        return [name for name, count in self.streams.items() if count != earlier.streams.get(name)]


class Status:
    """Sees how far a run is.

    Attributes:
        started_at: When the run began.
        input_ended: Whether all records are received.
    """

    def __init__(self, tallies: Mapping[str, Tally], pacer: Pacer, *, dry_run: bool) -> None:
        """Let the time of the run begin.

        Args:
            tallies: The counts by stream, to which other threads add.
            pacer: Knows the requests.
            dry_run: Whether nothing is written.
        """
        self.started_at = datetime.now(UTC)
        self.input_ended = False
        self._started = time.monotonic()
        self._tallies = tallies
        self._pacer = pacer
        self._dry_run = dry_run

    def point(self) -> Point:
        """Return the figures of the run in all."""
        return Point.of(dict(self._tallies), self._pacer, time.monotonic() - self._started)

    def moment(self) -> Moment:
        """Return the figures of the run, by stream too, and what is known of its end."""
        return Moment(
            point=self.point(),
            streams={name: Count.of(tally) for name, tally in dict(self._tallies).items()},
            budget=self._pacer.budget,
            resumes_in=self._pacer.resumes_in,
            retries_in=self._pacer.retries_in if self._pacer.retries_at else None,
            input_ended=self.input_ended,
            dry_run=self._dry_run,
        )
