"""The pools of connections: where they lead, and what becomes of them when Postgres ends them."""

import asyncio

from asyncpg import Connection, Record
from sqlalchemy.engine import make_url

from app.launch.migrating import migrate
from app.store.connections import connect
from tests.integration.serves import open_store
from tests.players import becomes, connected

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


async def test_a_url_may_have_what_psql_knows_in_it(database: str) -> None:
    url = f"{database}&sslmode=prefer&application_name=ours"
    await asyncio.to_thread(migrate, url)
    store = open_store(url)
    async with store.serving_connection() as serving, store.connection() as other, connect(url) as one:
        for connection in (serving, other, one):
            assert await connection.fetchval("SELECT current_database()") == make_url(database).database
    await store.close()
