"""Putting prospects into sequences (contract: insert only, each pair once, nobody who opted out).

A row names a prospect, a sequence and a mailbox. When those are found, two questions are asked of
many prospects at a time: which sequences they are or were in, and whether they have opted out. A
prospect that was ever in the sequence counts as unchanged, whatever has become of it there: rows
come again every hour, and nobody is to get the same mails twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from target_outreach.bounds import TRIES
from target_outreach.delivery.stream import Delivered
from target_outreach.engine.batch import Stage, WorkItem
from target_outreach.engine.resolver import FRESH
from target_outreach.engine.writing import document
from target_outreach.errors import OutcomeUnknown, Outdated, OutreachError, RecordFault, Retriable
from target_outreach.outreach.answers import read_resource
from target_outreach.records.catalog import load_catalog
from target_outreach.records.model import Create, Resource, Skip, Unchanged
from target_outreach.records.opt_outs import has_opted_out_of_mail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from target_outreach.engine.dry_run import DryWriter
    from target_outreach.engine.ordering import WriteQueue
    from target_outreach.engine.requests import Requests
    from target_outreach.outreach.client import Client
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.records.model import Desired

SEQUENCE_STATES = "sequenceStates"

#: A prospect and a sequence, by their ids.
Pair = tuple[int, int]

#: Seconds after which somebody is looked for whose enrolment was not confirmed.
FIRST_LOOK_AFTER = 0.25

#: Pairs that are known to be enrolled by this run; for older ones Outreach is asked.
MOST_KEPT = 50_000

#: What a refusal says where somebody was in the sequence before (API reference 2.6).
BEEN_THERE = "already been in this sequence"


@dataclass(frozen=True, slots=True)
class Known:
    """What Outreach holds of a prospect.

    Attributes:
        states: By sequence, what says that the prospect is or was in it.
        is_opted_out: Whether it refuses mail; None where it is not there.
        read_at: When Outreach was asked, in monotonic seconds.
    """

    states: Mapping[int, Resource]
    is_opted_out: bool | None
    read_at: float


class Enrols(Protocol):
    """Puts prospects into sequences, or does as if."""

    def add(self, desired: Desired, is_current: Callable[[], bool]) -> Delivered | None:
        """Put a prospect into a sequence, unless it is or was there; None to be tried again."""

    def would_hold(self, prospect: int) -> Mapping[str, Any] | None:
        """Return what Outreach would hold of a prospect, where nothing is really written."""


class Enrolments:
    """Reads and makes sequence states, on worker threads."""

    def __init__(
        self,
        client: Client,
        lookup: Lookup,
        pauses: Sequence[float],
        *,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Have enrolled nobody yet.

        Args:
            client: Sends requests.
            lookup: Finds records in Outreach.
            pauses: Seconds before each further look for what may have been created.
            sleep: Waits so many seconds; by default, the end of the run ends the wait.
        """
        self._client = client
        self._lookup = lookup
        self._pauses = pauses
        self._sleep = sleep or client.pacer.rest

    def add(self, desired: Desired, is_current: Callable[[], bool]) -> Delivered | None:
        """Put a prospect into a sequence, unless it is or was there; by one request.

        Args:
            desired: Names both.
            is_current: Says right before the request whether what was asked is new enough.

        Returns:
            The outcome, or None where there is none yet: before the next try, Outreach is
            asked again whether the prospect has opted out.

        Raises:
            RecordFault: Outreach refuses it.
            RunError: No request can succeed, or none may be sent any more.
        """
        links = {name: link for name, link in desired.relationships.items() if link is not None}
        decided = Create({}, links, {})
        try:
            path = f"/{SEQUENCE_STATES}"
            sent = document(load_catalog()[SEQUENCE_STATES], None, {}, links)
            answer = self._client.request_once("POST", path, sent, is_current=is_current)
            resource = read_resource(answer.document["data"])
        except (KeyError, TypeError, ValueError, OutcomeUnknown):
            # Outreach need not refuse a second time, and lists may be behind.
            for pause in (FIRST_LOOK_AFTER, *self._pauses):
                self._sleep(pause)
                if (made := self._find(links)) is not None:
                    return Delivered("created", made, decided)
            return None
        except Outdated:
            return None
        except Retriable as error:
            if error.wait is None:  # else the next request waits as long as it was told
                self._sleep(self._pauses[0] * random.uniform(0.5, 1))  # noqa: S311
            return None
        except RecordFault as fault:
            if BEEN_THERE not in f"{fault.message} {fault.detail}".lower():
                raise
            there = self._find(links) or Resource(0, {}, links)
            return Delivered("unchanged", there, Unchanged(there, {}))
        return Delivered("created", resource, decided)

    def would_hold(self, prospect: int) -> Mapping[str, Any] | None:
        """Return None: what is written is in Outreach, where a question shows it."""
        del prospect
        return None

    def _find(self, links: Mapping[str, int]) -> Resource | None:
        for path in states_paths(self._lookup, [links["prospect"]]):
            for resource in self._lookup.read(path):
                if resource.links.get("sequence") == links["sequence"]:
                    return resource
        return None


class DryEnrolments:
    """Enrols nobody."""

    def __init__(self, writer: DryWriter) -> None:
        """Enrol nobody.

        Args:
            writer: Knows which prospects would have been written.
        """
        self._writer = writer

    def would_hold(self, prospect: int) -> Mapping[str, Any] | None:
        """Return what would have been written of a prospect in this run."""
        return self._writer.would_hold("prospects", prospect)

    def add(self, desired: Desired, is_current: Callable[[], bool]) -> Delivered:
        """Answer as Outreach would."""
        del is_current
        links = dict(desired.relationships)
        return Delivered("created", Resource(0, {}, links), Create({}, links, {}))


class Enroller:
    """Delivers batches of enrolments, on the thread of the event loop."""

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        enrolments: Enrols,
        lookup: Lookup,
        pacer: Pacer,
        requests: Requests,
        queue: WriteQueue,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Enrol nobody yet.

        Args:
            enrolments: Makes sequence states.
            lookup: Reads what there is.
            pacer: Grants requests.
            requests: Runs requests on threads.
            queue: Lets so many be enrolled at once.
            clock: A monotonic clock in seconds.
        """
        self._enrolments = enrolments
        self._lookup = lookup
        self._pacer = pacer
        self._requests = requests
        self._queue = queue
        self._clock = clock
        self._locks: dict[Pair, _Lock] = {}
        self._enrolled: dict[Pair, Resource] = {}

    def missing(self, item: WorkItem) -> RecordFault | None:
        """Say what a work item lacks that was linked to all that it names."""
        for name in item.batch.object.required_links:
            if not _link(item, name):
                message = f"An enrolment needs a {name}."
                return RecordFault("missing_required", message, field=name)
        return None

    async def ask(self, items: Iterable[WorkItem]) -> dict[int, Known]:
        """Ask what Outreach holds of prospects, or would hold after a dry run."""
        states: dict[int, dict[int, Resource]] = {_pair(item)[0]: {} for item in items}
        in_outreach = sorted(one for one in states if one > 0)  # a dry run creates with other ids
        refusals: dict[int, bool] = {}
        began = self._clock()
        paths = states_paths(self._lookup, in_outreach), consent_paths(self._lookup, in_outreach)
        found, people = await asyncio.gather(*(self._read(some) for some in paths))
        for one in found:
            prospect, sequence = one.links.get("prospect"), one.links.get("sequence")
            if prospect in states and sequence is not None:
                states[prospect][sequence] = one
        refusals.update({one.id: has_opted_out_of_mail(one.attributes) for one in people})
        for one_id in states:
            if (held := self._enrolments.would_hold(one_id)) is not None:
                refusals[one_id] = refusals.get(one_id, False) or has_opted_out_of_mail(held)
        return {one: Known(it, refusals.get(one), began) for one, it in states.items()}

    async def _read(self, paths: Iterable[str]) -> list[Resource]:
        reads = (self._requests.read(partial(self._lookup.read, path)) for path in paths)
        return [resource for answer in await asyncio.gather(*reads) for resource in answer]

    async def enrol(self, item: WorkItem, known: Known, *, is_alone: bool) -> Delivered | Skip:
        """Put a prospect into a sequence; each pair of them one at a time.

        Args:
            item: The work item, with its links.
            known: What was found out about its prospect.
            is_alone: Whether the question was about this prospect only.

        Returns:
            The outcome; a skip where the prospect has opted out.

        Raises:
            RecordFault: It cannot be enrolled.
            OutreachError: No usable answer came, however often it was tried.
        """
        if known.is_opted_out is None and not is_alone:
            known = (await self.ask([item]))[_pair(item)[0]]  # a long list may be cut
        pair = _pair(item)
        lock = self._locks.setdefault(pair, _Lock())
        lock.users += 1
        try:
            async with lock.lock:
                return await self._enrol_next(item, known, lock)
        finally:
            lock.users -= 1
            if not lock.users:
                del self._locks[pair]

    async def _enrol_next(self, item: WorkItem, known: Known, lock: _Lock) -> Delivered | Skip:
        pair, links = _pair(item), item.desired.relationships
        for _ in range(1 + TRIES):
            state = known.states.get(pair[1]) or self._enrolled.get(pair)
            if known.is_opted_out is None:
                message = "Outreach has no such prospect, or the token may not see it."
                raise RecordFault("record_not_found", message, field="prospect")
            if state is not None:
                return Delivered("unchanged", state, Unchanged(state, {}))
            if known.is_opted_out:
                return Skip("opted_out")
            if lock.fault is not None and lock.refused == links:
                raise lock.fault
            if lock.is_doubtful:
                known = (await self.ask([item]))[pair[0]]
                lock.is_doubtful = False
                continue
            try:
                async with self._queue.place(item):
                    item.stage = Stage.WRITING
                    delivered = await self._requests.write(
                        partial(self._add, item.desired, known.read_at)
                    )
            except RecordFault as fault:
                lock.fault, lock.refused, lock.is_doubtful = fault, links, True
                raise
            if delivered is not None:
                self._keep(pair, delivered.resource)
                return delivered
            known = (await self.ask([item]))[pair[0]]
        raise OutreachError(
            f"Outreach gave no usable answer to {TRIES} tries to enrol a prospect; the next "
            "run goes on from STATE."
        )

    def _add(self, desired: Desired, read_at: float) -> Delivered | None:
        """Enrol on a worker thread, unless the wait for budget has made what was read too old."""

        def is_current() -> bool:
            return self._clock() - read_at <= FRESH

        self._pacer.wait()
        return self._enrolments.add(desired, is_current) if is_current() else None

    def _keep(self, pair: Pair, state: Resource) -> None:
        if len(self._enrolled) >= MOST_KEPT:
            del self._enrolled[next(iter(self._enrolled))]
        self._enrolled[pair] = state


@dataclass(slots=True)
class _Lock:
    """Lets one work item at a time enrol a prospect in a sequence.

    Attributes:
        lock: It.
        users: How many have it or wait for it.
        fault: Why the last one was refused.
        refused: What that one said.
        is_doubtful: Whether Outreach is to be asked again before the next one is enrolled.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    fault: RecordFault | None = None
    refused: Mapping[str, int | None] | None = None
    is_doubtful: bool = False


def states_paths(lookup: Lookup, prospects: Iterable[int]) -> list[str]:
    """Write the requests for all sequences that prospects are or were in."""
    object_type = load_catalog()[SEQUENCE_STATES]
    asked = ("state", "prospect", "sequence")
    return lookup.paths(object_type, "prospect.id", map(str, prospects), asked)


def consent_paths(lookup: Lookup, prospects: Iterable[int]) -> list[str]:
    """Write the requests for whether prospects have opted out."""
    asked = ("optedOut", "emailOptedOut", "emailsOptStatus")
    return lookup.paths(load_catalog()["prospects"], "id", map(str, prospects), asked)


def _link(item: WorkItem, name: str) -> int | None:
    return item.desired.relationships.get(name)


def _pair(item: WorkItem) -> Pair:
    return _link(item, "prospect") or 0, _link(item, "sequence") or 0
