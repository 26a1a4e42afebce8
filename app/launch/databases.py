"""The database that a command works on: the configured one, or the embedded one, which is started when it is not up.

Only `adserver run` and `adserver migrate` make an embedded one; any other command finds it made.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from app.embedded import EmbeddedPostgres, has_cluster, running_dsn
from app.errors import MisconfiguredServer
from app.launch.configuring import warn_of_ignored
from app.launch.interruption import Interruption
from app.settings import Settings
from app.store.connections import Store, Timeouts, connect
from app.store.roles import APP, FINANCE, let_in
from app.store.urls import of_role

PATIENT = Timeouts(lock_ms=5000, statement_ms=30_000, idle_in_transaction_ms=10_000)

PEOPLE_CONNECTIONS = 100
"""What the embedded Postgres has room for beside the server: commands, reports, the DBA, and what Postgres reserves."""


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


@contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    """The configured database, or the embedded one, which runs until the end of the block.

    Raises MisconfiguredServer if the data directory is of no use or another launcher uses it, and StoreUnavailable
    if Postgres does not start.
    """
    if settings.database_url:
        yield Database(settings.database_url, None)
        return
    room = {"max_connections": str(settings.connections_max + PEOPLE_CONNECTIONS)}
    with EmbeddedPostgres(settings.data_dir, room) as server:
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
    with opened_database(settings) as database:
        yield database.url


@asynccontextmanager
async def command_store(database_url: str) -> AsyncIterator[Store]:
    """A database for one command: few connections, and the patience of people."""
    store = Store(database_url, serving_connections=1, other_connections=1, timeouts=PATIENT)
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


def finance_url(settings: Settings) -> str | None:
    """Finance's connection URL, without a password if that was given by somebody else; otherwise as above."""
    if settings.database_url:
        return of_role(settings.database_url, FINANCE)
    _require_cluster(settings)
    return running_dsn(settings.data_dir, FINANCE)


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
            await let_in(connection, role, server.password_of(role))
