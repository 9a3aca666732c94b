"""Receives the outcome of each record, one at a time, on the engine's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_outreach.delivery.stream import Delivered, Item, Stream
    from target_outreach.errors import RecordFault
    from target_outreach.records.folding import Group
    from target_outreach.records.model import Resource


class Journal:
    """Receives the outcome of each record; what it does not need, it ignores."""

    def delivered(self, stream: Stream, group: Group[Item], delivered: Delivered) -> None:
        """Hear that a group is created, updated or unchanged; all but its last are superseded."""

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Hear that records are skipped."""

    def rejected(
        self, stream: Stream, item: Item, fault: RecordFault, opt_out: Delivered | None = None
    ) -> None:
        """Hear that a record is rejected, and what its opt-out came to, if it has one."""

    def made(self, stream: Stream, relationship: str, resource: Resource) -> None:
        """Hear that a record of Outreach was made for others to be linked to."""

    def commit(self) -> None:
        """Save what was heard, before STATE passes it.

        Raises:
            OutputError: It cannot be saved.
        """
