"""The outcomes of the records of each stream, and the sum that must hold."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from target_outreach.records.catalog import load_catalog
from target_outreach.records.model import Unchanged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.delivery.stream import Delivered
    from target_outreach.errors import RecordFault

Outcome = Literal["created", "updated", "unchanged", "superseded", "skipped", "rejected"]
OUTCOMES: tuple[Outcome, ...] = (
    "created",
    "updated",
    "unchanged",
    "superseded",
    "skipped",
    "rejected",
)

#: Reasons that are counted separately in a stream; fields may be named by the data itself.
MOST_REASONS = 1000

#: The columns by which records are linked, in which nothing is named by the data.
LINKS = frozenset(
    f"{link.name}.{part}"
    for one in load_catalog().values()
    for link in one.relationships.values()
    for part in link.linked_by
)


def counted(number: int, what: str) -> str:
    """Say how many of something there are, as ``1 record`` and ``2,000 records``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@dataclass(slots=True)
class Reason:
    """Records of a stream that were rejected for the same reason.

    Attributes:
        code: The kind of fault, such as ``invalid_value``.
        field: The column or attribute at fault, or None where no single one is.
        count: How many records.
        first_line: The line of the rejects file where the first of them is, counted from one,
            or None where there is no such file.
        column: The source's column, or several as ``a + b``; None where it is no column's.
        about: The source's column, where it goes and what that takes, as of the first of them:
            ``lead_score → Lead Score (custom1): takes a number``; None where it is no column's.
    """

    code: str
    field: str | None
    count: int = 0
    first_line: int | None = None
    column: str | None = None
    about: str | None = None


@dataclass(slots=True)
class Tally:
    """The counts of one stream.

    Attributes:
        received: Records after stream maps.
        outcomes: Records by outcome.
        skipped: Skipped records by reason.
        rejected: Rejected records by code.
        reasons: Why records were rejected, by code and field.
        written: Records in which an attribute or a link was set, by its name.
        held_back: Attributes and links that a rule kept from being written, by name.
        kept_differently: Attributes of which Outreach kept something else than was sent, by name.
        edited_by_others: Attributes that others had changed since they were last seen here, by
            name, where a memory is kept.
        related_created: Records that were made to be linked to, by relationship.
        values_dropped: Values that records were delivered without, by attribute and why.
        links_left_out: Links that records were delivered without, by the columns that name them.
        opt_outs_of_rejects: Rejected records with an opt-out, by the outcome of that.
        imported: Records that were written by imports, by outcome.
    """

    received: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    reasons: dict[tuple[str, str | None], Reason] = field(default_factory=dict)
    written: Counter[str] = field(default_factory=Counter)
    held_back: Counter[str] = field(default_factory=Counter)
    kept_differently: Counter[str] = field(default_factory=Counter)
    edited_by_others: Counter[str] = field(default_factory=Counter)
    related_created: Counter[str] = field(default_factory=Counter)
    links_left_out: Counter[str] = field(default_factory=Counter)
    values_dropped: Counter[str] = field(default_factory=Counter)
    opt_outs_of_rejects: Counter[str] = field(default_factory=Counter)
    imported: Counter[str] = field(default_factory=Counter)

    def delivered(self, delivered: Delivered, rows: int) -> None:
        """Count rows that are in Outreach as they should be; all but the last are superseded."""
        decided = delivered.decided
        self.outcomes[delivered.outcome] += 1
        if rows > 1:
            self.outcomes["superseded"] += rows - 1
        if decided.held_back:
            self.held_back.update(decided.held_back)
        if delivered.is_imported:
            self.imported[delivered.outcome] += 1
        if delivered.kept_differently:
            self.kept_differently.update(delivered.kept_differently)
        if not isinstance(decided, Unchanged):
            self.written.update(decided.attributes.keys())
            self.written.update(decided.relationships.keys())

    def reject(
        self, fault: RecordFault, line: int | None, titles: Mapping[str, str] | None = None
    ) -> None:
        """Count a rejected record, with its line in the rejects file, if there is such a file.

        The titles are how columns and attributes are shown to people, by their names.
        """
        self.outcomes["rejected"] += 1
        self.rejected[fault.code] += 1
        if fault.opt_out is not None:
            self.opt_outs_of_rejects[fault.opt_out] += 1
        key = (fault.code, _column(fault.field))
        if key not in self.reasons and len(self.reasons) >= MOST_REASONS:
            key = (fault.code, None)
        if (reason := self.reasons.get(key)) is None:
            reason = self.reasons[key] = Reason(*key, first_line=line)
            if (title := (titles or {}).get(key[1] or "")) is not None:
                reason.column = title.partition(" → ")[0]
                reason.about = _about(fault, title)
        reason.count += 1

    def commonest_reasons(self) -> list[Reason]:
        """List why records were rejected, the commonest reason first."""
        return sorted(self.reasons.values(), key=lambda reason: -reason.count)

    def as_json(self, unsettled: int) -> dict[str, Any]:
        """Return the counts for the report."""
        counts: dict[str, Any] = {"received": self.received}
        counts |= {outcome: self.outcomes[outcome] for outcome in OUTCOMES}
        return counts | {
            "unsettled": unsettled,
            "skipped_by_reason": dict(self.skipped),
            "rejected_by_code": dict(self.rejected),
            "reject_reasons": [asdict(reason) for reason in self.commonest_reasons()],
            "written": dict(self.written),
            "held_back": dict(self.held_back),
            "kept_differently": dict(self.kept_differently),
            "edited_by_others": dict(self.edited_by_others),
            "related_created": dict(self.related_created),
            "links_left_out": dict(self.links_left_out),
            "values_dropped": dict(self.values_dropped),
            "opt_outs_of_rejects": dict(self.opt_outs_of_rejects),
            "imported": dict(self.imported),
        }


@dataclass(frozen=True, slots=True)
class Count:
    """The counts of one stream at a moment."""

    received: int
    outcomes: Mapping[Outcome, int]

    @classmethod
    def of(cls, tally: Tally) -> Count:
        """Copy the counts of a stream, which other threads go on changing."""
        return cls(tally.received, {outcome: tally.outcomes[outcome] for outcome in OUTCOMES})

    def words(self) -> str:
        """Return the counts as text, without outcomes that no record had."""
        settled = (f"{count:,} {name}" for name, count in self.outcomes.items() if count)
        return ", ".join((f"{self.received:,} received", *settled))


def _about(fault: RecordFault, title: str) -> str:
    """Name the column and its rule; the message of a fault begins with the attribute's name."""
    said = fault.message.rstrip(".")
    name = rf"{re.escape(fault.field or '')}(?: \(.*?\))? (?=takes |must |is |may )"
    return f"{title}: {re.sub(rf'^{name}', '', said)}"


def _column(field: str | None) -> str | None:
    """Name a column by the path of a value in it, the rest of which the data may have named."""
    if field in LINKS:
        return field
    return re.split(r"[./]", field, maxsplit=1)[0] or None if field else None
