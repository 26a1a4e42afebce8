"""What SIGINT, SIGTERM and SIGHUP do: they end a start at once, stop a running server, and do not hurry a stop."""

import asyncio
import signal
import sys
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What a shell reports for a program that a signal ended.
SHELL_SIGNAL_STATUS = 128


class Interruption:
    """The wish to stop; make it in the main thread before anything is started."""

    def __init__(self) -> None:
        self._react: Callable[[int], object] = sys.exit
        for number in SIGNALS:
            # Whoever starts us with nohup wants us to outlive the terminal. SIGINT is ignored in what a script runs in
            # the background, and whoever sends it to that wants it to stop all the same.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    async def wait(self) -> None:
        """Returns when a signal has come; what was started is now to be stopped."""
        loop = asyncio.get_running_loop()
        wished = asyncio.Event()
        self._react = lambda _: loop.call_soon_threadsafe(wished.set)
        try:
            await wished.wait()
        finally:
            self._react = _ignore

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Only the first one counts; a stop takes as long as it takes, and each of its steps has a limit."""
        react, self._react = self._react, _ignore
        react(SHELL_SIGNAL_STATUS + number)


def _ignore(_status: int) -> None:
    pass
