"""Records that others are to be linked to: they are delivered like received ones.

Nobody has received them: they have no STATE, no count and no reject of their own. Their outcomes
are for the records that link to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from target_outreach.engine.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from target_outreach.delivery.stream import Delivered, Item, Stream
    from target_outreach.engine.batch import WorkItem
    from target_outreach.errors import RecordFault
    from target_outreach.records.folding import Group
    from target_outreach.records.model import Desired, Reference, Resource
    from target_outreach.records.rules import Rules


@dataclass(frozen=True, slots=True)
class Related:
    """What came of one record that others are to be linked to.

    Attributes:
        resource: What was found or created; None where nothing was.
        is_new: Whether it was created.
        fault: Why it could be neither found nor created.
    """

    resource: Resource | None = None
    is_new: bool = False
    fault: RecordFault | None = None


class Delivers(Protocol):
    """Delivers records that others are to be linked to."""

    async def deliver_related(
        self,
        object_name: str,
        wanted: Mapping[Reference, tuple[int, Desired]],
        rules: Rules,
    ) -> dict[Reference, Related]:
        """Find them, or create them.

        Args:
            object_name: What they are, in the plural.
            wanted: What is said of each, with the number of the first record that names it.
            rules: How they are matched, and whether they are created.

        Returns:
            The outcome of each; one is missing where the run ends before its turn.
        """


class Unheard:
    """Ignores the outcome of a part of a record; the record has its outcome later.

    Attributes:
        outcome: What was delivered, if anything was.
        is_over: Whether the part has come to its outcome.
    """

    def __init__(self) -> None:
        self.outcome: Delivered | None = None
        self.is_over = False

    def part_of(self, item: WorkItem, desired: Desired) -> WorkItem:
        """Return a work item that delivers a part of a single record."""
        order, stream, snapshot = item.batch.order, item.batch.stream, item.batch.snapshot
        batch = Batch(order, stream, snapshot, self, asked=item.batch.asked)
        part = batch.item(desired, item.keys, set())
        part.members.append(item.members[0])
        part.read, part.is_complete, part.is_single = item.read, item.is_complete, True
        return part

    def delivered(
        self, stream: Stream, deliveries: Iterable[tuple[Group[Item], Delivered]]
    ) -> None:
        """Keep what was delivered."""
        del stream
        ((_, self.outcome),) = deliveries
        self.is_over = True

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Keep that nothing was to be done."""
        del stream, items, reason
        self.is_over = True

    def rejected(self, stream: Stream, item: Item, fault: RecordFault) -> None:
        """Keep that it could not be delivered."""
        del stream, item, fault
        self.is_over = True


class RelatedOutcomes:
    """Collects the outcomes of a batch of records that nobody has received."""

    def __init__(self) -> None:
        self.outcomes: dict[Item, Related] = {}

    def delivered(
        self, stream: Stream, deliveries: Iterable[tuple[Group[Item], Delivered]]
    ) -> None:
        """Note what was found or created; the first of a group stands for all that created it."""
        del stream
        for group, delivered in deliveries:
            for position, item in enumerate(group.members):
                is_new = delivered.outcome == "created" and position == 0
                self.outcomes[item] = Related(delivered.resource, is_new)

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Note that nothing was found."""
        del stream, reason
        self.outcomes.update(dict.fromkeys(items, Related()))

    def rejected(self, stream: Stream, item: Item, fault: RecordFault) -> None:
        """Note why something can be neither found nor created."""
        del stream
        self.outcomes[item] = Related(fault=fault)
