"""Writes many at a time, by an endpoint of which nobody has told how it behaves.

Updates, and creates of prospects that have an address, are collected and sent as imports (API
reference 6.2), each kind by itself. Whatever an import says, each record is then read back: one
that is as it should be is delivered; one that is not is written by itself, so that Outreach says
what is wrong with it.

**Order.** There is one import at a time, and a record that is in it, or waits for it, is not
written by anything else until it was read back. Where it cannot be known whether an import is still
at work, what it did not update yet is updated again with the same values, which do no harm
whichever comes last. A newer row about such a record must not be overtaken by the older one: the
run ends before it is written, and the next run goes on there. An import that has ended may write
late: a newer row about what it has not written waits as long as lists may be behind.

**No doubles.** What an import did not create is looked for by its addresses for as long as lists
may be behind, and then created by a request of its own. If the import creates it after all, the
second of the two is refused by Outreach, since no two prospects may have one address (API reference
3.4), and imports leave alone what is there.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace as with_fields

from target_outreach import bounds
from target_outreach.delivery.stream import Delivered
from target_outreach.engine.batch import Expiry, Stage
from target_outreach.engine.import_sizing import CreateSizing, ImportSizing
from target_outreach.engine.imported import (
    Alone,
    Change,
    Part,
    are_delivered,
    is_importable,
    judged,
)
from target_outreach.engine.job import Found
from target_outreach.errors import CredentialsError
from target_outreach.outreach.filters import spellings
from target_outreach.outreach.imports import Ending
from target_outreach.records.matching import RemoteSnapshot
from target_outreach.records.model import Create, Update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from target_outreach.engine.batch import WorkItem
    from target_outreach.engine.imported import Result
    from target_outreach.engine.job import Job
    from target_outreach.engine.requests import Requests
    from target_outreach.engine.tools import Tools
    from target_outreach.outreach.imports import DupeMethod

#: An import costs three requests at least: to start it, to see it end, and to read back.
FEWEST = 4

#: Seconds before each look at the records of an import: one that has ended, since lists may show a
#: write a moment later; one that may be on its way, or may never have arrived.
LOOKS = (0.0, 2.0)
LOOKS_FOR_LOST = (0.5, 1.0, 2.0, 4.0, 8.0)

#: Seconds in which writes come that were decided on at the same time.
PAUSE = 0.005


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import came to.

    Attributes:
        results: The outcome of each change.
        asked: The attributes and relationships that were read back.
        since: When the import was sent.
        ending: How it ended, or None where none was started.
    """

    results: dict[Change, Result]
    asked: frozenset[str]
    since: datetime
    ending: Ending | None = None


@dataclass(slots=True, eq=False)
class _Lane:
    """Writes of one kind that wait for an import, with their outcomes.

    Attributes:
        dupe_method: What an import does with records that are there.
        sizing: How large the next import is.
        waiting: The writes, in their order.
    """

    dupe_method: DupeMethod
    sizing: ImportSizing
    waiting: dict[Change, asyncio.Future[Result]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether there is no use in waiting for more."""
        return bool(self.waiting) and (self.sizing.is_lost or len(self.waiting) >= self.sizing.size)

    def next(self) -> list[Change]:
        """Return the oldest writes of one object, as many as fit into an import."""
        name = next(iter(self.waiting)).object.name
        fitting = [change for change in self.waiting if change.object.name == name]
        return fitting[: self.sizing.size]

    def settle(self, change: Change, result: Result) -> None:
        """Set the outcome of a write."""
        done = self.waiting.pop(change)
        if not done.done():
            done.set_result(result)


class BulkWrites:
    """Collects writes on the thread of the event loop, and has them imported by another one."""

    def __init__(
        self,
        tools: Tools,
        requests: Requests,
        asked: Mapping[str, Mapping[str, None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Collect nothing yet.

        Args:
            tools: What to deliver with; without `imports` nothing is ever taken.
            requests: Runs imports on a thread.
            asked: What must be read of a record, by object, so that every batch can go by it.
            clock: A monotonic clock in seconds.
        """
        self._imports = tools.imports
        self._lookup = tools.lookup
        self._pacer = tools.pacer
        self._writer = tools.writer
        self._requests = requests
        self._asked = asked
        self._clock = clock
        self._updates = _Lane("overwriteNoCreate", ImportSizing())
        self._creates = _Lane("skip", CreateSizing())
        self._importing: asyncio.Task[None] | None = None
        self._is_full = asyncio.Event()
        self._in_doubt: dict[tuple[str, int], float] = {}
        self._late: dict[tuple[str, int], float] = {}

    def takes(self, item: WorkItem, decided: Create | Update) -> bool:
        """Whether what is to be done with a work item is to be part of an import."""
        if self._imports is None or item.is_single:
            return False
        rules, mode = item.batch.stream.rules, self._imports.mode
        lane = self._lane(decided)
        return not lane.sizing.is_lost and is_importable(mode, item.batch.object, decided, rules)

    def is_doubtful(self, item: WorkItem, decided: Update) -> bool:
        """Whether an import with an older row of a record may still be at work, and overwrite it.

        What was part of that import itself is written again, which does no harm.
        """
        place = item.batch.object.name, decided.resource.id
        return not item.is_single and self._clock() < self._in_doubt.get(place, 0.0)

    async def outwait(self, item: WorkItem, decided: Update) -> bool:
        """Wait until an import that has ended overwrites no record with an older row any more.

        Returns:
            Whether that had to be waited for.

        Raises:
            EndedEarly: The run is told to stop.
        """
        place = item.batch.object.name, decided.resource.id
        if item.is_single or self._late.get(place, 0.0) <= self._clock():
            return False
        await self._requests.run_import(
            lambda: self._pacer.rest(max(0.0, self._late[place] - self._clock()))
        )
        return True

    async def write(self, item: WorkItem, job: Job) -> Delivered | Found | Alone | None:
        """Have a plan carried out by an import, with others.

        Nothing else may write the record until that is done.

        Returns:
            As a single write; `Alone` where the record is to be written by itself.

        Raises:
            RecordFault: Outreach refuses what an import did not write of a record.
        """
        item.stage = Stage.QUEUED
        change, lane = Change(item, job), self._lane(job.decided)
        done = lane.waiting[change] = asyncio.get_running_loop().create_future()
        if lane.is_full:
            self._is_full.set()
        if self._importing is None or self._importing.done():
            self._importing = asyncio.create_task(self._import_all())
        await asyncio.wait({done, self._importing}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            await self._importing  # which has failed
        result: Result = await done
        return await self._complete(job, result) if isinstance(result, Part) else result

    def withdraw(self, is_unwanted: Callable[[WorkItem], bool]) -> None:
        """Let writes go that still wait and are not to be carried out any more."""
        for lane in self._updates, self._creates:
            queued = (one for one in lane.waiting if one.item.stage is Stage.QUEUED)
            for change in [one for one in queued if is_unwanted(one.item)]:
                lane.settle(change, Alone())

    def _lane(self, decided: Create | Update) -> _Lane:
        return self._creates if isinstance(decided, Create) else self._updates

    async def _complete(self, job: Job, part: Part) -> Delivered | Found:
        """Write what an import ignored of a record that it has created."""
        rest = replace(job, decided=part.rest, expiry=Expiry())
        written = await self._requests.write(partial(self._writer.write, rest))
        if isinstance(written, Delivered):
            return with_fields(written, outcome="created", decided=job.decided)
        return Found((part.rest.resource,), part.read_at)

    async def _import_all(self) -> None:
        """Import what waits, one import after the other, until nothing waits."""
        while lanes := [one for one in (self._creates, self._updates) if one.waiting]:
            await self._more()
            lane = next((one for one in lanes if one.is_full), lanes[0])
            batch = lane.next()
            if lane.sizing.is_lost or len(batch) < FEWEST:
                for change in batch:
                    lane.settle(change, Alone())
                continue
            for change in batch:
                change.item.stage = Stage.WRITING
            outcome = await self._carry_out(lane, batch)
            is_tried_again = outcome.ending is not None and self._learn(
                lane, outcome.results, outcome.ending
            )
            for change, result in outcome.results.items():
                if not (is_tried_again and isinstance(result, Alone)):
                    lane.settle(change, result)

    async def _more(self) -> None:
        """Wait until an import is full, or no more writes can be expected soon."""
        while not (self._updates.is_full or self._creates.is_full):
            self._is_full.clear()
            waiting = self._count()
            full = asyncio.create_task(self._is_full.wait())
            quiet = asyncio.create_task(self._requests.are_quiet.wait())
            done, others = await asyncio.wait({full, quiet}, return_when=asyncio.FIRST_COMPLETED)
            for other in others:
                other.cancel()
            if quiet in done:
                await asyncio.sleep(PAUSE)  # what was just answered is being decided
                if self._requests.are_quiet.is_set() and self._count() == waiting:
                    return

    def _count(self) -> int:
        return len(self._updates.waiting) + len(self._creates.waiting)

    async def _carry_out(self, lane: _Lane, batch: list[Change]) -> Outcome:
        """Import writes, and read back all that every batch needs to know of their records."""
        name = batch[0].object.name
        asked = tuple(self._asked[name])
        task = partial(self._run_import, lane, batch, asked)
        outcome = await self._requests.run_import(task)
        while not outcome.asked.issuperset(asked := tuple(self._asked[name])):
            # A stream has begun that needs to know more.
            task = partial(self._read_again, outcome, asked)
            outcome = await self._requests.run_import(task)
        return outcome

    def _learn(self, lane: _Lane, results: Mapping[Change, Result], ending: Ending) -> bool:
        """Take in how an import went; say whether the rest is worth another one."""
        sent = {change: result for change, result in results.items() if result is not None}
        others = [change for change, one in sent.items() if not isinstance(one, Delivered)]
        if lane is self._updates and ending.kind in {"lost", "unfinished"}:
            until = self._clock() + bounds.LONGEST_IMPORT if ending.kind == "lost" else float("inf")
            self._in_doubt.update((change.place, until) for change in others)
        elif lane is self._updates and ending.kind == "ended":
            until = self._clock() + sum(bounds.LATER_LOOKS)
            # What is as it was sent may be so by an earlier import that was late.
            late = [*others, *(change for change in sent if change.place in self._late)]
            self._late.update((change.place, until) for change in late)
        return lane.sizing.learn(len(sent), len(sent) - len(others), ending)

    # What runs on a thread of its own, one at a time

    def _run_import(self, lane: _Lane, batch: list[Change], asked: Sequence[str]) -> Outcome:
        """Import what is not too old, and read it back."""
        self._pacer.wait()
        now, version = self._clock(), self._lookup.version
        results: dict[Change, Result] = {
            change: None if change.job.expiry.is_over(now, version) else Alone() for change in batch
        }
        changes = [change for change, result in results.items() if result is not None]
        since = datetime.now(UTC)
        if len(changes) < FEWEST:
            return Outcome(results, frozenset(asked), since)
        ending = self._run(lane, changes, asked, since)
        results |= self._verify(changes, asked, self._looks(lane, ending), since)
        return Outcome(results, frozenset(asked), since, ending)

    def _looks(self, lane: _Lane, ending: Ending) -> Sequence[float]:
        """Return the seconds before each look at the records of an import."""
        is_begun = ending.kind in {"ended", "unfinished", "lost"}
        if lane is self._creates:
            return (0.0, *bounds.LATER_LOOKS) if is_begun else LOOKS[:1]
        if not is_begun:
            return ()
        return LOOKS_FOR_LOST if ending.kind == "lost" else LOOKS

    def _run(
        self, lane: _Lane, changes: list[Change], asked: Sequence[str], since: datetime
    ) -> Ending:
        assert self._imports is not None  # noqa: S101 - without it nothing is collected
        try:
            return self._imports.run(
                [change.document for change in changes],
                lane.dupe_method,
                lane.sizing.shape,
                lambda: are_delivered(self._verify(changes, asked, LOOKS[:1], since).values()),
            )
        except CredentialsError as error:
            # A token that is good for nothing ends the run here, in its own words.
            self._read(changes, asked)
            return Ending("refused", str(error).rstrip("."))

    def _read_again(self, outcome: Outcome, asked: Sequence[str]) -> Outcome:
        """Read back once more, and more of each record."""
        results = outcome.results.items()
        changes = [one for one, result in results if result is not None and result != Alone()]
        anew = self._verify(changes, asked, LOOKS[:1], outcome.since)
        return replace(outcome, results=outcome.results | anew, asked=frozenset(asked))

    def _verify(
        self,
        changes: Sequence[Change],
        asked: Sequence[str],
        looks: Iterable[float],
        since: datetime,
    ) -> dict[Change, Result]:
        """Look at records until all are as they should be, or for as often as one may."""
        assert self._imports is not None  # noqa: S101 - without it nothing is collected
        results: dict[Change, Result] = dict.fromkeys(changes, Alone())
        for pause in looks:
            due = [change for change, one in results.items() if not isinstance(one, Delivered)]
            if not due:
                break
            if pause:
                self._pacer.rest(pause)
            read_at = self._clock()
            shown = self._read(due, asked)
            for change in due:
                sent_at = since + self._imports.client.clock_offset
                results[change] = judged(change, shown, sent_at, read_at)
        return results

    def _read(self, changes: Sequence[Change], asked: Sequence[str]) -> RemoteSnapshot:
        """Read records by lists of what they are found by, as often as that shows more of them."""
        object_type, key = changes[0].object, changes[0].field
        shown = RemoteSnapshot(object_type, () if key == "id" else (key,))
        missing = list(changes)
        version = self._lookup.version
        is_first = True
        while missing:
            texts = [text for change in missing for text in _texts(change)]
            for path in self._lookup.paths(object_type, key, texts, asked):
                for resource in self._lookup.read(path):
                    shown.put(resource)
            still = [change for change in missing if not change.among(shown)]
            if len(still) == len(missing):
                break
            if not is_first:  # the list before had been cut
                self._lookup.halve(object_type, key, version)
            missing = still
            is_first = False
        return shown


def _texts(change: Change) -> Iterable[str]:
    """Yield the keys by which a record is looked up."""
    decided = change.job.decided
    if isinstance(decided, Update):
        return (str(decided.resource.id),)
    return spellings(change.object, change.field, decided.attributes[change.field])
