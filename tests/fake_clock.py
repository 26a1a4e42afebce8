"""A clock that stands still until a test advances it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

TURNS = 10
"""Turns of the event loop after which every task that can run has run."""


@dataclass(eq=False)
class FakeTimer:
    """A scheduled call."""

    due_at: float
    callback: Callable[[], None]
    canceled: bool = False

    def cancel(self) -> None:
        self.canceled = True


class FakeClock:
    """Satisfies `app.group_scheduler.Clock`; `advance` makes the scheduled calls that are due."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[FakeTimer] = []

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> FakeTimer:
        timer = FakeTimer(self._now + delay, callback)
        self._timers.append(timer)
        return timer

    async def advance(self, seconds: float) -> None:
        """Move the time, make the calls that are due, and let every task run that can."""
        end = self._now + seconds
        while due := [timer for timer in self._timers if timer.due_at <= end]:
            timer = min(due, key=lambda timer: timer.due_at)
            self._timers.remove(timer)
            self._now = max(self._now, timer.due_at)
            if not timer.canceled:
                timer.callback()
                await let_tasks_run()
        self._now = end
        await let_tasks_run()


async def let_tasks_run() -> None:
    """Return when every task that can run without a timer or I/O has run."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
