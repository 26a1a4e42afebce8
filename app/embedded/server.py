"""Start, supervise and stop the embedded Postgres."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil
import structlog

from app.embedded.cluster import create_database, initialize, write_configuration
from app.embedded.configuration import SETTINGS
from app.embedded.paths import PostgresPaths, make_root, postgres_root, prepare_paths, translate_os_errors
from app.embedded.processes import (
    FAST_SHUTDOWN,
    Report,
    acquire_lock,
    announce_stop,
    discard,
    frozen_processes,
    is_running,
    kill_all,
    postmaster_file,
    resume,
    stop_orphans,
)
from app.embedded.state import DATABASE, SUPERUSER, State, read_state, renew_state
from app.errors import AdServerError, StoreUnavailable
from app.parent_death import bound_command

IMMEDIATE_SHUTDOWN = signal.SIGQUIT
# Recovery after a crash replays the WAL since the last checkpoint, at most `max_wal_size`.
READY_S = 300
SHUTDOWN_S = 30
IMMEDIATE_SHUTDOWN_S = 10
POLL_S = 0.02
RETRY_S = 1.0
START_ATTEMPTS = 6
START_RETRY_FIRST_S = 0.1
# A process that is found stopped (SIGSTOP) in this many consecutive checks is considered dead.
FROZEN_CHECKS = 2
FROZEN_CHECK_S = 5.0
LOG_MAX_BYTES = 20_000_000
LOG_CHECK_S = 60.0

log = structlog.get_logger()


class EmbeddedPostgres:
    """One Postgres on one data directory; use it as a context manager.

    If it dies it is restarted immediately, with the same URL. It shuts down when the thread that started it ends.
    `settings` override those of `app.embedded.configuration`; names and units are those of the Postgres manual, chapter
    "Server Configuration". `report` receives a sentence when a start has to wait.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None, report: Report = discard) -> None:
        self._data_dir = data_dir.resolve()
        self._settings = {**SETTINGS, **(settings or {})}
        self._report = report
        self._paths: PostgresPaths
        self._state: State
        self._lock: IO[str]
        self._process: subprocess.Popen[bytes]
        self._watcher = threading.Thread(target=self._watch, name="embedded-postgres", daemon=True)
        self._log_rotator = threading.Thread(target=self._rotate_log_forever, name="embedded-postgres-log", daemon=True)
        self._freeze_watcher = threading.Thread(target=self._kill_frozen, name="embedded-postgres-frozen", daemon=True)
        self._process_lock = threading.Lock()
        self._ready = threading.Event()
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def dsn(self) -> str:
        """The connection URL for programs of this user; others use `tcp_dsn`."""
        return self._state.url()

    @property
    def tcp_dsn(self) -> str:
        """The connection URL over 127.0.0.1."""
        return self._state.tcp_url()

    def url(self, database: str = DATABASE, role: str = SUPERUSER) -> str:
        """Return the connection URL of another database on this server, or of another role."""
        return self._state.url(database, role)

    def password_of(self, role: str) -> str:
        """Return the password in a role's URLs; create the role with this password."""
        return self._state.password_of(role)

    @property
    def root(self) -> Path:
        """The folder of all files: the data directory, unless Postgres' user cannot reach it."""
        return self._paths.root

    @property
    def programs(self) -> Path:
        """The folder of `psql`, `pg_dump` and `pgbench`."""
        return self._paths.programs

    @property
    def log_path(self) -> Path:
        """Postgres' log, which survives restarts."""
        return self._paths.log

    def start(self) -> None:
        """Return when connections are accepted and the database exists.

        Raises MisconfiguredServer if the data directory is unusable or in use, and StoreUnavailable with Postgres'
        reason if it does not start.
        """
        with translate_os_errors(self._data_dir):
            self._start()
        self._watcher.start()
        self._log_rotator.start()

    def _start(self) -> None:
        root = make_root(self._data_dir)
        self._lock = acquire_lock(root, self._report)
        try:
            self._paths = prepare_paths(root)
            self._freeze_watcher.start()
            self._start_with_retries()
        except BaseException:
            self._abandon()
            raise

    def _start_with_retries(self) -> None:
        """Retry after any process was killed; each attempt creates the parts that are missing."""
        pause_s = START_RETRY_FIRST_S
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._start_once()
            except StoreUnavailable as error:
                self._end_postmaster(IMMEDIATE_SHUTDOWN)
                if attempt == START_ATTEMPTS:
                    raise
                self._report(f"{error}; retrying.")
                time.sleep(pause_s)
                pause_s *= 2
            else:
                return

    def _start_once(self) -> None:
        stop_orphans(self._paths.data, self._report)
        self._state = renew_state(self._paths.root, self._paths.data)
        self._paths.log.touch(mode=0o600)
        _rotate_log(self._paths.log)
        initialize(self._paths, self._state.password)
        write_configuration(self._paths, self._settings)
        self._launch()
        create_database(self._paths, self._state)

    def announce_stop(self) -> None:
        """Let the next start on this data directory wait for this one to end, instead of failing."""
        announce_stop(self._lock)

    def stop(self) -> None:
        """End sessions and statements, write a checkpoint, and return when every process has ended."""
        self.announce_stop()
        self._stopping.set()
        with self._process_lock:
            self._end_postmaster(FAST_SHUTDOWN)
        self._watcher.join()
        self._lock.close()

    def kill(self) -> None:
        """Kill the postmaster as a crash would; `wait_until_ready` returns after it has recovered."""
        self._end(signal.SIGKILL)

    def wait_until_ready(self, timeout_s: float = READY_S) -> None:
        """Return when connections are accepted; raise StoreUnavailable after `timeout_s`."""
        if not self._ready.wait(timeout_s):
            raise StoreUnavailable(f"Postgres is not ready after {timeout_s} s; see {self.log_path}")

    def _end(self, signal_number: int) -> None:
        with self._process_lock:
            self._ready.clear()
            self._process.send_signal(signal_number)

    def _watch(self) -> None:
        """Wait for the end of Postgres and restart it, until `stop` is called. Runs in a thread of its own."""
        while True:
            status = self._process.wait()
            self._ready.clear()
            if self._stopping.is_set():
                return
            log.warning("postgres_ended", status=status, log=str(self.log_path))
            self._relaunch()

    def _relaunch(self) -> None:
        while not self._stopping.is_set():
            try:
                stop_orphans(self._paths.data)
                self._launch()
            except (AdServerError, OSError) as error:
                log.error("postgres_restart_failed", error=str(error))  # noqa: TRY400  Postgres' own log has the rest.
                self._stopping.wait(RETRY_S)
            else:
                log.info("postgres_restarted")
                return

    def _rotate_log_forever(self) -> None:
        """Rotate the log when it is long. Runs in a thread of its own; errors are ignored."""
        while not self._stopping.wait(LOG_CHECK_S):
            with suppress(OSError):
                _rotate_log(self._paths.log)

    def _kill_frozen(self) -> None:
        """Kill stopped processes, which would hold their locks forever. Runs in a thread of its own."""
        stopped_checks: Counter[psutil.Process] = Counter()
        while not self._stopping.wait(FROZEN_CHECK_S):
            frozen = frozen_processes(self._paths.root)
            stopped_checks = Counter({process: stopped_checks[process] + 1 for process in frozen})
            for process in frozen:
                if stopped_checks[process] >= FROZEN_CHECKS:
                    log.warning("postgres_frozen", pid=process.pid)
                    with suppress(psutil.Error):
                        process.kill()

    def _launch(self) -> None:
        """Start the postmaster in its own process group: Ctrl-C reaches only the launcher, which stops it last."""
        with self._process_lock:
            if self._stopping.is_set():
                return
            with self._paths.log.open("ab") as output:
                began = output.tell()
                self._process = subprocess.Popen(
                    bound_command(self._command(), FAST_SHUTDOWN, **self._paths.user),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={"LC_ALL": "C"},
                    cwd="/",
                    process_group=0,
                )
        self._await_ready(began)

    def _command(self) -> list[str]:
        addresses = {
            "config_file": self._paths.root / "postgresql.conf",
            "listen_addresses": "127.0.0.1",
            "port": self._state.port,
            "unix_socket_directories": self._state.socket_dir or "",
        }
        options = [word for name, value in addresses.items() for word in ("-c", f"{name}={value}")]
        return [str(self._paths.programs / "postgres"), "-D", str(self._paths.data), *options]

    def _await_ready(self, log_offset: int) -> None:
        """Wait until the last line of postmaster.pid is "ready", as pg_ctl does."""
        deadline = time.monotonic() + READY_S
        while postmaster_file(self._paths.data)[7:8] != ["ready"]:
            if self._process.poll() is not None:
                raise StoreUnavailable(f"Postgres does not start: {_last_error(self._paths.log, log_offset)}")
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"Postgres is not ready after {READY_S} s; see {self._paths.log}")
            time.sleep(POLL_S)
        self._ready.set()

    def _end_postmaster(self, first: signal.Signals) -> None:
        """Stop the postmaster with `first`, an immediate shutdown, or SIGKILL; then kill the remaining processes."""
        if not hasattr(self, "_process"):
            return
        for number, timeout_s in ((first, SHUTDOWN_S), (IMMEDIATE_SHUTDOWN, IMMEDIATE_SHUTDOWN_S)):
            self._process.send_signal(number)
            resume(self._paths.data)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
                break
        else:
            self._process.kill()
            self._process.wait()
        kill_all(self._paths.data)

    def _abandon(self) -> None:
        announce_stop(self._lock)
        self._stopping.set()
        self._end_postmaster(IMMEDIATE_SHUTDOWN)
        self._lock.close()


def has_cluster(data_dir: Path) -> bool:
    """Return whether a database exists, running or not. Raises MisconfiguredServer if its folder cannot be read."""
    with translate_os_errors(data_dir):
        return (postgres_root(data_dir) / "postgres" / "PG_VERSION").exists()


def running_dsn(data_dir: Path, role: str = SUPERUSER) -> str | None:
    """Return a role's connection URL of the server on this data directory, or None if no server runs.

    Raises MisconfiguredServer if its state cannot be read.
    """
    with translate_os_errors(data_dir):
        root = postgres_root(data_dir)
        state = read_state(root)
        return state.tcp_url(role=role) if state and is_running(root / "postgres") else None


def _rotate_log(log_file: Path) -> None:
    """Copy a long log and truncate it in place, because Postgres has the file open and appends.

    Both files have mode 0600, because they may contain statements.
    """
    if log_file.stat().st_size <= LOG_MAX_BYTES:
        return
    rotated = log_file.with_suffix(".log.1")
    rotated.unlink(missing_ok=True)
    rotated.touch(mode=0o600)
    shutil.copyfile(log_file, rotated)
    os.truncate(log_file, 0)


def _last_error(log_file: Path, offset: int) -> str:
    """Return the last error in the log since `offset`, without its time stamp."""
    lines = log_file.read_bytes()[offset:].decode(errors="replace").splitlines()
    complaints = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "could not"))]
    line = (complaints or lines or ["no error message"])[-1]
    return f"{line.split(':  ', 1)[-1]} (see {log_file})"
