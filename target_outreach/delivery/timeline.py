"""The progress of a run over time, in a limited number of points, for the chart of the report.

The counts are sampled at intervals, not with each record or request. If there are many points,
every second one is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from target_outreach.delivery.tally import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.delivery.tally import Tally
    from target_outreach.outreach.pacing import Pacer

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

    @classmethod
    def of(cls, tallies: Mapping[str, Tally], pacer: Pacer, seconds: float) -> Point:
        """Read the counts of a run; safe on any thread."""
        counted = tuple(tallies.values())  # in one step, since another thread may add a stream
        return cls(
            seconds,
            sum(tally.received for tally in counted),
            sum(tally.outcomes[outcome] for tally in counted for outcome in OUTCOMES),
            pacer.sent,
            pacer.waited,
        )

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
