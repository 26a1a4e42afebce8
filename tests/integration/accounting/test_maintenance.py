"""Periodic maintenance tasks."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import asyncpg
import pytest

from app.accounting.month_close import close_month
from app.maintenance.tasks import AHEAD_DAYS, Maintenance
from app.store import ledger_checks, maintenance, partitions
from app.store.connections import Store
from tests.integration.accounting.world import (
    PRICE,
    balance,
    campaign,
    connected,
    disagreements,
    open_store,
    payment,
    serve,
    serve_many,
    set_clock,
    set_up,
)
from tests.players import becomes

PARTITIONS = "SELECT count(*) FROM pg_inherits WHERE inhparent = $1::regclass"


async def run(store: Store, task: str) -> int:
    return await Maintenance(store, 35).tasks[task].run()


async def test_partitions_are_made_ahead_once_however_many_servers_make_them(
    store: Store, database: str, app_database: str
) -> None:
    await set_clock(database, "transaction_timestamp() + interval '40 days'")
    others = [open_store(app_database, others=1) for _ in range(4)]
    try:
        made = await asyncio.gather(*(run(item, "partitions created") for item in others))
    finally:
        for item in others:
            await item.close()
    assert sum(made) >= 4 * (AHEAD_DAYS + 1)
    async with store.connection() as connection:
        assert await partitions.count_days_ahead(connection) >= AHEAD_DAYS


async def test_a_missing_partition_fails_no_serve_and_its_rows_move_when_it_is_made(
    store: Store, database: str
) -> None:
    await set_up(store, campaign("late"))
    await set_clock(database, "transaction_timestamp() + interval '40 days'")
    await serve_many(store, "late", 10)
    async with store.connection() as connection:
        assert await partitions.count_days_ahead(connection) == -1
        assert await partitions.has_misplaced_rows(connection)
    await run(store, "partitions created")
    async with store.connection() as connection:
        assert await partitions.count_days_ahead(connection) >= AHEAD_DAYS
        assert not await partitions.has_misplaced_rows(connection)
    assert await disagreements(database) == []


async def test_rows_of_days_that_are_over_for_long_move_too_and_their_month_can_be_closed(
    store: Store, database: str
) -> None:
    await set_up(store, campaign("late", billing="serve"), campaign("unseen", hold_ttl_s=60))
    for day in ("2027-02-10", "2027-02-12"):
        await set_clock(database, f"timestamptz '{day} 12:00Z'")
        for campaign_id in ("late", "unseen"):
            await serve_many(store, campaign_id, 10)
    await set_clock(database, "timestamptz '2027-03-12 12:00Z'")
    await run(store, "holds released")
    await run(store, "partitions created")
    async with store.connection() as connection:
        assert not await partitions.has_misplaced_rows(connection)
    async with connected(database) as connection:
        assert (await close_month(connection, date(2027, 2, 1))).entries == 20
    assert await disagreements(database) == []


async def test_old_days_are_dropped_the_ledger_stays_and_the_books_agree(store: Store, database: str) -> None:
    await set_up(store, campaign("old", billing="serve"), campaign("unseen", hold_ttl_s=60))
    await serve_many(store, "old", 10)
    await serve_many(store, "unseen", 10)
    await set_clock(database, "transaction_timestamp() + interval '2 days'")
    await run(store, "holds released")
    await set_clock(database, "transaction_timestamp() + interval '60 days'")
    assert await run(store, "partitions dropped") > 0
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ad_serves") == 0
        assert await connection.fetchval("SELECT count(*) FROM hold_releases") == 0
        assert await connection.fetchval("SELECT count(*) FROM spend_ledger") == 10
    assert await disagreements(database) == []


@pytest.mark.parametrize("parent", ["ad_serves", "ad_events", "hold_releases", "served_documents", "spend_ledger"])
async def test_nothing_young_and_nothing_of_the_ledger_can_be_dropped(store: Store, parent: str) -> None:
    days = 1 if parent == "served_documents" else 34 if parent != "spend_ledger" else 4000
    async with store.connection() as connection:
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await partitions.drop_oldest_partition(connection, parent, days)


async def test_counts_stay_until_no_transaction_can_still_need_them(store: Store, database: str) -> None:
    await set_up(store, campaign("capped", frequency_caps=[{"impressions": 3, "per": "minute"}]))
    await set_clock(database, "timestamptz '2026-06-01 12:00:30Z'")
    await serve_many(store, "capped", 300)
    await set_clock(database, "timestamptz '2026-06-01 12:11:00Z'")
    assert await run(store, "counts removed") == 0
    await set_clock(database, "timestamptz '2026-06-01 12:11:00.000001Z'")
    assert await run(store, "counts removed") == 300


async def test_sweepers_pass_over_the_count_that_a_serve_has_locked(store: Store, database: str) -> None:
    await set_up(store, campaign("capped", frequency_caps=[{"impressions": 3, "per": "minute"}]))
    await serve_many(store, "capped", 2)
    await set_clock(database, "transaction_timestamp() + interval '12 minutes'")
    async with connected(database) as serving, serving.transaction():
        await serving.execute("SELECT FROM frequency_caps LIMIT 1 FOR UPDATE")
        assert await run(store, "counts removed") == 1
    assert await run(store, "counts removed") == 1


async def test_rollups_and_the_ledgers_tail_are_exact_while_ads_are_served(store: Store, database: str) -> None:
    await set_up(store, campaign("busy", billing="serve", timezone="America/New_York"))
    async with store.serving_connection() as connection:
        for hours in range(60, -1, -7):
            await set_clock(database, f"transaction_timestamp() - interval '{hours} hours'")
            async with store.connection() as opening:
                await partitions.make_partitions(opening, 1)
            await serve(connection, [payment("busy") for _ in range(10)])
            await run(store, "days rolled up")
            assert await disagreements(database) == []
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT sum(amount) FROM spend_daily") == 80 * PRICE
        assert await connection.fetchval("SELECT sum(spent) FROM finance.campaign_spend_daily") == 90 * PRICE
        assert await ledger_checks.count_wrong_budgets(connection) == 0
        await connection.execute("UPDATE spend_daily SET amount = amount + 1")
        assert await ledger_checks.count_wrong_budgets(connection) == 1
    assert {item.rule for item in await disagreements(database)} == {"rollup"}


async def test_many_servers_roll_up_once(store: Store, database: str, app_database: str) -> None:
    await set_up(store, campaign("busy", billing="serve"))
    await serve_many(store, "busy", 100)
    await set_clock(database, "transaction_timestamp() + interval '10 minutes'")
    others = [open_store(app_database, others=1) for _ in range(6)]
    try:
        await asyncio.gather(*(run(item, "days rolled up") for item in others))
    finally:
        for item in others:
            await item.close()
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT sum(entries) FROM spend_daily") == 100


async def test_a_server_releases_holds_by_itself(store: Store, database: str) -> None:
    await set_up(store, campaign("held", hold_ttl_s=1))
    await serve_many(store, "held", 3)
    maintenance = Maintenance(store, 35)
    async with connected(database) as connection:
        await connection.execute("UPDATE holds SET expires_at = expires_at - interval '1 hour'")

        async def none_is_left() -> bool:
            return not await connection.fetchval("SELECT count(*) FROM holds")

        maintenance.start()
        try:
            await becomes(none_is_left)
        finally:
            await maintenance.stop()
    assert await balance(database, "held") == (Decimal(0), Decimal(0), 0)


async def test_a_task_is_one_servers_until_its_time_comes_again(store: Store) -> None:
    async with store.connection() as connection:
        claims = [await maintenance.claim_task(connection, "task", 60) for _ in range(3)]
        await connection.execute("UPDATE maintenance SET begun_at = $1", datetime.now(UTC) - timedelta(minutes=2))
        assert [*claims, await maintenance.claim_task(connection, "task", 60)] == [True, False, False, True]


async def test_a_task_that_was_begun_while_the_clock_was_ahead_is_done_all_the_same(store: Store) -> None:
    async with store.connection() as connection:
        assert await maintenance.claim_task(connection, "task", 60)
        await connection.execute("UPDATE maintenance SET begun_at = begun_at + interval '30 days'")
        assert [await maintenance.claim_task(connection, "task", 60) for _ in range(2)] == [True, False]


async def test_old_claims_of_midnight_are_removed(store: Store) -> None:
    async with store.connection() as connection:
        for days in (1, 3):
            await connection.execute(
                "INSERT INTO midnight_requests VALUES ($1, $2)", uuid4(), datetime.now(UTC) - timedelta(days=days)
            )
    assert await run(store, "claims removed") == 1
