"""Processes that are wanted as long as the server runs: one that ends is started again."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import psutil
import structlog

from app.errors import StoreUnavailable
from app.launch.shutdown_signal import Interruption
from app.parent_death import bound_command

# The first restart is quick, so that one crash hardly shows; a process that cannot live does not eat the machine.
RESTART_FIRST_S = 0.1
RESTART_MAX_S = 5.0
# Whoever lived this long had started well; its next restart is quick again.
SOUND_S = 10.0
# Longer than a worker's own grace for its last requests.
STOP_S = 15.0
# So often in a row it may end, or not be ready in time, before it ever was ready.
START_ATTEMPTS = 8
# A large catalog is read before a worker is ready.
READY_S = 300.0
# A process that is seen stopped (SIGSTOP) twice, one look after the other, is as good as dead.
FROZEN_LOOK_S = 5.0

log = structlog.get_logger()


class KeptProcess:
    """One module that runs as a process of its own.

    Its standard input is a socket: it writes a byte there when it is ready, and ends when the socket is closed, so
    that it never outlives its launcher; on Linux it is killed with it. One that is frozen is killed and started again.
    `on_end` hears the process id of each that has ended.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        on_end: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.name = name
        # -P: a folder named `app` where the command was called is not ours.
        self._module = [sys.executable, "-P", "-m", module, *arguments]
        self._environment = {**os.environ, **environment}
        self._on_end = on_end
        self.ready = asyncio.Event()

    async def keep(self) -> None:
        """Runs it until cancelled, which stops it.

        Raises StoreUnavailable if it ends START_ATTEMPTS times in a row before it ever was ready.
        """
        loop = asyncio.get_running_loop()
        pause_s = RESTART_FIRST_S
        failures = 0
        while True:
            began = loop.time()
            status = await self._run()
            failures += 1
            if failures == START_ATTEMPTS and not self.ready.is_set():
                raise StoreUnavailable(
                    f"{self.name} does not start: it ended {failures} times before it was ready (exit status {status})"
                )
            if loop.time() - began > SOUND_S:
                pause_s = RESTART_FIRST_S
            log.warning("process_ended", process=self.name, status=status, restart_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_MAX_S)

    async def _run(self) -> int:
        """Starts it and returns its exit status."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *bound_command(self._module, signal.SIGKILL), stdin=theirs.fileno(), env=self._environment
                )
            watching = asyncio.create_task(self._kill_when_frozen(process))
            try:
                if await self._says_ready(ours):
                    self.ready.set()
                else:
                    await _stop(process)
                return await process.wait()
            finally:
                watching.cancel()
                await _stop(process)
                self._on_end(process.pid)

    async def _says_ready(self, ours: socket.socket) -> bytes:
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(READY_S):
                return await asyncio.get_running_loop().sock_recv(ours, 1)
        return b""

    async def _kill_when_frozen(self, process: asyncio.subprocess.Process) -> None:
        """Counts looks rather than time, because with Ctrl-Z a shell stops us too, and continues all together."""
        frozen = False
        with suppress(psutil.NoSuchProcess):
            kept = psutil.Process(process.pid)
            while True:
                await asyncio.sleep(FROZEN_LOOK_S)
                was_frozen, frozen = frozen, kept.status() == psutil.STATUS_STOPPED
                if was_frozen and frozen:
                    log.warning("process_frozen", process=self.name)
                    kept.kill()


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Asks it to end, and insists after STOP_S."""
    if process.returncode is not None:
        return
    process.terminate()
    process.send_signal(signal.SIGCONT)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def keep_until_interrupted(
    processes: Sequence[KeptProcess],
    interruption: Interruption,
    on_ready: Callable[[], None],
    on_stop: Callable[[], None],
) -> None:
    """Keeps them all until a signal comes, and returns when all have ended.

    `on_ready` is called when all are ready, `on_stop` before the first is stopped.

    Raises StoreUnavailable if one of them does not start.
    """
    keeping = [asyncio.create_task(process.keep()) for process in processes]
    announcing = asyncio.create_task(_announce(processes, on_ready))
    interrupted = asyncio.create_task(interruption.wait())
    try:
        done, _ = await asyncio.wait([*keeping, interrupted], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        on_stop()
        tasks = [*keeping, announcing, interrupted]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _announce(processes: Sequence[KeptProcess], on_ready: Callable[[], None]) -> None:
    for process in processes:
        await process.ready.wait()
    on_ready()
