"""A stream with its rules, one record of it that is being delivered, and who hears its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_outreach.errors import RecordFault
    from target_outreach.records.folding import Group
    from target_outreach.records.model import (
        Create,
        Desired,
        ObjectType,
        Resource,
        Unchanged,
        Update,
    )
    from target_outreach.records.rules import Rules


@dataclass(frozen=True, slots=True)
class Stream:
    """What the engine needs to know about a stream.

    Attributes:
        name: The stream's name after stream maps, under which it is counted.
        source: Its name as received.
        schema_line: Its SCHEMA message as received.
        object: The object of its records, or None if it is skipped.
        rules: The settings that decide what is written.
        asked: The attributes and relationships that a lookup reads.
        is_keyed: Whether its rows have key properties, so that each row can be identified.
        titles: How attributes, links and columns are shown to users, by their names.
    """

    name: str
    source: str
    schema_line: str
    object: ObjectType | None
    rules: Rules
    asked: tuple[str, ...] = ()
    is_keyed: bool = False
    titles: Mapping[str, str] = field(default_factory=dict)


class Item(Struct, eq=False):
    """One record that is being delivered.

    Attributes:
        number: Its sequence number.
        line: The RECORD message as received.
        desired: What should be in Outreach, if it is to be delivered.
        fault: Why it is rejected before any request is sent.
        skip: Why it is skipped.
        line_number: The number of that line in what is read, counted from one.
        row: What stands for the row as it was received, where a memory is to know it again.
        is_replayed: Whether it was read from a rejects file.
        opt_out: What was delivered of its opt-out, before it had to wait for something else.
    """

    number: int
    line: str
    desired: Desired | None = None
    fault: RecordFault | None = None
    skip: str | None = None
    row: bytes | None = None
    line_number: int = 0
    is_replayed: bool = False
    opt_out: Delivered | None = None


class Delivered(Struct, frozen=True):
    """The outcome of a record that is in Outreach as it should be.

    Attributes:
        outcome: What was done.
        resource: The record as Outreach holds it now.
        decided: The plan that was carried out last.
        kept_differently: Attributes of which Outreach kept something else than was sent.
        is_imported: Whether it was written with others by an import, or would be.
    """

    outcome: Literal["created", "updated", "unchanged"]
    resource: Resource
    decided: Create | Update | Unchanged
    kept_differently: tuple[str, ...] = ()
    is_imported: bool = False


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
