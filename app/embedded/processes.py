"""Orphaned processes of a Postgres on a data directory, and the lock that keeps two launchers apart.

A killed launcher leaves its postmaster running. A killed postmaster leaves its backends for a moment, and its
postmaster.pid. Postgres refuses to start while either exists.
"""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from app.errors import MisconfiguredServer, StoreUnavailable

FAST_SHUTDOWN = signal.SIGINT
SHUTDOWN_S = 30
DEATH_S = 10
# A launcher stops its workers before its Postgres.
STOP_WAIT_S = 90
STOPPING = "stopping"
# Time between locking the file and writing the owner into it.
UNKNOWN_OWNER_S = 2
POLL_S = 0.05
PROGRAMS = ("postgres", "initdb", "psql")

Report = Callable[[str], None]


def discard(_: str) -> None:
    """Drop a report."""


def acquire_lock(root: Path, report: Report = discard) -> IO[str]:
    """Return the locked lock file. The lock lasts while the file is open, so a killed launcher releases it.

    Waits for a launcher that is stopping, and reports the wait. Raises MisconfiguredServer if another launcher holds
    the lock.
    """
    lock = (root / "lock").open("a+")
    began = time.monotonic()
    reported = False
    while not _try_lock(lock):
        lock.seek(0)
        owner, _, state = lock.read().partition(" ")
        is_temporary = state == STOPPING if owner else time.monotonic() - began < UNKNOWN_OWNER_S
        if not is_temporary or time.monotonic() - began > STOP_WAIT_S:
            lock.close()
            raise MisconfiguredServer(
                f"ADSERVER_DATA_DIR: process {owner or 'unknown'} already runs Postgres in {root}"
            )
        if owner and not reported:
            report(f"Waiting for process {owner}, which is stopping Postgres in {root}.")
            reported = True
        time.sleep(POLL_S)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def announce_stop(lock: IO[str]) -> None:
    """Let other launchers wait for the lock instead of refusing to start."""
    lock.seek(0)
    if not lock.closed and STOPPING not in lock.read():
        lock.write(f" {STOPPING}")
        lock.flush()


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stop_orphans(data: Path, report: Report = discard) -> None:
    """Stop all processes on the data directory and remove their lock files. The caller must hold the launcher's lock.

    Raises StoreUnavailable if a process does not end.
    """
    postmaster = postmaster_pid(data)
    orphans = find_processes(data)
    for process in orphans:
        if process.pid == postmaster:
            report(f"Waiting for Postgres of an earlier start, process {postmaster}, to shut down.")
            _send(process, FAST_SHUTDOWN)
            resume(data)
            psutil.wait_procs(orphans, timeout=SHUTDOWN_S)
    kill_all(data)
    # An unreaped zombie keeps its process id, and Postgres would mistake it for a live postmaster.
    for lock in (data / "postmaster.pid", *data.glob(".s.PGSQL.*.lock")):
        lock.unlink(missing_ok=True)


def kill_all(folder: Path) -> None:
    """Kill all processes that work in this folder. Raises StoreUnavailable if a process does not end."""
    left = find_processes(folder)
    for process in left:
        _send(process, signal.SIGKILL)
    _, alive = psutil.wait_procs(left, timeout=DEATH_S)
    if alive:
        raise StoreUnavailable(f"process {alive[0].pid} of an earlier Postgres on {folder} does not end")


def resume(folder: Path) -> None:
    """Continue processes that were stopped by SIGSTOP, so that they handle other signals."""
    for process in find_processes(folder):
        _send(process, signal.SIGCONT)


def frozen_processes(root: Path) -> set[psutil.Process]:
    """Return the processes that work below this folder and are stopped, for example by SIGSTOP."""
    frozen = set()
    for process in _programs():
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_STOPPED and Path(process.cwd()).parent == root:
                frozen.add(process)
    return frozen


def is_running(data: Path) -> bool:
    """Return whether a postmaster runs on this data directory."""
    postmaster = postmaster_pid(data)
    return any(process.pid == postmaster for process in find_processes(data))


def find_processes(data: Path) -> list[psutil.Process]:
    """Return the Postgres processes whose working directory this is; a zombie has none."""
    found = []
    for process in _programs():
        with suppress(psutil.Error):
            if process.cwd() == str(data):
                found.append(process)
    return found


def _programs() -> Iterator[psutil.Process]:
    return (process for process in psutil.process_iter(["name"]) if process.info["name"] in PROGRAMS)


def postmaster_pid(data: Path) -> int | None:
    """Return the first line of postmaster.pid, or None if the file is missing or incomplete."""
    lines = postmaster_file(data)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def postmaster_file(data: Path) -> list[str]:
    """Return postmaster.pid: pid, data directory, start time, port, socket directory, address, shared memory, status.

    The lines are LOCK_FILE_LINE_* in Postgres' "miscadmin.h".
    """
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return []


def _send(process: psutil.Process, signal_number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal_number)
