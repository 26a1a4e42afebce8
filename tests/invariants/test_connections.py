"""I7: after any fault the next user of a connection finds a clean one, and stuck transactions are ended."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import AdaptedConnection, event

from app.domain import NoFillReason
from app.serving import group_runner
from app.serving.group_runner import ATTEMPTS_MAX
from app.store.connections import Store, Timeouts
from tests.campaigns import own_campaign, set_up
from tests.invariants.world import running
from tests.players import becomes, connected, idle_in_transaction
from tests.standby import set_standby

SHORT_MS = 1000
LONG_MS = 60_000
RECONNECT_S = 1
OF_SERVING = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'adserver-serving'"


@pytest.fixture
async def store(database: str, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store whose timeouts in the parameter are short."""
    short = dict.fromkeys(getattr(request, "param", ()), SHORT_MS)
    timeouts = Timeouts(**{"lock_ms": LONG_MS, "statement_ms": LONG_MS, "idle_in_transaction_ms": LONG_MS} | short)
    store = Store(database, serving_connections=1, general_connections=1, timeouts=timeouts)
    yield store
    await store.close()


async def nobody_is_in_a_transaction(url: str) -> bool:
    return await idle_in_transaction(url) == 0


async def test_a_transaction_that_was_cut_off_is_not_what_the_next_one_finds(store: Store, database: str) -> None:
    async def cut_off(cause: BaseException) -> None:
        async with store.serving_connection() as connection:
            await connection.execute("BEGIN; CREATE TABLE left_behind ()")
            raise cause

    for cause in (ZeroDivisionError(), asyncio.CancelledError()):
        with pytest.raises(type(cause)):
            await cut_off(cause)
        async with store.serving_connection() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SELECT to_regclass('left_behind') IS NULL")
    await becomes(lambda: nobody_is_in_a_transaction(database))


@pytest.mark.parametrize("store", [["idle_in_transaction_ms"]], indirect=True)
async def test_postgres_ends_a_transaction_that_nobody_goes_on_with(store: Store, database: str) -> None:
    async def forget() -> None:
        async with store.serving_connection() as connection:
            await connection.execute("BEGIN; SELECT FROM campaigns")
            await becomes(lambda: nobody_is_in_a_transaction(database))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await forget()


@pytest.mark.parametrize(
    ("store", "statement", "error"),
    [
        (["lock_ms"], "SELECT FROM campaigns FOR UPDATE", asyncpg.LockNotAvailableError),
        (["statement_ms"], "SELECT pg_sleep(60)", asyncpg.QueryCanceledError),
    ],
    indirect=["store"],
)
async def test_a_lock_and_a_statement_take_no_longer_than_they_may(
    store: Store, database: str, statement: str, error: type[Exception]
) -> None:
    await set_up(database, own_campaign("own"))
    async with connected(database) as owner, owner.transaction():
        await owner.execute("SELECT FROM campaigns FOR UPDATE")
        async with store.serving_connection() as connection:
            with pytest.raises(error):
                await connection.execute(statement)


async def test_a_request_is_served_although_every_idle_connection_was_ended(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are more connections than a request has attempts, and none is replaced before it could use these up."""
    for bound in ("RECONNECT_MIN_S", "RECONNECT_MAX_S"):
        monkeypatch.setattr(group_runner, bound, RECONNECT_S)
    await set_up(database, own_campaign("own"))
    limits = {"serve_connections": 2 * ATTEMPTS_MAX, "fetch_connections": 1}
    opened: list[asyncpg.Connection[asyncpg.Record]] = []
    async with connected(database) as owner, running(database, **limits) as server:

        @event.listens_for(server.store._serving.sync_engine, "connect")
        def note(connection: AdaptedConnection, _record: object) -> None:
            opened.append(connection.driver_connection)

        async def all_idle() -> bool:
            """A connection that is being made would be made again, and the request would go through it."""
            count: int = await owner.fetchval(f"SELECT count(*) {OF_SERVING} AND state = 'idle'")
            return count == len(opened) == 2 * ATTEMPTS_MAX + 1

        async def all_closed() -> bool:
            """On this side, which notices a little later than Postgres."""
            return all(connection.is_closed() for connection in opened)

        await becomes(all_idle)
        await owner.execute(f"SELECT pg_terminate_backend(pid) {OF_SERVING}")
        await becomes(all_closed)
        assert await server.campaign(campaign_id="own") == "own"
        await becomes(lambda: nobody_is_in_a_transaction(database))


async def test_a_connection_that_led_to_a_standby_is_not_kept(database: str) -> None:
    await set_up(database, own_campaign("own"))
    await set_standby(database, standby=True)
    async with running(database) as server:
        assert await server.reason(campaign_id="own") is NoFillReason.BUSY
        await set_standby(database, standby=False)
        assert await server.campaign(campaign_id="own") == "own"
