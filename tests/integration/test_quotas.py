"""The buckets of rate limits, in Postgres; the worker's side is tested in tests/unit/upstreams/test_rate_limiter.py."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.store.quotas import lease

RATE_PER_S, CAPACITY = 100, 26


@pytest.fixture
async def moment(database: str) -> AsyncIterator["Connection[Record]"]:
    """A connection in a transaction, for which no time passes by itself."""
    connection = await asyncpg.connect(database)
    async with connection.transaction():
        yield connection
    await connection.close()


async def seconds_pass(connection: "Connection[Record]", seconds: float) -> None:
    await connection.execute("UPDATE quotas SET refilled_at = refilled_at - make_interval(secs => $1)", seconds)


async def take(connection: "Connection[Record]", want: int, owed: int = 0, name: str = "q") -> tuple[int, float]:
    return await lease(connection, name, RATE_PER_S, CAPACITY, want, owed)


async def test_a_bucket_begins_full_and_gives_what_it_has(moment: "Connection[Record]") -> None:
    assert await take(moment, 20) == (20, 6)
    assert await take(moment, 20) == (6, 0)
    assert await take(moment, 20) == (0, 0)


async def test_it_fills_at_its_rate_up_to_what_it_holds(moment: "Connection[Record]") -> None:
    await take(moment, CAPACITY)
    await seconds_pass(moment, 0.1)
    assert await take(moment, 100) == (10, 0)
    await seconds_pass(moment, 3600)
    assert await take(moment, 100) == (CAPACITY, 0)


async def test_a_part_of_a_token_is_kept_until_it_is_whole(moment: "Connection[Record]") -> None:
    await take(moment, CAPACITY)
    for granted in (0, 1, 0, 1):
        await seconds_pass(moment, 0.005)
        assert (await take(moment, 1))[0] == granted


async def test_what_is_owed_goes_below_nothing_and_is_filled_up_first(moment: "Connection[Record]") -> None:
    assert await take(moment, 5, owed=30) == (0, -4)
    await seconds_pass(moment, 0.1)
    assert await take(moment, 100) == (6, 0)


async def test_what_is_given_back_is_there_for_others(moment: "Connection[Record]") -> None:
    await take(moment, CAPACITY)
    assert await take(moment, 0, owed=-10) == (0, 10)
    assert await take(moment, 100) == (10, 0)


async def test_names_do_not_share(moment: "Connection[Record]") -> None:
    await take(moment, CAPACITY)
    assert await take(moment, 1, name="another") == (1, CAPACITY - 1)


async def test_a_clock_that_was_set_back_fills_nothing(moment: "Connection[Record]") -> None:
    await take(moment, CAPACITY)
    await seconds_pass(moment, -60)
    assert await take(moment, 100) == (0, 0)


async def test_all_who_ask_at_once_together_get_what_there_is(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=8, max_size=8) as pool:
        async with pool.acquire() as connection:
            await take(connection, 0)
            await connection.execute("UPDATE quotas SET tokens = $1, refilled_at = now() + interval '1 hour'", CAPACITY)

        async def ask() -> int:
            async with pool.acquire() as connection:
                return (await take(connection, 3))[0]

        granted = await asyncio.gather(*(ask() for _ in range(20)))
    assert sum(granted) == CAPACITY
