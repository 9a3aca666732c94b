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

import time
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from target_outreach.delivery.trust import Trust
from target_outreach.delivery.writing import Delivered, delivered, document
from target_outreach.errors import CredentialsError, EndedEarly
from target_outreach.outreach.imports import PATIENCE, Ending
from target_outreach.records.values import same

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from target_outreach.delivery.finder import Send
    from target_outreach.delivery.load import Load, Records
    from target_outreach.outreach.imports import Imports, Shape
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.records.model import Attribute, ObjectType, Plan, Resource, Update, Value

#: An import costs three requests at least: to start it, to see it end, and to read back.
FEWEST = 4

#: Seconds before each look at the records of an import: one that has ended, since lists may show a
#: write a moment later; one that may be on its way, or may never have arrived.
LOOKS = (0.0, 2.0)
LOOKS_FOR_LOST = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """An update that is to be part of an import."""

    load: Load
    group: Records
    decided: Update

    @property
    def object(self) -> ObjectType:
        """The object that the record is of."""
        return self.load.object

    @property
    def place(self) -> tuple[str, int]:
        """What tells the record from all others."""
        return self.load.object.name, self.decided.resource.id


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


class Bulk:
    """Collects updates on the pipeline's thread, and has them imported on a thread of its own."""

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        imports: Imports | None,
        lookup: Lookup,
        *,
        pacer: Pacer,
        send: Send,
        is_stale: Callable[[Load, Records, Plan], bool],
        asked: Callable[[ObjectType], Sequence[str]],
        then: Callable[[Change, Result], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Collect nothing yet.

        Args:
            imports: Carries out imports; None where there are to be none.
            lookup: Reads the records back.
            pacer: Grants requests.
            send: Runs an import on a thread and hands its outcome back on this one.
            is_stale: Says whether a plan rests on what is too old.
            asked: Says what must be read of a record so that every batch can go by it.
            then: Hears what becomes of each change.
            clock: A monotonic clock in seconds.
        """
        self._imports = imports
        self._lookup = lookup
        self._pacer = pacer
        self._send = send
        self._is_stale = is_stale
        self._asked = asked
        self._then = then
        self._clock = clock
        self._trust = Trust()
        self._waiting: deque[Change] = deque()
        self._is_running = False
        self._in_doubt: dict[tuple[str, int], float] = {}

    @property
    def is_open(self) -> bool:
        """Whether updates can be added."""
        return self._imports is not None and not self._trust.is_lost

    def add(self, change: Change) -> None:
        """Let an update wait for an import; nothing else may write the record until it is back."""
        self._waiting.append(change)

    def withdraw(self, is_unwanted: Callable[[Change], bool]) -> list[Change]:
        """Take back updates that still wait."""
        unwanted = {change: None for change in self._waiting if is_unwanted(change)}
        self._leave(unwanted)
        return list(unwanted)

    def refuse_doubtful(self, place: tuple[str, int]) -> None:
        """Let no row be written that an import with an older one may overwrite.

        Raises:
            EndedEarly: It is such a row; the next run goes on with it.
        """
        if self._clock() < self._in_doubt.get(place, 0.0):
            raise EndedEarly(
                "An import with an older row of the same record may still be at work; the next "
                "run goes on with the newer one."
            )

    def flush(self, *, more_may_come: bool) -> bool:
        """Start an import, if none is at work.

        Args:
            more_may_come: Whether it is worth waiting for updates that fill it.

        Returns:
            Whether updates were handed back instead, so that there is something to decide on.
        """
        if self._is_running or not self._waiting:
            return False
        if self.is_open and more_may_come and len(self._waiting) < self._trust.size:
            return False
        batch = self._take()
        if not self.is_open or len(batch) < FEWEST:
            for change in batch:
                self._then(change, Alone())
            return True
        self._is_running = True
        task = partial(self._carry_out, batch, self._asked(batch[0].object), self._trust.shape)
        self._send(task, partial(self._on_outcome, batch))
        return False

    def _take(self) -> list[Change]:
        """Take the oldest updates of one object, as many as fit into an import."""
        name = self._waiting[0].object.name
        fitting = [change for change in self._waiting if change.object.name == name]
        batch = fitting[: self._trust.size]
        self._leave(set(batch))
        return batch

    def _leave(self, changes: Collection[Change]) -> None:
        """Let these wait no longer."""
        if changes:
            self._waiting = deque(one for one in self._waiting if one not in changes)

    def _on_outcome(self, batch: list[Change], outcome: Outcome) -> None:
        asked = self._asked(batch[0].object)
        if not outcome.asked.issuperset(asked):  # a stream has begun that needs to know more
            task = partial(self._read_again, outcome, asked)
            self._send(task, partial(self._on_outcome, batch))
            return
        self._is_running = False
        is_tried_again = outcome.ending is not None and self._learn(outcome, outcome.ending)
        again: list[Change] = []
        for change, result in outcome.results.items():
            if is_tried_again and isinstance(result, Alone):
                again.append(change)
            else:
                self._then(change, result)
        self._waiting.extendleft(reversed(again))

    def _learn(self, outcome: Outcome, ending: Ending) -> bool:
        """Take in how an import went; say whether the rest is worth another one."""
        alone = [change for change, one in outcome.results.items() if isinstance(one, Alone)]
        kept = sum(isinstance(result, Delivered) for result in outcome.results.values())
        if ending.kind in {"lost", "unfinished"}:
            until = self._clock() + PATIENCE if ending.kind == "lost" else float("inf")
            self._in_doubt.update((change.place, until) for change in alone)
        return self._trust.learn(len(alone) + kept, kept, ending)

    # What runs on a thread of its own, one at a time

    def _carry_out(self, batch: list[Change], asked: Sequence[str], shape: Shape) -> Outcome:
        """Import what is not too old, and read it back."""
        self._pacer.wait()
        results: dict[Change, Result] = {
            change: None if self._is_stale(change.load, change.group, change.decided) else Alone()
            for change in batch
        }
        changes = [change for change, result in results.items() if result is not None]
        if len(changes) < FEWEST:
            return Outcome(results, frozenset(asked))
        ending = self._run(changes, asked, shape)
        if ending.kind in {"ended", "unfinished", "lost"}:
            looks = LOOKS_FOR_LOST if ending.kind == "lost" else LOOKS
            results |= self._verify(changes, asked, looks)
        return Outcome(results, frozenset(asked), ending)

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
