"""The metrics of a run, logged like those of the SDK, so that Meltano reads them.

The SDK itself counts the records of a stream.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, cast

from singer_sdk.metrics import Counter, Metric, Point, Tag, get_metrics_logger, log

if TYPE_CHECKING:
    from target_outreach.delivery.status import Moment


class OutreachMetric(enum.StrEnum):
    """The metrics beside those of the SDK."""

    CREATED = "created_count"
    UPDATED = "updated_count"
    UNCHANGED = "unchanged_count"
    SUPERSEDED = "superseded_count"
    SKIPPED = "skipped_count"
    REJECTED = "rejected_count"
    WAIT_DURATION = "rate_limit_wait_duration"


class Meters:
    """Counters that log what was added since the last time, every minute and at the end."""

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
