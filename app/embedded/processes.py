"""Processes of a Postgres on a data directory that nobody manages any more.

A launcher that was killed leaves its postmaster running; a postmaster that was killed leaves its backends, for a
moment, and its postmaster.pid. Postgres refuses to start over either.
"""

import fcntl
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from app.errors import MisconfiguredServer, StoreUnavailable

FAST_SHUTDOWN = signal.SIGINT
SHUTDOWN_S = 30
DEATH_S = 10


def hold_lock(root: Path) -> IO[str]:
    """Held as long as the file is open, so that a killed launcher never keeps it.

    Raises MisconfiguredServer if another launcher holds it.
    """
    lock = (root / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read() or "unknown"
        lock.close()
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: process {owner} already runs Postgres in {root}") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def stop_leftovers(data: Path) -> None:
    """Leaves no process and none of their lock files; the launcher's lock says that there is no other launcher.

    Raises StoreUnavailable if a process will not end.
    """
    postmaster = postmaster_pid(data)
    left = processes_of(data)
    for process in left:
        if process.pid == postmaster:
            _send(process, FAST_SHUTDOWN)
            psutil.wait_procs(left, timeout=SHUTDOWN_S)
    left = processes_of(data)
    for process in left:
        _send(process, signal.SIGKILL)
    _, alive = psutil.wait_procs(left, timeout=DEATH_S)
    if alive:
        raise StoreUnavailable(f"process {alive[0].pid} of an earlier Postgres on {data} does not end")
    # A killed process whose parent does not ask after it keeps its number, and Postgres takes that for a life sign.
    for lock in (data / "postmaster.pid", *data.glob(".s.PGSQL.*.lock")):
        lock.unlink(missing_ok=True)


def is_running(data: Path) -> bool:
    """Whether the postmaster of this data directory runs, whoever started it."""
    postmaster = postmaster_pid(data)
    return any(process.pid == postmaster for process in processes_of(data))


def processes_of(data: Path) -> list[psutil.Process]:
    """Postmaster and backends, known by their working directory, which Postgres sets; a zombie has none."""
    found = []
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):
            if process.info["name"] == "postgres" and process.cwd() == str(data):
                found.append(process)
    return found


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
