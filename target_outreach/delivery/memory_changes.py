"""What a memory keeps of changes by others: when Outreach was asked, and what has changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from target_outreach.delivery.memory_file import EDITED, flagging
from target_outreach.records.fingerprints import Remembered, edited

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from target_outreach.delivery.memory_file import MemoryFile
    from target_outreach.delivery.stream import Stream
    from target_outreach.records.model import Resource


@dataclass(frozen=True, slots=True)
class Asked:
    """What an earlier question has shown, all times by Outreach's clock.

    Attributes:
        since: From when the next question has to ask.
        attributes: The attributes and relationships that were read of each record.
        until: Up to when all changes have been shown; None where none were.
        seen: The ids of the records that had changed between the two, with the time.
    """

    since: datetime
    attributes: frozenset[str]
    until: datetime | None = None
    seen: dict[int, datetime] = field(default_factory=dict)


class RememberedChanges:
    """What a memory keeps of changes by others, used on the engine's thread only."""

    def __init__(self, memory: MemoryFile) -> None:
        """Use the file of a memory."""
        self._file = memory

    def asked(self, stream: Stream) -> Asked | None:
        """Return what was shown when Outreach was last asked what has changed, if it ever was.

        Raises:
            OutputError: The file is damaged, or cannot be read.
        """
        place = (self._file.scope(stream),)
        question = self._file.run(
            "SELECT since, attributes, until FROM questions WHERE scope = ?", place
        )
        if not question:
            return None
        ((since, attributes, until),) = question
        seen = self._file.run("SELECT id, changed_at FROM seen WHERE scope = ?", place)
        try:
            return Asked(
                datetime.fromisoformat(since),
                frozenset(str.split(attributes)),
                datetime.fromisoformat(until) if until else None,
                {resource_id: datetime.fromisoformat(at) for resource_id, at in seen},
            )
        except (TypeError, ValueError):
            raise self._file.damaged() from None

    def note_asked(self, stream: Stream, asked: Asked) -> None:
        """Remember what Outreach showed when it was asked what has changed; all of it is taken in.

        Raises:
            OutputError: The file cannot be written.
        """
        scope, until = self._file.scope(stream), asked.until and asked.until.isoformat()
        question = scope, asked.since.isoformat(), " ".join(asked.attributes), until
        self._file.change(
            ("DELETE FROM seen WHERE scope = ?", [(scope,)]),
            (
                "INSERT INTO seen VALUES (?, ?, ?)",
                [(scope, one, at.isoformat()) for one, at in asked.seen.items()],
            ),
            ("INSERT OR REPLACE INTO questions VALUES (?, ?, ?, ?)", [question]),
        )

    def note_edits(
        self, stream: Stream, resources: Iterable[Resource], asked: Sequence[str]
    ) -> list[Resource]:
        """Take in what has changed in Outreach, and return what others have edited of ours.

        Raises:
            OutputError: The file cannot be written.
        """
        scope = self._file.scope(stream)
        found: list[Resource] = []
        places: list[tuple[int, bytes]] = []
        for resource in resources:
            rows = self._file.run(
                "SELECT key, hashes FROM delivered WHERE scope = ? AND id = ?", (scope, resource.id)
            )
            for key, hashes in rows:
                if not isinstance(hashes, bytes):
                    raise self._file.damaged()
                if edited(resource, asked, Remembered(resource.id, hashes)):
                    places.append((scope, key))
                    found.append(resource)
        self._file.change((f"{flagging(EDITED)} WHERE scope = ? AND key = ?", places))
        return found

    def count(self, stream: Stream) -> int:
        """Count what is remembered of a stream."""
        ((rows,),) = self._file.run(
            "SELECT count(*) FROM delivered WHERE scope = ?", (self._file.scope(stream),)
        )
        return int(rows)

    def doubt_all(self, stream: Stream) -> None:
        """Have all records of a stream compared with Outreach when they come next.

        Raises:
            OutputError: The file cannot be written.
        """
        self._file.change((f"{flagging(EDITED)} WHERE scope = ?", [(self._file.scope(stream),)]))
