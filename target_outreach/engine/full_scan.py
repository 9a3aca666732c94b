"""Reading an object whole, where that costs fewer requests than looking up what is to come.

Before the first batch of an object is looked up, both costs are estimated: a list takes some two
hundred addresses a request, a page brings a thousand records whoever asks for them. Where several
requests are due, the first page is read, with the number of all; if the rest costs no more than the
lookups, it is read too. What was read is kept in an index on disk, which SQLite removes by itself.

What the index does not hold is no proof for an account: pages are not one moment's snapshot, and
Outreach would not refuse a second one. So `Resolver` looks again before it creates one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from target_outreach.delivery.tally import counted
from target_outreach.engine.batch import Batch, Read, WorkItem
from target_outreach.json_reader import read_json
from target_outreach.records.matching import RemoteSnapshot
from target_outreach.records.model import Key, ObjectType, Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from target_outreach.engine.requests import Requests
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pages import NextPage, Page

logger = logging.getLogger("target-outreach")

#: The version of a reading that no list has been cut for.
BY_SCAN = 1 << 62

PAGE_SIZE = 1000

#: Values that one statement asks for.
AT_ONCE = 500

#: Fewer requests than these cannot be saved by a first page.
WORTH_A_TRY = 2

_encode = msgspec.json.Encoder().encode


class Index:
    """The records of one object, on disk, found by key."""

    def __init__(
        self, object_type: ObjectType, fields: Iterable[str], asked: Iterable[str]
    ) -> None:
        """Begin with none.

        Args:
            object_type: What the records are.
            fields: The match fields that they are found by.
            asked: The attributes and relationships that are read of each.
        """
        self.fields = frozenset(fields)
        self.asked = frozenset(asked)
        self._keys = RemoteSnapshot(object_type, tuple(fields)).keys
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(
            "CREATE TABLE records (id INTEGER PRIMARY KEY, content BLOB NOT NULL);"
            "CREATE TABLE keys (field TEXT, value BLOB, id INTEGER,"
            " PRIMARY KEY (field, value, id)) WITHOUT ROWID;"
        )

    def put(self, resources: Iterable[Resource]) -> None:
        """Take in records, instead of what was known of them."""
        newest = {resource.id: resource for resource in resources}
        with self._database:
            self._database.execute("BEGIN")
            self._drop(newest)
            self._database.executemany(
                "INSERT INTO records VALUES (?, ?)",
                [(one.id, _written(one)) for one in newest.values()],
            )
            self._database.executemany(
                "INSERT OR IGNORE INTO keys VALUES (?, ?, ?)",
                self._entries(newest.values()),
            )

    def drop(self, resource_id: int) -> None:
        """Forget a record."""
        with self._database:
            self._database.execute("BEGIN")
            self._drop([resource_id])

    def _drop(self, ids: Iterable[int]) -> None:
        known = list(self.having(Key("id", one) for one in ids))
        self._database.executemany(
            "DELETE FROM keys WHERE field = ? AND value = ? AND id = ?",
            self._entries(known),
        )
        self._database.executemany("DELETE FROM records WHERE id = ?", [(one.id,) for one in known])

    def _entries(self, resources: Iterable[Resource]) -> list[tuple[str, bytes, int]]:
        return [(key.field, _stored(key), one.id) for one in resources for key in self._keys(one)]

    def having(self, keys: Iterable[Key]) -> Iterator[Resource]:
        """Go through the records that have one of these keys, some more than once."""
        values: defaultdict[str, list[bytes | int]] = defaultdict(list)
        for key in keys:
            if key.field == "id":
                values["id"].append(int(key.value))
            elif key.field in self.fields:
                values[key.field].append(_stored(key))
        for name, several in values.items():
            for start in range(0, len(several), AT_ONCE):
                yield from self._having(name, several[start : start + AT_ONCE])

    def _having(self, name: str, values: list[bytes | int]) -> Iterator[Resource]:
        marks = ",".join("?" * len(values))
        if name == "id":
            rows = self._database.execute(
                f"SELECT id, content FROM records WHERE id IN ({marks})",  # noqa: S608 - only marks
                values,
            )
        else:
            rows = self._database.execute(
                "SELECT id, content FROM records JOIN keys USING (id)"  # noqa: S608 - only marks
                f" WHERE field = ? AND value IN ({marks})",
                (name, *values),
            )
        for resource_id, content in rows:
            yield Resource(resource_id, *read_json(content))

    def close(self) -> None:
        """Remove it."""
        self._database.close()


def _stored(key: Key) -> bytes:
    """Return a key's value as bytes for the index, which does not accept broken text."""
    return str(key.value).encode("utf-8", "surrogatepass")


def _written(resource: Resource) -> bytes:
    """Write what a record holds as JSON."""
    content = [resource.attributes, resource.links]
    try:
        return _encode(content)
    except UnicodeEncodeError:  # half a surrogate pair, which the standard library lets pass
        return json.dumps(content).encode("ascii")


@dataclass(slots=True)
class _Scan:
    """What is known of reading one object whole.

    Attributes:
        index: What was read.
        lookups: The requests that it would take to look up what is to come, as far as known.
        began: When the first page was asked for, in monotonic seconds.
        stream: The stream for which it was begun.
        is_read: Done when the index holds all; whether it does, and did not turn out too dear.
        pages: The pages that were read.
        ours: Records that this run has written meanwhile.
    """

    index: Index
    lookups: int
    began: float
    stream: str
    is_read: asyncio.Future[bool]
    pages: int = 0
    ours: set[int] = field(default_factory=set)

    @property
    def is_in_use(self) -> bool:
        """Whether the index is, or may become, a snapshot of the whole object."""
        return not self.is_read.done() or self.is_read.result()


class FullScans:
    """Reads objects whole where that costs fewer requests than lookups."""

    def __init__(
        self,
        lookup: Lookup,
        requests: Requests,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read nothing yet.

        Args:
            lookup: Reads pages.
            requests: Runs requests on threads.
            clock: A monotonic clock in seconds.
        """
        self._lookup = lookup
        self._requests = requests
        self._clock = clock
        self._scans: dict[str, _Scan] = {}

    async def find(self, batch: Batch, items: list[WorkItem], count: Callable[[], int]) -> bool:
        """Add what an index holds of work items to their batch's snapshot.

        Args:
            batch: The batch that they are of.
            items: What to find.
            count: Counts the requests that it takes to look them up; asked only if that matters.

        Returns:
            Whether the snapshot shows now all that Outreach holds of them; if not, they are to be
            looked up.
        """
        scan = self._scans.get(batch.object.name)
        if scan is None:
            if (lookups := count()) < WORTH_A_TRY:
                return False
            scan = self._begin(batch, lookups)
            scan.is_read.set_result(await self._read(batch, scan))
        elif not scan.is_in_use or not _serves(scan, batch):
            return False
        if not await asyncio.shield(scan.is_read):
            return False
        self._answer(scan, batch, items)
        return True

    def remember(self, object_type: ObjectType, resource: Resource) -> None:
        """Take in what was written."""
        scan = self._scans.get(object_type.name)
        if scan is not None and scan.is_in_use:
            scan.index.put([resource])
            scan.ours.add(resource.id)

    def forget(self, object_type: ObjectType, resource_id: int) -> None:
        """Drop a record that is not there any more."""
        scan = self._scans.get(object_type.name)
        if scan is not None and scan.is_in_use:
            scan.index.drop(resource_id)
            scan.ours.add(resource_id)

    def close(self) -> None:
        """Remove all indexes."""
        for scan in self._scans.values():
            scan.index.close()

    def _begin(self, batch: Batch, lookups: int) -> _Scan:
        index = Index(batch.object, batch.snapshot.fields, batch.asked)
        is_read = asyncio.get_running_loop().create_future()
        scan = _Scan(index, lookups, self._clock(), batch.stream.name, is_read)
        self._scans[batch.object.name] = scan
        return scan

    async def _read(self, batch: Batch, scan: _Scan) -> bool:
        """Read the first page, which tells how many there are, and the rest if that pays."""
        following: str | NextPage | None = self._lookup.whole_path(batch.object, batch.asked)
        while following is not None:
            page = await self._requests.read(partial(self._lookup.page, following))
            scan.pages += 1
            # A page may be older than what this run has written meanwhile.
            scan.index.put(one for one in page.resources if one.id not in scan.ours)
            following = page.following
            if following is not None and scan.pages == 1 and not _pays(scan, page):
                scan.index.close()
                return False
        logger.info(
            "Read all %s in %s, which is cheaper than looking them up.",
            batch.object.name,
            counted(scan.pages, "request"),
        )
        return True

    def _answer(self, scan: _Scan, batch: Batch, items: list[WorkItem]) -> None:
        """Put into the snapshot what the index has of the work items."""
        read = Read(scan.began, BY_SCAN)
        for item in items:
            item.read, item.is_complete = read, True
        keys = dict.fromkeys(key for item in items for key in _keys(item))
        for resource in scan.index.having(keys):
            if batch.snapshot.get(resource.id) is None:
                batch.snapshot.put(resource)


def _keys(item: WorkItem) -> set[Key]:
    """Return what a work item may be found by, the id that is remembered of it included."""
    remembered = item.desired.remembered
    return {*item.keys} if remembered is None else {*item.keys, Key("id", remembered)}


def _serves(scan: _Scan, batch: Batch) -> bool:
    """Whether an index holds all that a batch must know.

    Under `drift` each stream asks on its own what others have edited, and an index that was read
    for another one may be older than that question.
    """
    stream, index = batch.stream, scan.index
    if stream.rules.change_detection == "drift" and scan.stream != stream.name:
        return False
    return index.asked.issuperset(batch.asked) and index.fields.issuperset(
        stream.rules.match_fields
    )


def _pays(scan: _Scan, page: Page) -> bool:
    """Whether the pages that are left cost no more than the lookups that are due.

    Under load the number of all may be wrong (API reference 4.2); one that leaves none for
    the next page says nothing.
    """
    if page.count is None or page.count <= len(page.resources):
        return False
    return -(-page.count // PAGE_SIZE) - 1 <= scan.lookups
