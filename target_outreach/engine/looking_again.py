"""Looking once more for a single record: its create had no usable answer, or its address is taken.

Lists may not show for some seconds what was just created, and a long list may be cut. So the keys
of one record are looked up one at a time, and where it matters again after a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from target_outreach.bounds import MOST_WAITS_IN_VAIN
from target_outreach.engine.job import Found
from target_outreach.errors import RecordFault
from target_outreach.outreach.refusals import not_visible
from target_outreach.records.matching import RemoteSnapshot, comparable, match

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_outreach.engine.job import Job
    from target_outreach.errors import AddressTaken
    from target_outreach.outreach.client import Client
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.records.model import Resource, Update


@dataclass(slots=True)
class LookAgain:
    """Looks single records up, from any number of threads.

    Attributes:
        client: Knows how far the server's clock is ahead of ours.
        lookup: Finds records in Outreach.
        pauses: Seconds before each look after the first one.
        sleep: Waits so many seconds.
        clock: A monotonic clock in seconds.
        caught_up_at: When lists show what an earlier run has made just before this one.
        waits_in_vain: How many records in a row no list has shown at last.
    """

    client: Client
    lookup: Lookup
    pauses: Sequence[float]
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    caught_up_at: float
    waits_in_vain: int = 0

    def after_create(self, job: Job, *, is_patient: bool) -> Found:
        """Look for what a create may have made; nothing is found where it may be sent again.

        Args:
            job: The record.
            is_patient: Whether to look again for as long as lists may be behind.

        Raises:
            RecordFault: It has no keys, so that its outcome cannot be known.
        """
        if not _keyed(job):
            message = "No usable answer came, and without a match field nothing can be looked up."
            raise RecordFault("outcome_unknown", message)
        found = self._find(job)
        for pause in self.pauses if is_patient else ():
            if found.resources:
                break
            self.sleep(pause)
            found = self._find(job)
        return found

    def after_taken(self, job: Job, taken: AddressTaken) -> Found:
        """Find the record that has the address, so that it can be updated.

        Raises:
            RecordFault: It is not to be updated, or no list shows it.
        """
        unique_by, match_fields = job.object.unique_by, job.rules.match_fields
        is_findable = unique_by is None or unique_by in match_fields
        if job.rules.sync_mode == "insert" or not is_findable or not _keyed(job):
            raise taken
        found = self._find(job)
        if found.resources:
            return self.late(job, found)
        # Later, waiting for a list is useful until it has failed some times: some records
        # are just hidden.
        for pause in self.pauses:
            is_late = found.read_at > self.caught_up_at
            if is_late and self.waits_in_vain >= MOST_WAITS_IN_VAIN:
                break
            self.sleep(pause)
            found = self._find(job)
            if found.resources:
                self.waits_in_vain = 0
                return found
        self.waits_in_vain += 1
        raise not_visible(taken)

    def late(self, job: Job, found: Found) -> Found:
        """Take in why records are there which the lookup had not shown."""
        read_at = datetime.now(UTC) - timedelta(seconds=self.clock() - job.read.at)
        since = read_at + self.client.clock_offset
        if not any(is_created_since(resource, since) for resource in found.resources):
            # Nobody was faster: the list that did not show the record was cut.
            self.lookup.halve(job.object, job.rules.match_fields[0], job.read.version)
        return found

    def owned(self, job: Job, decided: Update, taken: AddressTaken) -> RecordFault:
        """Say whose the address is that an update would take: another's, or one that is hidden."""
        name = job.object.unique_by
        values = job.desired.attributes.get(name) if name is not None else None
        if name is None or not values:
            return taken
        shown = self.lookup.find(job.object, name, values, job.asked)
        held = (comparable(job.object, name, one.attributes.get(name)) for one in shown)
        is_shown = comparable(job.object, name, values) <= frozenset().union(*held)
        is_anothers = any(one.id != decided.resource.id for one in shown)
        if is_anothers or is_shown:
            return taken
        hidden = not_visible(taken)
        hidden.code = taken.code  # the record itself is found, and only its address is not free
        return hidden

    def _find(self, job: Job) -> Found:
        """Look a record up by its keys, one at a time, so that no list can be cut."""
        began = self.clock()
        snapshot = RemoteSnapshot(job.object, job.rules.match_fields)
        for name in _keyed(job):
            value = job.desired.attributes[name]
            for resource in self.lookup.find(job.object, name, value, job.asked):
                snapshot.put(resource)
        return Found(tuple(match(job.desired, snapshot, job.rules.match_fields)), began)


def _keyed(job: Job) -> list[str]:
    """List the match fields in which a record has a value."""
    return [name for name in job.rules.match_fields if job.desired.attributes.get(name)]


def is_created_since(resource: Resource, sent_at: datetime) -> bool:
    """Whether a record is as new as our request; Outreach's times are whole seconds."""
    try:
        created = datetime.fromisoformat(resource.created_at)
    except ValueError:
        return False
    return created.replace(tzinfo=created.tzinfo or UTC) >= sent_at.replace(microsecond=0)
