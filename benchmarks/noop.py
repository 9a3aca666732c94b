"""The SDK's own loop, with its default validation, around a sink that does nothing.

Usage: python benchmarks/noop.py < input
"""

from __future__ import annotations

from typing import Any

from singer_sdk import RecordSink, Target


class NoopSink(RecordSink):
    """Does nothing."""

    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        """Do nothing."""


class NoopTarget(Target):
    """A target that does nothing."""

    name = "target-noop"
    config_jsonschema: dict[str, Any] = {"properties": {}}  # noqa: RUF012 - as the SDK has it
    default_sink_class = NoopSink


if __name__ == "__main__":
    NoopTarget.cli()
