"""What a run says of itself while it goes on: a log line now and then, or a display.

A thread of its own looks at the counts, so that records and requests pass unhindered and a run that
waits for an hour still says so.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import threading
from typing import TYPE_CHECKING, cast

from singer_sdk.metrics import Counter, Metric, Point, Tag, get_metrics_logger, log

from target_outreach.delivery.status import Moment, Timeline
from target_outreach.delivery.tally import counted
from target_outreach.outreach.pacing import clock_time
from target_outreach.plain_text import printable

if TYPE_CHECKING:
    from target_outreach.delivery.display import Display
    from target_outreach.delivery.status import Status

logger = logging.getLogger("target-outreach")

#: Seconds between two log lines, at least.
INTERVAL = 10.0

#: Seconds after which a line is logged although nothing has changed.
HEARTBEAT = 60.0

#: Seconds between two looks, at most: the pace of the display.
GLANCE = 0.5

#: Streams that one line shows one by one.
MOST_STREAMS = 4


class OutreachMetric(enum.StrEnum):
    """The metrics beside those of the SDK, which itself counts the records of a stream."""

    CREATED = "created_count"
    UPDATED = "updated_count"
    UNCHANGED = "unchanged_count"
    SUPERSEDED = "superseded_count"
    SKIPPED = "skipped_count"
    REJECTED = "rejected_count"
    WAIT_DURATION = "rate_limit_wait_duration"


class Meters:
    """Counters that log what was added since the last time, every minute and at the end.

    They log as those of the SDK do, so that Meltano reads them.
    """

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str | None], Counter] = {}
        self._seen: dict[tuple[str, str | None], int] = {}

    def observe(self, moment: Moment) -> None:
        """Count what has been added since the last call."""
        self._count(Metric.HTTP_REQUEST_COUNT, None, moment.point.requests)
        for stream, count in moment.streams.items():
            for outcome, number in count.outcomes.items():
                # The SDK's counters take any metric that has a value.
                self._count(cast("Metric", OutreachMetric[outcome.upper()]), stream, number)

    def _count(self, metric: Metric, stream: str | None, number: int) -> None:
        key = (metric.value, stream)
        added = number - self._seen.get(key, 0)
        if added:
            self._seen[key] = number
            if key not in self._counters:
                self._counters[key] = Counter(metric, {Tag.STREAM: stream} if stream else None)
            self._counters[key].increment(added)

    def close(self, waited: float) -> None:
        """Log what was not logged yet, and the seconds spent waiting in all."""
        for counter in self._counters.values():
            if counter.value:
                counter.exit()
        if waited:
            metric = cast("Metric", OutreachMetric.WAIT_DURATION)
            tags = Counter(Metric.HTTP_REQUEST_COUNT).tags  # which the SDK gives each of its meters
            log(get_metrics_logger(), Point("timer", metric, round(waited, 3), tags))


class Progress:
    """Tells how a run goes on, until it is closed.

    Attributes:
        timeline: How far the run was when.
    """

    def __init__(self, status: Status, display: Display | None) -> None:
        """Say nothing yet; without a display, log lines will say it."""
        self.timeline = Timeline()
        self._status = status
        self._meters = Meters()
        self._display = display
        self._said = Moment()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        if self._display is not None:
            self._display.start()
        self._thread.start()

    def close(self) -> None:
        """Tell no more, clear the display, and log the last metrics."""
        if self._over.is_set():
            return
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._display is not None:
            with contextlib.suppress(OSError, ValueError):  # the terminal is gone
                self._display.close()
        moment = self._status.moment()
        self._meters.observe(moment)
        self._meters.close(moment.point.waited)

    def _run(self) -> None:
        try:
            while not self._over.wait(min(self.timeline.spacing, GLANCE)):
                self._glance(self._status.moment())
        except (OSError, ValueError):
            logger.debug("The terminal is gone; no progress is shown any more.")

    def _glance(self, moment: Moment) -> None:
        self.timeline.add(moment.point)
        self._meters.observe(moment)
        if self._display is not None:
            self._display.show(moment)
            return
        before = self._said.streams
        streams = [name for name, count in moment.streams.items() if count != before.get(name)]
        has_news = streams or moment.point.requests != self._said.point.requests
        silent = moment.point.seconds - self._said.point.seconds
        if silent >= (INTERVAL if has_news else HEARTBEAT):
            logger.info("%s", line_of(moment, streams))
            self._said = moment


def line_of(moment: Moment, streams: list[str]) -> str:
    """Word the line for the log, which speaks of some of the streams."""
    parts = [
        f"{printable(name)}: {moment.streams[name].words()}" for name in streams[:MOST_STREAMS]
    ]
    if (more := len(streams) - MOST_STREAMS) > 0:
        parts.append(counted(more, "more stream"))
    return "; ".join((*parts, *_about_requests(moment)))


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
