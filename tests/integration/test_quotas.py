"""Token buckets of rate limits in Postgres; tests/unit/upstreams/test_rate_limiter.py tests the worker's side."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.store.quotas import lease

RATE_PER_S, CAPACITY = 100, 26


@pytest.fixture
async def frozen(database: str) -> AsyncIterator["Connection[Record]"]:
    """Yield a connection in a transaction, in which the clock of Postgres stands still."""
    connection = await asyncpg.connect(database)
    async with connection.transaction():
        yield connection
    await connection.close()


async def seconds_pass(connection: "Connection[Record]", seconds: float) -> None:
    await connection.execute("UPDATE quotas SET refilled_at = refilled_at - make_interval(secs => $1)", seconds)


async def take(connection: "Connection[Record]", want: int, owed: int = 0, name: str = "q") -> tuple[int, float]:
    return await lease(connection, name, RATE_PER_S, CAPACITY, want, owed)


async def test_a_bucket_starts_full_and_grants_its_contents(frozen: "Connection[Record]") -> None:
    assert await take(frozen, 20) == (20, 6)
    assert await take(frozen, 20) == (6, 0)
    assert await take(frozen, 20) == (0, 0)


async def test_a_bucket_refills_at_its_rate_up_to_its_capacity(frozen: "Connection[Record]") -> None:
    await take(frozen, CAPACITY)
    await seconds_pass(frozen, 0.1)
    assert await take(frozen, 100) == (10, 0)
    await seconds_pass(frozen, 3600)
    assert await take(frozen, 100) == (CAPACITY, 0)


async def test_a_fraction_of_a_token_is_kept_until_it_is_whole(frozen: "Connection[Record]") -> None:
    await take(frozen, CAPACITY)
    for granted in (0, 1, 0, 1):
        await seconds_pass(frozen, 0.005)
        assert (await take(frozen, 1))[0] == granted


async def test_debt_makes_the_level_negative_and_is_refilled_first(frozen: "Connection[Record]") -> None:
    assert await take(frozen, 5, owed=30) == (0, -4)
    await seconds_pass(frozen, 0.1)
    assert await take(frozen, 100) == (6, 0)


async def test_returned_tokens_are_available_to_others(frozen: "Connection[Record]") -> None:
    await take(frozen, CAPACITY)
    assert await take(frozen, 0, owed=-10) == (0, 10)
    assert await take(frozen, 100) == (10, 0)


async def test_buckets_with_different_names_are_independent(frozen: "Connection[Record]") -> None:
    await take(frozen, CAPACITY)
    assert await take(frozen, 1, name="another") == (1, CAPACITY - 1)


async def test_a_clock_that_was_set_back_refills_nothing(frozen: "Connection[Record]") -> None:
    await take(frozen, CAPACITY)
    await seconds_pass(frozen, -60)
    assert await take(frozen, 100) == (0, 0)


async def test_concurrent_leases_together_grant_the_contents_of_the_bucket(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=8, max_size=8) as pool:
        async with pool.acquire() as connection:
            await take(connection, 0)
            await connection.execute("UPDATE quotas SET tokens = $1, refilled_at = now() + interval '1 hour'", CAPACITY)

        async def lease_three() -> int:
            async with pool.acquire() as connection:
                return (await take(connection, 3))[0]

        granted = await asyncio.gather(*(lease_three() for _ in range(20)))
    assert sum(granted) == CAPACITY
