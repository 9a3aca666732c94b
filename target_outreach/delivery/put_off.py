"""Records that are tried once more at the end of input, since what they are linked to may yet come.

With such a record wait all later ones that share a key with it, so that their order is kept.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_outreach.delivery.load import Load, Records
    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.records.matching import Key

#: Records that may wait; what lacks a link after that is decided on at once.
MOST = 10_000


class PutOff:
    """Keeps what is put off, until it is released once."""

    def __init__(self) -> None:
        self._items: list[tuple[Stream, Item]] = []
        self._keys: set[tuple[str, Key]] = set()
        self._is_over = False

    @property
    def has_room(self) -> bool:
        """Whether one more may wait."""
        return not self._is_over and len(self._items) < MOST

    def take(self, load: Load, groups: Iterable[Records]) -> None:
        """Take groups of a batch."""
        for group in groups:
            self._items += [(load.stream, item) for item in group.members]
            self._keys.update((load.object.name, key) for key in group.keys)

    def concerns(self, load: Load, group: Records) -> bool:
        """Whether a group shares a key with one that waits."""
        return any((load.object.name, key) in self._keys for key in group.keys)

    def release(self) -> list[tuple[Stream, list[Item]]]:
        """Hand back all that waits, in the order of its arrival, and take nothing any more."""
        self._is_over = True
        items, self._items = sorted(self._items, key=lambda pair: pair[1].number), []
        self._keys.clear()
        return [
            (stream, [item for _, item in pairs])
            for stream, pairs in groupby(items, key=lambda pair: pair[0])
        ]
