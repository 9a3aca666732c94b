"""Deciding from the memory, before anything is asked of Outreach.

A record that says what it said when it was delivered is unchanged. One that says something else is
written right away, if that does not depend on what Outreach holds. Any other is looked up, by the
id that is remembered first. Under `drift`, Outreach is asked once a run, before the first record of
a stream, what others have edited there since; such records are compared again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from target_outreach.records.fingerprints import changes
from target_outreach.records.model import Unchanged
from target_outreach.records.planning import plan_unseen
from target_outreach.records.rules import BY_MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_outreach.delivery.memory import Known, Memory
    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.engine.batch import Batch, WorkItem
    from target_outreach.engine.remote_changes import RemoteChanges
    from target_outreach.records.model import Desired, ObjectType, Resource, Update


class MemoryCheck:
    """Knows what the memory says of work items; on the thread of the event loop only."""

    def __init__(self, memory: Memory | None, remote_changes: RemoteChanges | None) -> None:
        """Ask nothing yet.

        Args:
            memory: Knows what was delivered before, if a memory is kept.
            remote_changes: Asks Outreach what others have edited; where there is a memory.
        """
        self._kept = memory
        self._remote_changes = remote_changes
        self._asked: dict[str, asyncio.Task[None]] = {}

    def remembers(self, stream: Stream) -> bool:
        """Whether a memory decides about records of a stream."""
        return self._kept is not None and stream.rules.change_detection in BY_MEMORY

    @property
    def _memory(self) -> Memory:
        assert self._kept is not None  # noqa: S101 - for the type checker
        return self._kept

    # Hearing what is done

    def written(self, object_type: ObjectType, resource: Resource) -> None:
        """Hear what was written."""
        if self._remote_changes is not None:
            self._remote_changes.written(object_type, resource)

    def is_anothers(self, item: WorkItem, resource_id: int) -> bool:
        """Whether a row of the stream with another key was delivered to a record before."""
        stream, key = item.batch.stream, item.desired.source_key
        if key is None or self._kept is None or item.desired.remembered == resource_id:
            return False
        return self._kept.is_anothers(stream, key, resource_id)

    def will_write(self, item: WorkItem, resource_id: int) -> None:
        """Hear that a record of Outreach is about to be written."""
        if self._kept is None:
            return
        stream, key = item.batch.stream, item.desired.source_key
        self._kept.doubt_others(stream, key, resource_id)
        if key is not None and key in self._kept.recall(stream, [key]):
            self._kept.doubt(stream, [key])

    def forget(self, item: WorkItem) -> None:
        """Forget the id of a work item, which Outreach does not know any more."""
        stream, key = item.batch.stream, item.desired.source_key
        if key is not None and self.remembers(stream):
            self._memory.forget(stream, key)
        item.desired = item.desired.with_remembered(None)

    async def finish(self) -> None:
        """Do what is best done when all is written."""
        if self._remote_changes is not None:
            await self._remote_changes.ask_again()

    # Whether others have edited what was delivered

    def knows_edits(self, stream: Stream) -> bool:
        """Whether the memory says what others have edited, as far as the settings ask for that."""
        if stream.rules.change_detection != "drift":
            return True
        asked = self._asked.get(stream.name)
        return asked is not None and asked.done()

    async def prepare(self, batch: Batch) -> None:
        """Learn what others have edited, once for each stream, if the settings ask for that."""
        stream = batch.stream
        if stream.rules.change_detection != "drift" or not self.remembers(stream):
            return
        if stream.name not in self._asked:
            assert self._remote_changes is not None  # noqa: S101 - for the type checker
            asking = self._remote_changes.ask(stream, batch.object)
            self._asked[stream.name] = asyncio.create_task(asking)
        await asyncio.shield(self._asked[stream.name])

    # Deciding

    def add_ids(self, stream: Stream, records: Iterable[tuple[Item, Desired]]) -> None:
        """Add the ids that are remembered, which records may have in common with others."""
        if not self.remembers(stream):
            return
        wanted = [desired for _, desired in records]
        keys = [key for desired in wanted if (key := desired.source_key) is not None]
        known = self._memory.recall(stream, keys)
        for desired in wanted:
            entry = known.get(desired.source_key or "")
            # What was deferred was completed before, and may have been forgotten since.
            desired.remembered = entry.remembered.id if entry is not None else None

    def sort(
        self, batch: Batch, items: Iterable[WorkItem]
    ) -> tuple[list[tuple[WorkItem, Unchanged]], list[WorkItem], list[WorkItem]]:
        """Decide about the work items of a batch, all at once.

        Returns:
            Those that say what they said before; those that can be written, or whose turn is to be
            awaited, or that were read already; and those that have to be looked up.
        """
        stream = batch.stream
        items = list(items)
        keys = [key for item in items if (key := item.desired.source_key) is not None]
        known = self._memory.recall(stream, keys)
        unchanged: list[tuple[WorkItem, Unchanged]] = []
        decided: list[WorkItem] = []
        unknown: list[WorkItem] = []
        doubtful: list[str] = []
        for item in items:
            source_key = item.desired.source_key
            entry = _fitting(item, known.get(source_key or ""))
            changed = self._changed(item, entry)
            plan = _plan(item, entry, changed)
            if item.waits_for and source_key is not None:
                decided.append(item)  # by what is known when its turn comes
            elif isinstance(plan, Unchanged):
                unchanged.append((item, plan))
            elif plan is not None or self._has_read(item, entry):
                decided.append(item)
            else:
                unknown.append(item)
            if changed and entry is not None and not entry.is_edited:
                doubtful.append(source_key or "")
        self._memory.doubt(stream, doubtful)
        return unchanged, decided, unknown

    def plan(self, item: WorkItem) -> Update | Unchanged | None:
        """Decide about a work item whose turn it is; None where it has to be looked up."""
        if not self.remembers(item.batch.stream):
            return None
        key = item.desired.source_key or ""
        entry = _fitting(item, self._memory.recall(item.batch.stream, [key]).get(key))
        if entry is None:
            return None
        changed = self._changed(item, entry)  # by the id that this run may have learnt since
        return None if _needs_a_look(item, entry) else _plan(item, entry, changed)

    def _changed(self, item: WorkItem, entry: Known | None) -> list[str]:
        """List in what a work item says something else than is remembered of it."""
        item.desired = item.desired.with_remembered(None if entry is None else entry.remembered.id)
        if entry is None:
            return []
        return changes(item.desired, item.batch.stream.rules, entry.remembered)

    def _has_read(self, item: WorkItem, entry: Known | None) -> bool:
        """Take over a record that was read when Outreach was asked what others have edited."""
        if self._remote_changes is None or entry is None or not _needs_a_look(item, entry):
            return False
        batch = item.batch
        if (edit := self._remote_changes.edit(batch, entry.remembered.id)) is None:
            return False
        resource, item.read = edit
        if batch.written.get(resource.id) is None:
            batch.snapshot.put(resource)
        return True


def _fitting(item: WorkItem, entry: Known | None) -> Known | None:
    """Drop what is remembered of another record than the one whose id the row says."""
    said = item.desired.id
    if entry is not None and said is not None and said != entry.remembered.id:
        return None
    return entry


def _needs_a_look(item: WorkItem, entry: Known) -> bool:
    """Whether others have edited what was delivered, and that matters."""
    return entry.is_edited and item.batch.stream.rules.sync_mode != "insert"


def _plan(item: WorkItem, entry: Known | None, changed: list[str]) -> Update | Unchanged | None:
    """Plan what needs no look at Outreach."""
    if entry is None or item.desired.fault is not None or _needs_a_look(item, entry):
        return None
    rules = item.batch.stream.rules
    return plan_unseen(item.batch.object, item.desired, entry.remembered.id, changed, rules)
