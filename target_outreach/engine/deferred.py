"""Records that are tried once more at the end of input, since what they are linked to may yet come.

With such a record wait all later ones that share a key with it, so that their order is kept.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.errors import RecordFault
    from target_outreach.records.model import Key

logger = logging.getLogger("target-outreach")

#: Records that may wait; what lacks a link after that is decided on at once. What must come
#: after one that waits is taken all the same, and so are all enrolments once a prospect waits: what
#: waits may be an opt-out, and nobody is to be enrolled before that.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A record that waits, with what it may have in common with others."""

    stream: Stream
    item: Item
    keys: frozenset[tuple[str, Key]]
    fault: RecordFault | None

    @property
    def place(self) -> tuple[bool, int]:
        """Its place among those that wait."""
        is_enrolment = self.stream.object is not None and self.stream.object.is_enrolment
        return is_enrolment, self.item.number


class Deferred:
    """Keeps deferred records, until they are released once."""

    def __init__(self, *, is_over: bool) -> None:
        """Keep nothing yet.

        Args:
            is_over: Whether nothing is to be deferred in this run.
        """
        self._items: list[_Waiting] = []
        self._keys: set[tuple[str, Key]] = set()
        self._names: set[str] = set()
        self._is_over = is_over
        self._is_full = False

    @property
    def has_room(self) -> bool:
        """Whether one more may wait."""
        return not self._is_over and len(self._items) < MOST

    def take(
        self,
        stream: Stream,
        items: Iterable[Item],
        keys: Iterable[Key],
        fault: RecordFault | None = None,
    ) -> None:
        """Take records of a batch.

        Args:
            stream: Their stream.
            items: The records.
            keys: What later records may have in common with them.
            fault: Why they are rejected if the run ends before its input does; None where they are
                then left to the next run.
        """
        name = stream.object.name if stream.object is not None else ""
        if not self._items:
            logger.info(
                "%s: what a record is to be linked to is not in Outreach yet; such records are "
                "tried once more at the end of the input, and STATE waits for them.",
                stream.name,
            )
        common = frozenset((name, key) for key in keys)
        self._items += [_Waiting(stream, item, common, fault) for item in items]
        self._keys.update(common)
        self._names.add(name)
        if len(self._items) >= MOST and not self._is_full:
            self._is_full = True
            logger.warning(
                "%s records wait for the end of the input, which is the most; further ones that "
                "lack what they are to be linked to are decided on at once. Let the tap send "
                "accounts before prospects.",
                f"{len(self._items):,}",
            )

    def concerns(self, object_name: str, keys: Iterable[Key]) -> bool:
        """Whether something of an object waits that has one of these keys."""
        return bool(self._keys) and any((object_name, key) in self._keys for key in keys)

    def holds(self, object_name: str) -> bool:
        """Whether records of an object wait."""
        return object_name in self._names

    def give_up(self) -> list[tuple[Stream, Item, RecordFault]]:
        """Hand back what is rejected where the end of the input does not come in this run.

        Else STATE would wait for it in each run that ends early, and none would get on.
        """
        lost = [one for one in self._items if one.fault is not None]
        self._items = [one for one in self._items if one.fault is None]
        return [(one.stream, one.item, one.fault) for one in lost if one.fault is not None]

    def release(self) -> list[tuple[Stream, list[Item]]]:
        """Hand back all that waits, a batch a stream, and take nothing any more.

        A key's records stay in the order of their arrival: where they are of several streams, there
        are several batches of each. Enrolments come last, since they are about prospects that may
        wait too.
        """
        self._is_over = True
        waiting, self._items = sorted(self._items, key=lambda one: one.place), []
        self._keys.clear()
        self._names.clear()
        batches: list[tuple[Stream, list[Item]]] = []
        current: dict[str, list[Item]] = {}
        holders: dict[tuple[str, Key], str] = {}
        for one in waiting:
            name = one.stream.name
            if any(holders.get(key, name) != name for key in one.keys):
                current, holders = {}, {}
            if name not in current:
                current[name] = []
                batches.append((one.stream, current[name]))
            current[name].append(one.item)
            holders.update(dict.fromkeys(one.keys, name))
        return batches
