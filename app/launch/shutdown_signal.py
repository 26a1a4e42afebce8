"""SIGINT, SIGTERM and SIGHUP.

During start-up they exit immediately; while the server runs they request a graceful shutdown; during the shutdown they
are ignored.
"""

import asyncio
import signal
import sys
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Added to the signal number in a shell's exit status of a killed program.
SHELL_SIGNAL_STATUS = 128


class ShutdownSignal:
    """A shutdown request. Create it in the main thread before anything is started."""

    def __init__(self) -> None:
        self._react: Callable[[int], object] = sys.exit
        for number in SIGNALS:
            # nohup ignores SIGHUP so that the server outlives the terminal: leave it ignored. Shells ignore SIGINT in
            # background jobs, but a SIGINT sent to such a job still means that it should stop.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    async def wait(self) -> None:
        """Return when a signal has arrived; the caller must then stop everything that it started."""
        loop = asyncio.get_running_loop()
        requested = asyncio.Event()
        self._react = lambda _: loop.call_soon_threadsafe(requested.set)
        try:
            await requested.wait()
        finally:
            self._react = _ignore

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """React to the first signal only. Each step of a shutdown has a time limit, so it need not be hurried."""
        react, self._react = self._react, _ignore
        react(SHELL_SIGNAL_STATUS + number)


def _ignore(_status: int) -> None:
    pass
