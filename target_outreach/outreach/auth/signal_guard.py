"""Letting signals wait for something that must not be cut in two.

A token that was minted and not kept may be the only one that still works. Signals reach the main
thread only; there, while a `SignalGuard` is entered, the first is kept for some seconds, and a
second ends the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from target_outreach.errors import Interrupted

if TYPE_CHECKING:
    from types import FrameType

    from target_outreach.outreach.outages import Outages
    from target_outreach.outreach.pacing import Pacer

NUMBERS = (signal.SIGINT, signal.SIGTERM)

#: Seconds of a rest after which a signal is looked for.
LOOK = 0.25

#: Seconds that a signal waits at most: whatever hangs for longer is not worth waiting for.
PATIENCE = 5.0


class SignalGuard:
    """A context manager that lets signals wait, on the main thread, which they are for."""

    def __init__(self, pacer: Pacer) -> None:
        """Defer nothing yet; the pacer waits, or raises because the run ends."""
        self._pacer = pacer
        self._before: dict[int, Any] = {}
        self._received: list[int] = []
        self._timer: threading.Timer | None = None

    @property
    def outages(self) -> Outages:
        """Decides how long a run waits while no usable answer comes."""
        return self._pacer.outages

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._received = []
            self._before = {number: signal.signal(number, self._receive) for number in NUMBERS}
        return self

    def __exit__(self, *_exception: object) -> None:
        before, self._before = self._before, {}
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
        if before and self._received:
            signal.raise_signal(self._received[0])

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._received:
            os._exit(128 + number)
        self._received.append(number)
        self._timer = threading.Timer(PATIENCE, os._exit, (128 + number,))
        self._timer.daemon = True
        self._timer.start()

    def rest_before_retry(self, seconds: float) -> None:
        """Rest as `rest` does, and have the progress say until when."""
        with self._pacer.retry_in(seconds):
            self.rest(seconds)

    def rest(self, seconds: float) -> None:
        """Wait some seconds between two tries, in which nothing is cut in two by a signal.

        Raises:
            Interrupted: A signal has come.
            EndedEarly: The run ends, or the wait is too long.
        """
        if not self._before or threading.current_thread() is not threading.main_thread():
            self._pacer.rest(seconds)
            return
        self._pacer.rest(min(0.0, seconds))
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._received:
                raise Interrupted(self._received[0])
            self._pacer.rest(min(left, LOOK))
