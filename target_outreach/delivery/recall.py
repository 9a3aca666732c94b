"""Deciding from memory, before anything is asked of Outreach.

A record that says what it said when it was delivered is unchanged. One that says something else is
written right away, if that does not depend on what Outreach holds. Any other is looked up, by the
id that is remembered first. Under `drift`, Outreach is asked once a run, before the first record of
a stream, what others have edited there since; such records are compared again.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from target_outreach.delivery.drift import Drift
from target_outreach.delivery.load import Load, Read
from target_outreach.records.fingerprints import changes
from target_outreach.records.planning import Unchanged, plan_unseen
from target_outreach.records.rules import BY_MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.delivery.finder import Ready, Send
    from target_outreach.delivery.load import Records
    from target_outreach.delivery.memory import Known, Memory
    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.records.catalog import ObjectType
    from target_outreach.records.mapping import Desired
    from target_outreach.records.matching import Resource
    from target_outreach.records.planning import Update


class Recall:
    """Settles what memory can settle, on the pipeline's thread, and has the rest looked up."""

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        memory: Memory | None,
        lookup: Lookup,
        pacer: Pacer,
        *,
        send: Send,
        ready: Ready,
        unchanged: Callable[[Load, list[tuple[Records, Unchanged]]], None],
        find: Callable[[Load, list[Records]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet.

        Args:
            memory: Knows what was delivered before, if a memory is kept.
            lookup: Reads what has changed in Outreach, and says by which version of itself.
            pacer: Knows whether there is budget for what could also be done later.
            send: Runs a request on a worker and hands its result back on this thread.
            ready: Hears which groups can be decided on.
            unchanged: Hears which groups say what they said before, and what that amounts to.
            find: Looks groups up.
            clock: A monotonic clock in seconds.
        """
        self._kept = memory
        self._lookup = lookup
        self._drift: Drift | None = None
        if memory is not None:
            self._drift = Drift(memory, lookup, pacer, send=send, clock=clock)
        self._ready = ready
        self._unchanged = unchanged
        self._find = find
        self._clock = clock
        self._asking: dict[str, list[tuple[Load, list[Records]]]] = {}
        self._asked: set[str] = set()

    def written(self, object_type: ObjectType, resource: Resource) -> None:
        """Hear what was written."""
        if self._drift is not None:
            self._drift.written(object_type, resource)

    def will_write(self, load: Load, group: Records, resource_id: int) -> None:
        """Hear that a record of Outreach is about to be written."""
        if self._kept is None:
            return
        key = group.desired.source_key
        self._kept.doubt_others(load.stream, key, resource_id)
        if key is not None and key in self._kept.recall(load.stream, [key]):
            self._kept.doubt(load.stream, [key])

    def finish(self) -> None:
        """Do what is best done when all is written."""
        if self._drift is not None:
            self._drift.ask_again()

    def knows_edits(self, stream: Stream) -> bool:
        """Whether the memory says what others have edited, as far as the settings ask for that."""
        return stream.rules.change_detection != "drift" or stream.name in self._asked

    def _remembers(self, stream: Stream) -> bool:
        return self._kept is not None and stream.rules.change_detection in BY_MEMORY

    @property
    def _memory(self) -> Memory:
        assert self._kept is not None  # noqa: S101 - for the type checker
        return self._kept

    def add_ids(self, stream: Stream, records: list[tuple[Item, Desired]]) -> None:
        """Add the ids that are remembered, which records may have in common with others."""
        if not self._remembers(stream):
            return
        keys = [key for _, desired in records if (key := desired.source_key) is not None]
        known = self._memory.recall(stream, keys)
        for _, desired in records:
            entry = known.get(desired.source_key or "")
            # What was put off was completed before, and may have been forgotten since.
            desired.remembered = entry.remembered.id if entry is not None else None

    def find(self, load: Load, groups: list[Records]) -> None:
        """Find out about groups: from memory where that is enough, else from Outreach."""
        stream = load.stream
        if not groups or not self._remembers(stream):
            self._find(load, groups)
        elif stream.name in self._asking:
            self._asking[stream.name].append((load, groups))
        elif stream.rules.change_detection == "drift" and stream.name not in self._asked:
            self._asking[stream.name] = [(load, groups)]
            assert self._drift is not None  # noqa: S101 - for the type checker
            self._drift.ask(stream, load.object, partial(self._on_asked, stream))
        else:
            self._recall(load, groups)

    def _on_asked(self, stream: Stream) -> None:
        self._asked.add(stream.name)
        for waiting, groups in self._asking.pop(stream.name):
            self._recall(waiting, groups)

    def _recall(self, load: Load, groups: list[Records]) -> None:
        stream, now = load.stream, Read(self._clock(), self._lookup.version)
        keys = [key for group in groups if (key := group.desired.source_key) is not None]
        known = self._memory.recall(stream, keys)
        unknown: list[Records] = []
        ready: list[Records] = []
        unchanged: list[tuple[Records, Unchanged]] = []
        written: list[str] = []
        for group in groups:
            entry = _fitting(group, known.get(group.desired.source_key or ""))
            remembered = entry.remembered.id if entry is not None else None
            group.desired = group.desired.with_remembered(remembered)
            changed = _changed(group, entry, stream)
            decided = _plan(load, group, entry, changed)
            if group.waits_for and group.desired.source_key is not None:
                # It is decided by what is known when its turn comes.
                load.reads[group], load.recalled[group] = now, None
                ready.append(group)
            elif isinstance(decided, Unchanged):
                unchanged.append((group, decided))
            elif decided is not None:
                load.reads[group], load.recalled[group] = now, (decided, self._memory.writes)
                ready.append(group)
            else:
                (ready if self._has_seen(load, group, entry) else unknown).append(group)
            if changed and entry is not None and not entry.is_edited:
                written.append(group.desired.source_key or "")
        self._memory.doubt(stream, written)
        self._ready(load, ready)
        self._find(load, unknown)
        self._unchanged(load, unchanged)  # at last, since it may end the batch

    def _has_seen(self, load: Load, group: Records, entry: Known | None) -> bool:
        """Whether a record was read when Outreach was asked what others have edited."""
        if self._drift is None or entry is None or not _needs_a_look(load, entry):
            return False
        if (seen := self._drift.edit(load.stream, entry.remembered.id)) is None:
            return False
        resource, load.reads[group] = seen
        if load.written.get(resource.id) is None:
            load.picture.put(resource)
        return True

    def decide(self, load: Load, group: Records) -> Update | Unchanged | None:
        """Decide about a group that was recalled, or have it looked up after all."""
        recalled = load.recalled.pop(group)
        if recalled is not None and recalled[1] == self._memory.writes:
            return recalled[0]
        key = group.desired.source_key or ""
        entry = _fitting(group, self._memory.recall(load.stream, [key]).get(key))
        if entry is not None and not _needs_a_look(load, entry):
            group.desired = group.desired.with_remembered(entry.remembered.id)
            decided = _plan(load, group, entry, _changed(group, entry, load.stream))
            if decided is not None:
                return decided
        self._find(load, [group])
        return None

    def forget(self, load: Load, group: Records) -> None:
        """Look a group up without the id that Outreach does not know any more."""
        if group.desired.source_key is not None and self._remembers(load.stream):
            self._memory.forget(load.stream, group.desired.source_key)
        group.desired = group.desired.with_remembered(None)
        self._find(load, [group])


def _fitting(group: Records, entry: Known | None) -> Known | None:
    """Drop what is remembered of another record than the one whose id the row says."""
    said = group.desired.id
    if entry is not None and said is not None and said != entry.remembered.id:
        return None
    return entry


def _changed(group: Records, entry: Known | None, stream: Stream) -> list[str]:
    """List in what a group says something else than is remembered of it."""
    return [] if entry is None else changes(group.desired, stream.rules, entry.remembered)


def _needs_a_look(load: Load, entry: Known) -> bool:
    """Whether others have edited what was delivered, and that matters."""
    return entry.is_edited and load.stream.rules.sync_mode != "insert"


def _plan(
    load: Load, group: Records, entry: Known | None, changed: list[str]
) -> Update | Unchanged | None:
    """Plan what needs no look at Outreach."""
    if entry is None or _needs_a_look(load, entry):
        return None
    rules = load.stream.rules
    return plan_unseen(load.object, group.desired, entry.remembered.id, changed, rules)
