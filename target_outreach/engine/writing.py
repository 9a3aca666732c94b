"""Writing one record, until it is known what came of it.

There is no idempotency key (API reference 1), so a create whose outcome is unknown is looked up by
the same keys before it is repeated, and a race that somebody else won becomes an update. A worker
thread carries one record through all of that (`looking_again` looks); nothing here is shared.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from target_outreach.bounds import CREATE_TRIES, TRIES
from target_outreach.delivery.stream import Delivered
from target_outreach.engine.batch import NEVER
from target_outreach.engine.job import Found, Gone, Unserved
from target_outreach.engine.looking_again import LookAgain, is_created_since
from target_outreach.errors import (
    AddressTaken,
    OutcomeUnknown,
    Outdated,
    OutreachError,
    RecordFault,
    Unanswered,
)
from target_outreach.outreach.answers import read_resource
from target_outreach.outreach.refusals import SERVER_ERROR
from target_outreach.records.catalog import load_catalog
from target_outreach.records.model import Create, Unchanged, Update
from target_outreach.records.planning import plan
from target_outreach.records.values import same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from target_outreach.delivery.stream import Item
    from target_outreach.engine.batch import Expiry
    from target_outreach.engine.job import Job, Result
    from target_outreach.errors import Retriable
    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.client import Client
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.records.folding import Group
    from target_outreach.records.matching import RemoteSnapshot
    from target_outreach.records.model import Desired, ObjectType, Resource, Value
    from target_outreach.records.rules import Rules

logger = logging.getLogger("target-outreach")

#: Records that this run has created, which no two rows may claim.
REMEMBERED_CREATES = 10_000

#: What is said of a create that failed each time.
UNSEEN = "A lookup does not show it; whether it was created all the same cannot be known."


class Writer:
    """Carries records into Outreach, one a call, from any number of threads."""

    is_dry = False

    def __init__(
        self,
        client: Client,
        lookup: Lookup,
        pauses: Sequence[float],
        *,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Have written nothing yet.

        Args:
            client: Sends requests.
            lookup: Finds records in Outreach.
            pauses: Seconds before each further look for what may have been created.
            sleep: Waits so many seconds; by default, the end of the run ends the wait.
            clock: A monotonic clock in seconds.
        """
        self.client = client
        self.lookup = lookup
        self.sleep = sleep or client.pacer.rest
        self.clock = clock
        caught_up_at = clock() + sum(pauses)
        self.looks = LookAgain(client, lookup, pauses, self.sleep, clock, caught_up_at)
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

    def recall(self, snapshot: RemoteSnapshot, items: Iterable[Group[Item]]) -> None:
        """Add nothing: what was written is in Outreach, where a lookup shows it."""

    def write(self, job: Job) -> Result:
        """Do what was planned for a record, or say that it is there already.

        Returns:
            The outcome, or None where the plan is too old to be carried out.

        Raises:
            RecordFault: Outreach refuses the record, or its outcome cannot be known.
            RunError: No request can succeed, or none may be sent any more.
        """
        self.client.pacer.wait()
        if job.expiry.is_over(self.clock(), self.lookup.version):
            return None  # while it waited for budget, its plan has grown too old
        attempt = _Attempt(self, job, job.object, job.desired, job.rules, job.expiry)
        attempt.began = attempt.half_way = self.client.pacer.outages.now()
        try:
            if isinstance(job.decided, Create):
                return attempt.create(job.decided)
            return attempt.update(job.decided)
        except Outdated:
            return None  # while it waited for another try
        except RecordFault as fault:
            fault.attempts = attempt.writes
            raise


@dataclass(slots=True)
class _Attempt:
    """One record on its way.

    Attributes:
        expiry: Until when what it rests on may be used; each new look puts it off.
        writes: The number of writes that it took.
        began: When it was begun, by the clock of outages.
        half_way: When it had failed (5xx) at half of its tries.
        served_at: When the latest write was sent that had been answered before its last try.
    """

    writer: Writer
    job: Job
    object: ObjectType
    desired: Desired
    rules: Rules
    expiry: Expiry
    writes: int = 0
    began: float = 0.0
    half_way: float = 0.0
    served_at: float = 0.0

    def _is_current(self) -> bool:
        self.served_at = self.writer.client.pacer.outages.served_at
        return not self.expiry.is_over(self.writer.clock(), self.writer.lookup.version)

    def _looked(self, at: float) -> None:
        """Take in that what the record rests on was looked up once more."""
        if self.expiry.at != NEVER:
            lasts = self.job.expiry.at - self.job.read.at
            self.expiry = replace(self.expiry, at=at + lasts)

    def create(self, decided: Create) -> Delivered | Found | Unserved:
        """POST, and look again before anything is repeated.

        Raises:
            Outdated: It is not sent, or not once more, since what it rests on is too old.
        """
        sent = document(self.object, None, decided.attributes, decided.relationships)
        sent_at = datetime.now(UTC)
        while True:
            self.writes += 1
            try:
                answer = self.writer.client.request(
                    "POST", f"/{self.object.name}", sent, is_current=self._is_current
                )
                resource = self._resource(answer, OutcomeUnknown)
            except OutcomeUnknown as error:
                if error.wait is None:
                    self.writer.sleep(min(0.25 * 2**self.writes, 8.0))
                may_double = self.object.unique_by is None
                outcome = self._look_for(decided, sent_at, is_patient=may_double)
                if outcome is not None:
                    return outcome
                if self._is_last(error, self.writes, self.began, CREATE_TRIES):
                    unanswered = Unanswered(
                        f"Outreach gave no usable answer to {self.writes} tries to create a "
                        "record; the next run goes on from STATE."
                    )
                    unanswered.status = error.status
                    return self._unserved(unanswered, "create", UNSEEN)
                logger.info("%s The record is not in Outreach, so it is sent again.", error)
            except AddressTaken as fault:
                # It is by what an earlier try has created, most likely.
                again = self.writes > 1 and self._look_for(decided, sent_at, is_patient=True)
                return again or self.writer.looks.after_taken(self.job, fault)
            else:
                self.writer.created(self.object, resource.id)
                return delivered("created", self.object, resource, decided)

    def _unserved(self, error: Unanswered, what: str, seen: str) -> Unserved:
        """Give a record back that Outreach fails at.

        Raises:
            Unanswered: It does not say that it fails: there was no usable answer.
        """
        if error.status is None or error.status < SERVER_ERROR:
            raise error
        message = (
            f"Outreach fails at each try to {what} this record ({error.status}), and at no others "
            f"that were written meanwhile. {seen}"
        )
        fault = RecordFault("server_error", message, status=error.status)
        fault.attempts = self.writes
        return Unserved(fault, error, self.began, self.half_way, self.served_at)

    def update(self, decided: Update) -> Delivered | Found | Gone | Unserved:
        """PATCH what differs, or say that the record was deleted meanwhile."""
        try:
            return delivered("updated", self.object, self._patch(decided), decided)
        except Unanswered as error:
            unserved = self._unserved(error, "update", "It is not as it should be.")
            now = self.writer.lookup.read_one(self.object, decided.resource.id, self.job.asked)
            if now is not None and isinstance(
                plan(self.object, self.desired, now, self.rules), Unchanged
            ):
                return delivered("updated", self.object, now, decided)
            return unserved
        except AddressTaken as taken:
            raise self.writer.looks.owned(self.job, decided, taken) from None
        except RecordFault as fault:
            is_remembered = decided.resource.id == self.desired.remembered
            may_be_another = self.desired.id is None and self.rules.sync_mode == "upsert"
            if fault.code == "record_not_found" and (is_remembered or may_be_another):
                return Gone(decided.resource.id)
            fault.is_of_update = True
            raise

    def _patch(self, decided: Update) -> Resource:
        resource_id = decided.resource.id
        sent = document(self.object, resource_id, decided.attributes, decided.relationships)
        self.writes += 1
        path = f"/{self.object.name}/{resource_id}"
        answer = self.writer.client.request(
            "PATCH", path, sent, is_current=self._is_current, is_last=self._is_last
        )
        if answer.document is None:  # 204: carried out, and not shown
            shown = self.writer.lookup.read_one(self.object, resource_id, self.job.asked)
            if shown is None:
                message = "Outreach has carried the update out, and shows no such record now."
                raise RecordFault("record_not_found", message)
            return shown
        return self._resource(answer, OutreachError)

    def _is_last(self, error: Retriable, tries: int, since: float, least: int = 0) -> bool:
        least = least or TRIES
        outages = self.writer.client.pacer.outages
        if error.status is None or error.status < SERVER_ERROR:
            return outages.is_over(tries, since, least)
        if tries <= least // 2:
            self.half_way = outages.now()
        at_once = not self.job.is_patient
        return outages.is_given_up(tries, self.half_way, least=least, at_once=at_once)

    def _resource(self, answer: Answer, error: type[Exception]) -> Resource:
        try:
            return read_resource(answer.document["data"])
        except (KeyError, TypeError, ValueError):
            raise error(f"Outreach answered {answer.status} without a resource.") from None

    def _look_for(
        self, decided: Create, sent_at: datetime, *, is_patient: bool
    ) -> Delivered | Found | None:
        """Find out whether a create was carried out; None where it may be sent again.

        Args:
            decided: The plan.
            sent_at: When it was sent for the first time.
            is_patient: Whether to look again for as long as lists may be behind.
        """
        found = self.writer.looks.after_create(self.job, is_patient=is_patient)
        self._looked(found.read_at)
        # The clocks are compared only now, when an answer has told the server's.
        since = sent_at + self.writer.client.clock_offset
        for resource in (one for one in found.resources if is_created_since(one, since)):
            if (claimed := self._claim(resource, decided)) is not None:
                return claimed
        if found.resources and self.rules.sync_mode != "insert":
            return self.writer.looks.late(self.job, found)
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
            except (Outdated, Unanswered):
                return None  # it is there, and is planned anew
        return delivered("created", self.object, resource, decided)


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
        to = {
            name: load_catalog()[object_type.relationships[name].object] for name in relationships
        }
        data["relationships"] = {
            name: {"data": link and {"type": to[name].type, "id": link}}
            for name, link in relationships.items()
        }
    return {"data": data}


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
