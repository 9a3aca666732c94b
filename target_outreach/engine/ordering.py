"""Which record is written before which: the order of arrival, for each key and each record.

A work item waits for every open one that arrived earlier and may be about the same record of
Outreach: one that has a key in common with it, or a key of the record that it was found to be about
(another address of the person, or the name that the company had before this row renames it). Where
streams match by different fields, keys are the values of all of these. Of those that wait for
nothing, the one that arrived first is written first.

A work item waits only for earlier ones, and for one that is writing the very record: that one waits
for nothing but the answer, or for an import that is about to begin. So no two can wait for each
other.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextlib import asynccontextmanager, contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING

from target_outreach.delivery.breaker import Breaker
from target_outreach.engine.batch import Batch, Stage, WorkItem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from target_outreach.delivery.stream import Stream
    from target_outreach.records.model import Key, ObjectType, Resource

#: A record of Outreach: its object and its id.
Place = tuple[str, int]


class Ordering:
    """Knows all batches that are being delivered, in the order in which they were handed over."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        #: Gives each batch its place among those of the run.
        self.numbers = itertools.count()
        self._written: dict[Place, WorkItem] = {}
        self._changed: list[asyncio.Future[None]] = []

    def begin(self, batch: Batch, items: Iterable[WorkItem]) -> None:
        """Take in a batch with its work items."""
        self._batches.append(batch)
        batch.hold(items)

    def end(self, batch: Batch) -> None:
        """Forget a batch that is delivered."""
        self._batches.remove(batch)
        batch.close()
        for waiting in self._changed:
            if not waiting.done():
                waiting.set_result(None)
        self._changed.clear()

    def of(self, object_type: ObjectType) -> Iterator[Batch]:
        """Go through the batches of an object."""
        for batch in self._batches:
            if batch.object is object_type:
                yield batch

    async def first(self, batch: Batch) -> None:
        """Wait until no batch that was handed over earlier is being delivered, whatever it is."""
        while any(other.order < batch.order for other in self._batches):
            changed = asyncio.get_running_loop().create_future()
            self._changed.append(changed)
            await changed

    def leave(self, items: Iterable[WorkItem], stage: Stage) -> None:
        """Bring work items to their last stage, so that nobody waits for them any more."""
        left = [item for item in items if item.is_open]
        for item in left:
            item.stage = stage
            item.wake_followers()
        for batch in {item.batch for item in left}:
            batch.let_go(left)

    def split(self, item: WorkItem) -> list[WorkItem]:
        """Replace a work item by one for each of its records, in their order."""
        singles = item.apart()
        item.batch.hold(singles)
        self.leave([item], Stage.SPLIT)
        return singles

    # Who waits for whom

    async def turn(self, item: WorkItem) -> None:
        """Wait until nothing comes before a work item."""
        while (earlier := self.blocker(item)) is not None:
            item.stage = Stage.WAITING
            await earlier.moved()

    async def after_all(self, item: WorkItem) -> None:
        """Wait until every earlier work item of its object has come to its end."""
        while earlier := [
            one
            for near in self._near(item.batch)
            for one in near.open
            if near.order < item.batch.order or one.number < item.number
        ]:
            item.stage = Stage.WAITING
            await max(earlier, key=attrgetter("number")).moved()

    def blocker(self, item: WorkItem) -> WorkItem | None:
        """Return a work item that another one has to wait for, or None where there is none."""
        batch, snapshot = item.batch, item.batch.snapshot
        keys, found = item.keys, item.record_ids
        for record_id in found:
            other = self._written.get((batch.object.name, record_id))
            if other is not None and other is not item:
                return other
            keys = keys.union(snapshot.known_keys(record_id))
        for near in self._near(batch):
            if near is batch and not found and not item.waits_for:
                continue
            if near.snapshot.fields != snapshot.fields and keys:
                earlier = [*near.open]  # keys of different fields say nothing about each other
            else:
                earlier = _about_one(item, near, keys)
            if near.order == batch.order:
                earlier = [one for one in earlier if one.number < item.number]
            if earlier:
                return max(earlier, key=attrgetter("number"))
        return None

    def spans_others(self, item: WorkItem, found: Resource | None) -> bool:
        """Whether a record that arrived between those of a folded one may be about the same one.

        It may be of another stream, or one of which the lookup is still under way.

        Args:
            item: The work item.
            found: The record of Outreach that it is about, if one is known.
        """
        if len(item.members) == 1:
            return False
        keys = item.keys
        if found is not None:
            keys = keys.union(item.batch.snapshot.known_keys(found.id))
        about = (one for near in self._near(item.batch) for one in _about_one(item, near, keys))
        return any(other.meets(item) for other in about)

    def _near(self, batch: Batch) -> list[Batch]:
        """List a batch and the earlier ones of its object, as far as they are being delivered."""
        return [
            near
            for near in self._batches
            if near.object is batch.object and near.order <= batch.order
        ]

    @contextmanager
    def writing(self, item: WorkItem, resource: Resource | None) -> Iterator[None]:
        """Let nothing else write to a record of Outreach."""
        place = None if resource is None else (item.batch.object.name, resource.id)
        if place is not None:
            self._written[place] = item
        try:
            yield
        finally:
            if place is not None:
                del self._written[place]
            item.wake_followers()


class Together:
    """Batches of several streams that are handed over at once, and ordered record by record."""

    def __init__(self, order: int, streams: Sequence[Stream]) -> None:
        """Wait for all of them to begin.

        Args:
            order: Their place among the batches of the run.
            streams: The stream of each, all for one object.
        """
        self.order = order
        fields: set[str] = set()
        for stream in streams:
            fields.update(stream.rules.match_fields)
        #: What records of any of them are found by; only by all of it can they be compared.
        self.match_fields = tuple(sorted(fields))
        self._missing = len(streams)
        self._begun: set[str] = set()
        self._all = asyncio.Event()

    def begun(self, stream: Stream) -> None:
        """Hear that the batch of a stream has begun, or has no records to deliver."""
        self._begun.add(stream.name)
        if len(self._begun) >= self._missing:
            self._all.set()

    async def all_begun(self) -> None:
        """Wait until nothing of any of them can be overlooked."""
        await self._all.wait()


class WriteQueue:
    """Lets so many work items be written at once; the one that arrived first is next.

    Where Outreach has refused all writes up to now, it is the one that arrived last, and updates
    come before creates.
    """

    def __init__(self, places: int, breaker: Breaker | None = None) -> None:
        """Begin with all places free.

        Args:
            places: How many.
            breaker: Knows whether Outreach has refused all writes up to now.
        """
        self._places = self._free = places
        self._breaker = breaker or Breaker()
        self._breaker.places = places
        self._waiting: list[tuple[int, int, bool, asyncio.Future[None]]] = []
        self._order = itertools.count()

    @property
    def is_used(self) -> bool:
        """Whether anything is being written, or is next."""
        return self._free < self._places

    @asynccontextmanager
    async def place(self, item: WorkItem, *, is_update: bool = False) -> AsyncIterator[bool]:
        """Take a place for a while; the value says whether it had to be waited for."""
        has_waited = not self._free
        if not has_waited:
            self._free -= 1
        else:
            item.stage = Stage.QUEUED
            turn = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (item.number, next(self._order), is_update, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()
                raise
        try:
            yield has_waited
        finally:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            if self._breaker.is_in_doubt:
                last = max(self._waiting, key=lambda one: (one[2], one[0]))
                self._waiting.remove(last)
                heapq.heapify(self._waiting)
                turn = last[-1]
            else:
                turn = heapq.heappop(self._waiting)[-1]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _about_one(item: WorkItem, near: Batch, keys: AbstractSet[Key]) -> list[WorkItem]:
    """List the other open work items of a batch that may be about the same record as one.

    What only a memory knows is not looked up, so that of its record nothing but the id is known. A
    record of another stream may be about that by any key.

    Args:
        item: The one.
        near: The batch, which goes by the same fields.
        keys: All that is known of the one.
    """
    known = near.holding(keys, item)
    remembered = item.desired.remembered
    if item.read is None and remembered is not None and near.stream is not item.batch.stream:
        for one in near.open:
            is_unread = one.read is None or one.stage is Stage.LOOKING_UP
            if (is_unread and one.desired.remembered is None) or remembered in one.record_ids:
                known.append(one)
    return known
