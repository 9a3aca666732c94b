"""Asking Outreach what others have edited since it was last asked (`change_detection: drift`).

Changes are read by ``filter[updatedAt]``, a page for each thousand. What this target has written
itself has changed there too, and only comparing each record with what was held when it was last
seen tells an edit of others from a write of ours. So a run that has written much asks once more at
its end: then its own writes are behind it, and the next run need not read them.

An edit may appear in lists later than its time stamp. The next question therefore begins a minute
before the last one, and asks for the newest changes first. The last one has proved that Outreach's
list was up to date by the newest change that it showed, mostly a write of ours. Once that time is
reached, the count says whether another record has come up since in what is left: if not, it need
not be read again. What this misses is an edit that was hidden for longer than `SETTLED` while newer
changes were shown, if it is of a record that we wrote in that same minute, or if another one that
changed in that minute was deleted since.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from target_outreach.delivery.memory_changes import Asked, RememberedChanges
from target_outreach.engine.batch import Read
from target_outreach.errors import EndedEarly, OutputError
from target_outreach.outreach.lookup import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.delivery.memory_file import MemoryFile
    from target_outreach.delivery.stream import Stream
    from target_outreach.engine.batch import Batch
    from target_outreach.engine.requests import Requests
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.outreach.pages import NextPage, Page
    from target_outreach.records.model import ObjectType, Resource

#: Edited records that are kept from the question to their row; the others are looked up again.
MOST_EDITS = 50_000

#: How much of the time before is read again.
OVERLAP = timedelta(minutes=1)


#: Rows that are looked up by one request, about.
ROWS_A_LOOKUP = 150

#: How long a change may be hidden while newer ones are shown.
SETTLED = timedelta(seconds=1)

#: The times of changes are whole seconds, at least in the recorded answers (API reference 1).
SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class _Question:
    """One question under way.

    Attributes:
        stream: The stream that needs it.
        object: The stream's object.
        before: What the question before has shown; None where it was never asked.
        began: When Outreach was asked, by its clock.
        count: How many records have changed, as the first page said.
        seen: The records that were read, with the time of their change; None where one has none.
        oldest: The time down to which all changes are read.
    """

    stream: Stream
    object: ObjectType
    before: Asked | None
    began: datetime | None = None
    count: int | None = None
    seen: dict[int, datetime | None] = field(default_factory=dict)
    oldest: datetime | None = None

    def take(self, page: Page) -> None:
        """Take in which records a page shows."""
        if self.began is None:
            self.began, self.count = page.server_time, page.count
        for resource in page.resources:
            self.seen[resource.id] = self.oldest = _changed_at(resource)

    @property
    def is_answered(self) -> bool:
        """Whether what was not read yet is what the question before has shown."""
        before = self.before
        if before is None or before.until is None or self.count is None:
            return False
        if self.oldest is None or self.oldest >= before.until:
            return False
        return self.count - len(self.seen) == len(before.seen.keys() - self.seen.keys())

    @property
    def settles_in(self) -> float:
        """In how many seconds all that was read so far will be settled; 0 where it is."""
        assert self.began is not None  # noqa: S101 - an answer came
        newest = max((at for at in self.seen.values() if at is not None), default=self.began)
        return max(0.0, (newest + SECOND + SETTLED - self.began).total_seconds())

    @property
    def pages_left(self) -> int:
        """How many pages are still to be read, if all must be."""
        left = (self.count or 0) - len(self.seen)
        return max(1, -(-left // PAGE_SIZE))

    def conclude(self) -> Asked:
        """Say what the question has shown, for the next one."""
        assert self.began is not None  # noqa: S101 - an answer came
        since = self.began - OVERLAP
        attributes = frozenset(self.stream.asked)
        if self.before is None or None in self.seen.values():
            return Asked(since, attributes)
        seen = self.before.seen | self.seen
        newest = max((at for at in seen.values() if at is not None), default=since)
        until = min(newest + SECOND, self.began - SETTLED)
        overlap = {one: at for one, at in seen.items() if at is not None and since <= at < until}
        return Asked(since, attributes, until, overlap)


@dataclass(frozen=True, slots=True)
class _Edit:
    """A record that others have edited, as it was read."""

    resource: Resource
    read: Read
    asked: frozenset[str]


class RemoteChanges:
    """Asks once for each stream; on the thread of the event loop, by requests of others."""

    def __init__(
        self,
        memory: MemoryFile,
        lookup: Lookup,
        pacer: Pacer,
        requests: Requests,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet.

        Args:
            memory: Knows what was delivered, and takes in what was edited.
            lookup: Reads what has changed.
            pacer: Knows whether there is budget for a question that could also be put later.
            requests: Runs requests on threads.
            clock: A monotonic clock in seconds.
        """
        self._remembered = RememberedChanges(memory)
        self._lookup = lookup
        self._pacer = pacer
        self._requests = requests
        self._clock = clock
        self._edits: dict[int, dict[str, _Edit]] = {}
        self._streams: dict[str, tuple[Stream, ObjectType]] = {}
        self._writes: Counter[str] = Counter()

    def edit(self, batch: Batch, resource_id: int) -> tuple[Resource, Read] | None:
        """Return an edited record as it was read, and when, if it was in this run."""
        edit = self._edits.get(resource_id, {}).get(batch.stream.name)
        if edit is None or not edit.asked.issuperset(batch.asked):
            return None
        return edit.resource, edit.read

    def written(self, object_type: ObjectType, resource: Resource) -> None:
        """Hear that a record was written: what was read of it is not true any more."""
        self._edits.pop(resource.id, None)
        self._writes[object_type.name] += 1

    async def ask(self, stream: Stream, object_type: ObjectType) -> None:
        """Ask what others have edited; at first, only what time it is there."""
        self._streams[stream.name] = stream, object_type
        question = _Question(stream, object_type, self._remembered.asked(stream))
        since = None if question.before is None else question.before.since
        following: str | NextPage | None = self._lookup.changes_path(
            object_type, since, stream.asked
        )
        while following is not None:
            page = await self._requests.read(partial(self._lookup.page, following))
            question.take(page)
            if question.before is None or self._is_dear(question):
                self._remembered.doubt_all(stream)
                question.before = None  # what has changed since is not known
                break
            self._keep_edits(stream, page)
            following = None if question.is_answered else page.following
        self._remembered.note_asked(stream, question.conclude())

    async def ask_again(self) -> None:
        """Ask once more, now that all is written, where that leaves less to read to the next run.

        It does where this run has written much, and where no run has ever read what had changed.

        That is no part of delivering anything: it waits for no budget, and it may fail.
        """
        streams, self._streams = self._streams, {}
        for stream, object_type in streams.values():
            before = self._remembered.asked(stream)
            if before is None:
                continue
            writes = self._writes[object_type.name]
            if before.until is None or writes >= PAGE_SIZE:
                question = _Question(stream, object_type, before)
                wait = await self._ask_late(question, 1 + writes // PAGE_SIZE)
                if wait:  # once, instead of reading all of it again in the next run
                    again = _Question(stream, object_type, before)
                    await self._ask_late(again, question.pages_left + 1, after=wait)

    async def _ask_late(self, question: _Question, pages: int, after: float | None = None) -> float:
        """Put a question that could also be put by the next run.

        Args:
            question: It.
            pages: How many there will be, about.
            after: Seconds to wait before; None where that is not known.

        Returns:
            In how many seconds it should be put again, since what has changed is not settled yet;
            0 where it should not.
        """
        assert question.before is not None  # noqa: S101 - else nothing is asked
        stream = question.stream
        since, asked = question.before.since, stream.asked
        path: str | NextPage = self._lookup.changes_path(question.object, since, asked)
        pause = after or 0.0
        while (page := await self._page_once(path, pages, pause)) is not None:
            is_first, pause = question.began is None, 0.0
            question.take(page)
            if self._is_long(question):
                break
            if is_first and page.following is not None and after is None and question.settles_in:
                return question.settles_in
            try:
                self._remembered.note_edits(stream, page.resources, asked)
                if page.following is None or question.is_answered:
                    self._remembered.note_asked(stream, question.conclude())
                    break
            except OutputError:
                break
            path, pages = page.following, question.pages_left
        return 0.0

    async def _page_once(self, path: str | NextPage, pages: int, pause: float) -> Page | None:
        """Read a page, where there is budget for it and those behind it."""

        def read() -> Page | None:
            try:
                self._pacer.rest(pause)
            except EndedEarly:
                return None
            return self._lookup.page_once(path) if self._pacer.is_free_for(pages) else None

        return await self._requests.read(read)

    def _is_dear(self, question: _Question) -> bool:
        """Whether reading what has changed costs more than looking up all that was delivered.

        It does where somebody has edited very much, or where this run asks for more attributes of a
        record than the last question did, since those may have been edited before.
        """
        assert question.before is not None  # noqa: S101 - otherwise there is no question
        knows_all = question.before.attributes.issuperset(question.stream.asked)
        return not knows_all or self._is_long(question)

    def _is_long(self, question: _Question) -> bool:
        """Whether there are more pages to a question than lookups to all that was delivered."""
        if question.count is None or len(question.seen) > PAGE_SIZE:
            return False  # it was decided by the first page
        rows = self._remembered.count(question.stream)
        return question.pages_left > 1 + rows // ROWS_A_LOOKUP

    def _keep_edits(self, stream: Stream, page: Page) -> None:
        """Note what others have edited, and keep how it is now for the row that is to come."""
        read = Read(self._clock(), self._lookup.version)
        asked = frozenset(stream.asked)
        for resource in self._remembered.note_edits(stream, page.resources, stream.asked):
            if len(self._edits) < MOST_EDITS:
                edit = _Edit(resource, read, asked)
                self._edits.setdefault(resource.id, {})[stream.name] = edit


def _changed_at(resource: Resource) -> datetime | None:
    """Return when a record was changed last, to the second, as Outreach's clock shows it."""
    try:
        at = datetime.fromisoformat(str(resource.attributes.get("updatedAt")))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None
