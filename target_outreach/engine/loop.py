"""The thread that decides: it runs an event loop, takes batches in, and ends with the run.

All decisions about records are made on this thread, so that none of their state needs a lock.
Requests run on other threads (`requests`). Two batches are delivered at a time: while one is being
written, the next is looked up, and the main thread reads and maps the one after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any

from target_outreach.engine.batches import Batches
from target_outreach.engine.requests import Requests
from target_outreach.engine.tasks import Tasks
from target_outreach.errors import EndedEarly

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.engine.ordering import Together
    from target_outreach.engine.tools import Tools
    from target_outreach.inbox import Inbox

logger = logging.getLogger("target-outreach")

BATCHES_UNDER_WAY = 2

#: Seconds that writes in flight get to end when the run must.
GRACE = 20.0

#: Seconds of that which need no explanation.
SOON = 1.0

#: Seconds between two looks at whether anything still happens.
WATCH = 5.0


class Engine:
    """Takes batches, delivers their records, settles them and releases STATE.

    Attributes:
        error: What has stopped the engine, or None.
    """

    def __init__(self, tools: Tools, inbox: Inbox) -> None:
        """Start the threads.

        Args:
            tools: What to deliver with.
            inbox: Woken, from any thread, when the main thread is to look around.
        """
        self.error: Exception | None = None
        self._failed_at: float | None = None
        self._tools = tools
        self._settlement = tools.settlement
        self._inbox = inbox
        self._changed = threading.Condition()
        self._under_way = 0
        # Where the first reject ends the run, what follows it is not to be written meanwhile.
        self._most_under_way = 1 if tools.settlement.stops_at_rejects else BATCHES_UNDER_WAY
        self._settling = 0
        self._is_closing = False
        self._has_begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        self._has_begun.wait()

    # What other threads call

    def submit(self, batches: Sequence[tuple[Stream, list[Item]]]) -> None:
        """Hand over batches of several streams at once; wait while enough of them are under way.

        Args:
            batches: Each with its stream; they are delivered in the order of their records.

        Raises:
            Exception: Why the engine has stopped.
        """
        with self._changed:
            while self._under_way >= self._most_under_way and not self._settlement.is_aborting:
                self.raise_error()
                self._changed.wait(0.5)
            self.raise_error()
            self._under_way += len(batches)
        self._call(self._take, batches)

    def look_around(self) -> None:
        """Release what STATE can be released, now that one more may have come."""
        self._call(self._settlement.release)

    def settle_unchanged(self, stream: Stream, numbers: list[int]) -> None:
        """Settle records that are known to say what they said when they were last delivered.

        Waits while much of that is to be done, as it is where nobody reads STATE.
        """

        def settle() -> None:
            with self._changed:
                self._settling -= 1
                self._changed.notify_all()
            self._settlement.unchanged(stream, numbers)
            self._settlement.release()

        with self._changed:
            while self._settling >= BATCHES_UNDER_WAY and self.error is None:
                self._changed.wait(0.5)
            self._settling += 1
        self._call(settle)

    def knows_edits(self, stream: Stream) -> bool:
        """Whether the memory says what others have edited, as far as the settings ask for that."""
        return self._batches.memory_check.knows_edits(stream)

    def raise_error(self) -> None:
        """Raise what has stopped the engine, if anything has."""
        if self.error is not None:
            raise self.error

    def stop(self, error: Exception) -> None:
        """Start nothing more, settle what is being written, and end; safe in a signal handler."""
        if self.error is None:
            # Set here, since the engine's thread may be stuck at a full standard output.
            self.error, self._failed_at = error, self._tools.clock()
        self._tools.pacer.stop()  # the engine's thread may wait between two tries of a request
        self._call(self._halt)

    def finish(self) -> None:
        """Wait until all batches are settled, or after a stop until what is being written is.

        Raises:
            Exception: Why the engine has stopped.
        """
        self._call(self._close)
        is_said = False
        # Short waits, since a thread that joins another one is deaf to signals on some systems.
        while self._thread.is_alive():
            waited = 0.0 if self._failed_at is None else self._tools.clock() - self._failed_at
            if waited > GRACE:
                break
            if waited > SOON and not is_said:
                is_said = True
                logger.info(
                    "Waiting for the writes in flight, for %.0f seconds at most. A second signal "
                    "ends the run at once.",
                    GRACE,
                )
            self._thread.join(0.2)
        self.raise_error()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401
        """Have something done on the engine's thread, unless that has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._do, function, arguments)

    # The engine's own thread

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except Exception as error:  # noqa: BLE001 - raised again on the main thread
            self._fail(error)
        finally:
            self._has_begun.set()
            with self._changed:
                self._changed.notify_all()

    async def _live(self) -> None:
        """Deliver until all is done, or the run has to end."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._on_lost_error)
        self._ended = asyncio.Event()
        self._tasks = Tasks(self._on_end_of_task)
        self._requests = Requests(self._tools.parallel)
        self._batches = Batches(self._tools, self._requests, self._tasks)
        self._has_begun.set()
        watch = asyncio.create_task(self._watch())
        await self._ended.wait()
        watch.cancel()
        self._tasks.stop()
        await self._tasks.all_ended()
        self._end()

    def _do(self, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            function(*arguments)
            self._look_around()
        except Exception as error:  # noqa: BLE001 - raised again on the main thread
            self._fail(error)

    def _take(self, batches: Sequence[tuple[Stream, list[Item]]]) -> None:
        # Numbered here, since a later call may come before their coroutines begin.
        streams, _ = zip(*batches, strict=True)
        together = self._batches.together(streams)
        for stream, items in batches:
            self._tasks.start(self._deliver_batch(stream, items, together))

    async def _deliver_batch(self, stream: Stream, items: list[Item], together: Together) -> None:
        await self._batches.deliver_batch(stream, items, together)
        self._settlement.release()
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def _on_end_of_task(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self._fail(error)
            return
        try:
            self._look_around()
        except Exception as failure:  # noqa: BLE001 - raised again on the main thread
            self._fail(failure)

    def _look_around(self) -> None:
        """Go on with what depends on all records.

        Raises:
            RunError: The run has to end.
        """
        if self.error is not None:
            return
        if self._settlement.is_aborting:
            self._batches.withdraw_aborted()
            self._settlement.check_abort()
            self._inbox.wake()
            with self._changed:
                self._changed.notify_all()
        if self._is_closing and not self._under_way:
            self._is_closing = False  # said once
            self._tasks.start(self._conclude())

    async def _conclude(self) -> None:
        """Deliver what waited for the end of the input, and end."""
        while batches := self._batches.deferred.release():
            # Counted first, since a batch may be settled as soon as it is taken.
            self._under_way += len(batches)
            one_by_one = ((*batch, self._batches.together(batch[:1])) for batch in batches)
            await asyncio.gather(*(self._deliver_batch(*batch) for batch in one_by_one))
        await self._batches.memory_check.finish()
        self._ended.set()

    async def _watch(self) -> None:
        """End a run in which nothing happens any more, which only a mistake of ours can cause."""
        ended = -1
        was_still = False
        while True:
            await asyncio.sleep(WATCH)
            is_still = self._tasks.ended == ended and not self._requests.in_flight
            if is_still and was_still and self._tasks:  # once may be a pause between two requests
                self._fail(RuntimeError("Nothing is in flight and nothing can be decided."))
            ended, was_still = self._tasks.ended, is_still

    def _close(self) -> None:
        self._is_closing = True

    def _fail(self, error: Exception) -> None:
        """Keep the first error, and let nothing start any more."""
        if self.error is None:
            self.error, self._failed_at = error, self._tools.clock()
        self._halt()

    def _halt(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self._tools.pacer.stop()
        self._inbox.wake()
        self._ended.set()

    def _on_lost_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Hear of an error that nobody waited for; after a stop that is in order."""
        error = context.get("exception")
        if self.error is None and isinstance(error, Exception):
            self._fail(error)

    def _end(self) -> None:
        self._requests.close()
        self._batches.close()
        try:
            if isinstance(self.error, EndedEarly):
                self._batches.give_up_deferred()
            self._settlement.close()
        except Exception as error:  # noqa: BLE001 - raised again on the main thread
            self._fail(error)
