"""Server processes of the bench: workers of one port, the same for the server, the bare route and the Redis server."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.scale import WORKERS

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
READY_S = 60
STOP_S = 20
COMPLAINT_LINES = 20


@dataclass(frozen=True, slots=True)
class Workers:
    """Workers that serve at `url`."""

    url: str
    pids: tuple[int, ...]
    mib_at_start: float
    """Memory of one, as it was ready."""


@asynccontextmanager
async def workers(
    factory: str, environment: Mapping[str, str], log: Path, count: int = WORKERS
) -> AsyncIterator[Workers]:
    """The workers of an ASGI factory such as "app.main:create_app", as `adserver serve` runs them."""
    port = free_port()
    address = {"ADSERVER_HOST": HOST, "ADSERVER_PORT": str(port)}
    async with AsyncExitStack() as stack:
        pids = [
            await stack.enter_async_context(
                python_process("app.launch.worker", [factory], {**address, **environment}, log)
            )
            for _ in range(count)
        ]
        yield Workers(f"http://{HOST}:{port}", tuple(pids), mib(pids))


def mib(pids: Sequence[int]) -> float:
    """Resident memory of a process, the mean of these."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids) / len(pids) / 2**20


@asynccontextmanager
async def python_process(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
) -> AsyncIterator[int]:
    """The id of a process that runs a module, which says with a byte on its standard input that it is ready."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours:
        with theirs, log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, *arguments),
                stdin=theirs.fileno(),
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                cwd=ROOT,
            )
        try:
            async with asyncio.timeout(READY_S):
                if not await asyncio.get_running_loop().sock_recv(ours, 1):
                    raise RuntimeError(f"{module} {' '.join(arguments)} does not start: {_complaint(log)}")
            yield process.pid
        finally:
            await stop(process)


def _complaint(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-COMPLAINT_LINES:]) or "it says nothing"


async def stop(process: asyncio.subprocess.Process) -> None:
    """Asks the process to end, and insists after a while."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def output_of(*command: str, given: str = "", environment: Mapping[str, str] | None = None) -> str:
    """What a program prints. Raises RuntimeError with its complaint if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        cwd=ROOT,
    )
    try:
        printed, complaint = await process.communicate(given.encode())
    finally:
        await stop(process)
    if process.returncode:
        raise RuntimeError(f"{command[0]} fails: {complaint.decode(errors='replace').strip()}")
    return printed.decode()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
