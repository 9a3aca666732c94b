"""Asking Outreach what others have edited since it was last asked (`change_detection: drift`).

Changes are read by ``filter[updatedAt]``, a page for each thousand. What this target has written
itself since then has changed there too. Where that is more than a page, it is not read again: first
the number of changes until our last write is asked for, then what changed after it is read. If all
changes of the first part are our own writes, less those that were edited again afterwards, there is
nothing of others among them; otherwise they are read after all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from target_outreach.delivery.load import Read

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from target_outreach.delivery.finder import Send
    from target_outreach.delivery.memory import Memory
    from target_outreach.delivery.stream import Stream
    from target_outreach.outreach.lookup import Lookup, Page
    from target_outreach.records.catalog import ObjectType
    from target_outreach.records.matching import Resource

#: Edited records that are kept from the question to their row; the others are looked up again.
MOST_EDITS = 50_000

#: Own writes up to this number are read with what others have changed: it costs a page.
PAGE_SIZE = 1000

#: How much of the time before is asked for again, since requests take time to be seen.
OVERLAP = timedelta(minutes=1)


@dataclass(slots=True)
class _Question:
    """One question under way.

    Attributes:
        stream: The stream that it is asked for.
        object: The stream's object.
        done: Called when it is answered.
        since: From when changes are not known.
        until: When our last write was, if there are too many of our own to be read.
        own: How many records we have written between the two.
        counted: How many records have changed between the two.
        began: When Outreach was asked, by its clock.
        edited_again: Own writes that have changed since the last of them.
    """

    stream: Stream
    object: ObjectType
    done: Callable[[], None]
    since: str | None
    until: str | None = None
    own: int = 0
    counted: int | None = None
    began: datetime | None = None
    edited_again: set[int] = field(default_factory=set)


class Drift:
    """Asks once for each stream, on the pipeline's thread; others send the requests."""

    def __init__(
        self,
        memory: Memory,
        lookup: Lookup,
        *,
        send: Send,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet.

        Args:
            memory: Knows what was delivered, and takes in what was edited.
            lookup: Reads what has changed.
            send: Runs a request on a worker and hands its result back on this thread.
            clock: A monotonic clock in seconds.
        """
        self._memory = memory
        self._lookup = lookup
        self._send = send
        self._clock = clock
        self._edits: dict[tuple[str, int], tuple[Resource, Read]] = {}

    def edit(self, stream: Stream, resource_id: int) -> tuple[Resource, Read] | None:
        """Return an edited record as it was read, and when, if it was in this run."""
        return self._edits.get((stream.name, resource_id))

    def ask(self, stream: Stream, object_type: ObjectType, done: Callable[[], None]) -> None:
        """Ask what others have edited; at first, only what time it is there.

        Args:
            stream: The stream that it is asked for.
            object_type: The stream's object.
            done: Called when it is answered.
        """
        question = _Question(stream, object_type, done, self._memory.asked_at(stream))
        if question.since is not None:
            own, last = self._memory.own_writes(stream, question.since)
            if last is not None and own > PAGE_SIZE:
                question.own, question.until = own, last
                path = self._lookup.count_path(object_type, question.since, last)
                self._send(partial(self._lookup.page, path), partial(self._on_count, question))
                return
        self._read(question, question.since)

    def _on_count(self, question: _Question, page: Page) -> None:
        question.counted = page.count
        question.began = page.server_time
        self._read(question, question.until)

    def _read(self, question: _Question, since: str | None) -> None:
        path = self._lookup.changes_path(question.object, since, question.stream.asked)
        self._send(partial(self._lookup.page, path), partial(self._on_page, question))

    def _on_page(self, question: _Question, page: Page) -> None:
        question.began = question.began or page.server_time
        stream = question.stream
        read = Read(self._clock(), self._lookup.version)
        for resource in self._memory.note_edits(stream, page.resources, stream.asked):
            if len(self._edits) < MOST_EDITS:
                self._edits[stream.name, resource.id] = resource, read
        if question.since is not None and question.until is not None:
            question.edited_again |= self._own_among(question, page)
        if page.following is not None:
            task = partial(self._lookup.page, page.following)
            self._send(task, partial(self._on_page, question))
        elif question.until is not None and not _accounts_for_all(question):
            question.until = None
            self._read(question, question.since)
        else:
            self._memory.note_asked(stream, f"{question.began - OVERLAP:%Y-%m-%dT%H:%M:%S}Z")
            question.done()

    def _own_among(self, question: _Question, page: Page) -> set[int]:
        """Return the own writes that have changed since the last of them."""
        later = [
            resource.id
            for resource in page.resources
            if f"{resource.attributes.get('updatedAt')}"[:19] > f"{question.until}"[:19]
        ]
        return self._memory.own_among(question.stream, later, f"{question.since}")


def _accounts_for_all(question: _Question) -> bool:
    """Whether nothing that others changed can be among what was counted."""
    return question.counted == question.own - len(question.edited_again)
