"""Finding out what Outreach holds, many records at a time, and whether that can be relied on."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from target_outreach.engine.batch import NEVER, Batch, Expiry, Read, Stage, WorkItem
from target_outreach.engine.full_scan import BY_SCAN, FullScans
from target_outreach.engine.own_records import OwnRecords
from target_outreach.errors import RecordFault
from target_outreach.outreach.filters import spellings
from target_outreach.records.matching import field_keys
from target_outreach.records.model import Create, Skip, Unchanged, Update
from target_outreach.records.planning import needs_fresh_read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from target_outreach.engine.job import Deliverer
    from target_outreach.engine.own_records import AccountCache
    from target_outreach.engine.requests import Requests
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.records.model import ObjectType, Plan, Resource

logger = logging.getLogger("target-outreach")

#: Seconds after which what was read is read again before anything irrevocable rests on it.
FRESH = 60.0

#: Seconds in which work items of a batch that must be looked up come together.
PAUSE = 0.005

#: The same for what has grown too old, which ends the wait of many requests at about one time.
LONGER_PAUSE = 0.05

AT_ONCE = float("-inf")

#: Where a work item is when it can be read again with others.
IDLE = frozenset({Stage.WAITING, Stage.QUEUED})


class Resolver:
    """Looks work items up; on the thread of the event loop, by requests that others carry out."""

    def __init__(
        self,
        lookup: Lookup,
        requests: Requests,
        writer: Deliverer,
        accounts: AccountCache,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet.

        Args:
            lookup: Finds records in Outreach.
            requests: Runs requests on threads.
            writer: Knows what a dry run would have written.
            accounts: Knows the accounts that this run has received.
            clock: A monotonic clock in seconds.
        """
        self._lookup = lookup
        self._requests = requests
        self._writer = writer
        self._accounts = accounts
        self._clock = clock
        self._scans = FullScans(lookup, requests, clock=clock)
        self._own = OwnRecords(clock=clock)
        self._tests: dict[str, asyncio.Task[str | None]] = {}
        self._together: dict[tuple[Batch, bool], tuple[list[WorkItem], asyncio.Task[None]]] = {}
        self._taken_along: dict[WorkItem, asyncio.Task[None]] = {}

    def close(self) -> None:
        """Remove what was kept on disk."""
        self._scans.close()

    # Looking up

    async def find(self, batch: Batch, items: list[WorkItem]) -> AsyncIterator[list[WorkItem]]:
        """Find out what Outreach holds of work items, by whatever costs fewer requests.

        Yields:
            The work items that are answered, as soon as they are: the batch's snapshot shows then
            what they are about.
        """
        if not items:
            return
        for item in items:
            item.stage = Stage.LOOKING_UP
        if await self._scans.find(batch, items, partial(self._count, batch, items)):
            known = {one.id: one for item in items for one in item.matches()}
            await self._read_anew(batch, self._own.doubtful(batch.object, known.values()))
            await self._add_own(batch, items)
            yield items
            return
        async for found in self._look_up(batch, items):
            yield found

    async def find_one(
        self, item: WorkItem, *, is_outdated: Callable[[WorkItem], bool] | None = None
    ) -> None:
        """Look up a work item, with all others of its batch that ask for it at the same time.

        Args:
            item: The work item.
            is_outdated: Says of which others of its batch too much time has passed since they were
                read, so that they are read with it; None where the item itself was not read yet.
        """
        item.stage = Stage.LOOKING_UP
        if item in self._taken_along:
            await asyncio.shield(self._taken_along[item])
            return
        group = item.batch, is_outdated is not None
        if group not in self._together:
            finding = self._find_together(item.batch, is_outdated)
            self._together[group] = [], asyncio.create_task(finding)
        items, answered = self._together[group]
        items.append(item)
        await asyncio.shield(answered)

    def is_reading(self, item: WorkItem) -> bool:
        """Whether a work item that has not asked for it is being read again with others."""
        return item in self._taken_along

    async def _find_together(
        self, batch: Batch, is_outdated: Callable[[WorkItem], bool] | None
    ) -> None:
        if is_outdated is None:
            await asyncio.sleep(PAUSE)
            items, _ = self._together.pop((batch, False))
            async for _ in self.find(batch, items):
                pass
            return
        await asyncio.sleep(LONGER_PAUSE)
        items, answered = self._together.pop((batch, True))
        others = batch.open.difference(items)
        along = [one for one in others if one.stage in IDLE and is_outdated(one)]
        items = sorted([*items, *along], key=lambda one: one.number)
        self._taken_along.update(dict.fromkeys(along, answered))
        try:
            fields, snapshot = frozenset(batch.fields), batch.snapshot
            keys = {key for item in items for key in item.keys if key.field in fields}
            outdated = {one.id: one for key in keys for one in snapshot.having(key)}
            async for _ in self._look_up(batch, items):
                pass
            for resource_id, before in outdated.items():
                if snapshot.get(resource_id) is before:  # nothing has shown it again
                    snapshot.forget(resource_id)
            await self._add_own(batch, items)
        finally:
            for one in along:
                del self._taken_along[one]

    async def _look_up(self, batch: Batch, items: list[WorkItem]) -> AsyncIterator[list[WorkItem]]:
        """Look work items up by one field after the other, until each is found or all are tried."""
        read = Read(self._clock(), self._lookup.version)
        for item in items:
            item.read, item.is_complete = read, False
            if item not in self._taken_along:
                item.stage = Stage.LOOKING_UP
        missing = items
        for position, name in enumerate(batch.fields):
            if not missing:
                return
            texts = _texts(batch.object, missing, name)
            if not await self._read_into(batch, name, texts):
                continue
            await self._add_own(batch, missing)
            # Other records of the batch may have shown one that only a later field would find.
            tried = batch.fields[1 : position + 1]
            found = [item for item in missing if item.matches(tried)]
            if found:
                answered = set(found)
                missing = [item for item in missing if item not in answered]
                yield found
        for item in missing:
            item.is_complete = True
        if missing:
            yield missing

    async def _read_into(self, batch: Batch, name: str, texts: list[str]) -> bool:
        """Read all that has some values into a batch's snapshot; say whether that was any."""
        paths = self._lookup.paths(batch.object, name, texts, batch.asked)
        if not paths:
            return False
        started = self._clock()
        reads = (self._requests.read(partial(self._lookup.read, path)) for path in paths)
        doubtful: list[int] = []
        for answer in asyncio.as_completed(list(reads)):
            resources = await answer
            left_out = {*self._own.doubtful(batch.object, resources)}
            doubtful += left_out
            for resource in resources:
                # A list that was read while the record was being written may be older.
                if (
                    resource.id not in left_out
                    and batch.written.get(resource.id, started) <= started
                ):
                    batch.snapshot.put(resource)
        await self._read_anew(batch, doubtful)
        return True

    async def _read_anew(self, batch: Batch, ids: Iterable[int]) -> None:
        """Read records by themselves, each as it is now, where a list may be behind."""
        ids, started = list(dict.fromkeys(ids)), self._clock()
        read = partial(self._lookup.read_one, batch.object, asked=batch.asked)
        reads = (self._requests.read(partial(read, resource_id)) for resource_id in ids)
        for resource_id, resource in zip(ids, await asyncio.gather(*reads), strict=True):
            if resource is None:
                self.forget((batch,), batch.object, resource_id)
                continue
            self._own.seen(batch.object, resource, started)
            if batch.written.get(resource_id, started) <= started:
                batch.snapshot.put(resource)

    def _count(self, batch: Batch, items: list[WorkItem]) -> int:
        """Count the requests that it takes to look work items up."""
        return sum(
            len(self._lookup.paths(batch.object, name, _texts(batch.object, items, name), ()))
            for name in batch.fields[:2]
        )

    async def _add_own(self, batch: Batch, items: Iterable[WorkItem]) -> None:
        """Add to what a lookup has shown what it cannot show."""
        self._writer.recall(batch.snapshot, items)
        await self._read_anew(batch, self._own.hidden(batch.snapshot, items))
        keys = {key for item in items for key in item.keys} if batch.is_related else ()
        if hidden := self._accounts.hidden(batch.snapshot, keys):
            await self._read_into(batch, "id", [str(one) for one in hidden if one > 0])
            unlisted = (one for one in hidden if batch.snapshot.get(one) is None)
            await self._read_anew(batch, unlisted)

    # What is known already

    def remember(self, object_type: ObjectType, resource: Resource) -> None:
        """Take in what was written."""
        self._scans.remember(object_type, resource)
        if not self._writer.is_dry:  # what only would have been written cannot be read
            self._own.note(object_type, resource)

    def forget(self, batches: Iterable[Batch], object_type: ObjectType, resource_id: int) -> None:
        """Drop a record that is not there any more, wherever it is known."""
        for batch in batches:
            batch.snapshot.forget(resource_id)
        self._scans.forget(object_type, resource_id)
        self._own.forget(object_type, resource_id)

    # Whether that can be relied on

    def expiry(self, item: WorkItem, decided: Plan) -> Expiry:
        """Return until when a plan may be carried out, by the lookup that it rests on."""
        batch, read = item.batch, item.read
        if (
            read is None
            or isinstance(decided, Unchanged)
            or batch.stream.rules.sync_mode == "insert"
        ):
            return Expiry()
        if isinstance(decided, Create) and read.version == BY_SCAN and not _is_unique(batch.object):
            return Expiry(AT_ONCE)
        # What it was found by may belong to another record by then; an id does not.
        was_matched = isinstance(decided, Update) and item.desired.id is None
        ages = was_matched or needs_fresh_read(batch.object, decided, batch.stream.rules)
        return Expiry(
            read.at + FRESH if ages else NEVER,
            read.version if _rests_on_absence(batch, decided) else None,
        )

    def is_stale(self, item: WorkItem, decided: Plan) -> bool:
        """Whether a plan rests on a lookup that was cut, or that is too old for it."""
        return self.expiry(item, decided).is_over(self._clock(), self._lookup.version)

    def needs_test(self, batch: Batch, decided: Plan) -> bool:
        """Whether the lookup has to be tested before a plan can be carried out.

        Outreach would not refuse a second account, so that one is created only if a lookup that
        does not show it can be relied on; and nothing is said not to be there by a list that is
        cut.

        Raises:
            RecordFault: The test has failed.
        """
        if not _rests_on_absence(batch, decided) or batch.stream.rules.sync_mode == "insert":
            return False
        if isinstance(decided, Create) and _is_unique(batch.object):
            return False
        test = self._tests.get(_tested(batch))
        if test is None or not test.done():
            return True
        if (failing := test.result()) is not None:
            raise RecordFault(
                "lookup_untrusted",
                f"{failing} in Outreach's lookup of {batch.object.name}, so that this one may be "
                "there already, unseen; it is not created.",
            )
        return False

    async def test(self, batch: Batch) -> None:
        """Test the lookup of a batch's object by its match fields, once a run."""
        name = _tested(batch)
        if name not in self._tests:
            self._tests[name] = asyncio.create_task(self._test(batch))
        await asyncio.shield(self._tests[name])

    async def _test(self, batch: Batch) -> str | None:
        object_type, fields = batch.object, batch.stream.rules.match_fields
        failing = await self._requests.read(partial(self._lookup.test, object_type, fields))
        if failing is not None:
            logger.error(
                "Account creation is disabled for this run, because Outreach's filters hide "
                "existing accounts and duplicates could be created: %s in its lookup of %s. Use "
                "sync_mode update, or match_on with a field that works.",
                failing,
                object_type.name,
            )
        return failing


def _tested(batch: Batch) -> str:
    """Name what a test of the lookup is about."""
    return f"{batch.object.name} by {batch.stream.rules.match_fields}"


def _is_unique(object_type: ObjectType) -> bool:
    """Whether Outreach refuses a second record of what it is found by."""
    return object_type.unique_by is not None


def _rests_on_absence(batch: Batch, decided: Plan) -> bool:
    """Whether a plan is right only if Outreach really holds no such record."""
    return isinstance(decided, Create) or (batch.is_related and isinstance(decided, Skip))


def _texts(object_type: ObjectType, items: Iterable[WorkItem], field_name: str) -> list[str]:
    """List what to ask for by one field: every spelling of every value of every record."""
    said = [one.desired for item in items for one in item.members if one.desired is not None]
    if field_name == "id":
        ids = [item.desired.remembered for item in items] + [desired.id for desired in said]
        return [str(known) for known in ids if known is not None]
    texts: list[str] = []
    for desired in said:
        if desired.id is None and field_keys(object_type, desired, field_name):
            texts += spellings(object_type, field_name, desired.attributes[field_name])
            if desired.given is not None and field_name in desired.given:
                texts.append(desired.given[field_name])
    return texts
