"""Threads that carry out requests: daemons, so that a hanging one cannot keep the process alive."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Task = tuple["Callable[[], Any]", "Callable[[Any], None]"]


class Workers:
    """A fixed number of threads that run tasks in the order in which they come."""

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"request-{number}", daemon=True)
            for number in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run a task on a thread, and hand its result, or its exception, to `then` there."""
        self._tasks.put((task, then))

    def close(self) -> None:
        """Let the threads end when their tasks are done."""
        for _ in self._threads:
            self._tasks.put(None)

    def _run(self) -> None:
        while (entry := self._tasks.get()) is not None:
            task, then = entry
            try:
                result = task()
            except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
                result = error
            then(result)
