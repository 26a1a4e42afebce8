"""Starts, watches and stops the embedded Postgres."""

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

from app.embedded.cluster import configure, create_database, initialise
from app.embedded.configuration import SETTINGS
from app.embedded.home import Home, home_root, open_root, prepare_home, usable
from app.embedded.processes import (
    FAST_SHUTDOWN,
    Report,
    announce_stop,
    frozen_processes,
    hold_lock,
    ignore,
    is_running,
    kill_all,
    postmaster_file,
    stop_leftovers,
    wake,
)
from app.embedded.state import DATABASE, SUPERUSER, State, read_state, renewed_state
from app.errors import AdServerError, StoreUnavailable
from app.parent_death import bound_command

IMMEDIATE_SHUTDOWN = signal.SIGQUIT
# Recovery after a crash replays what was written since the last checkpoint, at most `max_wal_size`.
READY_S = 300
SHUTDOWN_S = 30
IMMEDIATE_SHUTDOWN_S = 10
POLL_S = 0.02
RETRY_S = 1.0
START_ATTEMPTS = 6
START_RETRY_FIRST_S = 0.1
# A process that is seen stopped (SIGSTOP) this often, one look after the other, is as good as dead.
FROZEN_LOOKS = 2
FROZEN_LOOK_S = 5.0
LOG_MAX_BYTES = 20_000_000
LOG_LOOK_S = 60.0

log = structlog.get_logger()


class EmbeddedPostgres:
    """One Postgres on one data directory; use it as a context manager.

    If it dies it is started again at once, and the same URL works again; it shuts down when the thread that started it
    ends. `settings` override those of `app.embedded.configuration`, names and units as in the Postgres manual, chapter
    "Server Configuration". `report` takes a sentence that says what a start waits for.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None, report: Report = ignore) -> None:
        self._data_dir = data_dir.resolve()
        self._settings = {**SETTINGS, **(settings or {})}
        self._report = report
        self._home: Home
        self._state: State
        self._lock: IO[str]
        self._process: subprocess.Popen[bytes]
        self._watcher = threading.Thread(target=self._watch, name="embedded-postgres", daemon=True)
        self._log_keeper = threading.Thread(target=self._keep_log_short, name="embedded-postgres-log", daemon=True)
        self._freeze_watcher = threading.Thread(target=self._end_frozen, name="embedded-postgres-frozen", daemon=True)
        self._change = threading.Lock()
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
        """The connection URL for programs of this user; see `tcp_dsn` for others."""
        return self._state.url()

    @property
    def tcp_dsn(self) -> str:
        """The connection URL over 127.0.0.1."""
        return self._state.tcp_url()

    def url(self, database: str = DATABASE, role: str = SUPERUSER) -> str:
        """The connection URL of another database on this server, or of another role."""
        return self._state.url(database, role)

    def password_of(self, role: str) -> str:
        """The password in a role's URLs; whoever makes the role gives it this one."""
        return self._state.password_of(role)

    @property
    def root(self) -> Path:
        """Where everything is kept: the data directory, unless Postgres' own user cannot reach it."""
        return self._home.root

    @property
    def programs(self) -> Path:
        """The folder of `psql`, `pg_dump` and `pgbench`."""
        return self._home.programs

    @property
    def log_path(self) -> Path:
        """Postgres' own log; it is kept over restarts."""
        return self._home.log

    def start(self) -> None:
        """Returns when connections are accepted and the database exists.

        Raises MisconfiguredServer if the data directory is of no use or another server uses it, and
        StoreUnavailable with Postgres' own reason if it does not start.
        """
        with usable(self._data_dir):
            self._start()
        self._watcher.start()
        self._log_keeper.start()

    def _start(self) -> None:
        root = open_root(self._data_dir)
        self._lock = hold_lock(root, self._report)
        try:
            self._home = prepare_home(root)
            self._freeze_watcher.start()
            self._start_persistently()
        except BaseException:
            self._abandon()
            raise

    def _start_persistently(self) -> None:
        """Whatever is killed meanwhile, all that is missing is made again."""
        pause_s = START_RETRY_FIRST_S
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._start_once()
            except StoreUnavailable as error:
                self._end_postmaster(IMMEDIATE_SHUTDOWN)
                if attempt == START_ATTEMPTS:
                    raise
                self._report(f"{error}; trying again.")
                time.sleep(pause_s)
                pause_s *= 2
            else:
                return

    def _start_once(self) -> None:
        stop_leftovers(self._home.data, self._report)
        self._state = renewed_state(self._home.root, self._home.data)
        self._home.log.touch(mode=0o600)
        _shorten(self._home.log)
        initialise(self._home, self._state.password)
        configure(self._home, self._settings)
        self._launch()
        create_database(self._home, self._state)

    def announce_stop(self) -> None:
        """Lets the next start on this data directory wait for the end of this one, rather than refuse."""
        announce_stop(self._lock)

    def stop(self) -> None:
        """Ends sessions and statements, writes a checkpoint, and returns when every process is gone."""
        self.announce_stop()
        self._stopping.set()
        with self._change:
            self._end_postmaster(FAST_SHUTDOWN)
        self._watcher.join()
        self._lock.close()

    def kill(self) -> None:
        """Kills the postmaster as a crash would; `wait_until_ready` returns once it has recovered."""
        self._end(signal.SIGKILL)

    def wait_until_ready(self, timeout_s: float = READY_S) -> None:
        """Returns when connections are accepted; raises StoreUnavailable after `timeout_s`."""
        if not self._ready.wait(timeout_s):
            raise StoreUnavailable(f"Postgres is not ready after {timeout_s} s; see {self.log_path}")

    def _end(self, signal_number: int) -> None:
        with self._change:
            self._ready.clear()
            self._process.send_signal(signal_number)

    def _watch(self) -> None:
        """Runs in a thread of its own as long as Postgres is wanted: waits for its end, and starts it again."""
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
                stop_leftovers(self._home.data)
                self._launch()
            except (AdServerError, OSError) as error:
                log.error("postgres_restart_failed", reason=str(error))  # noqa: TRY400  Postgres' own log has the rest.
                self._stopping.wait(RETRY_S)
            else:
                log.info("postgres_restarted")
                return

    def _keep_log_short(self) -> None:
        """Runs in a thread of its own too; a log that cannot be shortened is no reason to stop."""
        while not self._stopping.wait(LOG_LOOK_S):
            with suppress(OSError):
                _shorten(self._home.log)

    def _end_frozen(self) -> None:
        """Runs in a thread of its own too: a stopped process holds locks and answers nobody, as long as it is there."""
        seen: Counter[psutil.Process] = Counter()
        while not self._stopping.wait(FROZEN_LOOK_S):
            frozen = frozen_processes(self._home.root)
            seen = Counter({process: seen[process] + 1 for process in frozen})
            for process in frozen:
                if seen[process] >= FROZEN_LOOKS:
                    log.warning("postgres_frozen", pid=process.pid)
                    with suppress(psutil.Error):
                        process.kill()

    def _launch(self) -> None:
        """Starts the postmaster outside our process group: Ctrl-C is for us, who stop it last."""
        with self._change:
            if self._stopping.is_set():
                return
            with self._home.log.open("ab") as output:
                began = output.tell()
                self._process = subprocess.Popen(
                    bound_command(self._command(), FAST_SHUTDOWN, **self._home.user),
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
            "config_file": self._home.root / "postgresql.conf",
            "listen_addresses": "127.0.0.1",
            "port": self._state.port,
            "unix_socket_directories": self._state.socket_dir or "",
        }
        options = [word for name, value in addresses.items() for word in ("-c", f"{name}={value}")]
        return [str(self._home.programs / "postgres"), "-D", str(self._home.data), *options]

    def _await_ready(self, log_offset: int) -> None:
        """Postgres says in the last line of postmaster.pid when it is ready, and pg_ctl reads it there too."""
        deadline = time.monotonic() + READY_S
        while postmaster_file(self._home.data)[7:8] != ["ready"]:
            if self._process.poll() is not None:
                raise StoreUnavailable(f"Postgres does not start: {_reason(self._home.log, log_offset)}")
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"Postgres is not ready after {READY_S} s; see {self._home.log}")
            time.sleep(POLL_S)
        self._ready.set()

    def _end_postmaster(self, first: signal.Signals) -> None:
        """Ends the postmaster and all that belongs to it: politely, then at once, then with kill -9."""
        if not hasattr(self, "_process"):
            return
        for number, patience_s in ((first, SHUTDOWN_S), (IMMEDIATE_SHUTDOWN, IMMEDIATE_SHUTDOWN_S)):
            self._process.send_signal(number)
            wake(self._home.data)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
                break
        else:
            self._process.kill()
            self._process.wait()
        kill_all(self._home.data)

    def _abandon(self) -> None:
        announce_stop(self._lock)
        self._stopping.set()
        self._end_postmaster(IMMEDIATE_SHUTDOWN)
        self._lock.close()


def has_cluster(data_dir: Path) -> bool:
    """Whether there is a database, running or not. Raises MisconfiguredServer if nobody here may know."""
    with usable(data_dir):
        return (home_root(data_dir) / "postgres" / "PG_VERSION").exists()


def running_dsn(data_dir: Path, role: str = SUPERUSER) -> str | None:
    """A role's connection URL of the server on this data directory, whoever started it; None if none runs.

    Raises MisconfiguredServer if its state cannot be read.
    """
    with usable(data_dir):
        root = home_root(data_dir)
        state = read_state(root)
        return state.tcp_url(role=role) if state and is_running(root / "postgres") else None


def _shorten(log_file: Path) -> None:
    """A long log makes way for a new one, in place: Postgres has the file open, and appends.

    Both are only for our own eyes, because statements may stand in them.
    """
    if log_file.stat().st_size <= LOG_MAX_BYTES:
        return
    before = log_file.with_suffix(".log.1")
    before.unlink(missing_ok=True)
    before.touch(mode=0o600)
    shutil.copyfile(log_file, before)
    os.truncate(log_file, 0)


def _reason(log_file: Path, offset: int) -> str:
    """The last complaint in the log since `offset`, without its time stamp."""
    lines = log_file.read_bytes()[offset:].decode(errors="replace").splitlines()
    complaints = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "could not"))]
    line = (complaints or lines or ["it says nothing"])[-1]
    return f"{line.split(':  ', 1)[-1]} (see {log_file})"
