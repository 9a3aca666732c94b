"""What a writer is asked to do with one record, and what may come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from target_outreach.delivery.stream import Delivered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from target_outreach.delivery.stream import Item
    from target_outreach.engine.batch import Expiry, Read
    from target_outreach.errors import RecordFault, Unanswered
    from target_outreach.records.folding import Group
    from target_outreach.records.matching import RemoteSnapshot
    from target_outreach.records.model import Create, Desired, ObjectType, Resource, Update
    from target_outreach.records.rules import Rules


class Deliverer(Protocol):
    """Writes a record to Outreach, or does as if.

    Attributes:
        is_dry: Whether it does only as if.
    """

    is_dry: bool

    def write(self, job: Job) -> Result:
        """Carry a plan out, unless the record is there after all; None if it is too old."""

    def recall(self, snapshot: RemoteSnapshot, items: Iterable[Group[Item]]) -> None:
        """Add what a lookup could not show."""


@dataclass(frozen=True, slots=True)
class Job:
    """One record to be written.

    Attributes:
        object: The object that the record is for.
        desired: What the record says, to plan anew if Outreach has changed meanwhile.
        decided: The plan.
        rules: The settings of its stream.
        asked: The attributes that a lookup reads.
        read: The lookup that the plan rests on.
        expiry: Until when the plan may be carried out.
        is_patient: Whether it is tried for as long as an outage may last, although Outreach fails.
    """

    object: ObjectType
    desired: Desired
    decided: Create | Update
    rules: Rules
    asked: Sequence[str]
    read: Read
    expiry: Expiry
    is_patient: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Records that are there after all, so that the plan does not hold.

    Attributes:
        resources: What a lookup by the record's keys shows now.
        read_at: When that lookup began, in monotonic seconds.
    """

    resources: tuple[Resource, ...]
    read_at: float


@dataclass(frozen=True, slots=True)
class Gone:
    """The record that was to be updated is not there any more.

    Attributes:
        id: Its Outreach id.
    """

    id: int


@dataclass(frozen=True, slots=True)
class Unserved:
    """Outreach has failed at each try of a write (5xx): for this record alone, or in an outage.

    Attributes:
        fault: Why the record is rejected, if it is for this one alone.
        error: Why the run ends, if it is an outage.
        began: When it was begun, by the clock of outages.
        half_way: When half of its tries had failed. A write that is sent later and answered was not
            sent before an outage began.
        served_at: When the latest write was sent that had been answered before the last try of this
            one. What is answered only later may be the end of an outage.
    """

    fault: RecordFault
    error: Unanswered
    began: float
    half_way: float
    served_at: float


#: What comes of a write; None where the plan is too old to be carried out.
Result = Delivered | Found | Gone | Unserved | None
