"""Imports at work: what they write, and when (API reference 6.2).

Nothing runs in the background. Whatever should have been written by now, by the clock of the
sandbox, is written before the next request is worked on and before the next look at the store.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from target_outreach.sandbox.import_records import RecordWriter

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.profile import Profile


@dataclass(frozen=True, slots=True)
class NewImport:
    """An import as it was asked for.

    Attributes:
        dupe_method: What happens to records that are there.
        file_name: As sent.
        records: As sent.
        total: How many records it is said to be about.
        everything: Whether it is about all records.
        error: Why it will fail as a whole; None where it will not.
    """

    dupe_method: str
    file_name: str | None
    records: Sequence[object]
    total: int
    everything: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Progress:
    """An import that has not ended: how many of its `records` have been worked on."""

    id: int
    at: float
    dupe_method: str
    error: str | None
    state: str
    records: int
    done: int


class Importer:
    """Writes the records of imports when their time has come.

    Args:
        database: The file of the sandbox.
        clock: Returns epoch seconds.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        found = database.rows(
            "SELECT id FROM imports WHERE state IN ('pending', 'processing') OR (state = 'finished'"
            " AND id IN (SELECT import FROM import_records WHERE outcome IS NULL))"
        )
        self._open = [number for (number,) in found]

    def add(self, new: NewImport) -> int:
        """Take an import on; returns its id."""
        now = self._clock()
        row = (now, new.dupe_method, new.file_name, new.total, new.everything, new.error, now)
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO imports (at, dupe_method, file_name, total, everything, error,"
                " changed_at, state) VALUES (?, ?, ?, ?, ?, ?, ?, 'pending')",
                row,
            )
            number = cursor.lastrowid or 0
            connection.executemany(
                "INSERT INTO import_records (import, position, sent) VALUES (?, ?, ?)",
                ((number, place, json.dumps(sent)) for place, sent in enumerate(new.records)),
            )
            self._open = [*self._open, number]
        return number

    def settle(self, profile: Profile) -> None:
        """Write what should have been written by now."""
        if not self._open:
            return
        with self._database.transaction() as connection:
            self._open = [one for one in self._open if self._advance(one, profile, connection)]

    def _advance(self, number: int, profile: Profile, connection: sqlite3.Connection) -> bool:
        """Bring one import up to now; tell whether it goes on."""
        current = _find(number, connection)
        begin = current.at + profile.import_pending_seconds
        now = self._clock()
        if now < begin or profile.import_end == "pending":
            return True
        if current.error is not None:
            _change_state(current, "failed", begin, current.error, connection)
            return False
        if current.state == "pending":
            _change_state(current, "processing", begin, None, connection)
        # What does not finish stops halfway.
        most = 1 if profile.import_end == "finished" else 0.5
        seconds, late = profile.import_processing_seconds, profile.import_late_seconds
        due = int(current.records * _share(now - begin - late, seconds, most))
        writer = RecordWriter(self._database, profile)
        for position in range(current.done, due):
            at = begin + late + seconds * (position + 1) / current.records
            _write(current, position, at, writer, connection)
        if profile.import_end == "processing" or _share(now - begin, seconds, most) < most:
            return True
        error = "The import failed." if profile.import_end == "failed" else None
        _change_state(current, profile.import_end, begin + seconds * most, error, connection)
        return due < int(current.records * most)


def _share(passed: float, seconds: float, most: float) -> float:
    """Return which share of the records is due, so long after the first one began."""
    if passed < 0:
        return 0.0
    return min(most, passed / seconds) if seconds else most


def _write(
    current: _Progress,
    position: int,
    at: float,
    writer: RecordWriter,
    connection: sqlite3.Connection,
) -> None:
    """Write one record, and note the outcome."""
    place = (current.id, position)
    query = "SELECT sent FROM import_records WHERE import = ? AND position = ?"
    (text,) = connection.execute(query, place).fetchone()
    result = writer.write(json.loads(text), position, at, current.dupe_method)
    connection.execute(
        "UPDATE import_records SET outcome = ?, existed = ?, reason = ?"
        " WHERE import = ? AND position = ?",
        (result.outcome, result.existed, result.reason, *place),
    )


def _find(number: int, connection: sqlite3.Connection) -> _Progress:
    row = connection.execute(
        "SELECT id, at, dupe_method, error, state,"
        " (SELECT count(*) FROM import_records WHERE import = id),"
        " (SELECT count(outcome) FROM import_records WHERE import = id)"
        " FROM imports WHERE id = ?",
        (number,),
    ).fetchone()
    return _Progress(*row)


def _change_state(
    current: _Progress, state: str, at: float, error: str | None, connection: sqlite3.Connection
) -> None:
    if state != current.state:
        connection.execute(
            "UPDATE imports SET state = ?, changed_at = ?, error = ? WHERE id = ?",
            (state, at, error, current.id),
        )
