"""How far a run is, and how far it was when.

Whoever asks looks at the counts, on whatever thread; nothing is noted where records pass.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from target_outreach.delivery.tally import OUTCOMES, Count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.delivery.tally import Tally
    from target_outreach.outreach.pacing import Budget, Pacer

#: The most points that are kept of a run.
MOST_POINTS = 200

#: Seconds between two points at first; doubled whenever points are dropped.
FIRST_SPACING = 0.1


@dataclass(frozen=True, slots=True)
class Point:
    """The counts of a run at one time.

    Attributes:
        seconds: Since the run began.
        received: Records received so far.
        settled: Records settled so far.
        requests: Requests sent so far.
        waited: Seconds spent waiting so far.
    """

    seconds: float = 0.0
    received: int = 0
    settled: int = 0
    requests: int = 0
    waited: float = 0.0

    def as_json(self) -> dict[str, float]:
        """Return the point for the report."""
        return {
            "seconds": round(self.seconds, 3),
            "received": self.received,
            "settled": self.settled,
            "requests": self.requests,
            "seconds_waited": round(self.waited, 3),
        }


class Timeline:
    """The points of a run, evenly spaced and never more than `MOST_POINTS`.

    Attributes:
        spacing: Seconds between two points.
    """

    def __init__(self) -> None:
        self.spacing = FIRST_SPACING
        self._points = [Point()]

    def add(self, point: Point) -> None:
        """Keep a point, if enough time has passed since the one before."""
        if point.seconds - self._points[-1].seconds < self.spacing:
            return
        self._points.append(point)
        if len(self._points) >= MOST_POINTS:
            del self._points[1::2]
            self.spacing *= 2

    def up_to(self, end: Point) -> tuple[Point, ...]:
        """Return the points up to the end of the run, the end included."""
        earlier = (point for point in self._points if point.seconds < end.seconds)
        return (*earlier, end)


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


class Status:
    """Sees how far a run is.

    Attributes:
        started_at: When the run began.
        input_ended: Whether all records are received.
    """

    def __init__(self, tallies: Mapping[str, Tally], pacer: Pacer, *, dry_run: bool) -> None:
        """Let the time of the run begin; other threads add to the tallies."""
        self.started_at = datetime.now(UTC)
        self.input_ended = False
        self._started = time.monotonic()
        self._tallies = tallies
        self._pacer = pacer
        self._dry_run = dry_run

    def point(self) -> Point:
        """Return the figures of the run in all."""
        tallies = tuple(self._tallies.values())  # in one step: another thread may add a stream
        return Point(
            time.monotonic() - self._started,
            sum(tally.received for tally in tallies),
            sum(tally.outcomes[outcome] for tally in tallies for outcome in OUTCOMES),
            self._pacer.sent,
            self._pacer.waited,
        )

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
