"""Tasks of single requests that run beside the groups."""

import asyncio
from collections.abc import Coroutine


class BackgroundTasks:
    """Keeps references to running tasks, so that they can be counted and canceled."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` as a task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel every running task."""
        for task in self._tasks:
            task.cancel()
