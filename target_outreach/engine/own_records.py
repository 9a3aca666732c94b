"""What this run has written, for as long as lists may not show it yet.

Lists are said to be answered from an index, which may lag behind writes by seconds. A record that
this run has just created must not be created again, by whatever key the next row finds it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from target_outreach.records.matching import Picture
from target_outreach.records.model import Key, ObjectType, Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Seconds for which what was written is remembered.
KEPT = 900.0

#: Records of one object that are remembered; of more than these, the oldest are forgotten. By its
#: limit, Outreach takes some 2,500 writes of a user in that time (API reference 5).
MOST = 5_000


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

    def forget(self, object_type: ObjectType, resource_id: int) -> None:
        """Drop a record that is not there any more."""
        if (written := self._objects.get(object_type.name)) is not None:
            written.drop(resource_id)

    def show(self, picture: Picture, keys: Iterable[Key]) -> None:
        """Add those of some keys that a lookup has not shown."""
        if (written := self._objects.get(picture.object.name)) is not None:
            written.drop_before(self._clock() - KEPT)
            written.show(picture, keys)


class _Written:
    """What was written of one object, the oldest first, found by id and by each match field."""

    def __init__(self, object_type: ObjectType) -> None:
        filterable = (one.name for one in object_type.attributes.values() if one.filterable)
        self._picture = Picture(
            object_type, tuple(dict.fromkeys((*object_type.match_fields, *filterable)))
        )
        self._at: OrderedDict[int, float] = OrderedDict()

    def put(self, resource: Resource, now: float) -> None:
        said = {name: value for name, value in resource.attributes.items() if value is not None}
        links = {name: link for name, link in resource.links.items() if link is not None}
        self._picture.put(Resource(resource.id, said, links))
        self._at[resource.id] = now
        self._at.move_to_end(resource.id)
        if len(self._at) > MOST:
            self.drop(next(iter(self._at)))

    def drop(self, resource_id: int) -> None:
        self._at.pop(resource_id, None)
        self._picture.forget(resource_id)

    def drop_before(self, moment: float) -> None:
        while self._at and next(iter(self._at.values())) < moment:
            self.drop(next(iter(self._at)))

    def show(self, picture: Picture, keys: Iterable[Key]) -> None:
        for key in keys:
            for resource in self._picture.having(key):
                if picture.get(resource.id) is None:
                    picture.put(resource)
