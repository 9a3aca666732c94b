"""What a run did, for people and for programs."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from target_outreach.delivery.tally import OUTCOMES
from target_outreach.errors import ExitCode, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.delivery.tally import Tally

logger = logging.getLogger("target-outreach")


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one run.

    Attributes:
        streams: What became of the records of each stream.
        unsettled: Records of each stream that are received and not settled.
        requests: Requests sent to Outreach's API.
        seconds: How long the run took.
        waited: Seconds spent waiting for Outreach's limit, over all threads.
        rejects_file: Where rejected records stand, or None where there are none.
        dry_run: Whether nothing was written.
    """

    streams: Mapping[str, Tally]
    unsettled: Mapping[str, int]
    requests: int
    seconds: float
    waited: float
    rejects_file: str | None
    dry_run: bool = False

    def exit_code(self, failure: ExitCode | None, *, rejects_count: bool) -> ExitCode:
        """Say how the run ended.

        Args:
            failure: The exit code of what stopped the run, or None where it came to its end.
            rejects_count: Whether a rejected record makes a difference.
        """
        if not self.adds_up:
            return ExitCode.FAILED
        if failure is not None:
            return failure
        if any(self.unsettled.values()):
            return ExitCode.FAILED
        rejected = any(tally.outcomes["rejected"] for tally in self.streams.values())
        return ExitCode.REJECTS if rejected and rejects_count else ExitCode.DONE

    @property
    def adds_up(self) -> bool:
        """Whether every record received is accounted for, once."""
        return all(tally.adds_up(self.unsettled[name]) for name, tally in self.streams.items())

    def as_json(self, exit_code: ExitCode) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "streams": {
                name: tally.as_json(self.unsettled[name]) for name, tally in self.streams.items()
            },
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "seconds_waited": round(self.waited, 3),
            "rejects_file": self.rejects_file,
            "dry_run": self.dry_run,
            "exit_code": int(exit_code),
        }

    def write(self, path: str, exit_code: ExitCode) -> None:
        """Write the report to a file.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.as_json(exit_code), indent=2) + "\n"
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"The report cannot be written ({error.strerror}).") from None

    def log(self) -> None:
        """Say what happened, a line a stream."""
        if self.dry_run:
            logger.info("This was a dry run: nothing was written, and no STATE is emitted.")
        for name, tally in self.streams.items():
            counts = [f"{tally.outcomes[outcome]:,} {outcome}" for outcome in OUTCOMES]
            unsettled = self.unsettled[name]
            counts += [f"{unsettled:,} unsettled"] if unsettled else []
            logger.info("%s: %s received: %s", name, f"{tally.received:,}", ", ".join(counts))
            _log_counts("skipped because of", tally.skipped)
            _log_counts("rejected because of", tally.rejected)
            if self.dry_run:
                _log_counts("would be written:", tally.written)
            _log_counts("held back by a rule:", tally.held_back)
            _log_counts("kept differently by Outreach:", tally.kept_differently)
            _log_counts("created to be linked to:", tally.related_created)
            _log_counts("delivered without a link by:", tally.links_left_out)
            _log_counts("changed by others since we wrote:", tally.edited_by_others)
        logger.info("%s requests in %.1f seconds", f"{self.requests:,}", self.seconds)
        if self.rejects_file:
            logger.warning("Rejected records and the reasons are in %s", self.rejects_file)


def _log_counts(what: str, counts: Mapping[str, int]) -> None:
    if counts:
        parts = ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items()))
        logger.info("  %s %s", what, parts)
