"""Processes of a Postgres on a data directory that nobody manages any more.

A launcher that was killed leaves its postmaster running; a postmaster that was killed leaves its backends, for a
moment, and its postmaster.pid. Postgres refuses to start over either.
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
STOPPING_S = 90
STOPPING = "stopping"
# Between locking the file and writing into it.
UNKNOWN_S = 2
POLL_S = 0.05
PROGRAMS = ("postgres", "initdb", "psql")

Report = Callable[[str], None]


def ignore(_: str) -> None:
    """Reports to nobody."""


def hold_lock(root: Path, report: Report = ignore) -> IO[str]:
    """Held as long as the file is open, so that a killed launcher never keeps it.

    Waits for a launcher that is stopping, and reports that. Raises MisconfiguredServer if another launcher holds it.
    """
    lock = (root / "lock").open("a+")
    began = time.monotonic()
    reported = False
    while not _locked(lock):
        lock.seek(0)
        owner, _, state = lock.read().partition(" ")
        is_passing = state == STOPPING if owner else time.monotonic() - began < UNKNOWN_S
        if not is_passing or time.monotonic() - began > STOPPING_S:
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
    """Tells those who want the lock that it is worth waiting for."""
    lock.seek(0)
    if not lock.closed and STOPPING not in lock.read():
        lock.write(f" {STOPPING}")
        lock.flush()


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stop_leftovers(data: Path, report: Report = ignore) -> None:
    """Leaves no process and none of their lock files; the launcher's lock says that there is no other launcher.

    Raises StoreUnavailable if a process will not end.
    """
    postmaster = postmaster_pid(data)
    left = processes_of(data)
    for process in left:
        if process.pid == postmaster:
            report(f"Waiting for Postgres of an earlier start, process {postmaster}, to shut down.")
            _send(process, FAST_SHUTDOWN)
            wake(data)
            psutil.wait_procs(left, timeout=SHUTDOWN_S)
    kill_all(data)
    # A killed process whose parent does not ask after it keeps its number, and Postgres takes that for a life sign.
    for lock in (data / "postmaster.pid", *data.glob(".s.PGSQL.*.lock")):
        lock.unlink(missing_ok=True)


def kill_all(folder: Path) -> None:
    """Kills everything that works in this folder. Raises StoreUnavailable if a process will not end."""
    left = processes_of(folder)
    for process in left:
        _send(process, signal.SIGKILL)
    _, alive = psutil.wait_procs(left, timeout=DEATH_S)
    if alive:
        raise StoreUnavailable(f"process {alive[0].pid} of an earlier Postgres on {folder} does not end")


def wake(folder: Path) -> None:
    """Continues what was stopped by SIGSTOP, so that it hears other signals."""
    for process in processes_of(folder):
        _send(process, signal.SIGCONT)


def frozen_processes(root: Path) -> set[psutil.Process]:
    """What works below this folder and is stopped, as by SIGSTOP."""
    frozen = set()
    for process in _programs():
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_STOPPED and Path(process.cwd()).parent == root:
                frozen.add(process)
    return frozen


def is_running(data: Path) -> bool:
    """Whether the postmaster of this data directory runs, whoever started it."""
    postmaster = postmaster_pid(data)
    return any(process.pid == postmaster for process in processes_of(data))


def processes_of(data: Path) -> list[psutil.Process]:
    """Postmaster and backends, or initdb and its own, known by their working directory; a zombie has none."""
    found = []
    for process in _programs():
        with suppress(psutil.Error):
            if process.cwd() == str(data):
                found.append(process)
    return found


def _programs() -> Iterator[psutil.Process]:
    return (process for process in psutil.process_iter(["name"]) if process.info["name"] in PROGRAMS)


def postmaster_pid(data: Path) -> int | None:
    """The first line of postmaster.pid, None without the file or when it was not written to the end."""
    lines = postmaster_file(data)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def postmaster_file(data: Path) -> list[str]:
    """Lines of postmaster.pid: pid, data directory, start time, port, socket directory, address, shared memory, status.

    See "miscadmin.h" of Postgres, whose LOCK_FILE_LINE_* are these.
    """
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return []


def _send(process: psutil.Process, signal_number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal_number)
