"""A record's life, from its first decision to its outcome. This is the place to begin reading.

`batches` takes batches in, and settles for all of their records at once what needs neither a
request nor a wait. Each work item that is left lives in `Delivery.deliver`, which says by one
`await` after the other what it waits for:

1. its turn: no earlier record that may be about the same one of Outreach is open (`ordering`);
2. what Outreach holds of it (`resolver`), unless the memory knows enough (`memory_check`);
3. the records that it is linked to, or is to be (`named_accounts`, `references`);
4. a test of the lookup, where a plan rests on Outreach not having something (`resolver`);
5. a place in the queue of writes, and the write itself (`writing`, `bulk`).

Whatever it learns on the way, it then asks again from the start what comes next, so that nothing is
written by a plan that does not hold any more.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Literal

from target_outreach.delivery.outcome import Delivered
from target_outreach.engine.account_cache import AccountCache
from target_outreach.engine.batch import Batch, Read, Stage, WorkItem
from target_outreach.engine.bulk import Alone, BulkUpdates, Change
from target_outreach.engine.deferred import Deferred
from target_outreach.engine.memory_check import MemoryCheck
from target_outreach.engine.named_accounts import NamedAccounts
from target_outreach.engine.ordering import Ordering, WriteQueue
from target_outreach.engine.references import References
from target_outreach.engine.remote_changes import RemoteChanges
from target_outreach.engine.resolver import Resolver
from target_outreach.engine.writing import Found, Gone, Job, ambiguous
from target_outreach.errors import EndedEarly, OutreachError, RecordFault
from target_outreach.records.matching import choose
from target_outreach.records.model import Create, Skip, Unchanged, Update
from target_outreach.records.planning import plan, references_to_find

if TYPE_CHECKING:
    from target_outreach.engine.references import Unlinked
    from target_outreach.engine.related import Delivers
    from target_outreach.engine.requests import Requests
    from target_outreach.engine.tasks import Tasks
    from target_outreach.engine.tools import Tools
    from target_outreach.records.model import ObjectType, Plan, Resource

#: How often a work item may begin again, having learnt something that its plan does not fit. Each
#: wait for budget may make it begin again once, and each change by others.
MOST_ROUNDS = 40

#: How often Outreach may answer that a record that its lists show is not there.
MOST_GONE = 2


class Need(Enum):
    """What a work item lacks before it can be decided on."""

    LOOKUP = "what Outreach holds of it"
    FRESH_LOOKUP = "what Outreach holds of it now"
    NAMED_ACCOUNT = "whether the account that its record is linked to is a named one"
    LINKS = "what it is to be linked to"
    TEST = "a lookup that is known to show what is there"
    SPLIT = "a write for each of its records"
    END_OF_INPUT = "what an earlier record waits for, which may still come"


class Delivery:
    """Delivers work items, on the thread of the event loop only."""

    def __init__(self, tools: Tools, requests: Requests, tasks: Tasks, related: Delivers) -> None:
        """Begin with no work item.

        Args:
            tools: What to deliver with.
            requests: Runs requests on threads.
            tasks: Runs tasks beside each other.
            related: Delivers records that others are to be linked to.
        """
        lookup, pacer, clock = tools.lookup, tools.pacer, tools.clock
        self._tools = tools
        self._requests = requests
        self._tasks = tasks
        self._related = related
        self._settlement = tools.settlement
        self._clock = clock
        #: The attributes that lookups of each object read in this run.
        self.asked: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self.ordering = Ordering()
        # A plan is made no sooner than it can be carried out, so that it does not age.
        self.queue = WriteQueue(2 * tools.parallel)
        # Where the first reject ends the run, it is not to be found at the end of the input.
        self.deferred = Deferred(is_over=self._settlement.stops_at_rejects)
        self._accounts = AccountCache(tools.objects["accounts"])
        self.resolver = Resolver(lookup, requests, tools.writer, self._accounts, clock=clock)
        self.named_accounts = NamedAccounts(
            lookup, requests, tools.objects["accounts"], clock=clock
        )
        self.references = References(lookup, requests, self.deferred, self._settlement)
        changes = None
        if tools.memory is not None:
            changes = RemoteChanges(tools.memory, lookup, pacer, requests, clock=clock)
        self.memory_check = MemoryCheck(tools.memory, changes)
        self._bulk = BulkUpdates(tools.imports, lookup, pacer, requests, self.asked, clock=clock)

    def withdraw_aborted(self) -> None:
        """Let no update wait for an import that an earlier reject forbids."""
        self._bulk.withdraw(self.is_aborted)

    async def deliver(self, item: WorkItem) -> None:
        """Bring one work item to its outcome.

        Raises:
            RunError: The run has to end.
        """
        for _ in range(MOST_ROUNDS):
            await self.ordering.turn(item)
            if self.is_aborted(item) or self._tasks.is_stopping:
                self.ordering.leave([item], Stage.LEFT)
                return
            try:
                is_over = await self._take(item, self.next_step(item))
            except RecordFault as fault:
                is_over = self.refuse(item, fault)
            if is_over:
                return
        raise OutreachError(
            "What Outreach holds of a record has changed, or grown too old, each time before it "
            "could be written; the next run goes on from STATE."
        )

    def next_step(self, item: WorkItem) -> Plan | Need:  # noqa: PLR0911 - one for each answer
        """Say what is to be done with a work item next, its turn having come.

        Raises:
            RecordFault: It cannot be delivered.
        """
        if self.resolver.is_reading(item):
            return Need.LOOKUP
        if item.read is None:
            if self.ordering.spans_others(item, None):
                return Need.SPLIT
            return self.memory_check.plan(item) or Need.LOOKUP
        if self.waits_for_deferred(item):
            return Need.END_OF_INPUT
        found = _chosen(item)
        if self.ordering.spans_others(item, found):
            return Need.SPLIT
        if found is not None and self.named_accounts.is_unknown(item, found):
            return Need.NAMED_ACCOUNT
        return self._planned(item, found)

    def _planned(self, item: WorkItem, found: Resource | None) -> Plan | Need:
        """Plan a work item by what it is about, or say what the plan still needs.

        Raises:
            RecordFault: It cannot be delivered.
        """
        batch, rules = item.batch, item.batch.stream.rules
        decided = plan(batch.object, item.desired, found, rules)
        if isinstance(decided, Unchanged) and not item.desired.references:
            return decided
        if not isinstance(decided, Skip) and references_to_find(item.desired, found, rules):
            return Need.LINKS
        if self.resolver.is_stale(item, decided):
            return Need.FRESH_LOOKUP
        return Need.TEST if self.resolver.needs_test(batch, decided) else decided

    def _is_outdated(self, item: WorkItem) -> bool:
        """Whether a work item is to be looked up again before it is written."""
        try:
            return self.next_step(item) is Need.FRESH_LOOKUP
        except RecordFault:
            return False  # which it says when its turn comes

    async def _take(self, item: WorkItem, step: Plan | Need) -> bool:
        """Take one step with a work item; say whether it has come to its end.

        Raises:
            RecordFault: It cannot be delivered.
        """
        match step:
            case Need():
                return await self._obtain(item, step)
            case Create() | Update():
                return await self._write(item, step)
            case Unchanged():
                self.settle(item.batch, [(item, as_it_should_be(item, step))])
            case Skip():
                item.batch.listener.skipped(item.batch.stream, item.members, step.reason)
                self.ordering.leave([item], Stage.SETTLED)
        return True

    async def _obtain(self, item: WorkItem, need: Need) -> bool:
        """Wait for what a work item needs; say whether it has come to its end instead.

        Raises:
            RecordFault: It cannot be delivered.
        """
        batch = item.batch
        match need:
            case Need.LOOKUP:
                await self.resolver.find_one(item)
            case Need.FRESH_LOOKUP:
                await self.resolver.find_one(item, is_outdated=self._is_outdated)
            case Need.NAMED_ACCOUNT:
                await self.named_accounts.resolve(batch, [item])
            case Need.LINKS:
                unlinked = await self.references.resolve(batch, [item], self._related)
                return bool(unlinked) and self.end_unlinked(unlinked[0])
            case Need.TEST:
                await self.resolver.test(batch)
            case Need.SPLIT:
                self._split(item)
            case Need.END_OF_INPUT:
                self.defer(item)
        return not item.is_open

    # Writing

    async def _write(self, item: WorkItem, decided: Create | Update) -> bool:
        """Carry a plan out, by an import or by a request of its own.

        Returns:
            Whether the work item has come to its end; if not, it begins again.

        Raises:
            RecordFault: Outreach refuses it.
        """
        target = decided.resource if isinstance(decided, Update) else None
        if isinstance(decided, Update) and self._bulk.is_doubtful(item, decided):
            await self.ordering.after_all(item)
            raise EndedEarly(
                "An import with an older row of the same record may still be at work; the next "
                "run goes on with the newer one."
            )
        if isinstance(decided, Update) and self._bulk.takes(item):
            with self.ordering.writing(item, decided.resource):
                self.memory_check.will_write(item, decided.resource.id)
                expiry = self.resolver.expiry(item, decided)
                return self._heed(item, await self._bulk.write(Change(item, decided, expiry)))
        async with self.queue.place(item) as has_waited:
            if has_waited:  # what it rests on may have changed meanwhile
                if self.is_aborted(item) or self.ordering.blocker(item) is not None:
                    return False
                step = self.next_step(item)
                if not isinstance(step, Create | Update):
                    return False
                decided = step
                target = decided.resource if isinstance(decided, Update) else None
            item.stage = Stage.WRITING
            with self.ordering.writing(item, target):
                if target is not None:
                    self.memory_check.will_write(item, target.id)
                write = partial(self._tools.writer.write, self._job(item, decided))
                return self._heed(item, await self._requests.write(write))

    def _job(self, item: WorkItem, decided: Create | Update) -> Job:
        stream = item.batch.stream
        return Job(
            object=item.batch.object,
            desired=item.desired,
            decided=decided,
            rules=stream.rules,
            asked=stream.asked,
            read=item.read or Read(self._clock(), self._tools.lookup.version),
            expiry=self.resolver.expiry(item, decided),
        )

    def _heed(self, item: WorkItem, result: Delivered | Alone | Found | Gone | None) -> bool:
        """Take in what came of a write; say whether the work item has come to its end.

        Raises:
            RecordFault: It cannot be delivered.
        """
        batch = item.batch
        match result:
            case Delivered():
                self._remember(batch.object, result.resource)
                self.settle(batch, [(item, result)])
                return True
            case Alone():
                item.is_single = True
                if result.resource is not None:
                    self._remember(batch.object, result.resource)
                    item.read = Read(result.read_at, self._version_of(item))
            case Gone():
                self._forget(item, result)
            case Found():
                self._find_late(item, result)
            case None:  # the plan has grown too old, which the next step says too
                pass
        return False

    def _forget(self, item: WorkItem, gone: Gone) -> None:
        """Forget a record that is not there any more.

        Raises:
            RecordFault: Outreach's lists go on showing it.
        """
        item.gone += 1
        if item.gone > MOST_GONE:
            raise RecordFault(
                "record_not_found",
                "Outreach's lists show this record, but to write to it is answered by 404: it may "
                "be in the trash, or merged into another one.",
            )
        object_type = item.batch.object
        self.resolver.forget(self.ordering.of(object_type), object_type, gone.id)
        self.memory_check.forget(item)
        item.read = None

    def _find_late(self, item: WorkItem, found: Found) -> None:
        """Take in that a record is there which lookups had not shown.

        Raises:
            RecordFault: That was so before.
        """
        if item.is_found_late:
            message = "Another record has what should be unique, and does not fit this one."
            raise RecordFault("already_taken", message)
        item.is_found_late = True
        for resource in found.resources:
            # What was written since that look is newer.
            if item.batch.written.get(resource.id, found.read_at) <= found.read_at:
                item.batch.snapshot.put(resource)
        item.read = Read(found.read_at, self._version_of(item))

    def _version_of(self, item: WorkItem) -> int:
        return self._tools.lookup.version if item.read is None else item.read.version

    def _remember(self, object_type: ObjectType, resource: Resource) -> None:
        """Show what was written to all that go by what Outreach holds."""
        self.resolver.remember(object_type, resource)
        if object_type.created_for_links:
            self.references.forget()  # it may have another name or domain now
        self.memory_check.written(object_type, resource)
        now = self._clock()
        for batch in self.ordering.of(object_type):
            batch.snapshot.put(resource)
            batch.written[resource.id] = now

    # Outcomes

    def settle(self, batch: Batch, deliveries: list[tuple[WorkItem, Delivered]]) -> None:
        """Say what became of work items; accounts are remembered for those that link to them."""
        if not deliveries:
            return
        batch.listener.delivered(batch.stream, deliveries)
        if batch.object.created_for_links and not batch.is_related:
            for item, delivered in deliveries:
                self._accounts.note(item.desired, delivered.resource)
        self.ordering.leave([item for item, _ in deliveries], Stage.SETTLED)

    def refuse(self, item: WorkItem, fault: RecordFault) -> bool:
        """Reject a work item's one record; of several that were folded, send each by itself.

        Returns:
            Whether it has come to its end.
        """
        if len(item.members) > 1:
            self._split(item)
            return True
        if fault.code == "relation_not_found" and self._links_anew(item, fault.field or ""):
            return False
        item.batch.listener.rejected(item.batch.stream, item.members[0], fault)
        self.ordering.leave([item], Stage.SETTLED)
        return True

    def _links_anew(self, item: WorkItem, name: str) -> bool:
        """Go on with a record of which Outreach says that what it is linked to is not there.

        What was found before may have gone since. An id that the record itself says can only be
        dropped, if the settings allow that.
        """
        if item.desired.relationships.get(name) is None or item.is_linked_anew:
            return False
        if name in item.desired.references:
            item.is_linked_anew = True
            self.references.forget()
        elif item.batch.stream.rules.on_missing_relation == "skip":
            self._settlement.goes_without(item.batch.stream, f"{name}.id")
        else:
            return False
        item.desired = item.desired.without_link(name)
        return True

    def _split(self, item: WorkItem) -> None:
        """Deliver each record of a work item by itself, in their order."""
        for single in self.ordering.split(item):
            self._tasks.start(self.deliver(single), single)

    # The end of the input

    def waits_for_deferred(self, item: WorkItem) -> bool:
        """Whether something that must come before a work item waits for the end of the input."""
        batch = item.batch
        if batch.is_related or not self.deferred.holds(batch.object.name):
            return False
        return self.deferred.concerns(batch.object.name, item.all_keys())

    def end_unlinked(self, unlinked: Unlinked) -> bool:
        """Defer or reject a work item that lacks a link; say whether it has come to its end."""
        if unlinked.may_come:
            self.defer(unlinked.item, unlinked.fault)
            return True
        assert unlinked.fault is not None  # noqa: S101 - else it would go on
        return self.refuse(unlinked.item, unlinked.fault)

    def defer(self, item: WorkItem, fault: RecordFault | None = None) -> None:
        """Let a work item wait for the end of the input, and so all that must come after it."""
        self.deferred.take(item.batch.stream, item.members, item.all_keys(), fault)
        self.ordering.leave([item], Stage.DEFERRED)

    def is_aborted(self, item: WorkItem) -> bool:
        """Whether `on_reject` is abort, and an earlier record was rejected."""
        return self._settlement.is_aborted_before(item.members[0])


def as_it_should_be(item: WorkItem, decided: Unchanged) -> Delivered:
    """Say what became of a work item that Outreach holds as it should."""
    # What an import left to be done has been done meanwhile.
    outcome: Literal["updated", "unchanged"] = "updated" if item.is_single else "unchanged"
    return Delivered(outcome, decided.resource, decided)


def _chosen(item: WorkItem) -> Resource | None:
    """Return the one that a work item is about, or None where nothing matches.

    Raises:
        RecordFault: Several records match, and the settings choose none of them.
    """
    matches = item.matches()
    chosen = choose(matches, item.batch.stream.rules.on_ambiguous)
    if chosen is None and matches:
        raise ambiguous(matches)
    return chosen
