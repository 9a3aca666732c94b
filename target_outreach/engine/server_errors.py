"""Records that Outreach fails at (5xx): for them alone, or in an outage.

The tries of one record are the usual ones. Whether others fare better is known when they were
tried, so a record that failed first waits until one of them has been answered, or none is left.
Where one was answered before the last try of the record, it is rejected. Where one was answered
only after that, an outage may just have ended, and the record is tried once more. Where none was,
it is tried for as long as `max_outage_minutes` says. After that the run ends, unless other records
of it are in Outreach as they should be: then the few that are left are rejected.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from target_outreach.bounds import MOST_IN_SILENCE, MOST_WAITING
from target_outreach.engine.batch import Stage

if TYPE_CHECKING:
    from target_outreach.delivery.settlement import Settlement
    from target_outreach.engine.batch import WorkItem
    from target_outreach.engine.job import Unserved
    from target_outreach.engine.ordering import WriteQueue
    from target_outreach.outreach.outages import Outages

#: Seconds between two checks of the outcomes of others.
PAUSE = 0.05


class ServerErrors:
    """Tells failures at single records from outages, on the thread of the event loop."""

    def __init__(self, queue: WriteQueue, settlement: Settlement, outages: Outages) -> None:
        """Know of no failure.

        Args:
            queue: What is being written, or is next.
            settlement: Whether anything was delivered.
            outages: Whether writes are answered, and for how long outages are borne.
        """
        self._queue = queue
        self._settlement = settlement
        self._outages = outages
        self._waiting = 0
        self._in_silence = 0

    async def wait_out(self, item: WorkItem, unserved: Unserved) -> None:
        """Return when a record is to be tried again.

        Raises:
            RecordFault: Outreach fails at it alone.
            RunError: It is an outage, which has lasted too long.
        """
        outages = self._outages
        is_alone = not self._waiting and not self._queue.is_used
        since = item.failing_since or (unserved.began if is_alone else unserved.half_way)
        if unserved.served_at > since and not item.is_patient:
            self._in_silence = 0
            raise unserved.fault
        item.failing_since, item.stage = since, Stage.QUEUED
        self._waiting += 1
        try:
            while self._queue.is_used and not outages.has_served(since):
                if outages.is_too_long and self._waiting >= MOST_WAITING:
                    break
                await asyncio.sleep(PAUSE)
        finally:
            self._waiting -= 1
        item.is_patient = not outages.has_served(since)
        if item.is_patient and outages.is_too_long:
            self._in_silence += 1
            if not self._settlement.has_delivered or self._in_silence > MOST_IN_SILENCE:
                raise unserved.error
            raise unserved.fault
