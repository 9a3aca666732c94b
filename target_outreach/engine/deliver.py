"""A record's life, from its first decision to its outcome. This is the place to begin reading.

`batches` takes batches in, and settles for all of their records at once what needs neither a
request nor a wait. Each work item that is left lives in `Delivery.deliver`, which says by one
`await` after the other what it waits for:

1. its turn: no earlier record that may be about the same one of Outreach is open (`ordering`);
2. what Outreach holds of it (`resolver`), unless the memory knows enough (`memory_check`);
3. the records that it is linked to, or is to be (`named_accounts`, `references`);
4. a test of the lookup, where a plan rests on Outreach not having something (`resolver`);
5. a place in the queue of writes, and the write itself (`writing`, `bulk`).

Whatever it learns on the way, it then asks again from the start what comes next (`decisions`), so
that nothing is written by a plan that does not hold any more. `bounds` says how often.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from target_outreach.bounds import MOST_GONE, MOST_ROUNDS
from target_outreach.delivery.stream import Delivered
from target_outreach.engine.batch import Batch, Read, Stage, WorkItem
from target_outreach.engine.bulk import BulkWrites
from target_outreach.engine.claims import Claims
from target_outreach.engine.decisions import Decisions, Need, as_it_should_be
from target_outreach.engine.deferred import Deferred
from target_outreach.engine.imported import Alone
from target_outreach.engine.job import Found, Gone, Job, Unserved
from target_outreach.engine.memory_check import MemoryCheck
from target_outreach.engine.named_accounts import NamedAccounts
from target_outreach.engine.ordering import Ordering, WriteQueue
from target_outreach.engine.own_records import AccountCache
from target_outreach.engine.references import References
from target_outreach.engine.related import Unheard
from target_outreach.engine.remote_changes import RemoteChanges
from target_outreach.engine.resolver import Resolver
from target_outreach.engine.server_errors import ServerErrors
from target_outreach.errors import EndedEarly, OutreachError, RecordFault
from target_outreach.records.model import Create, Skip, Unchanged, Update
from target_outreach.records.opt_outs import only_opt_out

if TYPE_CHECKING:
    from target_outreach.engine.references import Unlinked
    from target_outreach.engine.related import Delivers
    from target_outreach.engine.requests import Requests
    from target_outreach.engine.tasks import Tasks
    from target_outreach.engine.tools import Tools
    from target_outreach.records.model import ObjectType, Plan, Resource


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
        self.queue = WriteQueue(2 * tools.parallel, self._settlement.breaker)
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
        self.claims = Claims(self.memory_check)
        self.decisions = Decisions(
            self.ordering,
            self.resolver,
            self.memory_check,
            self.claims,
            deferred=self.deferred,
            named_accounts=self.named_accounts,
        )
        self.bulk = BulkWrites(tools, requests, self.asked, clock=clock)
        self._server_errors = ServerErrors(self.queue, self._settlement, pacer.outages)

    async def deliver(self, item: WorkItem) -> None:
        """Bring one work item to its outcome.

        Raises:
            RunError: The run has to end.
        """
        for _ in range(MOST_ROUNDS):
            if not self._tasks.is_stopping:  # what was cancelled lets nobody's turn come
                await self.ordering.turn(item)
            if self.is_aborted(item) or self._tasks.is_stopping:
                self.ordering.leave([item], Stage.LEFT)
                return
            try:
                is_over = await self._take(item, self.decisions.next_step(item))
            except RecordFault as fault:
                is_over = self.refuse(item, fault)
            if is_over:
                return
        raise OutreachError(
            "What Outreach holds of a record has changed, or grown too old, each time before it "
            "could be written; the next run goes on from STATE."
        )

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
            case Skip() if item.desired.fault is not None:
                self.decisions.note_opt_out(item)
                return self.refuse(item, item.desired.fault)
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
                await self.resolver.find_one(item, is_outdated=self.decisions.is_outdated)
            case Need.NAMED_ACCOUNT:
                await self.named_accounts.resolve(batch, [item])
            case Need.LINKS:
                names = self.decisions.links_to_find(item)
                unlinked = await self.references.resolve(batch, [item], self._related, names)
                return bool(unlinked) and await self.end_unlinked(unlinked[0])
            case Need.TEST:
                await self.resolver.test(batch)
            case Need.SPLIT:
                self._split(item)
            case Need.END_OF_INPUT:
                self.defer(item)
        return not item.is_open

    # Writing

    async def _write(self, item: WorkItem, decided: Create | Update) -> bool:
        """Carry a plan out, alone or in an import; say whether the work item has come to its end.

        Raises:
            RecordFault: Outreach refuses it.
        """
        target = decided.resource if isinstance(decided, Update) else None
        if isinstance(decided, Update) and self.bulk.is_doubtful(item, decided):
            await self.ordering.after_all(item)
            raise EndedEarly(
                "An import with an older row of the same record may still be at work; the next "
                "run goes on with the newer one."
            )
        if isinstance(decided, Update) and await self.bulk.outwait(item, decided):
            return False
        if self.bulk.takes(item, decided):
            with self.ordering.writing(item, target):
                if target is not None:
                    self.memory_check.will_write(item, target.id)
                return self._heed(item, await self.bulk.write(item, self._job(item, decided)))
        async with self.queue.place(item, is_update=target is not None) as has_waited:
            if has_waited:  # what it rests on may have changed meanwhile
                if self.is_aborted(item) or self.ordering.blocker(item) is not None:
                    return False
                step = self.decisions.next_step(item)
                if not isinstance(step, Create | Update):
                    return False
                decided = step
                target = decided.resource if isinstance(decided, Update) else None
            item.stage = Stage.WRITING
            with self.ordering.writing(item, target):
                if target is not None:
                    self.memory_check.will_write(item, target.id)
                write = partial(self._tools.writer.write, self._job(item, decided))
                result = await self._requests.write(write)
                if not isinstance(result, Unserved):
                    return self._heed(item, result)
        await self._server_errors.wait_out(item, result)
        return False

    def _job(self, item: WorkItem, decided: Create | Update) -> Job:
        return Job(
            object=item.batch.object,
            desired=item.desired,
            decided=decided,
            rules=item.batch.stream.rules,
            asked=item.batch.asked,
            read=item.read or Read(self._clock(), self._tools.lookup.version),
            expiry=self.resolver.expiry(item, decided),
            is_patient=item.is_patient,
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
            RecordFault: That was so before, and what was found is not what the row is about.
        """
        for resource in found.resources:
            # What was written since that look is newer.
            if item.batch.written.get(resource.id, found.read_at) <= found.read_at:
                item.batch.snapshot.put(resource)
        if item.is_found_late and not item.matches():
            message = "Another record has what should be unique, and does not fit this one."
            raise RecordFault("already_taken", message)
        item.is_found_late = True
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
        """Report the outcome of work items; accounts are remembered for those that link to them."""
        if not deliveries:
            return
        batch.listener.delivered(batch.stream, deliveries)
        self.claims.take(batch.stream, deliveries)
        if batch.object.created_for_links and not batch.is_related:
            for item, delivered in deliveries:
                self._accounts.note(item.desired, delivered.resource)
        self.ordering.leave([item for item, _ in deliveries], Stage.SETTLED)

    def refuse(self, item: WorkItem, fault: RecordFault) -> bool:
        """Reject a work item's one record; of several that were folded, send each by itself.

        One with an opt-out goes on with that alone, and is rejected when that is settled.

        Returns:
            Whether it has come to its end.
        """
        if len(item.members) > 1:
            self._split(item)
            return True
        if fault.code == "relation_not_found" and self._links_anew(item, fault.field or ""):
            return False
        batch, rejected = item.batch, item.desired.fault
        if rejected is None and (
            opt_out := only_opt_out(batch.object, item.desired, batch.stream.rules, fault)
        ):
            item.desired = opt_out
            self._settlement.refused(item.members[0])
            return False
        batch.listener.rejected(batch.stream, item.members[0], rejected or fault)
        self.ordering.leave([item], Stage.SETTLED)
        return True

    def _links_anew(self, item: WorkItem, name: str) -> bool:
        """Go on with a record of which Outreach says that what it is linked to is not there.

        What was found may have gone since. An id that it says is dropped, where that is allowed.
        """
        if item.desired.relationships.get(name) is None or item.is_linked_anew:
            return False
        if name in item.desired.references:
            item.is_linked_anew = True
            self.references.forget()
        elif item.batch.stream.rules.on_missing_relation == "skip":
            self._settlement.delivered_without(item.batch.stream, f"{name}.id")
        else:
            return False
        item.desired = item.desired.without_link(name)
        return True

    def _split(self, item: WorkItem) -> None:
        """Deliver each record of a work item by itself, in their order."""
        for single in self.ordering.split(item):
            self._tasks.start(self.deliver(single), single)

    # The end of the input

    async def end_unlinked(self, unlinked: Unlinked) -> bool:
        """Defer or reject a work item that lacks a link; say whether it has come to its end."""
        if not unlinked.may_come:
            assert unlinked.fault is not None  # noqa: S101 - else it would go on
            return self.refuse(unlinked.item, unlinked.fault)
        if await self._has_opted_out(unlinked):
            self.defer(unlinked.item, unlinked.fault)
        else:
            self.ordering.leave([unlinked.item], Stage.LEFT)
        return True

    async def _has_opted_out(self, unlinked: Unlinked) -> bool:
        """Deliver the opt-out of a record that is to wait, since the run may end before.

        Returns:
            Whether nothing of it is left to the next run.
        """
        item, batch, fault = unlinked.item, unlinked.item.batch, unlinked.fault
        if fault is None:
            return True  # it is left to the next run as a whole, should the run end before
        opt_out = only_opt_out(batch.object, item.desired, batch.stream.rules, fault)
        if opt_out is None:
            return True
        heard = Unheard()
        await self.deliver(heard.part_of(item, opt_out))
        item.members[0].opt_out = heard.outcome
        return heard.is_over

    def defer(self, item: WorkItem, fault: RecordFault | None = None) -> None:
        """Let a work item wait for the end of the input, and so all that must come after it."""
        self.deferred.take(item.batch.stream, item.members, item.all_keys(), fault)
        self.ordering.leave([item], Stage.DEFERRED)

    def is_aborted(self, item: WorkItem) -> bool:
        """Whether `on_reject` is abort, and an earlier record was rejected."""
        return self._settlement.is_aborted_before(item.members[0])
