"""Batches: what is settled for many records at once, before each goes its own way.

A batch is folded, decided by the memory, looked up and linked as a whole. What turns out to be
unchanged is settled together, without a task of its own; each other work item goes on in
`Delivery.deliver`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_outreach.delivery.stream import Item, Stream
from target_outreach.engine.batch import Batch, Stage, WorkItem
from target_outreach.engine.decisions import as_it_should_be
from target_outreach.engine.deliver import Delivery
from target_outreach.engine.enrolment import Enroller
from target_outreach.engine.ordering import Together
from target_outreach.engine.related import RelatedOutcomes
from target_outreach.errors import RecordFault
from target_outreach.records.folding import fold
from target_outreach.records.matching import RemoteSnapshot
from target_outreach.records.model import Skip, Unchanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from target_outreach.delivery.stream import Delivered
    from target_outreach.engine.batch import OutcomeListener
    from target_outreach.engine.enrolment import Known
    from target_outreach.engine.related import Related
    from target_outreach.engine.requests import Requests
    from target_outreach.engine.tasks import Tasks
    from target_outreach.engine.tools import Tools
    from target_outreach.records.model import Desired, Reference
    from target_outreach.records.rules import Rules


class Batches:
    """Delivers batches, on the thread of the event loop only."""

    def __init__(self, tools: Tools, requests: Requests, tasks: Tasks) -> None:
        """Begin with no batch.

        Args:
            tools: What to deliver with.
            requests: Runs requests on threads.
            tasks: Runs tasks beside each other.
        """
        self._objects = tools.objects
        self._settlement = tools.settlement
        self._tasks = tasks
        self._delivery = Delivery(tools, requests, tasks, self)
        self._ordering = self._delivery.ordering
        self._resolver = self._delivery.resolver
        self._references = self._delivery.references
        self.deferred = self._delivery.deferred
        self.memory_check = self._delivery.memory_check
        self._enroller = Enroller(
            tools.enrolments,
            tools.lookup,
            tools.pacer,
            requests,
            self._delivery.queue,
            clock=tools.clock,
        )

    def close(self) -> None:
        """Remove what was kept on disk."""
        self._resolver.close()

    def give_up_deferred(self) -> None:
        """Reject what waits for an end of the input that does not come in this run.

        Raises:
            RunError: The rejects file cannot be written, or that was one too many.
        """
        for stream, item, fault in self.deferred.give_up():
            self._settlement.rejected(stream, item, fault)

    def withdraw_aborted(self) -> None:
        """Let no write wait for an import that an earlier reject forbids."""
        self._delivery.bulk.withdraw(self._delivery.is_aborted)

    def together(self, streams: Sequence[Stream]) -> Together:
        """Give a batch of each of some streams one place in the run, as if they were one."""
        return Together(next(self._ordering.numbers), streams)

    async def deliver_batch(
        self, stream: Stream, items: Sequence[Item], together: Together
    ) -> None:
        """Deliver the records of a batch, and return when each has come to its outcome."""
        try:
            records = self._deliverable(stream, items)
            if stream.object is None or not records:
                return
            batch = self._batch(stream, self._settlement, together)
            if stream.object.is_enrolment:
                await self._deliver_enrolments(batch, records)
            else:
                self.memory_check.add_ids(stream, records)
                await self._deliver_records(batch, records, together)
        finally:
            together.begun(stream)

    def _deliverable(self, stream: Stream, items: Sequence[Item]) -> list[tuple[Item, Desired]]:
        """Settle what is rejected or skipped without a request; return the rest."""
        records: list[tuple[Item, Desired]] = []
        for item in items:
            if self._settlement.is_aborted_before(item):
                break
            if item.fault is not None:
                self._settlement.rejected(stream, item, item.fault)
            elif item.skip is not None or item.desired is None:
                self._settlement.skipped(stream, [item], item.skip or "no_object")
            else:
                if item.desired.fault is not None:
                    self._settlement.refused(item)
                records.append((item, item.desired))
        return records

    async def deliver_related(
        self, object_name: str, wanted: Mapping[Reference, tuple[int, Desired]], rules: Rules
    ) -> dict[Reference, Related]:
        """Find or create records that others are to be linked to, as if they had been received.

        See `Delivers.deliver_related`.
        """
        items = {one: Item(number, "", said) for one, (number, said) in wanted.items()}
        related = RelatedOutcomes()
        stream = Stream(
            f"linked {object_name}",
            "",
            "",
            self._objects[object_name],
            rules,
            rules.match_fields,
        )
        together = self.together([stream])
        batch = self._batch(stream, related, together, is_related=True)
        records = [(item, wanted[one][1]) for one, item in items.items()]
        await self._deliver_records(batch, records, together)
        outcomes = related.outcomes
        return {one: outcomes[item] for one, item in items.items() if item in outcomes}

    def _batch(
        self,
        stream: Stream,
        listener: OutcomeListener,
        together: Together,
        *,
        is_related: bool = False,
    ) -> Batch:
        assert stream.object is not None  # noqa: S101 - skipped streams make no batch
        snapshot = RemoteSnapshot(stream.object, together.match_fields)
        asked = tuple(dict.fromkeys((*stream.asked, *together.match_fields)))
        return Batch(together.order, stream, snapshot, listener, is_related, asked)

    async def _deliver_records(
        self, batch: Batch, records: Iterable[tuple[Item, Desired]], together: Together
    ) -> None:
        """Deliver the records of a batch: fold those of one key, settle and look up many at once.

        Everything up to the first `await` happens in the order in which batches are handed over.
        """
        self._delivery.asked[batch.object.name].update(dict.fromkeys(batch.asked))
        fields = batch.snapshot.fields
        items = fold(batch.object, records, batch.stream.rules, batch.item, fields)
        self._ordering.begin(batch, items)
        try:
            together.begun(batch.stream)
            await together.all_begun()
            if self.deferred.holds(batch.object.name):
                items = self._defer_followers(items)
            if batch.object.match_within:
                items = await self._place(batch, items)
            if self.memory_check.remembers(batch.stream):
                await self.memory_check.prepare(batch)
                if self.deferred.holds(batch.object.name):  # by now
                    items = self._defer_followers(items)
                items = self._decide_by_memory(batch, items)
            async for answered in self._resolver.find(batch, items):
                self._go_on(batch, answered)
            await batch.ended()
        finally:
            self._ordering.end(batch)

    def _defer_followers(self, items: list[WorkItem]) -> list[WorkItem]:
        """Defer what must come after something that waits for the end; return who goes on."""
        for item in items:
            if self._delivery.decisions.waits_for_deferred(item):
                self._delivery.defer(item)
        return [item for item in items if item.is_open]

    async def _place(self, batch: Batch, items: list[WorkItem]) -> list[WorkItem]:
        """Find the records within which a match field identifies work items; return who goes on."""
        names = {*batch.object.match_within.values()}
        for unlinked in await self._references.resolve(batch, items, self, names):
            await self._delivery.end_unlinked(unlinked)
        return [item for item in items if item.is_open]

    def _decide_by_memory(self, batch: Batch, items: list[WorkItem]) -> list[WorkItem]:
        """Settle all at once what the memory knows to be unchanged, and let known ones go on.

        Returns:
            What has to be looked up.
        """
        free: list[WorkItem] = []
        for item in items:
            # What comes after another one is decided by what is remembered when its turn comes.
            is_later = (
                item.waits_for
                or self._ordering.blocker(item) is not None
                or self._ordering.spans_others(item, None)
            )
            if is_later and item.desired.source_key is not None:
                self._tasks.start(self._delivery.deliver(item), item)
            else:
                free.append(item)
        unchanged, known, unknown = self.memory_check.sort(batch, free)
        self._go_on(batch, known)
        self._delivery.settle(
            batch,
            [
                (item, as_it_should_be(item, decided))
                for item, decided in unchanged
                if not self._delivery.is_aborted(item)
            ],
        )
        self._ordering.leave([item for item, _ in unchanged], Stage.LEFT)
        return unknown

    def _go_on(self, batch: Batch, items: Sequence[WorkItem]) -> None:
        """Let work items go on that are looked up, or known from the memory."""
        looked_up = [item for item in items if item.read is not None]
        doubtful = self._delivery.named_accounts.doubtful(batch, looked_up)
        linked = {*doubtful, *(item for item in looked_up if item.desired.references)}
        # What may turn out to be a duplicate has nothing found or created for it before.
        linked = {item for item in linked if not self._delivery.decisions.may_be_taken(item)}
        if linked:
            links = [item for item in items if item in linked]
            self._tasks.start(self._link(batch, links, doubtful))
            items = [item for item in items if item not in linked]
        self._sort_out(batch, items)

    async def _link(
        self, batch: Batch, items: Sequence[WorkItem], doubtful: Sequence[WorkItem]
    ) -> None:
        """Find what work items are linked to, or are to be, many at a time."""
        if doubtful:
            await self._delivery.named_accounts.resolve(batch, doubtful)
        for unlinked in await self._references.resolve(batch, items, self):
            await self._delivery.end_unlinked(unlinked)
        self._sort_out(batch, [item for item in items if item.is_open])

    def _sort_out(self, batch: Batch, items: Iterable[WorkItem]) -> None:
        """Settle all at once what Outreach holds already; let each other work item go its way."""
        unchanged: list[tuple[WorkItem, Delivered]] = []
        for item in items:
            is_next = (
                item.read is not None
                and not self._settlement.is_aborted_before(item.members[0])
                and self._ordering.blocker(item) is None
            )
            try:
                step = self._delivery.decisions.next_step(item) if is_next else None
            except RecordFault:
                step = None  # raised again where it is dealt with
            if isinstance(step, Unchanged):
                unchanged.append((item, as_it_should_be(item, step)))
            else:
                self._tasks.start(self._delivery.deliver(item), item)
        self._delivery.settle(batch, unchanged)

    # Enrolments

    async def _deliver_enrolments(
        self, batch: Batch, records: Iterable[tuple[Item, Desired]]
    ) -> None:
        """Enrol prospects that no earlier batch can change any more."""
        items = [WorkItem(desired, frozenset(), [item], batch=batch) for item, desired in records]
        batch.hold(items)
        await self._ordering.first(batch)
        needed = (batch.object.relationships[name].object for name in batch.object.required_links)
        if any(self.deferred.holds(name) for name in needed):
            for item in items:
                self._delivery.defer(item)
            return
        for unlinked in await self._references.resolve(batch, items, self):
            await self._delivery.end_unlinked(unlinked)
        complete: list[WorkItem] = []
        for item in [item for item in items if item.is_open]:
            if self._delivery.is_aborted(item):
                self._ordering.leave([item], Stage.LEFT)
            elif (fault := self._enroller.missing(item)) is not None:
                self._delivery.refuse(item, fault)
            else:
                complete.append(item)
        known = await self._enroller.ask(complete)
        for item in complete:
            self._tasks.start(self._enrol(item, known), item)
        await batch.ended()

    async def _enrol(self, item: WorkItem, known: Mapping[int, Known]) -> None:
        """Enrol the prospect of one work item."""
        if self._delivery.is_aborted(item):
            self._ordering.leave([item], Stage.LEFT)
            return
        about = known[item.desired.relationships["prospect"] or 0]
        try:
            outcome = await self._enroller.enrol(item, about, is_alone=len(known) == 1)
        except RecordFault as fault:
            self._delivery.refuse(item, fault)
            return
        if isinstance(outcome, Skip):
            item.batch.listener.skipped(item.batch.stream, item.members, outcome.reason)
            self._ordering.leave([item], Stage.SETTLED)
        else:
            self._delivery.settle(item.batch, [(item, outcome)])
