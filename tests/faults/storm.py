"""Kills and freezes, at random, of the processes of a server that starts, and checks for what it leaves."""

import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from app.embedded.paths import postgres_root
from app.embedded.processes import find_processes
from tests.launched import Launched, eventually

PAUSE_S = (0.05, 0.5)
ORPHANS_S = 10.0
SHARED_MEMORY = Path("/proc/sysvipc/shm")
LEFTOVERS = ("postgres.new-*", "initdb.password", "*.new", "postgres/postmaster.pid", "postgres/.s.PGSQL.*")


@dataclass
class Storm:
    """Only processes that belong to servers started here are hit."""

    folder: Path
    port: int
    choose: random.Random
    blows: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    family: set[psutil.Process] = field(default_factory=set)

    def rage(self, duration_s: float) -> None:
        """Starts the server again and again, and hits something of it every 50 to 500 ms."""
        deadline = time.monotonic() + duration_s
        while time.monotonic() < deadline:
            with launched(self.folder, self.port) as server:
                self._hit(server, deadline)
                if server.process.poll() is None:
                    server.process.kill()
                self.statuses.append(server.process.wait())
                assert_no_orphans(self.family)
                assert "Traceback" not in "".join(server.output), "".join(server.output)

    def _hit(self, server: Launched, deadline: float) -> None:
        while server.process.poll() is None and time.monotonic() < deadline:
            time.sleep(self.choose.uniform(*PAUSE_S))
            with suppress(psutil.NoSuchProcess):
                launcher = psutil.Process(server.process.pid)
                targets = [launcher, *launcher.children(recursive=True)]
                self.family.update(targets)
                target = self.choose.choice(targets)
                blow = self.choose.choices((signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM), weights=(6, 2, 1))[0]
                self.blows.append(f"{blow.name} {target.pid} {target.name()}")
                target.send_signal(blow)
                if blow is signal.SIGSTOP and (target == launcher or self.choose.random() < 0.7):
                    time.sleep(self.choose.uniform(*PAUSE_S))
                    target.send_signal(signal.SIGCONT)


def launched(folder: Path, port: int | None = None) -> Launched:
    """The server as people start it; its output says when it serves."""
    return Launched("run", port=port, DATA_DIR=str(folder), PUBLIC_URL="http://ads.example")


def assert_no_orphans(family: set[psutil.Process]) -> None:
    """Workers are gone soon after their launcher. Postgres may have a checkpoint to write, or be frozen."""
    ours = {process for process in family if is_python(process)}
    assert eventually(lambda: not any(is_alive(process) for process in ours), ORPHANS_S), ours


def is_python(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "app.launch" in " ".join(process.cmdline())
    return False


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def left_behind(folder: Path) -> list[str]:
    """Processes and files that a stopped server should not leave."""
    root = postgres_root(folder)
    processes = [str(process) for process in find_processes(root / "postgres")]
    return [*processes, *(str(file) for pattern in LEFTOVERS for file in root.glob(pattern))]


def unattached_segments() -> set[str]:
    """Shared memory segments that no process is attached to; see "/proc/sysvipc/shm" in proc_sysvipc(5)."""
    if not SHARED_MEMORY.exists():
        return set()
    head, *rows = [line.split() for line in SHARED_MEMORY.read_text().splitlines()]
    segments = [dict(zip(head, row, strict=True)) for row in rows]
    return {one["shmid"] for one in segments if one["nattch"] == "0" and not _creator_lives(int(one["cpid"]))}


def _creator_lives(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
