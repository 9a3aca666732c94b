"""Asking Outreach what others have edited since it was last asked (`change_detection: drift`).

Changes are read by ``filter[updatedAt]``, a page for each thousand. What this target has written
itself since then has changed there too, and is read with the rest: only comparing each record with
what was held when it was last seen tells an edit of others from a write of ours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
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

#: How much of the time before is asked for again, since requests take time to be seen.
OVERLAP = timedelta(minutes=1)


@dataclass(slots=True)
class _Question:
    """One question under way.

    Attributes:
        stream: The stream that it is asked for.
        object: The stream's object.
        done: Called when it is answered.
        since: From when changes are not known; None where it was never asked.
        began: When Outreach was asked, by its clock.
    """

    stream: Stream
    object: ObjectType
    done: Callable[[], None]
    since: str | None
    began: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Edit:
    """A record that others have edited, as it was read."""

    resource: Resource
    read: Read
    asked: frozenset[str]


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
        self._edits: dict[int, dict[str, _Edit]] = {}

    def edit(self, stream: Stream, resource_id: int) -> tuple[Resource, Read] | None:
        """Return an edited record as it was read, and when, if it was in this run."""
        edit = self._edits.get(resource_id, {}).get(stream.name)
        if edit is None or not edit.asked.issuperset(stream.asked):
            return None
        return edit.resource, edit.read

    def forget(self, resource_id: int) -> None:
        """Drop what was read of a record, which has been written since."""
        self._edits.pop(resource_id, None)

    def ask(self, stream: Stream, object_type: ObjectType, done: Callable[[], None]) -> None:
        """Ask what others have edited; at first, only what time it is there.

        Args:
            stream: The stream that it is asked for.
            object_type: The stream's object.
            done: Called when it is answered.
        """
        question = _Question(stream, object_type, done, self._memory.asked_at(stream))
        path = self._lookup.changes_path(object_type, question.since, stream.asked)
        self._send(partial(self._lookup.page, path), partial(self._on_page, question))

    def _on_page(self, question: _Question, page: Page) -> None:
        question.began = question.began or page.server_time
        stream = question.stream
        read = Read(self._clock(), self._lookup.version)
        asked = frozenset(stream.asked)
        if question.since is None:
            self._memory.doubt_all(stream)  # nobody has looked at Outreach since they were written
        else:
            for resource in self._memory.note_edits(stream, page.resources, stream.asked):
                if len(self._edits) < MOST_EDITS:
                    edit = _Edit(resource, read, asked)
                    self._edits.setdefault(resource.id, {})[stream.name] = edit
        if page.following is not None and question.since is not None:
            task = partial(self._lookup.page, page.following)
            self._send(task, partial(self._on_page, question))
            return
        self._memory.note_asked(stream, f"{question.began - OVERLAP:%Y-%m-%dT%H:%M:%S}Z")
        question.done()
