"""The batches under way, and what of them must wait for what.

Records that share a key are written in the order of their arrival. So are those without a common
key that turn out to be about one record of Outreach.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from target_outreach.records.folding import Group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from target_outreach.delivery.load import Load, Records
    from target_outreach.records.model import ObjectType, Resource


class Underway:
    """Knows all batches that are not settled, in their order, and who follows whom in them."""

    def __init__(self) -> None:
        """Begin with no batch."""
        self._loads: list[Load] = []
        self._numbers = itertools.count()
        self._followers: dict[Records, list[Records]] = {}

    def __iter__(self) -> Iterator[Load]:
        return iter(self._loads)

    def __len__(self) -> int:
        return len(self._loads)

    def number(self) -> int:
        """Give a batch its number among those of the run."""
        return next(self._numbers)

    def begin(self, load: Load, groups: list[Records]) -> list[Records]:
        """Take in a batch.

        Args:
            load: The batch.
            groups: Its groups, each with those of the batch that must be written before it.

        Returns:
            The groups that share no key with an earlier batch; the others are blocked.
        """
        for group in groups:
            self.follow(group)
        others = list(self.of(load.object))
        # Keys of different fields say nothing about each other.
        foreign = any(other.fields != load.fields for other in others)
        free: list[Records] = []
        for group in groups:
            shares = any(other.shares_key_with(group) for other in others) if others else False
            (load.blocked if shares or (foreign and group.keys) else free).append(group)
        self._loads.append(load)
        load.hold(groups)
        return free

    def end(self, load: Load) -> None:
        """Forget a batch, all of which is settled."""
        self._loads.remove(load)

    def of(self, object_type: ObjectType) -> Iterator[Load]:
        """Go through the batches of an object."""
        return (load for load in self._loads if load.object is object_type)

    def is_first(self, load: Load) -> bool:
        """Whether no earlier batch is under way, of whatever object."""
        return not any(other.order < load.order for other in self._loads)

    def unblock(self) -> list[tuple[Load, list[Records]]]:
        """Let go on what shared a key with a batch that is settled now."""
        free: list[tuple[Load, list[Records]]] = []
        earlier: set[str] = set()
        for load in self._loads:
            if load.blocked and load.object.name not in earlier:
                free.append((load, load.blocked))
                load.blocked = []
            earlier.add(load.object.name)
        return free

    # Within a batch

    def follow(self, group: Records) -> None:
        """Have a group follow all that it waits for."""
        for earlier in group.waits_for:
            self._followers.setdefault(earlier, []).append(group)

    def followers(self, group: Records) -> list[Records]:
        """Return what follows a group, which is settled or leaves: they follow it no more."""
        return self._followers.pop(group, [])

    def hand_on(self, group: Records, last: Records) -> None:
        """Let what waited for a group wait for the last of its records instead."""
        for follower in self.followers(group):
            follower.waits_for.discard(group)
            follower.waits_for.add(last)
            self._followers.setdefault(last, []).append(follower)

    # About one record of Outreach

    def comes_too_early(self, load: Load, group: Records, found: Resource) -> bool:
        """Whether a record that arrived earlier may be about the same one of Outreach.

        It may have no key in common with this one: another address of the person, or the name that
        the company had before this row renames it.
        """
        keys, number = load.picture.known_keys(found.id), group.members[0].number
        return any(near.holds_earlier(keys, number) for near in self._near(load))

    def spans_others(self, load: Load, group: Records, found: Resource) -> bool:
        """Whether a record that arrived between those of a folded one may be about the same one.

        It may be one of which the lookup is still under way, by a field that is asked for later.
        """
        if len(group.members) == 1:
            return False
        keys = load.picture.known_keys(found.id)
        about = (other for near in self._near(load) for other in near.holding(keys))
        return any(other is not group and _meet(other, group) for other in about)

    def _near(self, load: Load) -> list[Load]:
        """List a batch and the earlier ones of its object, as far as they are under way."""
        return [near for near in self.of(load.object) if near.is_no_later_than(load)]


def mixed_with(load: Load, group: Records, found: Resource) -> Iterable[Records]:
    """List the groups whose records arrived between those of a folded one, about the same record.

    They have no key in common, so that only Outreach could tell that they are about one person.
    """
    keys = set(load.picture.known_keys(found.id))
    return [other for other in load.ready if other.keys & keys and _meet(other, group)]


def unfolded(groups: list[Records]) -> list[tuple[Records, Records]]:
    """Take groups apart.

    Returns:
        Each of their records in arrival order: the group that it was in, and the one that it makes,
        which waits for the one before it.
    """
    apart: list[tuple[Records, Records]] = []
    members = ((item, group) for group in groups for item in group.members)
    for item, group in sorted(members, key=lambda pair: pair[0].number):
        assert item.desired is not None  # noqa: S101 - only such items are folded
        # Only what arrived before: then no two can wait for each other.
        waits_for = {
            before
            for before in group.waits_for.difference(groups)
            if before.members[-1].number < item.number
        }
        if apart:
            waits_for.add(apart[-1][1])
        desired = replace(item.desired, remembered=group.desired.remembered)
        apart.append((group, Group(desired, group.keys, [item], waits_for)))
    return apart


def _meet(one: Records, other: Records) -> bool:
    """Whether records of one arrived between those of the other."""
    return (
        one.members[0].number < other.members[-1].number
        and one.members[-1].number > other.members[0].number
    )
