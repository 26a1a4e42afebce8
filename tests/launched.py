"""The `adserver` command, started as people start it."""

import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

ADSERVER = Path(sys.executable).parent / "adserver"
READY_S = 60.0
STOP_S = 30.0
OUTPUT_ENDS = None
LISTENING_PORTS_MIN, LISTENING_PORTS_END = 10_000, 32_768


class Launched:
    """One command in a process group of its own; the end of the block kills its remaining processes."""

    def __init__(
        self,
        *arguments: str,
        port: int | None = None,
        program: Path = ADSERVER,
        folder: Path | None = None,
        **settings: str,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [program, *arguments],
            cwd=folder,
            env=environment(PORT=str(self.port), **settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop()
        self.kill_group()

    def wait_for(self, text: str, timeout_s: float = READY_S) -> str:
        """The line that holds the text; fails with all of the output if none comes."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {text!r} in {timeout_s} s:\n{''.join(self.output)}") from None
            if line is OUTPUT_ENDS:
                raise AssertionError(f"ended without {text!r}:\n{''.join(self.output)}")
            if text in line:
                return line.strip()

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Its exit status after a signal to the process that was started."""
        self.process.send_signal(signal_number)
        return self.process.wait(STOP_S)

    def stop_group(self, signal_number: int) -> int:
        """Its exit status after a signal to the whole process group, as a terminal sends it."""
        os.killpg(self.process.pid, signal_number)
        return self.process.wait(STOP_S)

    def kill_group(self) -> None:
        """kill -9 of everything that did not leave the group."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait(STOP_S)

    def get(self, path: str, **parameters: str) -> httpx.Response:
        """An answer over a connection of its own."""
        return httpx.get(self.url + path, params=parameters or None, timeout=10)

    def workers(self) -> list[psutil.Process]:
        """The server processes that are up."""
        return [child for child in psutil.Process(self.process.pid).children() if is_worker(child)]

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output.append(line)
            self._lines.put(line)
        self._lines.put(OUTPUT_ENDS)


def is_worker(process: psutil.Process) -> bool:
    """Whether it is a server process that has not ended."""
    try:
        return "app.launch.worker" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def environment(**settings: str) -> dict[str, str]:
    """The environment of the tests without settings of the server."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ADSERVER_")}
    return ours | {f"ADSERVER_{name}": value for name, value in settings.items()}


def adserver(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """A command that ends by itself."""
    return subprocess.run(
        [ADSERVER, *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
    )


def free_port() -> int:
    """A port that nobody listens on, below the kernel's range for outgoing connections (ip_local_port_range)."""
    while True:
        port = LISTENING_PORTS_MIN + secrets.randbelow(LISTENING_PORTS_END - LISTENING_PORTS_MIN)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def eventually(condition: Callable[[], object], timeout_s: float = STOP_S) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + timeout_s
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(true)
