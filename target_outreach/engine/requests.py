"""Requests that coroutines wait for, carried out by threads."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from target_outreach.engine.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Requests:
    """Runs blocking calls on threads of its own; used on the thread of the event loop only.

    Attributes:
        are_quiet: Set while no lookup waits for its answer.
        in_flight: How many calls are being carried out, or wait for a thread.
    """

    def __init__(self, parallel: int) -> None:
        """Start the threads.

        Args:
            parallel: The most requests in flight.
        """
        self.are_quiet = asyncio.Event()
        self.are_quiet.set()
        self._workers = Workers(parallel)
        # An import is waited for much longer than a request, and must not keep others waiting.
        self._importer: Workers | None = None
        self._reads = 0
        self.in_flight = 0

    async def write(self, task: Callable[[], T]) -> T:
        """Run a call that writes, and return its result.

        Raises:
            Exception: What the call has raised.
        """
        return await self._result_of(self._workers, task)

    async def read(self, task: Callable[[], T]) -> T:
        """Run a call that reads, and return its result.

        Raises:
            Exception: What the call has raised.
        """
        self._reads += 1
        self.are_quiet.clear()
        try:
            return await self._result_of(self._workers, task)
        finally:
            self._reads -= 1
            if not self._reads:
                self.are_quiet.set()

    async def run_import(self, task: Callable[[], T]) -> T:
        """Run a call that carries out an import; there is one at a time.

        Raises:
            Exception: What the call has raised.
        """
        if self._importer is None:
            self._importer = Workers(1)
        return await self._result_of(self._importer, task)

    def close(self) -> None:
        """Let the threads end when their calls are done."""
        self._workers.close()
        if self._importer is not None:
            self._importer.close()

    async def _result_of(self, workers: Workers, task: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[T] = loop.create_future()

        def on_result(result: T | Exception) -> None:
            self.in_flight -= 1
            if answered.done():  # the run has stopped, and nobody waits any more
                return
            if isinstance(result, Exception):
                answered.set_exception(result)
            else:
                answered.set_result(result)

        def hand_over(result: T | Exception) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(partial(on_result, result))

        self.in_flight += 1
        workers.submit(task, hand_over)
        return await answered
