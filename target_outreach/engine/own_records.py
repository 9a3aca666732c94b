"""What this run has written, for as long as lists may not show it yet.

Lists are said to be answered from an index, which may lag behind writes by seconds. A record that
this run has just created must not be created again, by whatever key the next row finds it. And what
a list shows of a record that this run has just changed may be what it was before.

Others may have changed or deleted such a record since. So what is remembered here only says which
records are to be read by their ids, which no list is behind; nothing is decided by it.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from target_outreach.records.matching import RemoteSnapshot
from target_outreach.records.model import Desired, Key, ObjectType, Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from target_outreach.records.folding import Group

#: Seconds for which what was written is remembered.
KEPT = 900.0

#: Records of one object that are remembered; of more than these, the oldest are forgotten. By its
#: limit, Outreach takes some 2,500 writes of a user in that time (API reference 5).
MOST = 2_500

#: Accounts that are kept; of more than these, the ones that came first are forgotten.
MOST_ACCOUNTS = 50_000


class OwnRecords:
    """Remembers what was written, within bounds; used on the thread of the event loop only."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember nothing yet.

        Args:
            clock: A monotonic clock in seconds.
        """
        self._clock = clock
        self._objects: dict[str, _Written] = {}

    def note(self, object_type: ObjectType, resource: Resource) -> None:
        """Take in a record as Outreach answered a write of it."""
        if object_type.name not in self._objects:
            self._objects[object_type.name] = _Written(object_type)
        self._objects[object_type.name].put(resource, self._clock())

    def seen(self, object_type: ObjectType, resource: Resource, read_at: float) -> None:
        """Take in what a read by its id has shown of a record, unless it was written since."""
        if (written := self._objects.get(object_type.name)) is not None:
            written.correct(resource, read_at)

    def forget(self, object_type: ObjectType, resource_id: int) -> None:
        """Drop a record that is not there any more."""
        if (written := self._objects.get(object_type.name)) is not None:
            written.drop(resource_id)

    def doubtful(self, object_type: ObjectType, listed: Iterable[Resource]) -> list[int]:
        """List the records of which a list shows something else than what was written.

        It may show what was there before, or what others have changed since.
        """
        if (written := self._objects.get(object_type.name)) is None:
            return []
        moment = self._clock() - KEPT
        return [one.id for one in listed if written.differs(one, moment)]

    def hidden(self, snapshot: RemoteSnapshot, groups: Iterable[Group[Any]]) -> list[int]:
        """List the records that were written with a key of some groups, and that a lookup lacks."""
        if (written := self._objects.get(snapshot.object.name)) is None:
            return []
        keys = {key for group in groups for key in group.keys}
        return written.hidden(snapshot, keys, self._clock() - KEPT)


def found_by_any(object_type: ObjectType) -> RemoteSnapshot:
    """Return a snapshot of an object that finds its records by whatever a stream may match by."""
    filterable = (one.name for one in object_type.attributes.values() if one.filterable)
    return RemoteSnapshot(
        object_type, tuple(dict.fromkeys((*object_type.match_fields, *filterable)))
    )


class _Written:
    """What was written of one object, the oldest first, found by id and by each match field."""

    def __init__(self, object_type: ObjectType) -> None:
        self._snapshot = found_by_any(object_type)
        self._at: OrderedDict[int, float] = OrderedDict()

    def put(self, resource: Resource, now: float) -> None:
        self._put(resource)
        self._at[resource.id] = now
        self._at.move_to_end(resource.id)
        if len(self._at) > MOST:
            self.drop(next(iter(self._at)))

    def correct(self, resource: Resource, read_at: float) -> None:
        own = self._snapshot.get(resource.id)
        if own is not None and self._at[resource.id] <= read_at:
            attributes = {**own.attributes, **resource.attributes}
            self._put(Resource(resource.id, attributes, {**own.links, **resource.links}))

    def _put(self, resource: Resource) -> None:
        said = {name: value for name, value in resource.attributes.items() if value is not None}
        links = {name: link for name, link in resource.links.items() if link is not None}
        self._snapshot.put(Resource(resource.id, said, links))

    def drop(self, resource_id: int) -> None:
        self._at.pop(resource_id, None)
        self._snapshot.forget(resource_id)

    def differs(self, listed: Resource, moment: float) -> bool:
        own = self._snapshot.get(listed.id)
        if own is None or self._at[listed.id] < moment:
            return False
        return any(
            ours.get(name) != value
            for ours, theirs in ((own.attributes, listed.attributes), (own.links, listed.links))
            for name, value in theirs.items()
        )

    def hidden(self, snapshot: RemoteSnapshot, keys: Iterable[Key], moment: float) -> list[int]:
        while self._at and next(iter(self._at.values())) < moment:
            self.drop(next(iter(self._at)))
        ours = (resource.id for key in keys for resource in self._snapshot.having(key))
        return [one for one in dict.fromkeys(ours) if snapshot.get(one) is None]


class AccountCache:
    """The accounts of this run, by all that their rows and Outreach say of them, within bounds.

    Outreach may hold a domain as ``https://www.acme.example/about``, which a question for
    ``acme.example`` does not find. What came in the same run is found all the same.
    """

    def __init__(self, object_type: ObjectType) -> None:
        """Begin with none; the object is that of accounts, as the catalogue has it."""
        self._fields = object_type.match_fields
        self._snapshot = RemoteSnapshot(object_type, self._fields)
        self._order: deque[int] = deque()

    def note(self, desired: Desired, resource: Resource) -> None:
        """Take in an account that is delivered.

        Args:
            desired: What its row says.
            resource: What Outreach holds of it, as far as that is known.
        """
        if self._snapshot.get(resource.id) is None:
            self._order.append(resource.id)
        known = {**desired.attributes, **resource.attributes}
        said = {name: known.get(name) for name in (*self._fields, "named")}
        self._snapshot.put(Resource(resource.id, said, {}))
        if len(self._order) > MOST_ACCOUNTS:
            self._snapshot.forget(self._order.popleft())

    def hidden(self, snapshot: RemoteSnapshot, keys: Iterable[Key]) -> list[int]:
        """List the accounts that have one of some keys, and that a lookup lacks."""
        known = (resource.id for key in keys for resource in self._snapshot.having(key))
        return [one for one in dict.fromkeys(known) if snapshot.get(one) is None]
