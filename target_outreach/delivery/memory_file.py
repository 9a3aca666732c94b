"""The SQLite file of a memory: its form, which part of it belongs to whom, and what damages it."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from target_outreach.errors import OutputError, SettingsError
from target_outreach.private_files import refuse_foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from target_outreach.delivery.stream import Stream

logger = logging.getLogger("target-outreach")

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
    checksum INTEGER,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS delivered_id ON delivered (scope, id);
"""

#: Flags of a record that is to be compared with Outreach: others have edited it; a run was about
#: to write it, and may have been killed before it could remember that; another row has written it.
EDITED = 1
DOUBTED = 2
REWRITTEN = 4


def flagging(flag: int) -> str:
    """Return the beginning of a statement that sets a flag, beside those that are there.

    A checksum has the flags above its lower 32 bits.
    """
    checksum_too = f"checksum = checksum + ((edited | {flag}) - edited) * {1 << 32}"
    return f"UPDATE delivered SET {checksum_too}, edited = edited | {flag}"  # noqa: S608 - a number


#: Adds what one scope keeps to another. The number of the first is not free afterwards: a run that
#: is still at work may go on using it.
ADD_TO_ANOTHER = (
    "UPDATE OR IGNORE delivered SET scope = :kept WHERE scope = :other",
    f"{flagging(EDITED)} WHERE scope = :kept",
    "DELETE FROM delivered WHERE scope = :other",
    "DELETE FROM questions WHERE scope = :other",
    "DELETE FROM seen WHERE scope = :other",
    "UPDATE scopes SET name = :name WHERE number = :other",
)

#: Columns that files of earlier versions lack, and their types.
ADDED_COLUMNS = {"row": "BLOB", "checksum": "INTEGER"}

#: Marks the file as ours, of this form.
APPLICATION_ID = 0x0E7A_4C01

#: Where SQLite keeps that mark in a file, and what SQLite calls a damaged one.
MARK = slice(68, 72)
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

#: Seconds to wait for another run that uses the same file.
BUSY = 30.0

#: Keys that one statement asks for.
AT_ONCE = 500


class MemoryFile:
    """The file of a memory, divided by organisation, API address, object and stream.

    Attributes:
        place: Names the organisation and the address of its API; `belong` sets it before anything
            is asked.
        path: Where it is.
        name: What it is called in messages.
        revision: How often `change` has changed it.
        failure: Why it must not be changed any more, if that is so; another thread may set it.
    """

    def __init__(self, path: str, name: str | None = None) -> None:
        """Open the file, and make it if there is none.

        Args:
            path: The path of the file.
            name: What it is called in messages, where it is the copy of another.

        Raises:
            SettingsError: It is no such file, or cannot be opened.
        """
        self.path = path
        self.name = path if name is None else name
        self.place = ""
        self.revision = 0
        self.failure: OutputError | None = None
        self._scopes: dict[str, int] = {}
        try:
            try:
                self._connection = self._open(path)
            except sqlite3.DatabaseError as error:
                _set_aside(path, error, self.name)
                self._connection = self._open(path)
        except (OSError, sqlite3.Error) as error:
            words = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(
                f"memory_path cannot be used ({words}): {self.name}. Name a file that only this "
                "target uses, in a folder where it may write."
            ) from None

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
            ((found,),) = connection.execute("PRAGMA quick_check(1)")
            if found != "ok":
                raise _DamagedError(found)  # noqa: TRY301 - the connection is closed below
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.executescript(SCHEMA)
            _add_columns(connection)
        except UnicodeDecodeError:  # of SQLite's own message, which names what is damaged
            connection.close()
            raise _DamagedError("its tables have no names") from None
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
        two names have kept something of the same stream, it is unknown which is newer: all of it is
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
        named = self.run("SELECT number, name FROM scopes ORDER BY number", ())
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
        both = {"kept": kept[0], "other": number, "name": f"- {number}"}
        for sql in ADD_TO_ANOTHER:
            execute(sql, both)

    def scope(self, stream: Stream) -> int:
        """Return the number of the part of the file that a stream has."""
        name = self.scope_name(stream)
        if name not in self._scopes:
            self.run("INSERT OR IGNORE INTO scopes (name) VALUES (?)", (name,))
            ((number,),) = self.run("SELECT number FROM scopes WHERE name = ?", (name,))
            self._scopes[name] = number
        return self._scopes[name]

    def scope_name(self, stream: Stream) -> str:
        """Name the part of the memory that a stream has."""
        return f"{self.object_scope(stream)} {stream.name}"

    def object_scope(self, stream: Stream) -> str:
        """Name what the streams of an object have in common in the file."""
        return f"{self.place} {stream.object.name if stream.object is not None else ''}"

    # Reading and writing

    def run(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Carry out one statement, and return its rows.

        Raises:
            OutputError: The file cannot be read or written.
        """
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def change(self, *statements: tuple[str, Iterable[tuple[Any, ...]]]) -> None:
        """Carry out statements, each with each of its tuples of values, in one transaction.

        Raises:
            OutputError: The file cannot be written.
        """
        if self.failure is not None:
            raise self.failure
        self.revision += 1
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for sql, values in statements:
                    self._connection.executemany(sql, values)
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        self.revision += 1  # what was copied in between lacks the change

    def doubt_everything(self) -> None:
        """Have all rows compared with Outreach when they come next, as after a run's own writes.

        Raises:
            OutputError: The file cannot be written.
        """
        self.change((flagging(REWRITTEN), [()]))

    def damaged(self) -> OutputError:
        """Say that the file holds something that no run has written."""
        return OutputError(
            f"The memory {self.name} is damaged: move it away, or give memory_path another one; "
            "no STATE has passed what is not saved."
        )

    def _unusable(self, error: sqlite3.Error) -> OutputError:
        return OutputError(
            f"The memory {self.name} cannot be used ({error}): check memory_path; no STATE has "
            "passed what is not saved."
        )


def parts(keys: Sequence[bytes]) -> Iterator[tuple[Sequence[bytes], str]]:
    """Cut keys into as many as one statement asks for, each part with its question marks."""
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        yield part, ",".join("?" * len(part))


def checksum(key: Any, resource_id: Any, hashes: Any, edited: Any) -> int | None:  # noqa: ANN401 - whatever a damaged file holds
    """Return what shows that a row was damaged, or None where it cannot be a row.

    The flags are above a CRC of the rest, so that `flagging` can add to them.
    """
    try:
        flags: int = edited << 32
        return crc32(hashes, crc32(b"%d %b" % (resource_id, key))) + flags
    except (TypeError, ValueError):
        return None


def _add_columns(connection: sqlite3.Connection) -> None:
    """Give a file of an earlier version the columns that it lacks.

    Rows that have no checksum yet are compared with Outreach when they come.
    """
    if not _missing_columns(connection):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for name, kind in _missing_columns(connection).items():
            connection.execute(f"ALTER TABLE delivered ADD COLUMN {name} {kind}")


def _missing_columns(connection: sqlite3.Connection) -> dict[str, str]:
    there = {name for _, name, *_ in connection.execute("PRAGMA table_info(delivered)")}
    return {name: kind for name, kind in ADDED_COLUMNS.items() if name not in there}


def _refuse_foreign(connection: sqlite3.Connection) -> None:
    """Leave a database of something else alone.

    Raises:
        DatabaseError: It is one.
    """
    ((found,),) = connection.execute("PRAGMA application_id")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    if tables and found != APPLICATION_ID:
        raise sqlite3.DatabaseError("it is a database of something else")


class _DamagedError(sqlite3.DatabaseError):
    """A file of ours does not hold what it should."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def _set_aside(path: str, error: sqlite3.DatabaseError, name: str) -> None:
    """Rename a damaged memory, so that a new one can be begun in its place.

    Raises:
        DatabaseError: Something else is wrong, or it is not certain that the file is a memory.
    """
    code: int = getattr(error, "sqlite_errorcode", 0)  # what Python itself raises has none
    with Path(path).open("rb") as file:  # a copy is of what only runs have written
        is_ours = name != path or file.read(MARK.stop)[MARK] == APPLICATION_ID.to_bytes(4)
    if code & 0xFF not in DAMAGED or not is_ours:
        raise error
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{ending}").replace(f"{path}.damaged{ending}")
    where = f"It is kept as {path}.damaged, and a" if name == path else "A"
    logger.warning(
        "The memory %s was damaged (%s). %s new one is begun: all rows are compared with Outreach "
        "again.",
        name,
        error,
        where,
    )


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
