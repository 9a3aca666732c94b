"""What becomes of a batch: its records are settled, or it was an errand for others.

An errand goes through the scheduler as records do, but nobody has received it: it has no STATE, no
count and no reject of its own. Its results are for those that have asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.delivery.writing import Delivered
    from target_outreach.errors import RecordFault
    from target_outreach.records.folding import Group
    from target_outreach.records.model import Resource


class Fates(Protocol):
    """Hears what becomes of the records of a batch."""

    def delivered(
        self, stream: Stream, deliveries: Iterable[tuple[Group[Item], Delivered]]
    ) -> None:
        """Hear that groups are in Outreach as they should be."""

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Hear that records are left out by policy."""

    def rejected(self, stream: Stream, item: Item, fault: RecordFault) -> None:
        """Hear that a record cannot be delivered."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one thing on an errand.

    Attributes:
        resource: What was found or made; None where nothing was.
        is_new: Whether it was made.
        fault: Why it could be neither found nor made.
    """

    resource: Resource | None = None
    is_new: bool = False
    fault: RecordFault | None = None


class Errand:
    """Collects what became of a batch that is nobody's records."""

    def __init__(self, then: Callable[[dict[Item, Outcome]], None]) -> None:
        """Begin with nothing.

        Args:
            then: Called by `done` with all that came of it.
        """
        self._then = then
        self._outcomes: dict[Item, Outcome] = {}

    def delivered(
        self, stream: Stream, deliveries: Iterable[tuple[Group[Item], Delivered]]
    ) -> None:
        """Note what was found or made; the first of a group stands for all that made it."""
        del stream
        for group, delivered in deliveries:
            for position, item in enumerate(group.members):
                is_new = delivered.outcome == "created" and position == 0
                self._outcomes[item] = Outcome(delivered.resource, is_new)

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Note that nothing was found."""
        del stream, reason
        self._outcomes.update(dict.fromkeys(items, Outcome()))

    def rejected(self, stream: Stream, item: Item, fault: RecordFault) -> None:
        """Note why something can be neither found nor made."""
        del stream
        self._outcomes[item] = Outcome(fault=fault)

    def done(self) -> None:
        """Hand over what came of it."""
        self._then(self._outcomes)
