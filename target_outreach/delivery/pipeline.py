"""From batches of records to settled records and STATE.

One thread owns all decisions, so none of its state needs a lock; requests run on worker threads
and come back as events. Two batches are under way at a time: while one is being written, the next
is looked up, and the target maps the one after that.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from target_outreach.delivery.scheduler import Scheduler
from target_outreach.delivery.workers import Workers
from target_outreach.errors import EndedEarly, RecordFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from target_outreach.delivery.enrolment import Enrols
    from target_outreach.delivery.memory import Memory
    from target_outreach.delivery.scheduler import Deliverer
    from target_outreach.delivery.settlement import Settlement
    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.outreach.imports import Imports
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.records.model import ObjectType

BATCHES_UNDER_WAY = 2

#: Seconds that requests in flight get to end when the run must.
GRACE = 20.0


class Pipeline:
    """Takes batches, delivers their records, settles them and releases STATE.

    Attributes:
        error: What has stopped the pipeline, or None.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        *,
        lookup: Lookup,
        writer: Deliverer,
        enrolments: Enrols,
        pacer: Pacer,
        settlement: Settlement,
        objects: Mapping[str, ObjectType],
        wake: Callable[[], None],
        parallel: int = 4,
        imports: Imports | None = None,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the threads.

        Args:
            lookup: Finds records in Outreach.
            writer: Writes them, or does as if.
            enrolments: Puts prospects into sequences, or does as if.
            pacer: Grants requests; told to grant none when the run must end.
            settlement: Settles records.
            objects: The objects as the organisation has them, the same ones as those of streams.
            wake: Called, on any thread, when the pipeline has failed.
            parallel: The most requests in flight.
            imports: Carries out many updates at a time, if that is to be done.
            memory: Knows what was delivered before, if a memory is kept.
            clock: A monotonic clock in seconds.
        """
        self.error: Exception | None = None
        self._failed_at: float | None = None
        self._pacer = pacer
        self._settlement = settlement
        self._wake = wake
        self._clock = clock
        self._workers = Workers(parallel)
        # An import is waited for much longer than a request, and must not keep others waiting.
        self._importer = Workers(0 if imports is None else 1)
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._under_way = 0
        self._settling = 0
        self._closing = False
        self._scheduler = Scheduler(
            lookup=lookup,
            writer=writer,
            enrolments=enrolments,
            pacer=pacer,
            settlement=settlement,
            objects=objects,
            send=partial(self._send, self._workers),
            batch_done=self._batch_done,
            parallel=parallel,
            imports=imports,
            send_import=partial(self._send, self._importer),
            memory=memory,
            clock=clock,
        )
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
        self._thread.start()

    # What other threads call

    def submit(self, stream: Stream, items: list[Item]) -> None:
        """Hand over a batch; wait while enough of them are under way.

        Raises:
            Exception: Why the pipeline has stopped.
        """
        with self._changed:
            while self._under_way >= BATCHES_UNDER_WAY and not self.is_aborting:
                self.raise_error()
                self._changed.wait(0.5)
            self.raise_error()
            self._under_way += 1
        self._events.put(partial(self._scheduler.take, stream, items))

    def look_around(self) -> None:
        """Release what STATE can be released, now that one more may have come."""
        self._events.put(self._settlement.release)

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
        self._events.put(settle)

    @property
    def kept_before(self) -> int:
        """The sequence number before which all is settled, and kept in the memory."""
        return self._settlement.kept_before

    def knows_edits(self, stream: Stream) -> bool:
        """Whether the memory says what others have edited, as far as the settings ask for that."""
        return self._scheduler.knows_edits(stream)

    def raise_error(self) -> None:
        """Raise what has stopped the pipeline, if anything has."""
        if self.error is not None:
            raise self.error

    @property
    def is_aborting(self) -> bool:
        """Whether all that was received is to be handed over, since the run is about to stop."""
        return self._settlement.is_aborting

    def stop(self, error: Exception) -> None:
        """Start nothing more, settle what is in flight, and end; safe in a signal handler."""
        if self.error is None:
            # Set here, since the pipeline's thread may be stuck at a full standard output.
            self.error, self._failed_at = error, self._clock()
        self._events.put(self._halt)

    def finish(self) -> None:
        """Wait until all batches are settled, or after a stop until what is in flight is.

        Raises:
            Exception: Why the pipeline has stopped.
        """
        self._events.put(self._close)
        # Short waits, since a thread that joins another one is deaf to signals on some systems.
        while self._thread.is_alive() and not self._is_overdue():
            self._thread.join(0.2)
        self.raise_error()

    def _is_overdue(self) -> bool:
        return self._failed_at is not None and self._clock() - self._failed_at > GRACE

    # The pipeline's own thread

    def _run(self) -> None:
        while not self._is_done():
            event = self._events.get()
            try:
                self._handle(event)
            except Exception as error:  # noqa: BLE001 - raised again on the main thread
                self._fail(error)
        self._end()

    def _handle(self, event: Callable[[], None]) -> None:
        event()
        if self.error is None:
            self._scheduler.decide()
            if self._settlement.is_aborting:
                self._settlement.check_abort()
                self._wake()
                with self._changed:
                    self._changed.notify_all()
            if self._closing and self._under_way == 0:
                self._deliver_put_off()
            if self._in_flight == 0 and self._events.empty() and self._scheduler.is_stuck:
                raise RuntimeError("Nothing is in flight and nothing can be decided.")
        else:
            self._settlement.release()

    def _deliver_put_off(self) -> None:
        """Go on with what was put off to the end of input; with nothing left, finish."""
        while self._under_way == 0 and (batches := self._scheduler.put_off()):
            # Counted first, since a batch may be settled as soon as it is taken.
            self._under_way += len(batches)
            for stream, items in batches:
                self._scheduler.take(stream, items)
            self._scheduler.decide()
        if self._under_way == 0:
            self._scheduler.finish()

    def _is_done(self) -> bool:
        if self.error is not None:
            return self._in_flight == 0
        return self._closing and self._under_way == 0 and self._in_flight == 0

    def _end(self) -> None:
        self._workers.close()
        self._importer.close()
        self._scheduler.close()
        try:
            if isinstance(self.error, EndedEarly):
                self._scheduler.give_up()
            self._settlement.close()
        except Exception as error:  # noqa: BLE001 - raised again on the main thread
            self._fail(error)
        with self._changed:
            self._changed.notify_all()

    def _close(self) -> None:
        self._closing = True

    def _fail(self, error: Exception) -> None:
        """Keep the first error, and let no request start any more."""
        if self.error is None:
            self.error, self._failed_at = error, self._clock()
            self._halt()

    def _halt(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self._pacer.stop()
        self._wake()

    def _send(self, workers: Workers, task: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run a request on a worker; its result comes back as an event of this thread."""
        self._in_flight += 1

        def on_result(result: Any) -> None:  # noqa: ANN401 - whatever the task returns
            self._in_flight -= 1
            if isinstance(result, Exception) and not isinstance(result, RecordFault):
                self._fail(result)
                return
            then(result)

        workers.submit(task, lambda result: self._events.put(partial(on_result, result)))

    def _batch_done(self) -> None:
        self._settlement.release()
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()
