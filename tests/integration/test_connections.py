"""The pools of connections: where they lead, and what becomes of them when Postgres ends them."""

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

END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"


async def test_connections_that_ended_in_the_pool_are_nobodys_error(database: str, app_database: str) -> None:
    store = open_store(app_database)
    pooled: list[Connection[Record]] = []

    async def ask() -> int:
        async with store.connection() as connection:
            pooled.append(connection)
            answer: int = await connection.fetchval("SELECT 1 FROM pg_sleep(0.1)")
            return answer

    assert await asyncio.gather(ask(), ask()) == [1, 1]
    assert len(set(pooled)) == 2
    async with connected(database) as owner:
        await owner.fetch(END_ALL, owner.get_server_pid())

    async def ended() -> bool:
        return all(connection.is_closed() for connection in pooled)

    await becomes(ended)
    assert await asyncio.gather(ask(), ask()) == [1, 1]
    await store.close()


async def test_serving_connections_have_their_own_name_for_the_database(app_database: str) -> None:
    store = open_store(app_database, serving_database="postgres")
    async with store.serving_connection() as serving, store.connection() as other:
        assert await serving.fetchval("SELECT current_database()") == "postgres"
        assert await other.fetchval("SELECT current_database()") == make_url(app_database).database
    await store.close()


@asynccontextmanager
async def silent_host() -> AsyncIterator[str]:
    """An address where somebody listens and never says a word, as behind a firewall when a machine is gone."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


async def test_a_host_that_does_not_answer_is_passed_over(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT_S", 1.0)
    ours = make_url(database)
    async with silent_host() as gone:
        login = f"{ours.username}:{ours.password}"
        url = f"postgresql://{login}@{gone},127.0.0.1:{ours.query['port']}/{ours.database}"
        await asyncio.to_thread(migrate, url)
        store = open_store(url)
        async with store.serving_connection() as serving, store.connection() as other, connect(url) as one:
            for connection in (serving, other, one):
                assert await connection.fetchval("SELECT current_database()") == ours.database
        await store.close()


async def test_a_standby_where_a_primary_is_asked_for_is_told_in_one_line(database: str) -> None:
    await set_standby(database, standby=True)
    with pytest.raises(StoreUnavailable, match="None of the hosts match"):
        async with connect(f"{database}&target_session_attrs=read-write"):
            pass


async def test_a_url_may_have_what_psql_knows_in_it(database: str) -> None:
    url = f"{database}&sslmode=prefer&application_name=ours"
    await asyncio.to_thread(migrate, url)
    store = open_store(url)
    async with store.serving_connection() as serving, store.connection() as other, connect(url) as one:
        for connection in (serving, other, one):
            assert await connection.fetchval("SELECT current_database()") == make_url(database).database
    await store.close()
