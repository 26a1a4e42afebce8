"""Processes that run as long as the server: one that exits is restarted."""

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
from app.launch.shutdown_signal import ShutdownSignal
from app.parent_death import bound_command

# The first restart is quick, so that one crash is hardly noticed; later ones are slower, to save CPU time.
RESTART_FIRST_S = 0.1
RESTART_MAX_S = 5.0
# After a run of this length the next restart is quick again.
HEALTHY_S = 10.0
# Longer than a worker's grace period for its last requests.
STOP_S = 15.0
# Consecutive exits or timeouts that are allowed before a process has ever been ready.
START_ATTEMPTS = 8
# A worker loads the catalog, which may be large, before it is ready.
READY_S = 300.0
# A process that is found stopped (SIGSTOP) in two consecutive checks is considered dead.
FROZEN_CHECK_S = 5.0

log = structlog.get_logger()


class SupervisedProcess:
    """A module that runs as a process of its own.

    Its standard input is a socket: the process writes a byte there when it is ready, and exits when the socket is
    closed, so that it does not outlive its launcher; on Linux it is killed with the launcher. A frozen process is
    killed and restarted. `on_end` is called with the process id of each process that has ended.
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
        # -P: do not import a folder named `app` in the working directory.
        self._module = [sys.executable, "-P", "-m", module, *arguments]
        self._environment = {**os.environ, **environment}
        self._on_end = on_end
        self.ready = asyncio.Event()

    async def supervise(self) -> None:
        """Run the process and restart it until this task is canceled, which stops it.

        Raises StoreUnavailable if the process exits START_ATTEMPTS times before it was ever ready.
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
            if loop.time() - began > HEALTHY_S:
                pause_s = RESTART_FIRST_S
            log.warning("process_ended", process=self.name, status=status, restart_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_MAX_S)

    async def _run(self) -> int:
        """Start the process, wait for its end and return its exit status."""
        parent_end, child_end = socket.socketpair()
        parent_end.setblocking(False)
        with parent_end:
            with child_end:
                process = await asyncio.create_subprocess_exec(
                    *bound_command(self._module, signal.SIGKILL), stdin=child_end.fileno(), env=self._environment
                )
            freeze_check = asyncio.create_task(self._kill_when_frozen(process))
            try:
                if await self._wait_until_ready(parent_end):
                    self.ready.set()
                else:
                    await _stop(process)
                return await process.wait()
            finally:
                freeze_check.cancel()
                await _stop(process)
                self._on_end(process.pid)

    async def _wait_until_ready(self, parent_end: socket.socket) -> bytes:
        """Return the readiness byte, or nothing if the process ended or READY_S has passed."""
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(READY_S):
                return await asyncio.get_running_loop().sock_recv(parent_end, 1)
        return b""

    async def _kill_when_frozen(self, process: asyncio.subprocess.Process) -> None:
        """Count checks, not time: Ctrl-Z stops the launcher too, and the shell continues all processes together."""
        frozen = False
        with suppress(psutil.NoSuchProcess):
            child = psutil.Process(process.pid)
            while True:
                await asyncio.sleep(FROZEN_CHECK_S)
                was_frozen, frozen = frozen, child.status() == psutil.STATUS_STOPPED
                if was_frozen and frozen:
                    log.warning("process_frozen", process=self.name)
                    child.kill()


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Terminate the process, and kill it after STOP_S."""
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


async def supervise_until_shutdown(
    processes: Sequence[SupervisedProcess],
    shutdown: ShutdownSignal,
    on_ready: Callable[[], None],
    on_stop: Callable[[], None],
) -> None:
    """Supervise the processes until a signal arrives; return when all have ended.

    `on_ready` is called when all are ready, `on_stop` before the first is stopped.

    Raises StoreUnavailable if a process does not start.
    """
    supervising = [asyncio.create_task(process.supervise()) for process in processes]
    announcing = asyncio.create_task(_announce(processes, on_ready))
    shutdown_requested = asyncio.create_task(shutdown.wait())
    try:
        done, _ = await asyncio.wait([*supervising, shutdown_requested], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        on_stop()
        tasks = [*supervising, announcing, shutdown_requested]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _announce(processes: Sequence[SupervisedProcess], on_ready: Callable[[], None]) -> None:
    for process in processes:
        await process.ready.wait()
    on_ready()
