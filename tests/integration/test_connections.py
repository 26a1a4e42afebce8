"""The pools of connections: the databases they connect to, and their recovery when Postgres ends connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from asyncpg import Connection, Record
from sqlalchemy.engine import make_url

from app.errors import StoreUnavailable
from app.launch.migrate import migrate
from app.store import connections
from app.store.connections import connect
from tests.integration.serves import open_store
from tests.players import becomes, connected
from tests.standby import set_standby

TERMINATE_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"
)


async def test_connections_that_ended_in_the_pool_cause_no_error(database: str, app_database: str) -> None:
    store = open_store(app_database)
    pooled: list[Connection[Record]] = []
    both_connected = asyncio.Barrier(2)

    async def query() -> int:
        async with store.connection() as connection:
            pooled.append(connection)
            await both_connected.wait()
            result: int = await connection.fetchval("SELECT 1")
            return result

    assert await asyncio.gather(query(), query()) == [1, 1]
    assert len(set(pooled)) == 2
    async with connected(database) as owner:
        await owner.fetch(TERMINATE_OTHERS, owner.get_server_pid())

    async def ended() -> bool:
        return all(connection.is_closed() for connection in pooled)

    await becomes(ended)
    assert await asyncio.gather(query(), query()) == [1, 1]
    await store.close()


async def test_serving_connections_have_their_own_name_for_the_database(app_database: str) -> None:
    store = open_store(app_database, serving_database="postgres")
    async with store.serving_connection() as serving, store.connection() as general:
        assert await serving.fetchval("SELECT current_database()") == "postgres"
        assert await general.fetchval("SELECT current_database()") == make_url(app_database).database
    await store.close()


@asynccontextmanager
async def silent_host() -> AsyncIterator[str]:
    """Yield an address that accepts connections and never responds, like a firewall in front of a lost machine."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


async def test_a_host_that_does_not_respond_is_skipped(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT_S", 1.0)
    parsed = make_url(database)
    async with silent_host() as silent:
        login = f"{parsed.username}:{parsed.password}"
        url = f"postgresql://{login}@{silent},127.0.0.1:{parsed.query['port']}/{parsed.database}"
        await asyncio.to_thread(migrate, url)
        store = open_store(url)
        async with store.serving_connection() as serving, store.connection() as general, connect(url) as single:
            for connection in (serving, general, single):
                assert await connection.fetchval("SELECT current_database()") == parsed.database
        await store.close()


async def test_a_standby_instead_of_a_required_primary_is_reported_in_one_line(database: str) -> None:
    await set_standby(database, standby=True)
    with pytest.raises(StoreUnavailable, match="None of the hosts match"):
        async with connect(f"{database}&target_session_attrs=read-write"):
            pass


async def test_a_url_may_have_parameters_of_psql(database: str) -> None:
    url = f"{database}&sslmode=prefer&application_name=custom"
    await asyncio.to_thread(migrate, url)
    store = open_store(url)
    async with store.serving_connection() as serving, store.connection() as general, connect(url) as single:
        for connection in (serving, general, single):
            assert await connection.fetchval("SELECT current_database()") == make_url(database).database
    await store.close()
