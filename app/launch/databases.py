"""The database of a command: the configured one, or the embedded one, which is started if it is not running.

Only `adserver run` and `adserver migrate` create an embedded one; all other commands need an existing one.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from app.embedded import EmbeddedPostgres, has_cluster, running_dsn
from app.errors import MisconfiguredServer, StoreUnavailable
from app.launch.env_settings import warn_about_ignored
from app.launch.shutdown_signal import ShutdownSignal
from app.settings import Settings
from app.store.connections import UNAVAILABLE, Store, Timeouts, connect
from app.store.database_url import role_in_url, with_role
from app.store.roles import APP, FINANCE, grant_login

COMMAND_TIMEOUTS = Timeouts(lock_ms=5000, statement_ms=30_000, idle_in_transaction_ms=10_000)

OTHER_CONNECTIONS = 100
"""Connections of the embedded Postgres besides the server's: commands, reports, the DBA, and Postgres' reserve."""

STEP_ATTEMPTS = 6
STEP_RETRY_FIRST_S = 0.5

Report = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Database:
    """A database and its connection URLs."""

    url: str
    """The URL of its owner, or ADSERVER_DATABASE_URL for the configured database."""
    server: EmbeddedPostgres | None
    """None for the configured database."""

    def app_url(self) -> str:
        """Return the URL that workers connect with. The schema must be migrated first."""
        if self.server is None:
            return self.url
        asyncio.run(set_role_passwords(self.server))
        return self.server.url(role=APP)

    def announce_stop(self) -> None:
        """Let the next start on the data directory wait for this one to end."""
        if self.server is not None:
            self.server.announce_stop()

    def retry_step(self, step: Callable[[], T], report: Report) -> T:
        """Run one repeatable step of a start, and return its result.

        The embedded Postgres restarts by itself when one of its processes has crashed, so retry the step there.
        Raises StoreUnavailable if all attempts fail.
        """
        pause_s = STEP_RETRY_FIRST_S
        for _ in range(STEP_ATTEMPTS - 1 if self.server else 0):
            try:
                return step()
            except (StoreUnavailable, *UNAVAILABLE) as error:
                report(f"{_reason(error)}; retrying.")
            time.sleep(pause_s)
            pause_s *= 2
            if self.server:
                self.server.wait_until_ready()
        try:
            return step()
        except UNAVAILABLE as error:
            raise StoreUnavailable(_reason(error)) from error


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@contextmanager
def open_database(settings: Settings, report: Report = lambda _: None) -> Iterator[Database]:
    """Open the configured database, or start the embedded one, which runs until the end of the block.

    `report` receives a sentence when the start has to wait.

    Raises MisconfiguredServer if the data directory is unusable or in use, and StoreUnavailable if Postgres does not
    start.
    """
    if settings.database_url:
        yield Database(settings.database_url, None)
        return
    options = _connection_limits(settings.connections_max)
    with EmbeddedPostgres(settings.data_dir, options, report) as server:
        yield Database(server.dsn, server)


def _connection_limits(server_connections: int) -> dict[str, str]:
    """Return settings with which the server can always reconnect, no matter how many connections others have.

    Postgres keeps the reserved slots free even while the server has all its connections, so they count twice.
    """
    return {
        "max_connections": str(2 * server_connections + OTHER_CONNECTIONS),
        "reserved_connections": str(server_connections),
    }


@contextmanager
def database_in_use(settings: Settings, *, make: bool = False) -> Iterator[str]:
    """Return the owner's connection URL; start an embedded database that is not running, for the block.

    In that case a signal ends the block and the database. Raises the errors of `open_database`, and
    MisconfiguredServer if there is no embedded database, unless `make` is true.
    """
    url = configured_or_running(settings, make=make)
    if url is not None:
        yield url
        return
    ShutdownSignal()
    with open_database(settings, _report_on_stderr) as database:
        yield database.url


@asynccontextmanager
async def command_store(database_url: str) -> AsyncIterator[Store]:
    """Open a database for one command: few connections, and longer timeouts than a server's."""
    store = Store(database_url, serving_connections=1, general_connections=1, timeouts=COMMAND_TIMEOUTS)
    try:
        yield store
    finally:
        await store.close()


def configured_or_running(settings: Settings, *, make: bool = False) -> str | None:
    """Return the owner's connection URL, or None if the database is the embedded one and is not running.

    Raises MisconfiguredServer if there is no embedded database, unless `make` is true.
    """
    warn_about_ignored(settings)
    if settings.database_url:
        return settings.database_url
    if not make:
        _require_cluster(settings)
    return running_dsn(settings.data_dir)


def role_url(settings: Settings, role: str) -> str | None:
    """Return another role's connection URL, or None if the database is the embedded one and is not running.

    The URL has no password if ADSERVER_DATABASE_URL names another role. Raises MisconfiguredServer if there is no
    embedded database.
    """
    if settings.database_url:
        url = settings.database_url
        return url if role_in_url(url) == role else with_role(url, role)
    _require_cluster(settings)
    return running_dsn(settings.data_dir, role)


def _report_on_stderr(line: str) -> None:
    """Print progress on standard error: standard output is the result of the command."""
    sys.stderr.write(f"adserver: {line}\n")


def _require_cluster(settings: Settings) -> None:
    if not has_cluster(settings.data_dir):
        raise MisconfiguredServer(
            f"ADSERVER_DATA_DIR: there is no database in {settings.data_dir.absolute()}; set it to a server's data"
            " directory, set ADSERVER_DATABASE_URL, or create a database with `adserver run` or `adserver migrate`"
        )


async def set_role_passwords(server: EmbeddedPostgres) -> None:
    """Give the roles that migrations create the passwords in their URLs."""
    async with connect(server.dsn) as connection:
        for role in (APP, FINANCE):
            await grant_login(connection, role, server.password_of(role))
