"""The SQLite file behind the sandbox: one transaction per write, ids never used twice."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from target_outreach.sandbox import schema
from target_outreach.sandbox.resources import (
    Change,
    Record,
    apply,
    folded,
    links_to,
    object_type,
    timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path


_LAST_ID = 2**63 - 1

#: Of so many of the newest writes it is known what was there before them.
_KNOWN_WRITES = 10_000


class EmailTakenError(Exception):
    """An address already belongs to another prospect."""


class _UndoneError(Exception):
    """What was written is to be undone."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A piece of an SQL WHERE clause with its values."""

    sql: str
    values: tuple[object, ...] = ()


class Database:
    """The records behind the API, safe to use from many threads.

    One connection behind a lock serves all threads; with the write-ahead log a commit survives the
    death of the process, and other processes may read the file meanwhile.

    Args:
        path: SQLite file, created where missing; from now on only its owner may read it.
        clock: Returns epoch seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        #: When a record was written, of which object, and what it was before: None for a new one.
        self._before: deque[tuple[float, str, int, Record | None]] = deque(maxlen=_KNOWN_WRITES)
        with suppress(OSError):  # SQLite says it itself, if the file cannot be used
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            path.chmod(0o600)  # an older file may have been readable by all
        self._connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
        except sqlite3.Error:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        """Set the file up, and fill it where it is new."""
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        # Each checkpoint waits for the disk; the log may grow to 40 MB before the next.
        self._connection.execute("PRAGMA wal_autocheckpoint = 10000")
        with self.transaction():
            if schema.create_tables(self._connection):
                for name, attributes, relationships in schema.DEFAULTS:
                    self.create(name, Change("seed", attributes, relationships))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def custom_fields(self, object_name: str) -> dict[str, dict[str, Any]]:
        """Return the rules of the custom fields of an object by attribute."""
        sql = "SELECT name, validation FROM custom_fields WHERE object = ?"
        return {name: json.loads(text) for name, text in self.rows(sql, (object_name,))}

    def organisation(self) -> str:
        """Return the id of the organisation, made up once per file."""
        return str(self.rows("SELECT guid FROM organisation")[0][0])

    def find(self, object_name: str, record_id: int) -> Record | None:
        """Return the record with this id, or None."""
        if record_id > _LAST_ID:
            return None
        found = self.select(object_name, [Condition("id = ?", (record_id,))])
        return found[0] if found else None

    def select(
        self,
        object_name: str,
        where: Iterable[Condition] = (),
        order: str = "id",
        limit: int = -1,
        offset: int = 0,
    ) -> list[Record]:
        """Return the records that meet all conditions.

        Args:
            object_name: Plural name.
            where: Conditions.
            order: SQL to sort by.
            limit: Most records to return; -1 for all.
            offset: Records to skip at the start.
        """
        clause = _all_of(where)
        # As everywhere below, names come from the catalogue and values are bound.
        sql = f"SELECT id, body FROM {object_name} WHERE {clause.sql}"  # noqa: S608 - see above
        rows = self.rows(
            f"{sql} ORDER BY {order} LIMIT ? OFFSET ?", (*clause.values, limit, offset)
        )
        return [_record(*row) for row in rows]

    def count(self, object_name: str, where: Iterable[Condition] = ()) -> int:
        """Return how many records meet all conditions."""
        clause = _all_of(where)
        sql = f"SELECT count(*) FROM {object_name} WHERE {clause.sql}"  # noqa: S608 - as above
        return int(self.rows(sql, clause.values)[0][0])

    def create(self, object_name: str, change: Change) -> Record:
        """Create a record.

        Raises:
            EmailTakenError: An address belongs to another prospect.
        """
        now = self._now(change)
        stamps = {"createdAt": now, "updatedAt": now}
        authors = _authors(object_name, change, "creator", "updater")
        with self.transaction():
            _check(object_name, change)
            record = apply(object_name, Record(0, stamps, authors), change, now)
            sql = f"INSERT INTO {object_name} (body) VALUES (?)"  # noqa: S608 - as above
            cursor = self._connection.execute(sql, (_body(object_name, record),))
            record = Record(cursor.lastrowid or 0, record.attributes, record.relationships)
            self._own_emails(object_name, record, change)
            self._log(object_name, record.id, change, now)
            if "createdAt" not in change.attributes:  # else it is as old as that
                self._before.append((self._clock(), object_name, record.id, None))
        return record

    def modify(self, object_name: str, record_id: int, change: Change) -> Record:
        """Change a record; `updatedAt` moves only where something differs.

        Raises:
            KeyError: No such record.
            EmailTakenError: An address belongs to another prospect.
        """
        now = self._now(change)
        with self.transaction():
            _check(object_name, change)
            before = self.find(object_name, record_id)
            if before is None:
                raise KeyError(record_id)
            after = apply(object_name, before, change, now)
            changed = after != before
            if changed:
                after = _stamped(object_name, after, change, now)
                self._replace(object_name, after, change)
                self._before.append((self._clock(), object_name, record_id, before))
            self._log(object_name, record_id, change, now, changed=changed)
        return after

    @contextmanager
    def as_of(self, moment: float) -> Iterator[None]:
        """Show records inside as they were some time ago; what was deleted since stays away.

        Args:
            moment: In epoch seconds. Of more than `_KNOWN_WRITES` since then, the first ones show.
        """
        with suppress(_UndoneError), self.transaction():
            for at, name, record_id, before in reversed(self._before):
                if at <= moment:
                    break
                if before is None:
                    sql = f"UPDATE {name} SET trashed = 1 WHERE id = ?"  # noqa: S608 - as above
                    self._connection.execute(sql, (record_id,))
                else:
                    every = Change("edit", {"emails": None}, shared_emails=True)
                    self._replace(name, before, every)
            yield
            raise _UndoneError

    def delete(self, object_name: str, record_id: int) -> None:
        """Delete a record for good; what linked to it is unlinked.

        Raises:
            KeyError: No such record.
        """
        with self.transaction():
            if self.find(object_name, record_id) is None:
                raise KeyError(record_id)
            self._unlink(object_name, record_id)
            if object_name == "prospects":
                self._connection.execute("DELETE FROM emails WHERE prospect = ?", (record_id,))
            sql = f"DELETE FROM {object_name} WHERE id = ?"  # noqa: S608 - as above
            self._connection.execute(sql, (record_id,))
            deletion = Change("DELETE")
            self._log(object_name, record_id, deletion, self._now(deletion))

    def trash(
        self, object_name: str, record_id: int, *, listed: bool = False, frees_emails: bool = False
    ) -> None:
        """Put a record into the trash (API reference 8.8).

        Args:
            object_name: Plural name.
            record_id: Its id.
            listed: Whether it is seen all the same, where it can show that it is in the trash.
            frees_emails: Whether others may have its addresses.

        Raises:
            KeyError: No such record.
        """
        deletion = Change("DELETE")
        now = self._now(deletion)
        with self.transaction():
            record = self.find(object_name, record_id)
            if record is None:
                raise KeyError(record_id)
            if listed and "trashedAt" in object_type(object_name).attributes:
                trashed = {**record.attributes, "trashedAt": now, "updatedAt": now}
                gone = Record(record.id, trashed, record.relationships)
                self._replace(object_name, gone, deletion)
            else:
                sql = f"UPDATE {object_name} SET trashed = 1 WHERE id = ?"  # noqa: S608 - as above
                self._connection.execute(sql, (record_id,))
            if frees_emails and object_name == "prospects":
                # Lists find it by them as before.
                sql = "UPDATE emails SET shared = 2 WHERE prospect = ?"
                self._connection.execute(sql, (record_id,))
            self._log(object_name, record_id, deletion, now)

    def _replace(self, object_name: str, record: Record, change: Change) -> None:
        sql = f"UPDATE {object_name} SET body = ? WHERE id = ?"  # noqa: S608 - as above
        self._connection.execute(sql, (_body(object_name, record), record.id))
        if object_name == "prospects" and "emails" in change.attributes:
            self._connection.execute("DELETE FROM emails WHERE prospect = ?", (record.id,))
            self._own_emails(object_name, record, change)

    def _own_emails(self, object_name: str, record: Record, change: Change) -> None:
        if object_name != "prospects":
            return
        for address in record.attributes.get("emails", ()):
            key = address.strip().casefold()
            held = self.rows("SELECT 1 FROM emails WHERE folded = ? AND shared < 2 LIMIT 1", (key,))
            # An address that is given twice meets itself here: uniqueness knows no exception.
            if held and not change.shared_emails:
                raise EmailTakenError
            self._connection.execute(
                "INSERT INTO emails VALUES (?, ?, ?, ?)",
                (record.id, address.strip(), key, bool(held)),
            )

    def _unlink(self, object_name: str, record_id: int) -> None:
        for table, link in links_to(object_name):
            body = f"json_remove(body, '$.relationships.{link}')"
            where = f"{schema.related(link)} = ?"
            sql = f"UPDATE {table} SET body = {body} WHERE {where}"  # noqa: S608 - as above
            self._connection.execute(sql, (record_id,))

    def _log(
        self, object_name: str, record_id: int, change: Change, now: str, *, changed: bool = True
    ) -> None:
        sent = json.dumps([dict(change.attributes), dict(change.relationships)])
        self._connection.execute(
            "INSERT INTO writes (object, record, method, at, sent, changed)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (object_name, record_id, change.method, now, sent, changed),
        )

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Keep everybody else out of the file until all is done, or undone by an error."""
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.commit()
            except BaseException:
                self._connection.rollback()
                raise

    def _now(self, change: Change) -> str:
        return timestamp(self._clock() if change.at is None else change.at)


def _check(object_name: str, change: Change) -> None:
    kind = object_type(object_name)
    unknown = [name for name in change.attributes if name not in kind.attributes]
    unknown += [name for name in change.relationships if name not in kind.relationships]
    if unknown:
        message = f"{object_name} have no {', '.join(unknown)}"
        raise ValueError(message)


def _all_of(where: Iterable[Condition]) -> Condition:
    conditions = [Condition("NOT trashed"), *where]
    return Condition(
        " AND ".join(condition.sql for condition in conditions),
        tuple(value for condition in conditions for value in condition.values),
    )


def _authors(object_name: str, change: Change, *links: str) -> dict[str, int]:
    if change.author is None:
        return {}
    return {link: change.author for link in links if link in object_type(object_name).relationships}


def _stamped(object_name: str, record: Record, change: Change, now: str) -> Record:
    relationships = {**record.relationships, **_authors(object_name, change, "updater")}
    return Record(record.id, {**record.attributes, "updatedAt": now}, relationships)


def _body(object_name: str, record: Record) -> str:
    content = {
        "attributes": record.attributes,
        "relationships": record.relationships,
        "folded": folded(object_name, record.attributes),
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _record(record_id: int, body: str) -> Record:
    content = json.loads(body)
    return Record(record_id, content["attributes"], content["relationships"])
