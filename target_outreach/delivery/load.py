"""One batch under way, and what is known of Outreach for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from target_outreach.delivery.errand import Errand
from target_outreach.delivery.stream import Item
from target_outreach.records.folding import Group
from target_outreach.records.matching import match

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from target_outreach.delivery.errand import Fates
    from target_outreach.delivery.stream import Stream
    from target_outreach.records.catalog import ObjectType
    from target_outreach.records.mapping import Desired
    from target_outreach.records.matching import Key, Picture, Resource
    from target_outreach.records.planning import Unchanged, Update

Records = Group[Item]


@dataclass(frozen=True, slots=True)
class Read:
    """When something was looked up, in monotonic seconds, and by which version of the lookup."""

    at: float
    version: int


@dataclass(slots=True, eq=False)
class Load:
    """One batch under way.

    Attributes:
        order: Its number among the batches of the run.
        stream: The stream that it is of.
        picture: What is known of Outreach's records that it is about.
        fates: Hears what becomes of its records.
        done: Called when that is known of all of them.
        open: Groups that are not settled.
        blocked: Groups that share a key with an earlier batch.
        reads: The lookup that each group was answered by.
        ready: Groups that are looked up and wait to be decided on.
        complete: Groups that were looked up by all fields, having been found by none.
        matched: What groups were found to be about, with what they said then and the version of
            the picture; the same of both gives the same.
        linked_anew: Groups that were linked to what had gone meanwhile.
        found_late: Groups whose record a create has shown to be there.
        again: Groups of which the lookup is too old to act on.
        recalled: What memory says is to be done about groups, and how many records had been
            written when it did; None for those of which it is to be asked again.
        unseen: Groups that were decided on without a look at Outreach.
        written: When records of Outreach were written meanwhile, by id.
    """

    order: int
    stream: Stream
    picture: Picture
    fates: Fates
    done: Callable[[], None]
    open: set[Records] = field(default_factory=set)
    blocked: list[Records] = field(default_factory=list)
    reads: dict[Records, Read] = field(default_factory=dict)
    ready: set[Records] = field(default_factory=set)
    complete: set[Records] = field(default_factory=set)
    matched: dict[Records, tuple[Desired, int, list[Resource]]] = field(default_factory=dict)
    linked_anew: set[Records] = field(default_factory=set)
    found_late: set[Records] = field(default_factory=set)
    again: list[Records] = field(default_factory=list)
    written: dict[int, float] = field(default_factory=dict)
    recalled: dict[Records, tuple[Update | Unchanged, int] | None] = field(default_factory=dict)
    unseen: set[Records] = field(default_factory=set)
    _holders: dict[Key, list[Records]] | None = field(default=None, init=False)

    def hold(self, groups: Iterable[Records]) -> None:
        """Take in groups that are not settled."""
        self.open.update(groups)
        if self._holders is not None:
            _enter(groups, self._holders)

    def let_go(self, groups: Iterable[Records]) -> None:
        """Strike out groups that are settled, or replaced by others."""
        self.open.difference_update(groups)
        self.ready.difference_update(groups)
        self.unseen.difference_update(groups)

    def about(self, group: Records) -> list[Resource]:
        """Return the records of Outreach that a group may be about; `insert` is about none."""
        rules = self.stream.rules
        return [] if rules.sync_mode == "insert" else self.matches(group, rules.match_fields)

    def matches(self, group: Records, fields: Sequence[str]) -> list[Resource]:
        """Return the records of Outreach that a group may be about, the picture being as it is.

        Args:
            group: What to match.
            fields: The match fields to try: the first ones of the stream's own, or all.
        """
        desired, version = group.desired, self.picture.version
        kept = self.matched.get(group)
        if kept is not None and kept[0] is desired and kept[1] == version:
            return kept[2]
        found = match(desired, self.picture, fields)
        if found:  # by one of these fields, so that no later one counts
            self.matched[group] = desired, version, found
        return found

    def holding(self, keys: Iterable[Key]) -> list[Records]:
        """List the groups that are not settled and have one of these keys, some more than once."""
        holders = self._index()
        return [group for key in keys for group in holders.get(key, ()) if group in self.open]

    def holds_earlier(self, keys: Iterable[Key], number: int) -> bool:
        """Whether a group that is not settled has one of these keys, and arrived before a record.

        Args:
            keys: What it may have.
            number: The record's sequence number.
        """
        holders = self._index()
        for key in keys:
            for group in holders.get(key, ()):
                if group.members[0].number < number and group in self.open:
                    return True
        return False

    def shares_key_with(self, group: Records) -> bool:
        """Whether a group that is not settled has a key in common with one of another batch."""
        return not self._index().keys().isdisjoint(group.keys) and bool(self.holding(group.keys))

    def _index(self) -> dict[Key, list[Records]]:
        """Return who has which key; made only if somebody asks, as nobody does of a memory."""
        if self._holders is None:
            self._holders = {}
            _enter(self.open, self._holders)
        return self._holders

    def is_no_later_than(self, other: Load) -> bool:
        """Whether this batch was handed over before another one, or is it."""
        return self.order <= other.order

    @property
    def is_errand(self) -> bool:
        """Whether nobody has received its records: others are to be linked to them."""
        return isinstance(self.fates, Errand)

    @property
    def object(self) -> ObjectType:
        """The object that the batch is for."""
        return self.picture.object

    @property
    def fields(self) -> list[str]:
        """The fields to look up by, in order; `insert` looks nothing up."""
        rules = self.stream.rules
        return [] if rules.sync_mode == "insert" else ["id", *rules.match_fields]


def _enter(groups: Iterable[Records], holders: dict[Key, list[Records]]) -> None:
    for group in groups:
        for key in group.keys:
            holders.setdefault(key, []).append(group)
