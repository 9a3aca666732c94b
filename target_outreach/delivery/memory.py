"""What earlier runs delivered: the Outreach id of each source key, and hashes of what was said.

The memory is a SQLite file. It changes in one transaction a batch, after the writes are confirmed
and before STATE passes them, so that it never knows more than Outreach holds. It is divided by
organisation, API address, object and stream. Keys and values are in it as hashes only.

Under `drift` it also keeps when Outreach was last asked what has changed there, and which records
others have edited since: those are compared again when their row comes, however long that takes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from target_outreach.delivery.memory_file import (
    DOUBTED,
    EDITED,
    REWRITTEN,
    MemoryFile,
    checksum,
    flagging,
    parts,
)
from target_outreach.delivery.stream import Journal
from target_outreach.records.fingerprints import (
    Remembered,
    changes,
    edited,
    key_hash,
    remember,
)
from target_outreach.records.model import Create, Resource, Unchanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from target_outreach.delivery.stream import Delivered, Item, Stream
    from target_outreach.errors import RecordFault
    from target_outreach.records.folding import Group

#: A flag that no row has: one that is expected to have it is expected not to be there.
NOT_THERE = 8

#: Rows that are deleted in their source of which is known when they came, the newest.
MOST_DELETED = 100_000

#: Keeps a record. Where its row is not as this run has left it, another run has written the record
#: meanwhile, and which of the two was the last is unknown.
KEEP = f"""
INSERT INTO delivered (scope, key, id, hashes, edited, row, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, key) DO UPDATE SET
    id = excluded.id, hashes = excluded.hashes, row = excluded.row,
    (edited, checksum) = (
        SELECT excluded.edited + flag, excluded.checksum + flag * {1 << 32} FROM (
            SELECT {REWRITTEN} * (? & ~delivered.edited AND delivered.checksum IS NOT NULL) AS flag
        )
    )
"""  # noqa: S608 - only numbers

#: Flags what other keys of the streams of an object say of a record.
FLAG_OTHERS = f"""
{flagging(REWRITTEN)} WHERE id = ?
AND scope IN (SELECT number FROM scopes WHERE substr(name, 1, ?) = ?)
AND NOT (scope = ? AND key = ?)
"""  # noqa: S608 - only the text here


@dataclass(frozen=True, slots=True)
class _News:
    """What is to be kept of one record; its row in the file is expected to have a flag."""

    id: int
    hashes: bytes
    row: bytes | None
    written_in: str | None
    is_keyed: bool
    expects: int


class Known(Struct, frozen=True):
    """A record that was delivered before.

    Attributes:
        remembered: What was delivered.
        is_edited: Whether somebody else, or another row, has edited it since.
        row: A hash of the row's text in the input, if it can be known again by that.
        is_rewritten: Whether another row has edited it, so that nobody else need have done it.
    """

    remembered: Remembered
    is_edited: bool
    row: bytes | None
    is_rewritten: bool = False


#: No scope, no revision of the file, no keys, and nothing known of them.
NOTHING_RECALLED: tuple[int, int, set[str], dict[str, Known]] = (-1, -1, set(), {})


class Memory(MemoryFile, Journal):
    """A memory in a SQLite file, used on the engine's thread only.

    Attributes:
        edits: How often others had changed what was delivered, by stream and attribute.
    """

    def __init__(self, path: str, name: str | None = None) -> None:
        """Open the file as `MemoryFile` does."""
        super().__init__(path, name)
        self.edits: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._news: dict[tuple[int, bytes], _News | None] = {}
        self._writers: dict[tuple[str, int], tuple[int, bytes]] = {}
        self._rows_anew: dict[tuple[int, bytes], bytes] = {}
        self._doubted: set[tuple[int, bytes]] = set()
        #: The sequence numbers of rows that are deleted in their source; earlier ones may be open.
        self._deleted: dict[tuple[int, bytes], int] = {}
        #: What was recalled last; a batch is recalled twice with nothing in between.
        self._recalled = NOTHING_RECALLED

    # What is known

    def recall(self, stream: Stream, source_keys: Iterable[str]) -> dict[str, Known]:
        """Return what is known of records of a stream, by their keys.

        Raises:
            OutputError: The file cannot be read.
        """
        scope, keys = self.scope(stream), set(source_keys)
        of_scope, revision, recalled, known = self._recalled
        if (scope, self.revision) != (of_scope, revision) or not keys <= recalled:
            known = self._known(stream, keys)
            self._recalled = scope, self.revision, keys, known
        return known

    def _known(self, stream: Stream, source_keys: Iterable[str]) -> dict[str, Known]:
        scope = self.scope(stream)
        hashed = {key_hash(key): key for key in source_keys}
        known: dict[str, Known] = {}
        for key, entry in self._rows(scope, list(hashed)):
            if key not in hashed:
                raise self.damaged()
            known[hashed[key]] = entry
        for key, source_key in hashed.items():
            if (scope, key) in self._news:
                known.pop(source_key, None)
                if (news := self._news[scope, key]) is not None:
                    remembered = Remembered(news.id, news.hashes)
                    known[source_key] = Known(remembered, is_edited=False, row=news.row)
        if self._writers:
            siblings = self.object_scope(stream)
            for key, source_key in hashed.items():
                if source_key in known:
                    writer = self._writers.get((siblings, known[source_key].remembered.id))
                    if writer is not None and writer != (scope, key):
                        known[source_key] = msgspec.structs.replace(
                            known[source_key], is_edited=True, is_rewritten=True
                        )
        return known

    def _rows(self, scope: int, keys: list[bytes]) -> Iterable[tuple[bytes, Known]]:
        for part, marks in parts(keys):
            sql = f"SELECT key, id, hashes, edited, row, checksum FROM delivered WHERE scope = ? AND key IN ({marks})"  # noqa: E501, S608 - only marks
            for key, resource_id, hashes, flags, row, kept in self.run(sql, (scope, *part)):
                if kept is None or kept != checksum(key, resource_id, hashes, flags):
                    continue  # it is damaged, and compared anew like one that is not known
                is_edited = bool(flags & (EDITED | REWRITTEN)) or (
                    bool(flags & DOUBTED) and (scope, key) not in self._doubted
                )
                remembered = Remembered(resource_id, hashes)
                yield key, Known(remembered, is_edited, row, bool(flags & REWRITTEN))

    def is_anothers(self, stream: Stream, source_key: str, resource_id: int) -> bool:
        """Whether a row of a stream with another key was the last that was delivered to a record.

        Raises:
            OutputError: The file cannot be read.
        """
        scope, mine = self.scope(stream), key_hash(source_key)
        sql = "SELECT key, id, hashes, edited, checksum FROM delivered WHERE scope = ? AND id = ?"
        found = self.run(sql, (scope, resource_id))
        keys = {key for key, *rest, kept in found if kept == checksum(key, *rest)}
        # A memory of an earlier version may have several keys for one record.
        return mine not in keys and any((scope, key) not in self._news for key in keys)

    def forget(self, stream: Stream, source_key: str) -> None:
        """Forget a record whose id Outreach does not know any more."""
        self._recalled = NOTHING_RECALLED
        self._news[self.scope(stream), key_hash(source_key)] = None

    # What may be written by others, or by this run

    def doubt(self, stream: Stream, source_keys: Iterable[str]) -> None:
        """Note before records are written that what is remembered of them may be wrong by then.

        If the run is killed between a write and `commit`, they are compared with Outreach again.

        Raises:
            OutputError: The file cannot be written.
        """
        scope = self.scope(stream)
        places = {(scope, key_hash(key)) for key in source_keys} - self._doubted
        if places:
            self._doubted.update(places)
            self.change((f"{flagging(DOUBTED)} WHERE scope = ? AND key = ?", places))

    def doubt_others(self, stream: Stream, source_key: str | None, resource_id: int) -> None:
        """Note before a record is written that other keys may say something else of it.

        Raises:
            OutputError: The file cannot be written.
        """
        siblings = f"{self.object_scope(stream)} "
        mine = self.scope(stream), b"" if source_key is None else key_hash(source_key)
        others = self.run(
            "SELECT scope, key FROM delivered WHERE id = ? AND NOT edited & ? AND scope IN"
            " (SELECT number FROM scopes WHERE substr(name, 1, ?) = ?)"
            " AND NOT (scope = ? AND key = ?)",
            (resource_id, REWRITTEN, len(siblings), siblings, *mine),
        )
        if others:
            self.change((f"{flagging(REWRITTEN)} WHERE scope = ? AND key = ?", others))

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
        is_rewritten = known is not None and known.is_rewritten
        if before is not None and before.id != delivered.resource.id:
            before = None
        decided = delivered.decided
        if before is not None and not is_rewritten and not isinstance(decided, Create):
            self.edits[stream.name].update(edited(decided.resource, stream.asked, before))
        now = remember(group.desired, stream.rules, _as_seen(delivered), before)
        place = self.scope(stream), key_hash(source_key)
        is_written = not isinstance(decided, Unchanged)
        if known is None or known.is_edited or is_written or now != before:
            siblings = self.object_scope(stream)
            self._recalled = NOTHING_RECALLED
            row = _row(stream, group, now)
            expects = DOUBTED if place in self._doubted else 0
            if known is None and place not in self._news:
                expects = NOT_THERE
            self._doubted.discard(place)  # what was about to be written is
            written_in = siblings if is_written else None
            self._news.pop(place, None)  # the newest is the last
            news = _News(now.id, now.packed, row, written_in, stream.is_keyed, expects)
            is_deleted = self._deleted.get(place, 0) > group.members[-1].number
            self._news[place] = None if is_deleted else news
            if is_written:
                self._writers[siblings, now.id] = place

    def _know_again(self, stream: Stream, group: Group[Item], source_key: str) -> None:
        """Note the text of a record's row in the input, where it says the same as before."""
        if (received := group.members[-1].row) is None:
            return
        known = self.recall(stream, [source_key]).get(source_key)
        if known is None or known.is_edited or known.row == received:
            return
        if (row := _row(stream, group, known.remembered)) is not None:
            self._rows_anew[self.scope(stream), key_hash(source_key)] = row

    def rejected(
        self, stream: Stream, item: Item, fault: RecordFault, opt_out: Delivered | None = None
    ) -> None:
        """Compare a record again with Outreach, if it was doubted: it was not written after all."""
        del fault, opt_out
        if item.desired is not None and (key := item.desired.source_key) is not None:
            self._recalled = NOTHING_RECALLED
            self._doubted.discard((self.scope(stream), key_hash(key)))

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Forget a row that its source has deleted, so that another may have its record."""
        if reason == "deleted_in_source" and stream.is_keyed:
            for item in items:
                if item.desired is not None and (key := item.desired.source_key) is not None:
                    self.forget(stream, key)
                    self._deleted[self.scope(stream), key_hash(key)] = item.number
            while len(self._deleted) > MOST_DELETED:
                del self._deleted[next(iter(self._deleted))]

    def commit(self) -> None:
        """Keep all that was noted, in one transaction.

        Raises:
            OutputError: The file cannot be written.
        """
        if not self._news and not self._rows_anew:
            return
        kept = [
            # The next write of it may be under way already.
            (
                *place,
                news.id,
                news.hashes,
                flags,
                news.row,
                checksum(place[1], news.id, news.hashes, flags),
                news.expects,
            )
            for place, news in self._news.items()
            if news is not None
            for flags in (DOUBTED if place in self._doubted else 0,)
        ]
        others = [
            (news.id, len(news.written_in) + 1, f"{news.written_in} ", *place)
            for place, news in self._news.items()
            if news is not None and news.written_in is not None
        ]
        gone = [place for place, news in self._news.items() if news is None]
        owners = {
            (scope, news.id): key
            for (scope, key), news in self._news.items()
            if news is not None and news.is_keyed
        }
        anew = [(row, *place) for place, row in self._rows_anew.items()]
        owned = [(*record, key) for record, key in owners.items()]
        self.change(
            ("UPDATE delivered SET row = ? WHERE scope = ? AND key = ?", anew),
            (KEEP, kept),
            ("DELETE FROM delivered WHERE scope = ? AND key = ?", gone),
            # A record belongs to one row of a stream.
            ("DELETE FROM delivered WHERE scope = ? AND id = ? AND key != ?", owned),
            # What other streams said of a record is not what it holds any more.
            (FLAG_OTHERS, others),
        )
        self._news.clear()
        self._rows_anew.clear()
        self._writers.clear()


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
