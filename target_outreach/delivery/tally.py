"""What became of the records of each stream, and the sum that must hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["created", "updated", "unchanged", "superseded", "skipped", "rejected"]
OUTCOMES: tuple[Outcome, ...] = (
    "created",
    "updated",
    "unchanged",
    "superseded",
    "skipped",
    "rejected",
)


@dataclass(slots=True)
class Tally:
    """The counts of one stream.

    Attributes:
        received: Records after stream maps.
        outcomes: Records by what became of them.
        skipped: Skipped records by reason.
        rejected: Rejected records by code.
        written: Records in which an attribute was set, by its name.
        held_back: Attributes that a rule kept from being written, by name.
        kept_differently: Attributes of which Outreach kept something else than was sent, by name.
        edited_by_others: Attributes that others had changed since they were last seen here, by
            name, where a memory is kept.
        related_created: Records that were made to be linked to, by relationship.
        links_left_out: Links that records were delivered without, by the columns that name them.
    """

    received: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    held_back: Counter[str] = field(default_factory=Counter)
    kept_differently: Counter[str] = field(default_factory=Counter)
    edited_by_others: Counter[str] = field(default_factory=Counter)
    related_created: Counter[str] = field(default_factory=Counter)
    links_left_out: Counter[str] = field(default_factory=Counter)

    def adds_up(self, unsettled: int) -> bool:
        """Whether every record received is accounted for."""
        return self.received == sum(self.outcomes.values()) + unsettled

    def as_json(self, unsettled: int) -> dict[str, Any]:
        """Return the counts for the report."""
        counts: dict[str, Any] = {"received": self.received}
        counts |= {outcome: self.outcomes[outcome] for outcome in OUTCOMES}
        return counts | {
            "unsettled": unsettled,
            "skipped_by_reason": dict(self.skipped),
            "rejected_by_code": dict(self.rejected),
            "written": dict(self.written),
            "held_back": dict(self.held_back),
            "kept_differently": dict(self.kept_differently),
            "edited_by_others": dict(self.edited_by_others),
            "related_created": dict(self.related_created),
            "links_left_out": dict(self.links_left_out),
        }
