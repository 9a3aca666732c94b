"""What a run says of itself while it goes on: a log line now and then, or a display.

A thread of its own looks at the counts, so that records and requests pass unhindered and a run that
waits for an hour still says so.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from target_outreach.delivery.meters import Meters
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
