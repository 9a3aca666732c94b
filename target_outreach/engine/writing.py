"""Writing one record, and finding out what came of it.

There is no idempotency key (API reference 1), so a create whose outcome is unknown is looked up by
the same keys before it is repeated, and a race that somebody else won becomes an update. A worker
thread carries one record through all of that; nothing here is shared.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

from target_outreach.delivery.outcome import Delivered
from target_outreach.engine.batch import NEVER
from target_outreach.errors import (
    AddressTaken,
    AmbiguousMatch,
    OutcomeUnknown,
    Outdated,
    OutreachError,
    RecordFault,
)
from target_outreach.outreach.answers import read_resource
from target_outreach.outreach.refusals import not_visible
from target_outreach.records.catalog import load_catalog
from target_outreach.records.matching import Picture, comparable, match
from target_outreach.records.model import (
    Create,
    Desired,
    ObjectType,
    Resource,
    Unchanged,
    Update,
    Value,
)
from target_outreach.records.planning import plan
from target_outreach.records.rules import Rules
from target_outreach.records.values import same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from target_outreach.delivery.stream import Item
    from target_outreach.engine.batch import Expiry, Read
    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.client import Client
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.records.folding import Group
    from target_outreach.records.model import Desired, ObjectType, Resource, Value
    from target_outreach.records.rules import Rules

logger = logging.getLogger("target-outreach")

CREATE_TRIES = 5
REMEMBERED_CREATES = 10_000
SECOND_LOOK_AFTER = 3.0


class Deliverer(Protocol):
    """Writes a record to Outreach, or does as if."""

    def write(self, job: Job) -> Delivered | Found | Gone | None:
        """Carry a plan out, unless the record is there after all; None if it is too old."""

    def recall(self, snapshot: Picture, items: Iterable[Group[Item]]) -> None:
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
    """

    object: ObjectType
    desired: Desired
    decided: Create | Update
    rules: Rules
    asked: Sequence[str]
    read: Read
    expiry: Expiry


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


class Writer:
    """Carries records into Outreach, one a call, from any number of threads."""

    def __init__(
        self,
        client: Client,
        lookup: Lookup,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.lookup = lookup
        self.sleep = sleep
        self.clock = clock
        self._lock = threading.Lock()
        self._created: deque[tuple[str, int]] = deque(maxlen=REMEMBERED_CREATES)

    def created(self, object_type: ObjectType, resource_id: int) -> bool:
        """Claim a record as created by this run, which no two records may; say if it is ours."""
        place = object_type.name, resource_id  # ids are unique within an object only
        with self._lock:
            if place in self._created:
                return False
            self._created.append(place)
            return True

    def recall(self, snapshot: Picture, items: Iterable[Group[Item]]) -> None:
        """Add nothing: what was written is in Outreach, where a lookup shows it."""

    def write(self, job: Job) -> Delivered | Found | Gone | None:
        """Do what was planned for a record, or say that it is there already.

        Returns:
            What became of it, or None where the plan is too old to be carried out.

        Raises:
            RecordFault: Outreach refuses the record, or its outcome cannot be known.
            RunError: No request can succeed, or none may be sent any more.
        """
        self.client.pacer.wait()
        if job.expiry.is_over(self.clock(), self.lookup.version):
            return None  # while it waited for budget, its plan has grown too old
        attempt = _Attempt(self, job, job.object, job.desired, job.rules, job.expiry)
        try:
            if isinstance(job.decided, Create):
                return attempt.create(job.decided)
            return attempt.update(job.decided)
        except Outdated:
            return None  # while it waited for another try


@dataclass(slots=True)
class _Attempt:
    """One record on its way.

    Attributes:
        expiry: Until when what it rests on may be used; each new look puts it off.
        writes: The number of writes that it took.
    """

    writer: Writer
    job: Job
    object: ObjectType
    desired: Desired
    rules: Rules
    expiry: Expiry
    writes: int = 0

    def _is_current(self) -> bool:
        return not self.expiry.is_over(self.writer.clock(), self.writer.lookup.version)

    def _looked(self, at: float) -> None:
        """Take in that what the record rests on was looked up once more."""
        if self.expiry.at != NEVER:
            lasts = self.job.expiry.at - self.job.read.at
            self.expiry = replace(self.expiry, at=at + lasts)

    def create(self, decided: Create) -> Delivered | Found:
        """POST, and look again before anything is repeated.

        Raises:
            Outdated: It is not sent, or not once more, since what it rests on is too old.
        """
        sent = document(self.object, None, decided.attributes, decided.relationships)
        outages = self.writer.client.pacer.outages
        began = outages.now()
        while not outages.is_over(self.writes, began, CREATE_TRIES):
            self.writes += 1
            sent_at = datetime.now(UTC)
            try:
                answer = self.writer.client.request(
                    "POST", f"/{self.object.name}", sent, is_current=self._is_current
                )
                resource = self._resource(answer, OutcomeUnknown)
            except OutcomeUnknown as error:
                if (outcome := self._after_unknown(error, decided, sent_at)) is not None:
                    return outcome
            except AddressTaken as fault:
                return self._after_taken(fault)
            except RecordFault as fault:
                raise self._counted(fault) from None
            else:
                self.writer.created(self.object, resource.id)
                return delivered("created", self.object, resource, decided)
        raise OutreachError(
            f"Outreach gave no usable answer to {self.writes} tries to create a record; "
            "the next run goes on from STATE."
        )

    def update(self, decided: Update) -> Delivered | Found | Gone:
        """PATCH what differs, or say that the record was deleted meanwhile."""
        try:
            return delivered("updated", self.object, self._patch(decided), decided)
        except AddressTaken as taken:
            raise self._counted(self._owned(decided, taken)) from None
        except RecordFault as fault:
            is_remembered = decided.resource.id == self.desired.remembered
            may_be_another = self.desired.id is None and self.rules.sync_mode == "upsert"
            if fault.code == "record_not_found" and (is_remembered or may_be_another):
                return Gone(decided.resource.id)
            raise self._counted(fault) from None

    def _owned(self, decided: Update, taken: AddressTaken) -> RecordFault:
        """Say whose the address is that an update would take: another's, or one that is hidden."""
        name = self.object.unique_by
        values = self.desired.attributes.get(name) if name is not None else None
        if name is None or not values:
            return taken
        shown = self.writer.lookup.find(self.object, name, values, self.job.asked)
        held = (comparable(self.object, name, one.attributes.get(name)) for one in shown)
        is_shown = comparable(self.object, name, values) <= frozenset().union(*held)
        is_anothers = any(one.id != decided.resource.id for one in shown)
        if is_anothers or is_shown:
            return taken
        hidden = not_visible(taken)
        hidden.code = taken.code  # the record itself is found, and only its address is not free
        return hidden

    def _patch(self, decided: Update) -> Resource:
        resource_id = decided.resource.id
        sent = document(self.object, resource_id, decided.attributes, decided.relationships)
        self.writes += 1
        path = f"/{self.object.name}/{resource_id}"
        answer = self.writer.client.request("PATCH", path, sent, is_current=self._is_current)
        return self._resource(answer, OutreachError)

    def _resource(self, answer: Answer, error: type[Exception]) -> Resource:
        try:
            return read_resource(answer.document["data"])
        except (KeyError, TypeError, ValueError):
            raise error(f"Outreach answered {answer.status} without a resource.") from None

    def _counted(self, fault: RecordFault) -> RecordFault:
        fault.attempts = self.writes
        return fault

    def _after_unknown(
        self, error: OutcomeUnknown, decided: Create, sent_at: datetime
    ) -> Delivered | Found | None:
        """Find out whether a create was carried out; None where it may be sent again.

        Where Outreach would not refuse a second one, it is looked for twice.
        """
        if error.wait is None:
            self.writer.sleep(min(0.25 * 2**self.writes, 8.0))
        looked_at = self.writer.clock()
        found = self._find()
        if not found and self.object.unique_by is None:
            self.writer.sleep(SECOND_LOOK_AFTER)
            looked_at = self.writer.clock()
            found = self._find()
        self._looked(looked_at)
        # The clocks are compared only now, when an answer has told the server's.
        since = sent_at + self.writer.client.clock_offset
        for resource in (one for one in found if _created_since(one, since)):
            if (claimed := self._claim(resource, decided)) is not None:
                return claimed
        if found and self.rules.sync_mode != "insert":
            return Found(tuple(found), looked_at)
        logger.info("%s The record is not in Outreach, so it is sent again.", error)
        return None

    def _claim(self, resource: Resource, decided: Create) -> Delivered | None:
        """Take a record for the one that we created, seeing to it that it holds what we sent.

        In `insert`, where another may have the same name, it must hold that already.
        """
        complete = plan(
            self.object, self.desired, resource, replace(self.rules, sync_mode="upsert")
        )
        if self.rules.sync_mode == "insert" and not isinstance(complete, Unchanged):
            return None
        if not self.writer.created(self.object, resource.id):
            return None
        if isinstance(complete, Update):
            try:
                resource = self._patch(complete)
            except Outdated:
                return None  # it is there, and is planned anew
        return delivered("created", self.object, resource, decided)

    def _find(self) -> list[Resource]:
        """Look a record up by its keys.

        Raises:
            RecordFault: It has none, so that what became of it cannot be known.
        """
        keyed = self._keyed()
        if not keyed:
            message = "No usable answer came, and without a match field nothing can be looked up."
            raise self._counted(RecordFault("outcome_unknown", message))
        picture = Picture(self.object, self.rules.match_fields)
        for name in keyed:
            value = self.desired.attributes[name]
            for resource in self.writer.lookup.find(self.object, name, value, self.job.asked):
                picture.put(resource)
        return match(self.desired, picture, self.rules.match_fields)

    def _keyed(self) -> list[str]:
        """List the match fields in which the record has a value."""
        return [name for name in self.rules.match_fields if self.desired.attributes.get(name)]

    def _after_taken(self, taken: AddressTaken) -> Found:
        """Find the record that has the address, so that it can be updated."""
        unique_by = self.object.unique_by
        is_findable = unique_by is None or unique_by in self.rules.match_fields
        if self.rules.sync_mode == "insert" or not is_findable or not self._keyed():
            raise self._counted(taken)
        looked_at = self.writer.clock()
        found = self._find()
        if not found:
            raise self._counted(not_visible(taken))
        read_at = datetime.now(UTC) - timedelta(seconds=self.writer.clock() - self.job.read.at)
        since = read_at + self.writer.client.clock_offset
        if not any(_created_since(resource, since) for resource in found):
            # Nobody was faster: the list that did not show the record was cut.
            field = self.rules.match_fields[0]
            self.writer.lookup.halve(self.object, field, self.job.read.version)
        return Found(tuple(found), looked_at)


def ambiguous(found: Sequence[Resource]) -> AmbiguousMatch:
    """Say that a record fits several of Outreach's, naming their ids."""
    return AmbiguousMatch([resource.id for resource in found])


def _created_since(resource: Resource, sent_at: datetime) -> bool:
    """Whether a record is as new as our request; Outreach's times are whole seconds."""
    try:
        created = datetime.fromisoformat(resource.created_at)
    except ValueError:
        return False
    return created.replace(tzinfo=created.tzinfo or UTC) >= sent_at.replace(microsecond=0)


def document(
    object_type: ObjectType,
    resource_id: int | None,
    attributes: Mapping[str, Value],
    relationships: Mapping[str, int | None],
) -> dict[str, Any]:
    """Write the JSON:API document of a create or of an update; ids are integers."""
    data: dict[str, Any] = {"type": object_type.type}
    if resource_id is not None:
        data["id"] = resource_id
    if attributes:
        data["attributes"] = dict(attributes)
    if relationships:
        data["relationships"] = {
            name: {"data": link and {"type": _type(object_type, name), "id": link}}
            for name, link in relationships.items()
        }
    return {"data": data}


def _type(object_type: ObjectType, relationship: str) -> str:
    """Return the type of what a relationship links to."""
    return load_catalog()[object_type.relationships[relationship].object].type


def delivered(
    outcome: Literal["created", "updated"],
    object_type: ObjectType,
    resource: Resource,
    decided: Create | Update,
) -> Delivered:
    """Say what was delivered, and what of it Outreach kept differently.

    Args:
        outcome: What was done.
        object_type: What the record is.
        resource: The record as Outreach holds it now; what it does not show is not compared.
        decided: The plan that was carried out.
    """
    kept = (
        name
        for name, value in decided.attributes.items()
        if name in resource.attributes
        and not same(object_type.attributes[name], value, resource.attributes[name])
    )
    return Delivered(outcome, resource, decided, tuple(kept))
