"""When the next group of a lane begins: idle, every group is a single request; under load groups grow by themselves.

What comes while a group is under way waits for the next. Another connection begins one when a whole group waits, or
when the one under way is held up.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

HELD_UP_S = 0.02
"""A group that takes longer than this waits for a lock or a slow disk: another connection goes on meanwhile."""

LINGER_MAX_S = 0.005
"""How long a group under load waits at the most for others to join it."""

TIMER_SLACK_S = 0.001
"""Timers of the event loop count whole milliseconds: one that is asked for this much later is never early."""

LINGER_MIN_SIZE = 8
"""Size of a group after which the next one is joined."""

LINGER_FRACTION = 0.25
"""How long that may take: a part of the time that the last group took, and `linger_max_s` at the most."""


class GroupScheduler:
    """One for each lane, shared by its connections; `waiting` says how many wait in its queue."""

    def __init__(self, waiting: Callable[[], int], *, group_max: int, held_up_s: float, linger_max_s: float) -> None:
        self._waiting = waiting
        self._group_max = group_max
        self._held_up_s = held_up_s
        self._gather_max_s = linger_max_s
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._began = 0.0
        """When the last group began, by the event loop's clock, in seconds."""
        self._last_size, self._last_s = 0, 0.0
        self._may_look = asyncio.Event()
        self._lingering = False
        self._joined = asyncio.Event()
        self._stopping = False

    def stop(self) -> None:
        """Lets what waits go at once; then there are no more groups."""
        self._stopping = True
        self._may_look.set()

    def notify_arrival(self, waiting: int) -> None:
        """To be called when one more has come, and so many wait now."""
        if self._lingering:
            if waiting >= self._last_size:
                self._joined.set()
        elif self._may_begin(waiting):
            self._may_look.set()

    async def wait_until_ready(self) -> bool:
        """Returns when a group may begin; False if none will, because the lane stops and nobody waits."""
        while not self._may_begin(self._waiting()):
            if self._stopping and not self._waiting():
                return False
            self._may_look.clear()
            await self._may_look.wait()
        return True

    def _may_begin(self, waiting: int) -> bool:
        """Whether what waits is to go now, or to grow while another group is under way."""
        return (
            waiting > 0
            and not self._lingering
            and (
                not self._running
                or self._stopping
                or waiting >= self._group_max
                or self._loop.time() - self._began >= self._held_up_s
            )
        )

    async def linger(self) -> None:
        """Under load, lets those come again who were just answered: a larger group costs less for each of them.

        It is worth a part of the time that the last group took, and over when as many wait as that one had. After a
        small group nobody waits.
        """
        if not LINGER_MIN_SIZE <= self._last_size > self._waiting():
            return
        self._lingering = True
        self._joined.clear()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._gather_max_s, LINGER_FRACTION * self._last_s)):
                    await self._joined.wait()
        finally:
            self._lingering = False

    @contextmanager
    def running(self, size: int) -> Iterator[None]:
        """To be entered for as long as a group takes."""
        began = self._began = self._loop.time()
        self._loop.call_later(self._held_up_s + TIMER_SLACK_S, self._may_look.set)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._last_size, self._last_s = size, self._loop.time() - began
            self._may_look.set()
