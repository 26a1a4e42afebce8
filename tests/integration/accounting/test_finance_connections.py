"""Connections of the finance role and of other roles leave room for the server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from app.launch.databases import Database, open_database, set_role_passwords
from app.launch.migrate import migrate
from app.settings import Settings
from app.store.roles import APP, FINANCE
from tests.integration.accounting.world import campaign, connected, open_store, serve_many, set_up
from tests.postgres import temporary_folder

ROLES = Path(__file__).parents[3] / "migrations" / "roles.sql"
LIMIT = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'adserver_finance'"
FINANCE_CONNECTIONS = 20
ATTEMPTS = 100


@pytest.fixture(scope="module")
def embedded() -> Iterator[Database]:
    """The embedded database of a server, with the limits that it sets."""
    with temporary_folder() as folder, open_database(Settings(data_dir=folder)) as database:
        migrate(database.url)
        assert database.server is not None
        asyncio.run(set_role_passwords(database.server))
        yield database


def role_url(database: Database, role: str) -> str:
    assert database.server is not None
    return database.server.url(role=role)


@asynccontextmanager
async def idle_connections(url: str, attempts: int) -> AsyncIterator[int]:
    """Open as many idle connections as Postgres accepts, and yield their number."""
    async with AsyncExitStack() as stack:
        accepted = 0
        for _ in range(attempts):
            try:
                connection = await asyncpg.connect(url)
            except asyncpg.TooManyConnectionsError:
                continue
            stack.push_async_callback(connection.close)
            accepted += 1
        yield accepted


async def serves_after_reconnect(database: Database, campaign_id: str) -> int:
    """Serve with all connections of a server, which are new."""
    connections = Settings().connections_max
    store = open_store(role_url(database, APP), serving=connections // 2, others=connections // 2)
    try:
        await set_up(store, campaign(campaign_id))
        async with AsyncExitStack() as stack:
            for _ in range(connections // 2 - 1):
                await stack.enter_async_context(store.serving_connection())
                await stack.enter_async_context(store.connection())
            return len(await serve_many(store, campaign_id, 3))
    finally:
        await store.close()


async def test_a_hundred_idle_finance_connections_leave_room_for_the_server(embedded: Database) -> None:
    async with idle_connections(role_url(embedded, FINANCE), ATTEMPTS) as accepted:
        assert accepted == FINANCE_CONNECTIONS
        assert await serves_after_reconnect(embedded, "spring") == 3


async def test_roles_without_a_limit_leave_the_reserved_connections_to_the_server(embedded: Database) -> None:
    async with connected(embedded.url) as owner:
        await owner.execute("ALTER ROLE adserver_finance CONNECTION LIMIT -1")
    try:
        async with idle_connections(role_url(embedded, FINANCE), 10 * ATTEMPTS) as accepted:
            assert accepted > ATTEMPTS
            assert await serves_after_reconnect(embedded, "summer") == 3
    finally:
        async with connected(embedded.url) as owner:
            await owner.execute(f"ALTER ROLE adserver_finance CONNECTION LIMIT {FINANCE_CONNECTIONS}")


async def test_a_limit_that_an_administrator_set_is_kept(embedded: Database) -> None:
    async with connected(embedded.url) as owner, owner.transaction():
        await owner.execute("ALTER ROLE adserver_finance CONNECTION LIMIT 7")
        await owner.execute(ROLES.read_text())
        assert await owner.fetchval(LIMIT) == 7
        await owner.execute("ALTER ROLE adserver_finance CONNECTION LIMIT -1")
        await owner.execute(ROLES.read_text())
        assert await owner.fetchval(LIMIT) == FINANCE_CONNECTIONS
