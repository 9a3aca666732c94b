"""One batch under way, and what is known of Outreach for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from target_outreach.delivery.stream import Item
from target_outreach.records.folding import Group

if TYPE_CHECKING:
    from target_outreach.delivery.stream import Stream
    from target_outreach.records.catalog import ObjectType
    from target_outreach.records.matching import Picture
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
        open: Groups that are not settled.
        blocked: Groups that share a key with an earlier batch.
        reads: The lookup that each group was answered by.
        ready: Groups that are looked up and wait to be decided on.
        complete: Groups that were looked up by all fields, having been found by none.
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
    open: set[Records] = field(default_factory=set)
    blocked: list[Records] = field(default_factory=list)
    reads: dict[Records, Read] = field(default_factory=dict)
    ready: set[Records] = field(default_factory=set)
    complete: set[Records] = field(default_factory=set)
    found_late: set[Records] = field(default_factory=set)
    again: list[Records] = field(default_factory=list)
    written: dict[int, float] = field(default_factory=dict)
    recalled: dict[Records, tuple[Update | Unchanged, int] | None] = field(default_factory=dict)
    unseen: set[Records] = field(default_factory=set)

    def is_no_later_than(self, other: Load) -> bool:
        """Whether this batch was handed over before another one, or is it."""
        return self.order <= other.order

    @property
    def object(self) -> ObjectType:
        """The object that the batch is for."""
        return self.picture.object

    @property
    def fields(self) -> list[str]:
        """The fields to look up by, in order; `insert` looks nothing up."""
        rules = self.stream.rules
        return [] if rules.mode == "insert" else ["id", *rules.match_fields]
