"""The clock of the event loop in the hands of a test, so that a timeout expires without a wait."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fake_clock import let_tasks_run


class LoopClock:
    """The time of an event loop: it passes as usual until a test advances or freezes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._passing = loop.time
        self._added_s = 0.0

    def time(self) -> float:
        """Return the time in seconds."""
        return self._passing() + self._added_s

    def freeze(self) -> None:
        """Stop the time at a whole second: from now on, only `advance` moves it."""
        frozen_at = float(math.ceil(self.time()))
        self._passing = lambda: frozen_at
        self._added_s = 0.0

    async def advance(self, seconds: float) -> None:
        """Move the time, and let every task run whose timer has expired."""
        self._added_s += seconds
        await let_tasks_run()


@contextmanager
def controlled_time() -> Iterator[LoopClock]:
    """Put the time of the running event loop under control inside the block."""
    loop = asyncio.get_running_loop()
    clock = LoopClock(loop)
    loop.time = clock.time  # type: ignore[method-assign]
    try:
        yield clock
    finally:
        del loop.time
