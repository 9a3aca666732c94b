"""Requests that coroutines wait for, carried out by threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Requests:
    """Runs blocking calls on threads of its own; used on the thread of the event loop only.

    Attributes:
        are_quiet: Set while no lookup waits for its answer.
        in_flight: How many calls are being waited for, those that wait for a thread included.
    """

    def __init__(self, parallel: int) -> None:
        """Start nothing yet.

        Args:
            parallel: The most requests in flight.
        """
        self.are_quiet = asyncio.Event()
        self.are_quiet.set()
        self.in_flight = 0
        self._reads = 0
        self._threads = ThreadPoolExecutor(parallel, "request")
        # An import is waited for much longer than a request, and must not keep others waiting.
        self._importer = ThreadPoolExecutor(1, "import")

    async def write(self, task: Callable[[], T]) -> T:
        """Run a call that writes, and return its result.

        Raises:
            Exception: What the call has raised.
        """
        return await self._run(self._threads, task)

    async def read(self, task: Callable[[], T]) -> T:
        """Run a call that reads, and return its result.

        Raises:
            Exception: What the call has raised.
        """
        self._reads += 1
        self.are_quiet.clear()
        try:
            return await self._run(self._threads, task)
        finally:
            self._reads -= 1
            if not self._reads:
                self.are_quiet.set()

    async def run_import(self, task: Callable[[], T]) -> T:
        """Run a call that carries out an import; there is one at a time.

        Raises:
            Exception: What the call has raised.
        """
        return await self._run(self._importer, task)

    def close(self) -> None:
        """Let the threads end when their calls are done."""
        self._threads.shutdown(wait=False)
        self._importer.shutdown(wait=False)

    async def _run(self, threads: ThreadPoolExecutor, task: Callable[[], T]) -> T:
        self.in_flight += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, task)
        finally:
            self.in_flight -= 1
