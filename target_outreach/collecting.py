"""Collecting records into batches, one for each stream, until they are handed over.

Streams that deliver to one object are handed over together, so that their order of arrival can be
kept record by record.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from singer_sdk.metrics import Counter

    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.parts import Parts
    from target_outreach.records.model import Dropped

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
        opened_at: When the first of them came, by the monotonic clock in seconds.
    """

    def __init__(self, stream: Stream, linked_objects: Collection[str], counter: Counter) -> None:
        self.stream = stream
        self.linked_objects = linked_objects
        self.counter = counter
        self.items: list[Item] = []
        self.opened_at = 0.0

    def is_for_the_same(self, other: OpenBatch) -> bool:
        """Whether another stream delivers to the same object, so that their order counts."""
        mine = self.stream.object
        return mine is not None and mine is other.stream.object and not mine.is_enrolment


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
        """Put a record into a batch, and hand that over if it is full."""
        if not batch.items:
            batch.opened_at = time.monotonic()
            self._open[batch] = None
        batch.items.append(item)
        if len(batch.items) >= self._size:
            self.hand_over(batch)

    def hand_over(self, batch: OpenBatch) -> None:
        """Have a batch delivered, after those with records that its own may be linked to.

        Those of other streams for the same object go with it. Waits while enough batches are under
        way.
        """
        same = [one for one in self._open if one is not batch and one.is_for_the_same(batch)]
        together: list[tuple[OpenBatch, list[Item]]] = []
        for one in [batch, *same]:
            self._open.pop(one, None)
            if one.items:
                together.append((one, one.items))
                one.items = []
        if not together:
            return
        linked = {name for one, _ in together for name in one.linked_objects}
        for other in list(self._open):
            object_type = other.stream.object
            if object_type is not None and object_type.name in linked:
                self.hand_over(other)
        for one, items in together:
            one.counter.increment(len(items))
        self._parts.engine.submit([(one.stream, items) for one, items in together])

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
        latest = time.monotonic() - LONGEST_BATCH_AGE
        for batch in [batch for batch in self._open if batch.opened_at <= latest]:
            if batch in self._open:  # it may have gone with another one
                self.hand_over(batch)

    def hand_over_all(self) -> None:
        """Hand over all that waits."""
        for batch in list(self._open):
            self.hand_over(batch)
