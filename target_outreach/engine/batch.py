"""A batch of records that is being delivered, and the work items that it consists of."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from target_outreach.delivery.stream import Item
from target_outreach.records.folding import Group
from target_outreach.records.matching import match

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from target_outreach.delivery.stream import Delivered, Stream
    from target_outreach.errors import RecordFault
    from target_outreach.records.matching import RemoteSnapshot
    from target_outreach.records.model import Desired, Key, ObjectType, Resource


class Stage(Enum):
    """Where a work item is; nothing else says it."""

    NEW = "received"
    WAITING = "waiting for an earlier record that may be about the same"
    LOOKING_UP = "waiting for the answer of a lookup"
    LINKING = "waiting for the records that it is to be linked to"
    QUEUED = "waiting for its turn to be written"
    WRITING = "being written"
    DEFERRED = "waiting for the end of the input"
    SPLIT = "replaced by a work item for each of its records"
    LEFT = "left to the next run"
    SETTLED = "settled"


#: Stages that a work item does not leave any more.
LAST_STAGES = (Stage.DEFERRED, Stage.SPLIT, Stage.LEFT, Stage.SETTLED)  # quicker than a set


@dataclass(frozen=True, slots=True)
class Read:
    """When something was looked up, in monotonic seconds, and by which version of the lookup."""

    at: float
    version: int


NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Expiry:
    """Until when a plan may be carried out.

    Attributes:
        at: In monotonic seconds.
        version: The version of the lookup that it rests on; None where any will do.
    """

    at: float = NEVER
    version: int | None = None

    def is_over(self, now: float, version: int) -> bool:
        """Whether the plan rests on what is too old, or on a list that was cut."""
        return now > self.at or (self.version is not None and self.version < version)


class OutcomeListener(Protocol):
    """Receives the outcomes of the records of a batch."""

    def delivered(
        self, stream: Stream, deliveries: Iterable[tuple[Group[Item], Delivered]]
    ) -> None:
        """Hear that groups are in Outreach as they should be."""

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Hear that records are not written, by policy."""

    def rejected(self, stream: Stream, item: Item, fault: RecordFault) -> None:
        """Hear that a record cannot be delivered."""


class WorkItem(Group[Item], eq=False):
    """One or more records that are delivered by one write.

    Attributes:
        batch: The batch that it belongs to.
        stage: Where it is.
        read: The lookup that it was answered by; None while only a memory knows of it.
        is_complete: Whether it was looked up by every field, having been found by none.
        is_linked_anew: Whether its links were found a second time, the first ones having gone.
        is_found_late: Whether a refused create has shown that its record exists.
        is_single: Whether it is written by a request of its own, an import having left it out.
        gone: How often Outreach answered that its record is not there.
        failing_since: Since when, by the clock of outages, others must have been answered for it to
            be the record that Outreach fails at; None where it has not failed.
        is_patient: Whether it is tried for as long as an outage may last.
    """

    batch: Batch = None  # type: ignore[assignment]  # given by `Batch.item`
    stage: Stage = Stage.NEW
    read: Read | None = None
    is_complete: bool = False
    is_linked_anew: bool = False
    is_found_late: bool = False
    is_single: bool = False
    gone: int = 0
    failing_since: float | None = None
    is_patient: bool = False
    _moved: asyncio.Future[None] | None = None
    _matched: tuple[Desired, int, list[Resource]] | None = None

    @property
    def number(self) -> int:
        """The sequence number of its first record."""
        return self.members[0].number

    @property
    def is_open(self) -> bool:
        """Whether it still has to be delivered."""
        return self.stage not in LAST_STAGES

    def matches(self, fields: Sequence[str] | None = None) -> list[Resource]:
        """Return the records of Outreach that it may be about, by what the batch knows of them.

        `insert` is about no record that is there.

        Args:
            fields: The first match fields of the stream, to try no others.
        """
        snapshot, kept = self.batch.snapshot, self._matched
        if kept is not None and kept[0] is self.desired and kept[1] == snapshot.version:
            return kept[2]
        rules = self.batch.stream.rules
        if fields is None:
            if rules.sync_mode == "insert":
                return []
            fields = rules.match_fields
        found = match(self.desired, snapshot, fields)
        if found:  # by one of these fields, so that no later one counts
            self._matched = self.desired, snapshot.version, found
        return found

    @property
    def record_ids(self) -> list[int]:
        """The ids of the records of Outreach that it may be about, as far as they are known."""
        if self.read is None and self.desired.remembered is not None:
            return [self.desired.remembered]
        return [found.id for found in self.matches()]

    def all_keys(self) -> frozenset[Key]:
        """Return its keys, and those of the records that it may be about."""
        snapshot = self.batch.snapshot
        return self.keys.union(*map(snapshot.known_keys, self.record_ids))

    async def moved(self) -> None:
        """Wait until it has come to its end, or is not being written any more."""
        if self._moved is None or self._moved.done():
            self._moved = asyncio.get_running_loop().create_future()
        await self._moved

    def wake_followers(self) -> None:
        """Let those look again that wait for it."""
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)

    def meets(self, other: Group[Item]) -> bool:
        """Whether records of this one arrived between those of another one."""
        mine, theirs = self.members, other.members
        return mine[0].number < theirs[-1].number and mine[-1].number > theirs[0].number

    def apart(self) -> list[WorkItem]:
        """Return a work item for each record, which keeps what was found out for all of them.

        What Outreach answered to the write of all of them says nothing about a single one.
        """
        singles: list[WorkItem] = []
        for item in self.members:
            assert item.desired is not None  # noqa: S101 - only such items are folded
            desired = item.desired
            if desired.source_key == self.desired.source_key:
                desired = replace(desired, remembered=self.desired.remembered)
            waits_for: set[Group[Item]] = {singles[-1]} if singles else {*self.waits_for}
            single = WorkItem(desired, self.keys, [item], waits_for, self.batch)
            single.read, single.is_complete = self.read, self.is_complete
            single.is_single = self.is_single
            singles.append(single)
        return singles


@dataclass(slots=True, eq=False)
class Batch:
    """Records of one stream that are delivered together.

    Attributes:
        order: Its place among the batches of the run.
        stream: The stream.
        snapshot: What is known of Outreach's records that it is about.
        object: The object that it is for.
        listener: Receives the outcomes of its records.
        is_related: Whether nobody has received its records: others are to be linked to them.
        open: The work items that still have to be delivered.
        asked: The attributes and relationships that a lookup reads; among them all that records of
            the streams it is handed over with are found by.
        written: When records of Outreach were written meanwhile, in monotonic seconds by id.
    """

    order: int
    stream: Stream
    snapshot: RemoteSnapshot
    listener: OutcomeListener
    is_related: bool = False
    asked: Sequence[str] = ()
    open: set[WorkItem] = field(default_factory=set)
    written: dict[int, float] = field(default_factory=dict)
    object: ObjectType = field(init=False)
    _ended: asyncio.Future[None] | None = None
    _holders: defaultdict[Key, list[WorkItem]] | None = None

    def __post_init__(self) -> None:
        self.object = self.snapshot.object

    @property
    def fields(self) -> list[str]:
        """The fields to look up by, in order; `insert` looks nothing up."""
        rules = self.stream.rules
        return [] if rules.sync_mode == "insert" else ["id", *rules.match_fields]

    def item(self, desired: Desired, keys: frozenset[Key], waits_for: set[WorkItem]) -> WorkItem:
        """Make a work item of this batch that has no record yet."""
        return WorkItem(desired, keys, [], waits_for, self)  # type: ignore[arg-type]

    def hold(self, items: Iterable[WorkItem]) -> None:
        """Take in work items that have to be delivered."""
        items = list(items)
        self.open.update(items)
        if (holders := self._holders) is not None:
            for item in items:
                for key in item.keys:
                    holders[key].append(item)

    def let_go(self, items: Iterable[WorkItem]) -> None:
        """Strike out work items that have reached their last stage."""
        self.open.difference_update(items)
        if not self.open and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def ended(self) -> None:
        """Wait until no work item is open."""
        if self.open:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended

    def close(self) -> None:
        """Let go of all work items, which hold the batch, so that both are freed at once."""
        self._holders = None

    def holding(self, keys: Iterable[Key], but: WorkItem) -> list[WorkItem]:
        """List the open work items but one that have one of these keys, some more than once."""
        if (holders := self._holders) is None:  # as long as nobody asks, as under a memory
            holders = self._holders = defaultdict(list)
            self.hold(self.open)
        return [
            one for key in keys for one in holders.get(key, ()) if one is not but and one.is_open
        ]
