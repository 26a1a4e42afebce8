"""Connections to Postgres: two pools, and the translation of driver errors in one place.

The lanes use the serving pool, with the short timeouts of the serving path. Everything else uses the general pool. No
statement waits for a Postgres that vanished silently. SQLAlchemy manages both pools; statements run on the driver's own
connection, because a group is sent as arrays.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
from asyncpg import Connection, Record
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from app.errors import StoreUnavailable
from app.store.database_url import hide_password, split_hosts, with_database
from app.store.database_url_parameters import DatabaseUrl, parse_url

UNAVAILABLE = (
    OSError,
    TimeoutError,
    PoolTimeoutError,
    DBAPIError,
    asyncpg.InterfaceError,
    # asyncpg raises it for a connection that Postgres ended between two statements.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.CannotConnectNowError,
    # A standby raises it. After a failover, a connection may lead to one, and the next connection to the primary.
    asyncpg.ReadOnlySQLTransactionError,
)
"""The driver's errors for a lost connection or an unavailable Postgres."""

TIMED_OUT = (
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
)
"""The driver's errors for a lock, statement or transaction that took too long."""

DIALECT = "postgresql+asyncpg://"
"""The URL for SQLAlchemy, which has no address: `open_connection` and the driver read the real URL."""

CONNECT_TIMEOUT_S = 5
"""Time limit for connecting to one host, unless the URL sets another one."""

CONNECT_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # asyncpg raises it for a standby if the URL requires a primary.
    asyncpg.InternalClientError,
)
"""The driver's errors for a failed attempt to connect."""

RESPONSE_GRACE_S = 1.0
"""Time in which Postgres must report the timeout of a statement; after it, Postgres is considered gone."""

CLOSE_TIMEOUT_S = 3.0
"""Time limit for closing all connections."""

GENERAL_STATEMENT_TIMEOUT_S = 30
"""Time limit for a statement of the general pool, unless the caller sets another one."""

KEEPALIVES = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
"""Settings with which Postgres notices within a minute that a server is gone; by default it takes two hours."""

CHECK_READ_ONLY = "SELECT current_setting('transaction_read_only')::boolean"
"""Check whether the server is a standby, or is configured as read-only."""

DISABLE_TIMEOUTS = """
SELECT set_config('statement_timeout', '0', true), set_config('transaction_timeout', '0', true),
       set_config('work_mem', '128MB', true)
"""
"""Disable the timeouts of this transaction and raise its work_mem: checking a large ledger takes minutes."""


def is_lost_connection(error: BaseException) -> bool:
    """Return whether the connection cannot be used again; asyncpg raises an InterfaceError for a bad value too."""
    return isinstance(error, (*UNAVAILABLE, StoreUnavailable)) and not isinstance(error, ValueError)


async def is_read_only(connection: "Connection[Record]") -> bool:
    """Return whether nothing can be written on this connection."""
    read_only: bool = await connection.fetchval(CHECK_READ_ONLY)
    return read_only


async def disable_timeouts(connection: "Connection[Record]") -> None:
    """Disable the timeouts of the open transaction."""
    await connection.execute(DISABLE_TIMEOUTS)


@asynccontextmanager
async def snapshot(connection: "Connection[Record]") -> AsyncIterator[None]:
    """Read the same state of the database throughout the block, without timeouts; also on a standby."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await disable_timeouts(connection)
        yield


def rows_affected(status: str) -> int:
    """Return the number of rows in a command tag of Postgres, for example 5 for `DELETE 5`."""
    return int(status.rpartition(" ")[2])


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts of serving connections in milliseconds; see "Client Connection Defaults" in the Postgres manual."""

    lock_ms: int
    statement_ms: int
    idle_in_transaction_ms: int


def serving_url(url: str, serving_database: str) -> str:
    """Return the URL of serving connections, with their own database name if a pooler has one for them."""
    if not serving_database:
        return url
    return with_database(url, serving_database)


def _create_engine(url: str, connections: int, server_settings: Mapping[str, str], statement_s: float) -> AsyncEngine:
    return create_async_engine(
        DIALECT,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=False,
        connect_args={
            "async_creator_fn": open_connection,
            "dsn": url,
            "server_settings": {"timezone": "UTC", "jit": "off", **KEEPALIVES, **server_settings},
            "command_timeout": statement_s + RESPONSE_GRACE_S,
        },
    )


async def _driver_connection(pooled: AsyncConnection) -> "Connection[Record]":
    """Return the driver's connection, skipping connections that Postgres ended while they were in the pool."""
    while True:
        driver = (await pooled.get_raw_connection()).driver_connection
        if not isinstance(driver, Connection):
            raise StoreUnavailable("the connection is closed")
        if not driver.is_closed():
            return driver
        await pooled.invalidate()


async def open_connection(dsn: str, **arguments: Any) -> "Connection[Record]":
    """Connect to the first host that accepts, with the full timeout for each host.

    The driver has one timeout for all hosts, so a host that does not respond would leave no time for the next ones.
    Raises InvalidUrl for an invalid URL, and the error of the last host if no host accepts.
    """
    url = parse_url(dsn)
    arguments = {"timeout": CONNECT_TIMEOUT_S, **arguments, **_driver_arguments(url)}
    if url.application_name is not None:
        # The driver's arguments take precedence over the URL.
        arguments["server_settings"] = {
            **arguments.get("server_settings", {}),
            "application_name": url.application_name,
        }
    *hosts, last = split_hosts(url.driver_url)
    for host_url in hosts:
        with suppress(*CONNECT_ERRORS):
            return await asyncpg.connect(host_url, **arguments)
    return await asyncpg.connect(last, **arguments)


def _driver_arguments(url: DatabaseUrl) -> dict[str, Any]:
    """Return the driver's arguments for parameters that it does not read in a URL."""
    arguments: dict[str, Any] = {}
    if url.connect_timeout_s is not None:
        arguments["timeout"] = url.connect_timeout_s
    if not url.caches_statements:
        arguments["statement_cache_size"] = 0
    if url.trusts_system:
        arguments["ssl"] = True
    return arguments


@asynccontextmanager
async def connect(url: str) -> AsyncIterator["Connection[Record]"]:
    """Open one connection for a command; raises StoreUnavailable, which names the server, if that fails."""
    try:
        connection = await open_connection(url)
    except CONNECT_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise StoreUnavailable(f"cannot connect to {hide_password(url)}: {reason}") from error
    try:
        yield connection
    finally:
        await connection.close()


class Store:
    """Both pools of connections; close it when the server stops."""

    def __init__(
        self,
        url: str,
        *,
        serving_database: str = "",
        serving_connections: int,
        general_connections: int,
        timeouts: Timeouts,
    ) -> None:
        serving = {
            "application_name": "adserver-serving",
            "lock_timeout": f"{timeouts.lock_ms}ms",
            "statement_timeout": f"{timeouts.statement_ms}ms",
            "idle_in_transaction_session_timeout": f"{timeouts.idle_in_transaction_ms}ms",
            "transaction_timeout": f"{timeouts.statement_ms + timeouts.idle_in_transaction_ms}ms",
            # The plans of serving statements must remain lookups by key while the tables grow.
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "enable_mergejoin": "off",
            "enable_bitmapscan": "off",
        }
        general = {
            "application_name": "adserver",
            "lock_timeout": "5s",
            "statement_timeout": f"{GENERAL_STATEMENT_TIMEOUT_S}s",
            "idle_in_transaction_session_timeout": "10s",
        }
        self._serving = _create_engine(
            serving_url(url, serving_database), serving_connections, serving, timeouts.statement_ms / 1000
        )
        self._general = _create_engine(url, general_connections, general, GENERAL_STATEMENT_TIMEOUT_S)

    @asynccontextmanager
    async def serving_connection(self) -> AsyncIterator["Connection[Record]"]:
        """Lease a connection of the serving pool; it is closed after any error."""
        async with self._lease(self._serving) as connection:
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection[Record]"]:
        """Lease a connection of the general pool; raises StoreUnavailable instead of the driver's errors."""
        async with self._lease(self._general) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Connection[Record]"]:
        """Run a transaction on a connection of the general pool."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _lease(self, engine: AsyncEngine) -> AsyncIterator["Connection[Record]"]:
        try:
            async with engine.connect() as pooled:
                try:
                    yield await _driver_connection(pooled)
                except BaseException:
                    await pooled.invalidate()
                    raise
        except (*UNAVAILABLE, *TIMED_OUT) as error:
            raise StoreUnavailable(str(error) or type(error).__name__) from error

    @property
    def pool_in_use(self) -> tuple[int, int]:
        """Number of connections of the general pool that are in use, and its size."""
        pool = self._general.pool
        return (pool.checkedout(), pool.size()) if isinstance(pool, AsyncAdaptedQueuePool) else (0, 0)

    async def close(self) -> None:
        """Close every connection, and wait for Postgres at most CLOSE_TIMEOUT_S."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._serving.dispose()
                await self._general.dispose()
