"""Decides when the next group of a lane begins.

When a lane is idle, every request is a group of its own. Under load, requests that arrive while a group runs wait for
the next group, so groups grow by themselves. A second connection begins a group only if a full group waits, or if the
running group is held up.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

HELD_UP_S = 0.02
"""A group that runs longer than this waits for a lock or a slow disk: another connection may begin the next group."""

TIMER_SLACK_S = 0.001
"""Added to timers, because the event loop rounds them to whole milliseconds and must not fire early."""

LINGER_MAX_S = 0.005
"""Maximum time for which a group under load waits for more requests."""

LINGER_FRACTION = 0.25
"""A group lingers for at most this fraction of the last group's duration."""

LINGER_MIN_SIZE = 8
"""Linger before a group only if the last group had at least this many requests."""


class Clock(Protocol):
    """A monotonic clock with timers, such as an event loop."""

    def time(self) -> float:
        """Return the time in seconds."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> "Timer":
        """Call `callback` after `delay` seconds."""


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Do not make the call."""


class GroupScheduler:
    """Shared by the connections of one lane. `waiting` returns the number of requests in the lane's queue."""

    def __init__(
        self,
        waiting: Callable[[], int],
        clock: Clock,
        *,
        group_max: int,
        held_up_s: float,
        linger_max_s: float,
    ) -> None:
        self._waiting = waiting
        self._clock = clock
        self._group_max = group_max
        self._held_up_s = held_up_s
        self._linger_max_s = linger_max_s
        self._running = 0
        self._last_begin = 0.0
        """When the last group began, in seconds of the clock."""
        self._last_size, self._last_duration_s = 0, 0.0
        self._state_changed = asyncio.Event()
        self._lingering = False
        self._linger_over = asyncio.Event()
        self._stopping = False

    def stop(self) -> None:
        """Begin groups without delay until nothing waits, and then no more."""
        self._stopping = True
        self._state_changed.set()

    def notify_arrival(self, waiting: int) -> None:
        """Take note of a new arrival; `waiting` is the number of requests that wait now."""
        if self._lingering:
            if waiting >= self._last_size:
                self._linger_over.set()
        elif self._may_begin(waiting):
            self._state_changed.set()

    async def wait_until_ready(self) -> bool:
        """Return True when a group may begin, and False when the lane stops and nothing waits."""
        while not self._may_begin(self._waiting()):
            if self._stopping and not self._waiting():
                return False
            self._state_changed.clear()
            await self._state_changed.wait()
        return True

    def _may_begin(self, waiting: int) -> bool:
        """Return whether the waiting requests should go now, or should wait while another group runs."""
        return (
            waiting > 0
            and not self._lingering
            and (
                not self._running
                or self._stopping
                or waiting >= self._group_max
                or self._clock.time() - self._last_begin >= self._held_up_s
            )
        )

    async def linger(self) -> None:
        """Under load, wait briefly so that clients that were just answered can join the group with their next request.

        A larger group shares its round trips among more requests. The wait ends when as many requests wait as the last
        group had, or after a fraction of the last group's duration. After a small group there is no wait.
        """
        if not LINGER_MIN_SIZE <= self._last_size > self._waiting():
            return
        self._lingering = True
        self._linger_over.clear()
        timer = self._clock.call_later(
            min(self._linger_max_s, LINGER_FRACTION * self._last_duration_s), self._linger_over.set
        )
        try:
            await self._linger_over.wait()
        finally:
            timer.cancel()
            self._lingering = False

    @contextmanager
    def running(self, size: int) -> Iterator[None]:
        """Mark a group of `size` requests as running inside the block."""
        began_at = self._last_begin = self._clock.time()
        self._clock.call_later(self._held_up_s + TIMER_SLACK_S, self._state_changed.set)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._last_size, self._last_duration_s = size, self._clock.time() - began_at
            self._state_changed.set()
