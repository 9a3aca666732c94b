"""The metrics of a run, logged like those of the SDK, so that Meltano reads them.

The SDK itself counts the records of a stream.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, cast

from singer_sdk.metrics import Counter, Metric, Point, Tag, get_metrics_logger, log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.delivery import timeline
    from target_outreach.delivery.tally import Count, Outcome


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

    def observe(self, streams: Mapping[str, Count], point: timeline.Point) -> None:
        """Count what has been added since the last call.

        Args:
            streams: The counts by stream.
            point: The figures of the run.
        """
        self._count(Metric.HTTP_REQUEST_COUNT, None, point.requests)
        for stream, count in streams.items():
            for outcome, number in count.outcomes.items():
                self._count(_of(outcome), stream, number)

    def _count(self, metric: Metric, stream: str | None, number: int) -> None:
        key = (metric.value, stream)
        added = number - self._seen.get(key, 0)
        if added:
            self._seen[key] = number
            if key not in self._counters:
                self._counters[key] = Counter(metric, {Tag.STREAM: stream} if stream else None)
            self._counters[key].increment(added)

    def close(self, waited: float) -> None:
        """Log what was not logged yet.

        Args:
            waited: Seconds spent waiting in all.
        """
        for counter in self._counters.values():
            if counter.value:
                counter.exit()
        if waited:
            metric = cast("Metric", OutreachMetric.WAIT_DURATION)
            log(get_metrics_logger(), Point("timer", metric, round(waited, 3), _tags()))


def _of(outcome: Outcome) -> Metric:
    """Name the metric of an outcome; the SDK's counters take any that has a value."""
    return cast("Metric", OutreachMetric[outcome.upper()])


def _tags() -> dict[str, int]:
    """Return the tags that the SDK gives each of its meters."""
    return Counter(Metric.HTTP_REQUEST_COUNT).tags
