"""Updates many at a time, by an endpoint of which nobody has told how it behaves.

Updates are collected and sent as one import (API reference 6.2). Whatever the import says, each
record is then read back: one that is as it should be is delivered, one that is still as it was is
written by itself, so that Outreach says what is wrong with it.

**Order.** There is one import at a time, and a record that is in it, or waits for it, is not
written by anything else until it was read back. Where it cannot be known whether an import is still
at work, what it did not write yet is written again with the same values, which do no harm whichever
comes last. A newer row about such a record must not be overtaken by the older one: the run ends
before it is written, and the next run goes on there.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from target_outreach.delivery.outcome import Delivered
from target_outreach.engine.batch import Stage
from target_outreach.engine.import_sizing import ImportSizing
from target_outreach.engine.writing import delivered, document
from target_outreach.errors import CredentialsError
from target_outreach.outreach.imports import PATIENCE, Ending
from target_outreach.records.values import same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from target_outreach.engine.batch import Expiry, WorkItem
    from target_outreach.engine.requests import Requests
    from target_outreach.outreach.imports import Imports, Shape
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.records.model import Attribute, ObjectType, Resource, Update, Value

#: An import costs three requests at least: to start it, to see it end, and to read back.
FEWEST = 4

#: Seconds before each look at the records of an import: one that has ended, since lists may show a
#: write a moment later; one that may be on its way, or may never have arrived.
LOOKS = (0.0, 2.0)
LOOKS_FOR_LOST = (0.5, 1.0, 2.0, 4.0, 8.0)

#: Seconds in which updates come that were decided on at the same time.
PAUSE = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """An update that is to be part of an import."""

    item: WorkItem
    decided: Update
    expiry: Expiry

    @property
    def object(self) -> ObjectType:
        """The object that the record is of."""
        return self.item.batch.object

    @property
    def place(self) -> tuple[str, int]:
        """The record: its object and its id."""
        return self.object.name, self.decided.resource.id


@dataclass(frozen=True, slots=True)
class Alone:
    """A record that is to be written by itself.

    Attributes:
        resource: What was read back of it, or None where it was not found, or not looked for.
        read_at: When, in monotonic seconds.
    """

    resource: Resource | None = None
    read_at: float = 0.0


#: What becomes of a change; None where its plan has grown too old to be carried out.
Result = Delivered | Alone | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import came to.

    Attributes:
        results: What becomes of each change.
        asked: The attributes and relationships that were read back.
        ending: How the import ended, or None where none was started.
    """

    results: dict[Change, Result]
    asked: frozenset[str]
    ending: Ending | None = None


class BulkUpdates:
    """Collects updates on the thread of the event loop, and has them imported by another one."""

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        imports: Imports | None,
        lookup: Lookup,
        pacer: Pacer,
        requests: Requests,
        asked: Mapping[str, Mapping[str, None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Collect nothing yet.

        Args:
            imports: Carries out imports; None where there are to be none.
            lookup: Reads the records back.
            pacer: Grants requests.
            requests: Runs imports on a thread.
            asked: What must be read of a record, by object, so that every batch can go by it.
            clock: A monotonic clock in seconds.
        """
        self._imports = imports
        self._lookup = lookup
        self._pacer = pacer
        self._requests = requests
        self._asked = asked
        self._clock = clock
        self._sizing = ImportSizing()
        self._waiting: dict[Change, asyncio.Future[Result]] = {}
        self._importing: asyncio.Task[None] | None = None
        self._is_full = asyncio.Event()
        self._in_doubt: dict[tuple[str, int], float] = {}

    @property
    def is_open(self) -> bool:
        """Whether updates can be added."""
        return self._imports is not None and not self._sizing.is_lost

    def takes(self, item: WorkItem) -> bool:
        """Whether an update of a work item is to be part of an import."""
        return self.is_open and not item.is_single

    def is_doubtful(self, item: WorkItem, decided: Update) -> bool:
        """Whether an import with an older row of a record may still be at work, and overwrite it.

        What was part of that import itself is written again, which does no harm.
        """
        place = item.batch.object.name, decided.resource.id
        return not item.is_single and self._clock() < self._in_doubt.get(place, 0.0)

    async def write(self, change: Change) -> Result:
        """Have an update carried out by an import, with others.

        Nothing else may write the record until that is done.
        """
        change.item.stage = Stage.QUEUED
        done = self._waiting[change] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= self._sizing.size:
            self._is_full.set()
        if self._importing is None or self._importing.done():
            self._importing = asyncio.create_task(self._import_all())
        await asyncio.wait({done, self._importing}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            await self._importing  # which has failed
        result: Result = await done
        return result

    def withdraw(self, is_unwanted: Callable[[WorkItem], bool]) -> None:
        """Let updates go that still wait and are not to be written any more."""
        queued = (one for one in self._waiting if one.item.stage is Stage.QUEUED)
        for change in [one for one in queued if is_unwanted(one.item)]:
            self._settle(change, Alone())

    def _settle(self, change: Change, result: Result) -> None:
        done = self._waiting.pop(change)
        if not done.done():
            done.set_result(result)

    async def _import_all(self) -> None:
        """Import what waits, one import after the other, until nothing waits."""
        while self._waiting:
            await self._more()
            batch = self._next()
            if not self.is_open or len(batch) < FEWEST:
                for change in batch:
                    self._settle(change, Alone())
                continue
            for change in batch:
                change.item.stage = Stage.WRITING
            outcome = await self._carry_out(batch)
            is_tried_again = outcome.ending is not None and self._learn(outcome, outcome.ending)
            for change, result in outcome.results.items():
                if not (is_tried_again and isinstance(result, Alone)):
                    self._settle(change, result)

    async def _more(self) -> None:
        """Wait until an import is full, or no more updates can be expected soon."""
        while self.is_open and len(self._waiting) < self._sizing.size:
            self._is_full.clear()
            waiting = len(self._waiting)
            full = asyncio.create_task(self._is_full.wait())
            quiet = asyncio.create_task(self._requests.are_quiet.wait())
            done, others = await asyncio.wait({full, quiet}, return_when=asyncio.FIRST_COMPLETED)
            for other in others:
                other.cancel()
            if quiet in done:
                await asyncio.sleep(PAUSE)  # what was just answered is being decided
                if self._requests.are_quiet.is_set() and len(self._waiting) == waiting:
                    return

    def _next(self) -> list[Change]:
        """Return the oldest updates of one object, as many as fit into an import."""
        name = next(iter(self._waiting)).object.name
        fitting = [change for change in self._waiting if change.object.name == name]
        return fitting[: self._sizing.size]

    async def _carry_out(self, batch: list[Change]) -> Outcome:
        """Import updates, and read back all that every batch needs to know of their records."""
        name = batch[0].object.name
        asked = tuple(self._asked[name])
        task = partial(self._run_import, batch, asked, self._sizing.shape)
        outcome = await self._requests.run_import(task)
        while not outcome.asked.issuperset(asked := tuple(self._asked[name])):
            # A stream has begun that needs to know more.
            task = partial(self._read_again, outcome, asked)
            outcome = await self._requests.run_import(task)
        return outcome

    def _learn(self, outcome: Outcome, ending: Ending) -> bool:
        """Take in how an import went; say whether the rest is worth another one."""
        alone = [change for change, one in outcome.results.items() if isinstance(one, Alone)]
        kept = sum(isinstance(result, Delivered) for result in outcome.results.values())
        if ending.kind in {"lost", "unfinished"}:
            until = self._clock() + PATIENCE if ending.kind == "lost" else float("inf")
            self._in_doubt.update((change.place, until) for change in alone)
        return self._sizing.learn(len(alone) + kept, kept, ending)

    # What runs on a thread of its own, one at a time

    def _run_import(self, batch: list[Change], asked: Sequence[str], shape: Shape) -> Outcome:
        """Import what is not too old, and read it back."""
        self._pacer.wait()
        results: dict[Change, Result] = {
            change: None if self._is_too_old(change) else Alone() for change in batch
        }
        changes = [change for change, result in results.items() if result is not None]
        if len(changes) < FEWEST:
            return Outcome(results, frozenset(asked))
        ending = self._run(changes, asked, shape)
        if ending.kind in {"ended", "unfinished", "lost"}:
            looks = LOOKS_FOR_LOST if ending.kind == "lost" else LOOKS
            results |= self._verify(changes, asked, looks)
        return Outcome(results, frozenset(asked), ending)

    def _is_too_old(self, change: Change) -> bool:
        return change.expiry.is_over(self._clock(), self._lookup.version)

    def _run(self, changes: list[Change], asked: Sequence[str], shape: Shape) -> Ending:
        assert self._imports is not None  # noqa: S101 - without it nothing is collected
        try:
            return self._imports.run(
                [_document_of(change) for change in changes],
                shape,
                lambda: _are_delivered(self._verify(changes, asked, LOOKS[:1])),
            )
        except CredentialsError as error:
            # A token that is good for nothing ends the run here, in its own words.
            self._read(changes, asked)
            return Ending("refused", str(error).rstrip("."))

    def _read_again(self, outcome: Outcome, asked: Sequence[str]) -> Outcome:
        """Read back once more, and more of each record."""
        results = outcome.results.items()
        changes = [one for one, result in results if result is not None and result != Alone()]
        anew = self._verify(changes, asked, LOOKS[:1])
        return replace(outcome, results=outcome.results | anew, asked=frozenset(asked))

    def _verify(
        self, changes: Sequence[Change], asked: Sequence[str], looks: Iterable[float]
    ) -> dict[Change, Result]:
        """Look at records until all are as they should be, or for as often as one may."""
        results: dict[Change, Result] = dict.fromkeys(changes, Alone())
        for pause in looks:
            due = [change for change, one in results.items() if not isinstance(one, Delivered)]
            if not due:
                break
            if pause:
                self._pacer.rest(pause)
            read_at = self._clock()
            found = self._read(due, asked)
            for change in due:
                results[change] = judged(change, found.get(change.decided.resource.id), read_at)
        return results

    def _read(self, changes: Sequence[Change], asked: Sequence[str]) -> dict[int, Resource]:
        """Read records by lists of their ids, as often as that shows more of them."""
        found: dict[int, Resource] = {}
        missing = [change.decided.resource.id for change in changes]
        version = self._lookup.version
        is_first = True
        while missing:
            paths = self._lookup.paths(changes[0].object, "id", map(str, missing), asked)
            shown = {one.id: one for path in paths for one in self._lookup.read(path)}
            found |= shown
            if not shown:
                break
            if not is_first:  # the list before had been cut
                self._lookup.halve(changes[0].object, "id", version)
            missing = [number for number in missing if number not in shown]
            is_first = False
        return found


def judged(change: Change, now: Resource | None, read_at: float) -> Delivered | Alone:
    """Say what became of an update, by what was read back.

    What is neither as it was sent nor as it was before has been written: Outreach keeps it in a
    form of its own, and another write would not change that.

    Args:
        change: What was sent.
        now: What Outreach holds now, or None where the record was not found.
        read_at: When it was read, in monotonic seconds.
    """
    decided, attributes = change.decided, change.object.attributes
    is_kept = (
        now is not None
        and all(
            _is_written(attributes[name], value, decided.resource.attributes, now.attributes)
            for name, value in decided.attributes.items()
        )
        and all(now.links.get(name) == link for name, link in decided.relationships.items())
    )
    if now is not None and is_kept:
        return delivered("updated", change.object, now, decided)
    return Alone(now, read_at)


def _is_written(
    attribute: Attribute, wanted: Value, before: Mapping[str, Any], now: Mapping[str, Any]
) -> bool:
    name = attribute.name
    if name not in now:
        return False
    return same(attribute, wanted, now[name]) or (name in before and now[name] != before[name])


def _document_of(change: Change) -> dict[str, Any]:
    decided = change.decided
    return document(change.object, decided.resource.id, decided.attributes, decided.relationships)


def _are_delivered(results: Mapping[Change, Result]) -> bool:
    return all(isinstance(result, Delivered) for result in results.values())
