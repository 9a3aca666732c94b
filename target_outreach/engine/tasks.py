"""The tasks of a run: each is watched, and ends with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from target_outreach.engine.batch import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from target_outreach.engine.batch import WorkItem


class Tasks:
    """Starts tasks on the event loop, and stops them.

    Attributes:
        is_stopping: Whether nothing new is to be started.
        ended: How many have ended.
    """

    def __init__(self, on_end: Callable[[BaseException | None], None]) -> None:
        """Begin with none.

        Args:
            on_end: Hears of each task that has ended, and what it has raised.
        """
        self.is_stopping = False
        self.ended = 0
        self._on_end = on_end
        self._tasks: dict[asyncio.Task[None], WorkItem | None] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, task: Coroutine[Any, Any, None], item: WorkItem | None = None) -> None:
        """Start a task.

        Args:
            task: What to do.
            item: The work item that it delivers, if it is about one.
        """
        if self.is_stopping:
            task.close()
            return
        started = asyncio.create_task(task)
        self._tasks[started] = item
        started.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self.ended += 1
        self._on_end(None if task.cancelled() else task.exception())

    def stop(self) -> None:
        """Let no task go on but those in which something is being written.

        A work item whose task is cancelled keeps its stage, and wakes nobody. So what goes on may
        not wait for other work items any more.
        """
        self.is_stopping = True
        for task, item in list(self._tasks.items()):
            if item is None or item.stage is not Stage.WRITING:
                task.cancel()

    async def all_ended(self) -> None:
        """Wait until no task is left."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
