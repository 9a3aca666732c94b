"""Reading an object whole, where that costs fewer requests than looking up what is to come.

Before the first batch of an object is looked up, both costs are estimated: a list takes some two
hundred addresses a request, a page brings a thousand records whoever asks for them. Where several
requests are due, the first page is read, with the number of all; if the rest costs no more than the
lookups, it is read too. What was read is kept in an index on disk, which SQLite removes by itself.

What the index does not hold is no proof for an account: pages are not one moment's picture, and
Outreach would not refuse a second one. So `Finder` looks again before it creates one.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from target_outreach.delivery.load import Read
from target_outreach.delivery.tally import counted
from target_outreach.json_reader import read_json
from target_outreach.records.matching import Key, Picture, Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from target_outreach.delivery.finder import Send
    from target_outreach.delivery.load import Load, Records
    from target_outreach.outreach.lookup import Lookup, Page
    from target_outreach.records.catalog import ObjectType

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
        self._keys = Picture(object_type, tuple(fields)).keys
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
            values[key.field].append(int(key.value) if key.field == "id" else _stored(key))
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
    """Return a key's value as it stands in the index, which takes no broken text for text."""
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
    """What is known of reading one object whole."""

    state: Literal["reading", "read", "not_worth"]
    index: Index
    lookups: int
    began: float
    stream: str
    pages: int = 0
    ours: set[int] = field(default_factory=set)
    waiting: list[tuple[Load, list[Records]]] = field(default_factory=list)


class Scans:
    """Reads objects whole where that pays, on the pipeline's thread; others send the requests."""

    def __init__(
        self,
        lookup: Lookup,
        *,
        send: Send,
        found: Callable[[Load, list[Records]], None],
        look_up: Callable[[Load, list[Records]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read nothing yet.

        Args:
            lookup: Reads pages.
            send: Runs a request on a worker and hands its result back on this thread.
            found: Hears of groups of which all that there is stands in the picture.
            look_up: Looks groups up by lists of their values.
            clock: A monotonic clock in seconds.
        """
        self._lookup = lookup
        self._send = send
        self._found = found
        self._look_up = look_up
        self._clock = clock
        self._scans: dict[str, _Scan] = {}

    def find(self, load: Load, groups: list[Records], count: Callable[[], int]) -> None:
        """Find groups in the index if there is one, and otherwise by whatever costs less.

        Args:
            load: The batch that they are of.
            groups: What to find.
            count: Counts the requests that it takes to look them up; asked only if that matters.
        """
        scan = self._scans.get(load.object.name)
        if scan is None and (lookups := count()) >= WORTH_A_TRY:
            self._begin(load, groups, lookups)
        elif scan is None or scan.state == "not_worth" or not _serves(scan, load):
            self._look_up(load, groups)
        elif scan.state == "reading":
            scan.waiting.append((load, groups))
        else:
            self._answer(scan, load, groups)

    def remember(self, object_type: ObjectType, resource: Resource) -> None:
        """Take in what was written."""
        scan = self._scans.get(object_type.name)
        if scan is not None and scan.state != "not_worth":
            scan.index.put([resource])
            scan.ours.add(resource.id)

    def forget(self, object_type: ObjectType, resource_id: int) -> None:
        """Drop a record that is not there any more."""
        scan = self._scans.get(object_type.name)
        if scan is not None and scan.state != "not_worth":
            scan.index.drop(resource_id)
            scan.ours.add(resource_id)

    def close(self) -> None:
        """Remove all indexes."""
        for scan in self._scans.values():
            scan.index.close()

    def _begin(self, load: Load, groups: list[Records], lookups: int) -> None:
        """Read the first page, which tells how many there are."""
        index = Index(load.object, load.stream.rules.match_fields, load.stream.asked)
        scan = _Scan("reading", index, lookups, self._clock(), load.stream.name)
        scan.waiting.append((load, groups))
        self._scans[load.object.name] = scan
        path = self._lookup.whole_path(load.object, load.stream.asked)
        self._send(partial(self._lookup.page, path), partial(self._on_page, scan, load.object))

    def _on_page(self, scan: _Scan, object_type: ObjectType, page: Page) -> None:
        scan.pages += 1
        # A page may be older than what this run has written meanwhile.
        scan.index.put(one for one in page.resources if one.id not in scan.ours)
        if page.following is None:
            scan.state = "read"
            logger.info(
                "All %s were read, in %s, which costs less than to look them up.",
                object_type.name,
                counted(scan.pages, "request"),
            )
        elif scan.pages == 1 and not _pays(scan, page):
            scan.state = "not_worth"
            scan.index.close()
        else:
            self._send(
                partial(self._lookup.page, page.following),
                partial(self._on_page, scan, object_type),
            )
            return
        waiting, scan.waiting = scan.waiting, []
        for load, groups in waiting:
            self.find(load, groups, lambda: 0)

    def _answer(self, scan: _Scan, load: Load, groups: list[Records]) -> None:
        """Put into the picture what the index has of the groups."""
        load.reads.update(dict.fromkeys(groups, Read(scan.began, BY_SCAN)))
        keys = dict.fromkeys(key for group in groups for key in _keys(group))
        for resource in scan.index.having(keys):
            if load.picture.get(resource.id) is None:
                load.picture.put(resource)
        self._found(load, groups)


def _keys(group: Records) -> set[Key]:
    """Return what a group may be found by, the id that is remembered of it included."""
    remembered = group.desired.remembered
    return {*group.keys} if remembered is None else {*group.keys, Key("id", remembered)}


def _serves(scan: _Scan, load: Load) -> bool:
    """Whether an index holds all that a batch must know.

    Under `drift` each stream asks on its own what others have edited, and an index that was read
    for another one may be older than that question.
    """
    stream, index = load.stream, scan.index
    if stream.rules.change_detection == "drift" and scan.stream != stream.name:
        return False
    return index.asked.issuperset(stream.asked) and index.fields.issuperset(
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
