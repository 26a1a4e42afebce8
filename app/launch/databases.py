"""The database that a command works on: the configured one, or the embedded one, which is started when it is not up.

Only `adserver run` and `adserver migrate` make an embedded one; any other command finds it made.
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
from app.launch.env_settings import warn_of_ignored
from app.launch.shutdown_signal import Interruption
from app.settings import Settings
from app.store.connections import UNAVAILABLE, Store, Timeouts, connect
from app.store.database_url import role_in_url, with_role
from app.store.roles import APP, FINANCE, grant_login

PATIENT = Timeouts(lock_ms=5000, statement_ms=30_000, idle_in_transaction_ms=10_000)

PEOPLE_CONNECTIONS = 100
"""What the embedded Postgres has room for beside the server: commands, reports, the DBA, and what Postgres reserves."""


STEP_ATTEMPTS = 6
STEP_RETRY_FIRST_S = 0.5

Report = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Database:
    """One database, as those who work with it connect to it."""

    url: str
    """Of its owner, who migrates it; of whom the setting names, if it is the configured one."""
    server: EmbeddedPostgres | None
    """None if it is the configured one."""

    def app_url(self) -> str:
        """What the server connects with. The schema is to be migrated before."""
        if self.server is None:
            return self.url
        asyncio.run(let_roles_in(self.server))
        return self.server.url(role=APP)

    def announce_stop(self) -> None:
        """Lets the next start on the data directory wait for the end of this one."""
        if self.server is not None:
            self.server.announce_stop()

    def persistently(self, step: Callable[[], T], report: Report) -> T:
        """The result of one step of a start, which can be done again.

        The embedded Postgres comes again by itself when one of its processes has crashed, so with that the step is
        tried again. Raises StoreUnavailable if it fails as often as it may.
        """
        pause_s = STEP_RETRY_FIRST_S
        for _ in range(STEP_ATTEMPTS - 1 if self.server else 0):
            try:
                return step()
            except (StoreUnavailable, *UNAVAILABLE) as error:
                report(f"{_reason(error)}; trying again.")
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
def opened_database(settings: Settings, report: Report = lambda _: None) -> Iterator[Database]:
    """The configured database, or the embedded one, which runs until the end of the block.

    `report` takes a sentence that says what a start waits for.

    Raises MisconfiguredServer if the data directory is of no use or another launcher uses it, and StoreUnavailable
    if Postgres does not start.
    """
    if settings.database_url:
        yield Database(settings.database_url, None)
        return
    room = {"max_connections": str(settings.connections_max + PEOPLE_CONNECTIONS)}
    with EmbeddedPostgres(settings.data_dir, room, report) as server:
        yield Database(server.dsn, server)


@contextmanager
def database_in_use(settings: Settings, *, make: bool = False) -> Iterator[str]:
    """The owner's connection URL, also while a server runs on it; an embedded one that is down runs for the block.

    Then a signal ends the block, and the database too. Raises what `opened_database` raises, and MisconfiguredServer
    if there is no embedded one and it is not to be made.
    """
    url = configured_or_running(settings, make=make)
    if url is not None:
        yield url
        return
    Interruption()
    with opened_database(settings, _report_to_people) as database:
        yield database.url


@asynccontextmanager
async def command_store(database_url: str) -> AsyncIterator[Store]:
    """A database for one command: few connections, and the patience of people."""
    store = Store(database_url, serving_connections=1, general_connections=1, timeouts=PATIENT)
    try:
        yield store
    finally:
        await store.close()


def configured_or_running(settings: Settings, *, make: bool = False) -> str | None:
    """The owner's connection URL; None if the database is the embedded one and that does not run.

    Raises MisconfiguredServer if there is no embedded one, unless the caller is about to make it.
    """
    warn_of_ignored(settings)
    if settings.database_url:
        return settings.database_url
    if not make:
        _require_cluster(settings)
    return running_dsn(settings.data_dir)


def role_url(settings: Settings, role: str) -> str | None:
    """Another role's connection URL; otherwise as above.

    It has no password if ADSERVER_DATABASE_URL names another role.
    """
    if settings.database_url:
        url = settings.database_url
        return url if role_in_url(url) == role else with_role(url, role)
    _require_cluster(settings)
    return running_dsn(settings.data_dir, role)


def _report_to_people(line: str) -> None:
    """Standard output is what the command prints."""
    sys.stderr.write(f"adserver: {line}\n")


def _require_cluster(settings: Settings) -> None:
    if not has_cluster(settings.data_dir):
        raise MisconfiguredServer(
            f"ADSERVER_DATA_DIR: there is no database in {settings.data_dir.absolute()}; set it to the data directory"
            " of a server, or set ADSERVER_DATABASE_URL, or make a database with `adserver run` or `adserver migrate`"
        )


async def let_roles_in(server: EmbeddedPostgres) -> None:
    """Gives the roles that migrations create the passwords that are in their URLs."""
    async with connect(server.dsn) as connection:
        for role in (APP, FINANCE):
            await grant_login(connection, role, server.password_of(role))
