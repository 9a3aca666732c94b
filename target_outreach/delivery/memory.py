"""What earlier runs delivered: the Outreach id of each source key, and hashes of what was said.

The memory is a SQLite file. It changes in one transaction a batch, after the writes are confirmed
and before STATE passes them, so that it never knows more than Outreach holds. It is divided by
organisation, API address, object and stream. Keys and values are in it as hashes only.

Under `drift` it also keeps when Outreach was last asked what has changed there, and which records
others have edited since: those are compared again when their row comes, however long that takes.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from target_outreach.errors import OutputError, SettingsError
from target_outreach.private_files import refuse_foreign
from target_outreach.records.fingerprints import (
    Remembered,
    changes,
    edited,
    key_hash,
    remember,
)
from target_outreach.records.model import Create, Resource, Unchanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from target_outreach.delivery.outcome import Delivered
    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.errors import RecordFault
    from target_outreach.records.folding import Group

SCHEMA = """
CREATE TABLE IF NOT EXISTS scopes (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS questions (
    scope INTEGER PRIMARY KEY,
    since TEXT NOT NULL,
    attributes TEXT NOT NULL,
    until TEXT
);
CREATE TABLE IF NOT EXISTS seen (
    scope INTEGER NOT NULL,
    id INTEGER NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (scope, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivered (
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    id INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    edited INTEGER NOT NULL DEFAULT 0,
    row BLOB,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS delivered_id ON delivered (scope, id);
"""

#: Adds what one scope keeps to another. The number of the first is not free afterwards: a run that
#: is still at work may go on using it.
ADD_TO_ANOTHER = (
    "UPDATE OR IGNORE delivered SET scope = :kept WHERE scope = :other",
    "UPDATE delivered SET edited = edited | :edited WHERE scope = :kept",
    "DELETE FROM delivered WHERE scope = :other",
    "DELETE FROM questions WHERE scope = :other",
    "DELETE FROM seen WHERE scope = :other",
    "UPDATE scopes SET name = :name WHERE number = :other",
)

#: Marks the file as ours, of this form.
APPLICATION_ID = 0x0E7A_4C01

#: Seconds to wait for another run that uses the same file.
BUSY = 30.0

#: Flags of a record that is to be compared with Outreach: others have edited it; a run was about
#: to write it, and may have been killed before it could remember that.
EDITED = 1
DOUBTED = 2

#: Keys that one statement asks for.
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _News:
    """What is to be kept of one record."""

    id: int
    hashes: bytes
    row: bytes | None
    written_in: str | None


class Known(Struct, frozen=True):
    """A record that was delivered before.

    Attributes:
        remembered: What was delivered.
        is_edited: Whether somebody else has edited it since.
        row: A hash of the row as it stood in the input, if it can be known again by that.
    """

    remembered: Remembered
    is_edited: bool
    row: bytes | None


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


#: No number, keys and entries of a scope.
NOTHING_RECALLED: tuple[int, set[str], dict[str, Known]] = (-1, set(), {})


class Memory:
    """A memory in a SQLite file, used on the engine's thread only; also a journal.

    Attributes:
        place: Names the organisation and the address of its API; `belong` sets it before anything
            is asked.
        writes: How many records were written in this run.
        edits: How often others had changed what was delivered, by stream and attribute.
    """

    def __init__(self, path: str) -> None:
        """Open the file, and make it if there is none.

        Args:
            path: The path of the file.

        Raises:
            SettingsError: It is no such file, or cannot be opened.
        """
        self._path = path
        self.place = ""
        self.edits: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._scopes: dict[str, int] = {}
        self._news: dict[tuple[int, bytes], _News | None] = {}
        self._writers: dict[tuple[str, int], tuple[int, bytes]] = {}
        self._rows_anew: dict[tuple[int, bytes], bytes] = {}
        self._doubted: set[tuple[int, bytes]] = set()
        #: What was recalled last; a batch is recalled twice with nothing in between.
        self._recalled: tuple[int, set[str], dict[str, Known]] = NOTHING_RECALLED
        self.writes = 0
        try:
            self._connection = self._open(path)
        except (OSError, sqlite3.Error) as error:
            words = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"memory_path cannot be used ({words}).") from None

    @staticmethod
    def _open(path: str) -> sqlite3.Connection:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        refuse_foreign(Path(path))
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        os.chmod(path, 0o600)  # noqa: PTH101 - an older file may have been readable by all
        connection = sqlite3.connect(
            path, timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            _refuse_foreign(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.executescript(SCHEMA)
            _add_rows(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self._connection.close()

    # Whose it is

    def belong(self, place: str, earlier: Iterable[str]) -> None:
        """Use the part of the file that belongs to an organisation.

        What earlier runs kept under another name of the same organisation is taken over. Where the
        two names have kept something of the same stream, nothing says which is newer: all of it is
        compared with Outreach when it comes.

        Args:
            place: Names the organisation and the address of its API.
            earlier: Other names of the very same.

        Raises:
            OutputError: The file cannot be written.
        """
        self.place = place
        names = tuple(earlier)
        if not self._kept_under(names):
            return
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for number, rest in self._kept_under(names):
                    self._take_over(number, f"{place}{rest}")
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _kept_under(self, places: Iterable[str]) -> list[tuple[int, str]]:
        """List the numbers of what is kept under other names, and what follows those names."""
        named = self._run("SELECT number, name FROM scopes ORDER BY number", ())
        return [
            (number, name.removeprefix(place))
            for place in places
            for number, name in named
            if name.startswith(f"{place} ")
        ]

    def _take_over(self, number: int, name: str) -> None:
        """Give a part of the file another name, or add it to the part that has that name."""
        execute = self._connection.execute
        kept = execute("SELECT number FROM scopes WHERE name = ?", (name,)).fetchone()
        if kept is None:
            execute("UPDATE scopes SET name = ? WHERE number = ?", (name, number))
            return
        both = {"kept": kept[0], "other": number, "edited": EDITED, "name": f"- {number}"}
        for sql in ADD_TO_ANOTHER:
            execute(sql, both)

    # What is known

    def recall(self, stream: Stream, source_keys: Iterable[str]) -> dict[str, Known]:
        """Return what is known of records of a stream, by their keys.

        Raises:
            OutputError: The file cannot be read.
        """
        scope, keys = self._scope(stream), set(source_keys)
        recalled_scope, recalled_keys, known = self._recalled
        if scope != recalled_scope or not keys <= recalled_keys:
            known = self._known(stream, keys)
            self._recalled = scope, keys, known
        return known

    def _known(self, stream: Stream, source_keys: Iterable[str]) -> dict[str, Known]:
        scope = self._scope(stream)
        hashed = {key_hash(key): key for key in source_keys}
        known: dict[str, Known] = {}
        for key, entry in self._rows(scope, list(hashed)):
            known[hashed[key]] = entry
        for key, source_key in hashed.items():
            if (scope, key) in self._news:
                known.pop(source_key, None)
                if (news := self._news[scope, key]) is not None:
                    remembered = Remembered(news.id, news.hashes)
                    known[source_key] = Known(remembered, is_edited=False, row=news.row)
        if self._writers:
            siblings = self._object_scope(stream)
            for key, source_key in hashed.items():
                if source_key in known:
                    writer = self._writers.get((siblings, known[source_key].remembered.id))
                    if writer is not None and writer != (scope, key):
                        known[source_key] = msgspec.structs.replace(
                            known[source_key], is_edited=True
                        )
        return known

    def _rows(self, scope: int, keys: list[bytes]) -> Iterable[tuple[bytes, Known]]:
        for part, marks in _parts(keys):
            sql = f"SELECT key, id, hashes, edited, row FROM delivered WHERE scope = ? AND key IN ({marks})"  # noqa: E501, S608 - only marks
            for key, resource_id, hashes, flags, row in self._run(sql, (scope, *part)):
                is_edited = bool(flags & EDITED) or (
                    bool(flags & DOUBTED) and (scope, key) not in self._doubted
                )
                yield key, Known(Remembered(resource_id, hashes), is_edited, row)

    def forget(self, stream: Stream, source_key: str) -> None:
        """Forget a record whose id Outreach does not know any more."""
        self._recalled = NOTHING_RECALLED
        self._news[self._scope(stream), key_hash(source_key)] = None

    # What others edited

    def asked(self, stream: Stream) -> Asked | None:
        """Return what was shown when Outreach was last asked what has changed, if it ever was.

        Raises:
            OutputError: The file is damaged, or cannot be read.
        """
        place = (self._scope(stream),)
        question = self._run(
            "SELECT since, attributes, until FROM questions WHERE scope = ?", place
        )
        if not question:
            return None
        ((since, attributes, until),) = question
        seen = self._run("SELECT id, changed_at FROM seen WHERE scope = ?", place)
        try:
            return Asked(
                datetime.fromisoformat(since),
                frozenset(str.split(attributes)),
                datetime.fromisoformat(until) if until else None,
                {resource_id: datetime.fromisoformat(at) for resource_id, at in seen},
            )
        except (TypeError, ValueError):
            raise OutputError(
                f"The memory {self._path} is damaged: move it away, or give memory_path another "
                "one; no STATE has passed what is not saved."
            ) from None

    def doubt(self, stream: Stream, source_keys: Iterable[str]) -> None:
        """Note before records are written that what is remembered of them may be wrong by then.

        If the run is killed between a write and `commit`, they are compared with Outreach again.

        Raises:
            OutputError: The file cannot be written.
        """
        scope = self._scope(stream)
        places = {(scope, key_hash(key)) for key in source_keys} - self._doubted
        if places:
            self._doubted.update(places)
            self._change(
                "UPDATE delivered SET edited = edited | ? WHERE scope = ? AND key = ?",
                [(DOUBTED, *place) for place in places],
            )

    def doubt_others(self, stream: Stream, source_key: str | None, resource_id: int) -> None:
        """Note before a record is written that other keys may say something else of it.

        Raises:
            OutputError: The file cannot be written.
        """
        siblings = f"{self._object_scope(stream)} "
        mine = self._scope(stream), b"" if source_key is None else key_hash(source_key)
        others = self._run(
            "SELECT scope, key FROM delivered WHERE id = ? AND NOT edited & ? AND scope IN"
            " (SELECT number FROM scopes WHERE substr(name, 1, ?) = ?)"
            " AND NOT (scope = ? AND key = ?)",
            (resource_id, EDITED, len(siblings), siblings, *mine),
        )
        if others:
            self._change(
                "UPDATE delivered SET edited = edited | ? WHERE scope = ? AND key = ?",
                [(EDITED, *place) for place in others],
            )

    def count(self, stream: Stream) -> int:
        """Count what is remembered of a stream."""
        ((rows,),) = self._run(
            "SELECT count(*) FROM delivered WHERE scope = ?", (self._scope(stream),)
        )
        return int(rows)

    def doubt_all(self, stream: Stream) -> None:
        """Have all records of a stream compared with Outreach when they come next.

        Raises:
            OutputError: The file cannot be written.
        """
        self._change(
            "UPDATE delivered SET edited = edited | ? WHERE scope = ?",
            [(EDITED, self._scope(stream))],
        )

    def _change(self, sql: str, values: list[tuple[Any, ...]]) -> None:
        self._recalled = NOTHING_RECALLED
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(sql, values)
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def note_edits(
        self, stream: Stream, resources: Iterable[Resource], asked: Sequence[str]
    ) -> list[Resource]:
        """Take in what has changed in Outreach, and return what others have edited of ours.

        Raises:
            OutputError: The file cannot be written.
        """
        scope = self._scope(stream)
        found: list[Resource] = []
        places: list[tuple[int, int, bytes]] = []
        for resource in resources:
            rows = self._run(
                "SELECT key, hashes FROM delivered WHERE scope = ? AND id = ?", (scope, resource.id)
            )
            for key, hashes in rows:
                if edited(resource, asked, Remembered(resource.id, hashes)):
                    places.append((EDITED, scope, key))
                    found.append(resource)
        self._change("UPDATE delivered SET edited = edited | ? WHERE scope = ? AND key = ?", places)
        return found

    def note_asked(self, stream: Stream, asked: Asked) -> None:
        """Remember what was shown when Outreach was asked what has changed.

        Args:
            stream: The stream that it was asked for.
            asked: What was shown, all of which is taken in.

        Raises:
            OutputError: The file cannot be written.
        """
        scope, until = self._scope(stream), asked.until and asked.until.isoformat()
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute("DELETE FROM seen WHERE scope = ?", (scope,))
                self._connection.executemany(
                    "INSERT INTO seen VALUES (?, ?, ?)",
                    [(scope, one, at.isoformat()) for one, at in asked.seen.items()],
                )
                self._connection.execute(
                    "INSERT OR REPLACE INTO questions VALUES (?, ?, ?, ?)",
                    (scope, asked.since.isoformat(), " ".join(asked.attributes), until),
                )
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    # The journal

    def delivered(self, stream: Stream, group: Group[Item], delivered: Delivered) -> None:
        """Note what a record said and what Outreach holds of it, to be kept by `commit`."""
        source_key = group.desired.source_key
        if source_key is None:
            return
        if not delivered.resource.attributes:  # it was settled by what is known already
            self._know_again(stream, group, source_key)
            return
        known = self.recall(stream, [source_key]).get(source_key)
        before = known.remembered if known is not None else None
        if before is not None and before.id != delivered.resource.id:
            before = None
        self._count_edits(stream, delivered, before)
        now = remember(group.desired, stream.rules, _as_seen(delivered), before)
        place = self._scope(stream), key_hash(source_key)
        is_written = not isinstance(delivered.decided, Unchanged)
        if known is None or known.is_edited or is_written or now != before:
            siblings = self._object_scope(stream)
            self._recalled = NOTHING_RECALLED
            row = _row(stream, group, now)
            self._doubted.discard(place)  # what was about to be written is
            self._news[place] = _News(now.id, now.packed, row, siblings if is_written else None)
            if is_written:
                self.writes += 1
                self._writers[siblings, now.id] = place

    def _know_again(self, stream: Stream, group: Group[Item], source_key: str) -> None:
        """Note how the row of a record stands in the input, where that says the same as before."""
        if (received := group.members[-1].row) is None:
            return
        known = self.recall(stream, [source_key]).get(source_key)
        if known is None or known.is_edited or known.row == received:
            return
        if (row := _row(stream, group, known.remembered)) is not None:
            self._rows_anew[self._scope(stream), key_hash(source_key)] = row

    def _count_edits(self, stream: Stream, delivered: Delivered, before: Remembered | None) -> None:
        """Count what others had changed of a record since it was delivered last."""
        if before is not None and not isinstance(delivered.decided, Create):
            found = edited(delivered.decided.resource, stream.asked, before)
            self.edits[stream.name].update(found)

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Do nothing: what was skipped is not in Outreach on our account."""

    def rejected(self, stream: Stream, item: Item, fault: RecordFault) -> None:
        """Do nothing: the record comes again, or not at all."""

    def made(self, stream: Stream, relationship: str, resource: Resource) -> None:
        """Do nothing: no row of a source says it."""

    def commit(self) -> None:
        """Keep all that was noted, in one transaction.

        Raises:
            OutputError: The file cannot be written.
        """
        if not self._news and not self._rows_anew:
            return
        kept = [
            # The next write of it may be under way already.
            (*place, news.id, news.hashes, DOUBTED if place in self._doubted else 0, news.row)
            for place, news in self._news.items()
            if news is not None
        ]
        others = [
            (EDITED, news.id, len(news.written_in) + 1, f"{news.written_in} ", *place)
            for place, news in self._news.items()
            if news is not None and news.written_in is not None
        ]
        gone = [place for place, news in self._news.items() if news is None]
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(
                    "UPDATE delivered SET row = ? WHERE scope = ? AND key = ?",
                    [(row, *place) for place, row in self._rows_anew.items()],
                )
                self._connection.executemany(
                    "INSERT OR REPLACE INTO delivered (scope, key, id, hashes, edited, row)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    kept,
                )
                self._connection.executemany(
                    "DELETE FROM delivered WHERE scope = ? AND key = ?", gone
                )
                # What other keys said of a record is not what it holds any more.
                self._connection.executemany(
                    "UPDATE delivered SET edited = edited | ? WHERE id = ? AND scope IN"
                    " (SELECT number FROM scopes WHERE substr(name, 1, ?) = ?)"
                    " AND NOT (scope = ? AND key = ?)",
                    others,
                )
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        self._recalled = NOTHING_RECALLED
        self._news.clear()
        self._rows_anew.clear()
        self._writers.clear()

    def reader(self) -> MemoryReader:
        """Open the file once more, for another thread.

        Raises:
            SettingsError: It cannot be opened.
        """
        return MemoryReader(self._path, self)

    def scope_name(self, stream: Stream) -> str:
        """Name the part of the memory that a stream has."""
        return f"{self._object_scope(stream)} {stream.name}"

    def _scope(self, stream: Stream) -> int:
        name = self.scope_name(stream)
        if name not in self._scopes:
            self._run("INSERT OR IGNORE INTO scopes (name) VALUES (?)", (name,))
            ((number,),) = self._run("SELECT number FROM scopes WHERE name = ?", (name,))
            self._scopes[name] = number
        return self._scopes[name]

    def _object_scope(self, stream: Stream) -> str:
        return f"{self.place} {stream.object.name if stream.object is not None else ''}"

    def _run(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: sqlite3.Error) -> OutputError:
        return OutputError(
            f"The memory {self._path} cannot be used ({error}): check memory_path; no STATE has "
            "passed what is not saved."
        )


class MemoryReader:
    """Reads a memory on a thread of its own, as it was kept last."""

    def __init__(self, path: str, memory: Memory) -> None:
        """Open the file.

        Args:
            path: The path of the file, which exists.
            memory: Knows which part of it a stream has.

        Raises:
            SettingsError: It cannot be opened.
        """
        self._memory = memory
        self._scopes: dict[str, tuple[int, ...]] = {}
        try:
            self._connection = sqlite3.connect(path, timeout=BUSY)
        except sqlite3.Error as error:
            raise SettingsError(f"memory_path cannot be used ({error}).") from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def rows(self, stream: Stream, keys: Sequence[bytes]) -> dict[bytes, tuple[int, bytes]]:
        """Return the ids of rows and what stands for them, by what stands for their keys.

        Nothing is known of a row whose record others may have changed, or if the file cannot be
        read: what is wrong with it is said when the row is looked up.
        """
        rows: dict[bytes, tuple[int, bytes]] = {}
        try:
            scope = self._scope(stream)
            for part, marks in _parts(keys if scope else ()):
                sql = f"SELECT key, id, row FROM delivered WHERE scope = ? AND edited = 0 AND row NOT NULL AND key IN ({marks})"  # noqa: E501, S608 - only marks
                for key, resource_id, row in self._connection.execute(sql, (*scope, *part)):
                    rows[key] = resource_id, row
        except sqlite3.Error:
            return {}
        return rows

    def _scope(self, stream: Stream) -> tuple[int, ...]:
        name = self._memory.scope_name(stream)
        if not self._scopes.get(name):
            found = self._connection.execute("SELECT number FROM scopes WHERE name = ?", (name,))
            self._scopes[name] = found.fetchone() or ()
        return self._scopes[name]


def _parts(keys: Sequence[bytes]) -> Iterator[tuple[Sequence[bytes], str]]:
    """Cut keys into as many as one statement asks for, each part with its question marks."""
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        yield part, ",".join("?" * len(part))


def _add_rows(connection: sqlite3.Connection) -> None:
    """Give a file of an earlier version the column for rows."""
    columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(delivered)")}
    if "row" not in columns:
        try:
            connection.execute("ALTER TABLE delivered ADD COLUMN row BLOB")
        except sqlite3.OperationalError as error:
            if "duplicate column" not in str(error):  # another run has added it meanwhile
                raise


def _row(stream: Stream, group: Group[Item], now: Remembered) -> bytes | None:
    """Return what stands for a row, if it would be unchanged were it to come again at once."""
    item = group.members[-1]
    if len(group.members) > 1 or item.row is None or item.desired is None:
        return None
    return None if changes(item.desired, stream.rules, now) else item.row


def _as_seen(delivered: Delivered) -> Resource:
    """Return what Outreach holds as far as we have looked at it, or written it.

    What the answer to an update shows beside that may be an edit of others that nobody has compared
    yet; it is to be noticed later.
    """
    decided, answer = delivered.decided, delivered.resource
    if isinstance(decided, Create):
        # An account that Outreach has made for it may be shown here, and nowhere else.
        linked = {k: v for k, v in answer.links.items() if k in decided.relationships}
        return Resource(answer.id, answer.attributes, linked)
    if isinstance(decided, Unchanged):
        return answer
    seen = decided.resource
    written = {k: v for k, v in answer.attributes.items() if k in decided.attributes}
    linked = {k: v for k, v in answer.links.items() if k in decided.relationships}
    return Resource(answer.id, {**seen.attributes, **written}, {**seen.links, **linked})


def _refuse_foreign(connection: sqlite3.Connection) -> None:
    """Leave a database of something else alone.

    Raises:
        DatabaseError: It is one.
    """
    ((found,),) = connection.execute("PRAGMA application_id")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    if tables and found != APPLICATION_ID:
        raise sqlite3.DatabaseError("it is a database of something else")


def copy_memory(path: str, copy: str) -> None:
    """Copy a memory, if there is one, so that a dry run leaves it as it is.

    Raises:
        SettingsError: It cannot be read.
    """
    if not Path(path).exists():
        return
    try:
        address = f"{Path(path).resolve().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(address, uri=True)) as kept,
            closing(sqlite3.connect(copy)) as copied,
        ):
            kept.backup(copied)
    except sqlite3.Error as error:
        raise SettingsError(f"memory_path cannot be used ({error}).") from None
