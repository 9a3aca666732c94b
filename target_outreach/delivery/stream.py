"""What is delivered: a stream with its rules, and one record of it on its way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.errors import RecordFault
    from target_outreach.records.model import Desired, ObjectType
    from target_outreach.records.rules import Rules


@dataclass(frozen=True, slots=True)
class Stream:
    """What the engine must know of a stream.

    Attributes:
        name: The stream's name after stream maps, under which it is counted.
        source: Its name as received.
        schema_line: Its SCHEMA message as received.
        object: What it is for, or None where it is skipped.
        rules: The settings that decide what is written.
        asked: The attributes and relationships that a lookup reads.
        titles: How attributes, links and columns are shown to people, by their names.
    """

    name: str
    source: str
    schema_line: str
    object: ObjectType | None
    rules: Rules
    asked: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)


class Item(Struct, eq=False):
    """One record on its way.

    Attributes:
        number: Its sequence number.
        line: The RECORD message as received.
        desired: What it says, where it is to be delivered.
        fault: Why it is rejected before anything is asked of Outreach.
        skip: Why it is skipped.
        line_number: The number of that line in what is read, counted from one.
        row: What stands for the row as it was received, where a memory is to know it again.
    """

    number: int
    line: str
    desired: Desired | None = None
    fault: RecordFault | None = None
    skip: str | None = None
    row: bytes | None = None
    line_number: int = 0
