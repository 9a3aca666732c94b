"""The figures of a run, and what they say of its end and its cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from target_outreach.delivery.tally import OUTCOMES
from target_outreach.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_outreach.delivery.status import Point
    from target_outreach.delivery.tally import Outcome, Tally

#: Runs in a year of a sync that runs every hour.
HOURS_A_YEAR = 8_760

#: Requests for a record by the plainest of syncs: one looks it up, one writes it.
PLAINLY = 2

#: Records from which on a run is taken for one of many, unless most of them were created.
TYPICAL = 100

#: Outcomes of records that are in Outreach as they should be.
DELIVERED: tuple[Outcome, ...] = ("created", "updated", "unchanged", "superseded")

ENDINGS = {
    ExitCode.DONE: "Done.",
    ExitCode.FAILED: "Stopped by an error.",
    ExitCode.REJECTS: "Done, but some records were rejected.",
    ExitCode.ENDED_EARLY: (
        "Ended early, at a limit of the settings; the next run goes on from the last STATE."
    ),
    ExitCode.INTERRUPTED: "Interrupted by a signal; the next run goes on from the last STATE.",
    ExitCode.TERMINATED: "Terminated by a signal; the next run goes on from the last STATE.",
}

#: How a run ends that writes nothing, where records would be rejected, whatever its exit code.
DRY_REJECTS = "Dry run: done, but some records would be rejected."


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost.

    Attributes:
        requests: Requests sent.
        delivered: Records that are in Outreach as they should be.
        to_come: Records that a dry run would have written, or None where it was none.
        is_typical: Whether other runs may be expected to cost the same.
    """

    requests: int
    delivered: int
    to_come: int | None = None
    is_typical: bool = True

    @property
    def a_year(self) -> int | None:
        """Requests of a year in which a run like this one begins every hour, if that says much."""
        return self.requests * HOURS_A_YEAR if self.is_typical else None

    @property
    def plainly(self) -> int:
        """Requests for the same by a lookup and a write for each record."""
        return PLAINLY * self.delivered

    @property
    def saved(self) -> int | None:
        """How many fewer were sent, 0 where no fewer were.

        A run sends some requests whatever it brings, so that one of few records may cost more. None
        for a dry run, which sends no writes.
        """
        return max(0, self.plainly - self.requests) if self.to_come is None else None

    def as_json(self) -> dict[str, int | None]:
        """Return the cost for the report."""
        return {
            "requests": self.requests,
            "requests_a_year_if_hourly": self.a_year,
            "requests_at_two_a_record": self.plainly,
            "requests_saved": self.saved,
            "writes_left_out": self.to_come,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one run.

    Attributes:
        streams: The outcomes of the records of each stream.
        unsettled: Records of each stream that are received and not settled.
        requests: Requests sent to Outreach's API.
        seconds: How long the run took.
        waited: Seconds in which a request waited for Outreach's limit.
        rejects_file: Where rejected records are, or None where there are none.
        dry_run: Whether nothing was written.
        started_at: When the run began.
        points: How far it was when, the end included.
        recurs: Whether runs like it may follow, unlike a replay or one that ended early.
        destination: Where records went: the `address` of the API, and the `organisation` and the
            `user` as far as Outreach has said them.
        configuration: The settings that differ from their defaults, without secrets.
    """

    streams: Mapping[str, Tally]
    unsettled: Mapping[str, int]
    requests: int
    seconds: float
    waited: float
    rejects_file: str | None
    dry_run: bool = False
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    points: Sequence[Point] = ()
    recurs: bool = True
    destination: Mapping[str, str | None] = field(default_factory=dict)
    configuration: Mapping[str, str] = field(default_factory=dict)

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
        return ExitCode.REJECTS if self.total("rejected") and rejects_count else ExitCode.DONE

    @property
    def adds_up(self) -> bool:
        """Whether every record received is accounted for, once."""
        return all(
            tally.received == tally.outcomes.total() + self.unsettled[name]
            for name, tally in self.streams.items()
        )

    @property
    def received(self) -> int:
        """Count the records of all streams."""
        return sum(tally.received for tally in self.streams.values())

    def total(self, *outcomes: Outcome) -> int:
        """Count the records of all streams that had one of some outcomes."""
        return sum(tally.outcomes[name] for tally in self.streams.values() for name in outcomes)

    @property
    def cost(self) -> Cost:
        """What the run cost."""
        to_come = self.total("created", "updated") if self.dry_run else None
        is_first_load = 2 * self.total("created") > self.received
        is_typical = self.recurs and self.received >= TYPICAL and not is_first_load
        return Cost(self.requests, self.total(*DELIVERED), to_come, is_typical)

    def as_json(self, exit_code: ExitCode, problems: Sequence[str] = ()) -> dict[str, Any]:
        """Return the report as JSON; the problems are sentences without any value."""
        totals = {"received": self.received}
        totals |= {outcome: self.total(outcome) for outcome in OUTCOMES}
        return {
            "streams": {
                name: tally.as_json(self.unsettled[name]) for name, tally in self.streams.items()
            },
            "totals": totals | {"unsettled": sum(self.unsettled.values())},
            "requests": self.requests,
            "cost": self.cost.as_json(),
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "seconds_waited": round(self.waited, 3),
            "timeline": [point.as_json() for point in self.points],
            "rejects_file": self.rejects_file,
            "destination": dict(self.destination),
            "configuration": dict(self.configuration),
            "dry_run": self.dry_run,
            "exit_code": int(exit_code),
            "ending": self._ending(exit_code),
            "problems": list(problems),
        }

    def _ending(self, exit_code: ExitCode) -> str:
        """Say how the run ended, in a sentence that says whether it was a dry one."""
        if not self.dry_run:
            return ENDINGS[exit_code]
        if exit_code in {ExitCode.DONE, ExitCode.REJECTS} and self.total("rejected"):
            return DRY_REJECTS
        ending = ENDINGS[exit_code]
        return f"Dry run: {ending[0].lower()}{ending[1:]}"
