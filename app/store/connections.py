"""Connections to Postgres: two pools, and the translation of driver errors in one place.

Serving connections belong to the lanes and carry the short time-outs of the serving path. The others do
everything else. No statement of either waits for a Postgres that vanished without a word. SQLAlchemy keeps both; the
statements run on the driver's own connection, because a group is sent as arrays.
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
    # What asyncpg says of a connection that Postgres ended between two statements.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.CannotConnectNowError,
    # What a standby says, and after a failover a connection may have led to one: the next leads to the primary.
    asyncpg.ReadOnlySQLTransactionError,
)
"""What the driver raises when the connection, or Postgres itself, is gone."""

TIMED_OUT = (
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
)
"""What Postgres raises when a lock, a statement or a transaction took too long."""

DIALECT = "postgresql+asyncpg://"
"""All that SQLAlchemy gets of the address: `open_connection` and the driver read the URL."""

CONNECT_TIMEOUT_S = 5

CONNECT_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # What asyncpg says of a standby, where the URL asks for a primary.
    asyncpg.InternalClientError,
)
"""What the driver raises when it cannot connect."""

SILENCE_S = 1.0
"""Postgres ends a statement when its time is over; if it has not said so this much later, it is gone."""

CLOSE_TIMEOUT_S = 3.0
"""How long saying goodbye may take."""

OTHERS_STATEMENT_S = 30
"""How long a statement of the other connections may take, unless it is given more time."""

KEEPALIVES = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
"""By which Postgres finds out within a minute that a server is gone; Linux would take two hours."""


CHECK_READ_ONLY = "SELECT current_setting('transaction_read_only')::boolean"
"""Whether the other end is a standby, or is told to be like one."""

DISABLE_TIMEOUTS = """
SELECT set_config('statement_timeout', '0', true), set_config('transaction_timeout', '0', true),
       set_config('work_mem', '128MB', true)
"""
"""For this transaction: a proof over a big ledger takes minutes, and sorts much. It only reads."""


def is_lost_connection(error: BaseException) -> bool:
    """Whether the connection is of no more use; asyncpg's complaint about a value is an InterfaceError too."""
    return isinstance(error, (*UNAVAILABLE, StoreUnavailable)) and not isinstance(error, ValueError)


async def is_read_only(connection: "Connection[Record]") -> bool:
    """Whether nothing can be written there."""
    read_only: bool = await connection.fetchval(CHECK_READ_ONLY)
    return read_only


async def disable_timeouts(connection: "Connection[Record]") -> None:
    """Lets the transaction that is open run for as long as it takes."""
    await connection.execute(DISABLE_TIMEOUTS)


def rows_affected(status: str) -> int:
    """The number of rows in the driver's word for what a statement did: `DELETE 5`."""
    return int(status.rpartition(" ")[2])


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Of serving connections, in milliseconds; see "Client Connection Defaults" in the Postgres manual."""

    lock_ms: int
    statement_ms: int
    idle_in_transaction_ms: int


def serving_url(url: str, serving_database: str) -> str:
    """The URL of serving connections: the one of the others, unless a pooler has a database's name for them alone."""
    if not serving_database:
        return url
    return with_database(url, serving_database)


def _engine(url: str, connections: int, server_settings: Mapping[str, str], statement_s: float) -> AsyncEngine:
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
            "command_timeout": statement_s + SILENCE_S,
        },
    )


async def _driver(pooled: AsyncConnection) -> "Connection[Record]":
    """The driver's connection; those that Postgres ended while they lay in the pool are passed over."""
    while True:
        driver = (await pooled.get_raw_connection()).driver_connection
        if not isinstance(driver, Connection):
            raise StoreUnavailable("the connection is closed")
        if not driver.is_closed():
            return driver
        await pooled.invalidate()


async def open_connection(dsn: str, **arguments: Any) -> "Connection[Record]":
    """Asks one host after the other, each for so long.

    The driver would give all of them that time together, and a host that does not answer would leave the others none.
    Raises InvalidUrl for a URL that says what cannot be obeyed.
    """
    url = parse_url(dsn)
    arguments = {"timeout": CONNECT_TIMEOUT_S, **arguments, **_driver_arguments(url)}
    if url.application_name is not None:
        # The driver prefers its arguments to what the URL says.
        arguments["server_settings"] = {
            **arguments.get("server_settings", {}),
            "application_name": url.application_name,
        }
    *others, last = split_hosts(url.driver_url)
    for one in others:
        with suppress(*CONNECT_ERRORS):
            return await asyncpg.connect(one, **arguments)
    return await asyncpg.connect(last, **arguments)


def _driver_arguments(url: DatabaseUrl) -> dict[str, Any]:
    """Arguments of the driver for what it does not read in a URL."""
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
    """One connection, for a command; raises StoreUnavailable, naming the server, if there is none to be had."""
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
    """Both pools. Close it when the server stops."""

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
            # The plans of the serving statements are to stay what they are while the tables grow: lookups by key.
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "enable_mergejoin": "off",
            "enable_bitmapscan": "off",
        }
        others = {
            "application_name": "adserver",
            "lock_timeout": "5s",
            "statement_timeout": f"{OTHERS_STATEMENT_S}s",
            "idle_in_transaction_session_timeout": "10s",
        }
        self._serving = _engine(
            serving_url(url, serving_database), serving_connections, serving, timeouts.statement_ms / 1000
        )
        self._others = _engine(url, general_connections, others, OTHERS_STATEMENT_S)

    @asynccontextmanager
    async def serving_connection(self) -> AsyncIterator["Connection[Record]"]:
        """A connection of the serving pool, thrown away if anything at all went wrong on it."""
        async with self._leased(self._serving) as connection:
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection[Record]"]:
        """A connection of the other pool; raises StoreUnavailable in place of the driver's errors."""
        async with self._leased(self._others) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Connection[Record]"]:
        """A transaction of its own on a connection of the other pool."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _leased(self, engine: AsyncEngine) -> AsyncIterator["Connection[Record]"]:
        try:
            async with engine.connect() as pooled:
                try:
                    yield await _driver(pooled)
                except BaseException:
                    await pooled.invalidate()
                    raise
        except (*UNAVAILABLE, *TIMED_OUT) as error:
            raise StoreUnavailable(str(error) or type(error).__name__) from error

    @property
    def pool_in_use(self) -> tuple[int, int]:
        """Connections of the other pool that are in use, and how many there may be."""
        pool = self._others.pool
        return (pool.checkedout(), pool.size()) if isinstance(pool, AsyncAdaptedQueuePool) else (0, 0)

    async def close(self) -> None:
        """Closes every connection, politely while Postgres answers."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._serving.dispose()
                await self._others.dispose()
