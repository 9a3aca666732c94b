"""Collecting records into batches, one for each stream, until they are handed over.

Where several streams deliver to one object, the order of arrival is kept by handing over the batch
of one before another takes in a record that may be about the same.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from target_outreach.records.matching import order_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from singer_sdk.metrics import Counter

    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.parts import Parts
    from target_outreach.records.model import Desired, Dropped, Key

#: Seconds after which a batch is handed over although it is not full.
LONGEST_BATCH_AGE = 10.0


class OpenBatch:
    """The records of one stream that wait to be handed over.

    Attributes:
        stream: The stream.
        linked_objects: The objects of which there may be records in this run that its records are
            to be linked to.
        counter: Counts the records that are handed over, for Meltano.
        items: The records.
    """

    def __init__(self, stream: Stream, linked_objects: Collection[str], counter: Counter) -> None:
        self.stream = stream
        self.linked_objects = linked_objects
        self.counter = counter
        self.items: list[Item] = []
        self._opened_at = 0.0
        self._keys: set[Key] = set()
        self._keyed = 0

    def add(self, item: Item) -> None:
        """Take in a record."""
        if not self.items:
            self._opened_at = time.monotonic()
        self.items.append(item)

    def take(self) -> list[Item]:
        """Return the records, and wait for others."""
        items, self.items = self.items, []
        self._keys.clear()
        self._keyed = 0
        return items

    def is_due(self, now: float) -> bool:
        """Whether the oldest record has waited long enough.

        Args:
            now: The monotonic time in seconds.
        """
        return now - self._opened_at >= LONGEST_BATCH_AGE

    def holds(self, stream: Stream, desired: Desired) -> bool:
        """Whether a record here may be about the same as one of another stream."""
        fields, object_type = self.stream.rules.match_fields, self.stream.object
        if object_type is None or object_type is not stream.object:
            return False
        if fields != stream.rules.match_fields:
            return True  # keys of different fields say nothing about each other
        for item in self.items[self._keyed :]:
            if item.desired is not None:
                self._keys.update(order_keys(object_type, item.desired, fields))
        self._keyed = len(self.items)
        return not self._keys.isdisjoint(order_keys(object_type, desired, fields))


class OpenBatches:
    """The batches in which records wait, in the order of their oldest record."""

    def __init__(self, parts: Parts) -> None:
        """Hold none yet.

        Args:
            parts: Have what numbers records and delivers batches, from the first on.
        """
        self._parts = parts
        self._size = parts.settings.batch_size_rows
        self._open: dict[OpenBatch, None] = {}

    def number(self, stream: str) -> int:
        """Count a record in, and return its sequence number."""
        return self._parts.settlement.received(stream)

    def dropped(self, stream: str, values: Iterable[Dropped]) -> None:
        """Count values that a row has and that are not delivered."""
        counts = self._parts.tallies[stream].values_dropped
        counts.update(f"{name}: {why}" for name, why in values)

    def add(self, batch: OpenBatch, item: Item) -> None:
        """Put a record into a batch, once what came before it for its keys is handed over."""
        has_others = len(self._open) > (batch in self._open)
        if has_others and item.desired is not None:
            for other in list(self._open):
                if other is not batch and other.holds(batch.stream, item.desired):
                    self.hand_over(other)
        batch.add(item)
        self._open[batch] = None
        if len(batch.items) >= self._size:
            self.hand_over(batch)

    def hand_over(self, batch: OpenBatch) -> None:
        """Have a batch delivered, after those with records that its own may be linked to.

        Waits while enough batches are under way.
        """
        self._open.pop(batch, None)
        if not (items := batch.take()):
            return
        for other in list(self._open):
            object_type = other.stream.object
            if object_type is not None and object_type.name in batch.linked_objects:
                self.hand_over(other)
        batch.counter.increment(len(items))
        self._parts.engine.submit(batch.stream, items)

    def settle_unread(self, batch: OpenBatch, numbers: list[int]) -> None:
        """Have records settled that pass the batch by, since they need not be read.

        Args:
            batch: That of their stream.
            numbers: Their sequence numbers.
        """
        batch.counter.increment(len(numbers))
        self._parts.engine.settle_unchanged(batch.stream, numbers)

    def hand_over_due(self) -> None:
        """Hand over what has waited for long enough."""
        now = time.monotonic()
        for batch in [batch for batch in self._open if batch.is_due(now)]:
            self.hand_over(batch)

    def hand_over_all(self) -> None:
        """Hand over all that waits."""
        for batch in list(self._open):
            self.hand_over(batch)
