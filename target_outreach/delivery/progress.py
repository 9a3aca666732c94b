"""What a run says of itself while it goes on: a log line now and then, or a live line.

A thread of its own looks at the counts, so that records and requests pass unhindered and a run that
waits for an hour still says so.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from target_outreach.delivery.meters import Meters
from target_outreach.delivery.tally import OUTCOMES, Count, counted
from target_outreach.delivery.terminal import LiveLine, printable
from target_outreach.delivery.timeline import Point, Timeline
from target_outreach.outreach.clock import clock_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from target_outreach.outreach.pacing import Budget

logger = logging.getLogger("target-outreach")

#: Seconds between two log lines, at least.
INTERVAL = 10.0

#: Seconds after which a line is logged although nothing has changed.
HEARTBEAT = 60.0

#: Seconds between two looks, at most: the pace of the live line.
GLANCE = 0.5

#: Streams that one line tells apart.
MOST_STREAMS = 4


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a run is.

    Attributes:
        point: Its figures in all.
        streams: The counts by stream.
        budget: What Outreach last said of its limit, or None where it did not yet.
        resumes_in: Time until requests are sent again, or None where none waits for that.
        input_ended: Whether all records are received.
        dry_run: Whether nothing is written.
    """

    point: Point = field(default_factory=Point)
    streams: Mapping[str, Count] = field(default_factory=dict)
    budget: Budget | None = None
    resumes_in: timedelta | None = None
    input_ended: bool = False
    dry_run: bool = False

    @property
    def ends_in(self) -> timedelta | None:
        """Time until the run is expected to end, or None where that cannot be known.

        It cannot before all records are received, since a tap does not say how many it has, nor
        where the rest takes more than one more window of Outreach's limit.
        """
        point, left = self.point, self.point.received - self.point.settled
        active = point.seconds - point.waited
        if not self.input_ended or not left or not point.settled or active <= 0:
            return None
        seconds = left * active / point.settled
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


class Progress:
    """Tells how a run goes on, until it is closed.

    Attributes:
        timeline: How far the run was when.
    """

    def __init__(self, look: Callable[[], Moment], terminal: TextIO | None) -> None:
        """Say nothing yet.

        Args:
            look: Sees how far the run is; called on a thread of its own.
            terminal: Where a live line may be shown, or None to log lines instead.
        """
        self.timeline = Timeline()
        self._look = look
        self._meters = Meters()
        self._live = LiveLine(terminal) if terminal is not None else None
        self._said = Moment()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        if self._live is not None:
            self._live.attach()
        self._thread.start()

    def close(self) -> None:
        """Tell no more, clear the live line, and log the last metrics."""
        if self._over.is_set():
            return
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._live is not None:
            with contextlib.suppress(OSError, ValueError):  # the terminal is gone
                self._live.detach()
        moment = self._look()
        self._meters.observe(moment.streams, moment.point)
        self._meters.close(moment.point.waited)

    def _run(self) -> None:
        try:
            while not self._over.wait(min(self.timeline.spacing, GLANCE)):
                self._glance(self._look())
        except (OSError, ValueError):
            logger.debug("The terminal is gone; no progress is shown any more.")

    def _glance(self, moment: Moment) -> None:
        self.timeline.add(moment.point)
        self._meters.observe(moment.streams, moment.point)
        if self._live is not None:
            self._live.show(*live_words(moment))
        elif self._is_due(moment):
            logger.info("%s", line_of(moment, moment.since(self._said)))
            self._said = moment

    def _is_due(self, moment: Moment) -> bool:
        silent = moment.point.seconds - self._said.point.seconds
        has_news = bool(moment.since(self._said))
        has_news |= moment.point.requests != self._said.point.requests
        return silent >= (INTERVAL if has_news else HEARTBEAT)


def line_of(moment: Moment, streams: list[str]) -> str:
    """Word the line for the log.

    Args:
        moment: How far the run is.
        streams: The streams that something is to be said of.
    """
    parts = [
        f"{printable(name)}: {moment.streams[name].words()}" for name in streams[:MOST_STREAMS]
    ]
    if (more := len(streams) - MOST_STREAMS) > 0:
        parts.append(counted(more, "more stream"))
    return "; ".join((*parts, *_about_requests(moment)))


def live_words(moment: Moment) -> tuple[str, ...]:
    """Word the live line, from the longest wording to the shortest."""
    if not moment.streams:
        return ("",)
    requests = _about_requests(moment)
    total = _total(moment).words()
    return (
        line_of(moment, list(moment.streams)),
        "; ".join((total, *requests)),
        "; ".join((total, requests[0])),
        f"{moment.point.received:,} received, {moment.point.settled:,} settled; {requests[0]}",
    )


def _total(moment: Moment) -> Count:
    counts = moment.streams.values()
    outcomes = {outcome: sum(count.outcomes[outcome] for count in counts) for outcome in OUTCOMES}
    return Count(sum(count.received for count in counts), outcomes)


def _about_requests(moment: Moment) -> list[str]:
    """Say what was spent, what is left, and when it ends, as far as that is known."""
    spent = counted(moment.point.requests, "request")
    budget = moment.budget
    if budget is not None and budget.resets_in:
        until = clock_time(budget.resets_in)
        spent += f", {budget.remaining:,} of {budget.limit:,} left until {until}"
    parts = [spent]
    if moment.resumes_in is not None:
        parts.append(f"waiting until {clock_time(moment.resumes_in)}")
    if moment.ends_in is not None:
        left = moment.point.received - moment.point.settled
        parts.append(f"the last {left:,} by about {clock_time(moment.ends_in)}")
    if moment.dry_run:
        parts.append("dry run")
    return parts
