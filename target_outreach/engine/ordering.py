"""Which record is written before which: the order of arrival, for each key and each record.

A work item waits for every open one that arrived earlier and may be about the same record of
Outreach: one that has a key in common with it, or a key of the record that it was found to be about
(another address of the person, or the name that the company had before this row renames it). Of
those that wait for nothing, the one that arrived first is written first.

A work item waits only for earlier ones, so no two can wait for each other.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from target_outreach.engine.batch import Batch, Stage, WorkItem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from target_outreach.delivery.stream import Stream
    from target_outreach.records.model import Key, ObjectType, Resource

#: A record of Outreach: its object and its id.
Place = tuple[str, int]


class Ordering:
    """Knows all batches that are being delivered, in the order in which they were handed over."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._numbers = itertools.count()
        self._written: dict[Place, WorkItem] = {}
        self._changed: list[asyncio.Future[None]] = []

    def number(self) -> int:
        """Give a batch its place among those of the run."""
        return next(self._numbers)

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
        return (batch for batch in self._batches if batch.object is object_type)

    async def first(self, batch: Batch) -> None:
        """Wait until no batch that was handed over earlier is being delivered, whatever it is."""
        while any(other.order < batch.order for other in self._batches):
            changed = asyncio.get_running_loop().create_future()
            self._changed.append(changed)
            await changed

    def leave(self, items: Iterable[WorkItem], stage: Stage) -> None:
        """Bring work items to their last stage, so that nobody waits for them any more."""
        for item in items:
            if item.is_open:
                item.stage = stage
                item.batch.let_go((item,))
                item.wake_followers()

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
            await max(earlier, key=_number).moved()

    def blocker(self, item: WorkItem) -> WorkItem | None:
        """Return a work item that another one has to wait for, or None where there is none."""
        name, snapshot = item.batch.object.name, item.batch.snapshot
        about: set[Key] = set()
        for record_id in item.record_ids:
            other = self._written.get((name, record_id))
            if other is not None and other is not item:
                return other
            about.update(snapshot.known_keys(record_id))
        keys = item.keys | about
        for near in self._near(item.batch):
            if near is item.batch:
                if not about and not item.waits_for:
                    continue
                earlier = near.holding(keys)
            elif near.fields != item.batch.fields and keys:
                earlier = [*near.open]  # keys of different fields say nothing about each other
            else:
                earlier = near.holding(keys)
            if near.order == item.batch.order:
                earlier = [one for one in earlier if one.number < item.number]
            if earlier:
                return max(earlier, key=_number)
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
        about = (other for near in self._near(item.batch) for other in near.holding(keys))
        return any(other is not item and other.meets(item) for other in about)

    def _near(self, batch: Batch) -> list[Batch]:
        """List a batch and the earlier ones of its object, as far as they are being delivered."""
        return [near for near in self.of(batch.object) if near.order <= batch.order]

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

    def __init__(self, order: int, count: int) -> None:
        """Wait for all of them to begin.

        Args:
            order: Their place among the batches of the run.
            count: How many there are.
        """
        self.order = order
        self._missing = count
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
    """Lets so many work items be written at once; the one that arrived first is next."""

    def __init__(self, places: int) -> None:
        """Begin with all places free.

        Args:
            places: How many.
        """
        self._free = places
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    @asynccontextmanager
    async def place(self, item: WorkItem) -> AsyncIterator[bool]:
        """Take a place for a while; the value says whether it had to be waited for."""
        has_waited = not self._free
        if not has_waited:
            self._free -= 1
        else:
            item.stage = Stage.QUEUED
            turn = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (item.number, next(self._order), turn))
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
            turn = heapq.heappop(self._waiting)[-1]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _number(item: WorkItem) -> int:
    return item.number
