"""A forgotten open query of finance stops neither ads nor maintenance, and delays DDL only briefly."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from app.beacons.settlement import settle, sweep
from app.errors import StoreUnavailable
from app.launch.migrate import retry_on_lock_timeout
from app.maintenance.tasks import Maintenance
from app.store import candidate_checks, holds, partitions, spending
from app.store.connections import Store
from tests.integration.accounting.world import (
    PRICE,
    balance,
    beacon,
    campaign,
    connected,
    disagreements,
    serve_many,
    set_clock,
    set_up,
)
from tests.players import becomes

VIEWS = "SELECT format('%I.%I', schemaname, viewname) FROM pg_views WHERE schemaname = 'finance'"
BECOMES_IMPATIENT = "ALTER ROLE adserver_finance IN DATABASE {} SET idle_in_transaction_session_timeout = '100ms'"
DDL = "SET lock_timeout = '100ms'; ALTER TABLE budget_tracking ADD COLUMN remark text"

CHANGE = """
DO $$ BEGIN
    FOR turn IN 1..5000 LOOP
        UPDATE budget_tracking SET generation = generation + (turn % 10 = 0)::integer;
        COMMIT;
    END LOOP;
END $$
"""
MONEY = '[{"campaign_id": "hot", "hour_start": "2020-01-01T00:00:00Z", "day_start": "2020-01-01T00:00:00Z"}]'
PAGES_MAX = 30
"""More than finding one row takes, and fewer than its 5000 versions lie on."""


async def read_everything(finance: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Keeps a snapshot, and the strongest lock that reading takes, on everything that finance reads."""
    for (view,) in await finance.fetch(VIEWS):
        await finance.fetch(f"SELECT * FROM {view}")
    for table in ("budget_tracking", "spend_ledger"):
        await finance.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")


@asynccontextmanager
async def changed_often(database: str, finance_database: str) -> AsyncIterator[None]:
    """Finance keeps all versions of the budgets' rows, of which there are thousands, while the block lasts."""
    async with connected(finance_database) as finance, finance.transaction(isolation="repeatable_read"):
        await read_everything(finance)
        async with connected(database) as owner:
            await owner.execute(CHANGE)
            await owner.execute("ANALYZE budget_tracking")
        yield


async def explained(
    connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *arguments: object
) -> dict[str, Any]:
    """The plan by which the statement was executed."""
    plans = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *arguments)
    plan: dict[str, Any] = plans[0]["Plan"]
    return plan


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The plan and all that is below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes_of(below)


def pages_of(plan: dict[str, Any]) -> int:
    """Return the number of pages that a plan node and its children have read."""
    pages: int = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return pages


async def test_ads_beacons_campaigns_and_maintenance_go_on(store: Store, database: str, finance_database: str) -> None:
    await set_up(store, campaign("seen"), campaign("served", billing="serve"))
    await serve_many(store, "seen", 1)
    maintenance = Maintenance(store, 35)
    async with connected(finance_database) as finance, finance.transaction(isolation="repeatable_read"):
        await read_everything(finance)
        await set_up(store, campaign("seen", budgets={"lifetime": "1000", "day": "500"}))
        seen = await serve_many(store, "seen", 10)
        await serve_many(store, "served", 10)
        async with store.serving_connection() as connection:
            assert (await settle(connection, [beacon(item) for item in seen])).settled == 10
        await set_clock(database, "transaction_timestamp() + interval '40 days'")
        for task in ("holds released", "sessions removed", "counts removed", "days rolled up"):
            await maintenance.tasks[task].run()
        # A partition cannot be attached beside a default one that somebody reads: its rows go there, and move later.
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await maintenance.tasks["partitions created"].run()
        await serve_many(store, "served", 10)
    await maintenance.tasks["partitions created"].run()
    async with store.connection() as connection:
        assert not await partitions.has_misplaced_rows(connection)
    assert await balance(database, "seen") == (10 * PRICE, 0, 10)
    assert await balance(database, "served") == (20 * PRICE, 0, 20)
    assert await disagreements(database) == []


async def test_a_migration_has_its_lock_when_finances_time_is_over(database: str, finance_database: str) -> None:
    async with connected(database) as owner:
        name = await owner.fetchval("SELECT quote_ident(current_database())")
        await owner.execute(BECOMES_IMPATIENT.format(name))
    async with connected(finance_database) as finance:
        await finance.execute("BEGIN")
        await read_everything(finance)

        async def change() -> None:
            async with connected(database) as owner:
                await owner.execute(DDL)

        async def has_ended() -> bool:
            return finance.is_closed()

        await asyncio.to_thread(retry_on_lock_timeout, lambda: asyncio.run(change()))
        await becomes(has_ended)


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        pytest.param(spending.LOCK_OWN_BUDGETS, [["hot"]], id="serving locks it"),
        pytest.param(candidate_checks.CHECK_CANDIDATES, [["hot"], [None], [None]], id="serving looks at it"),
        pytest.param(holds.LOCK_BUDGETS_FOR_SETTLEMENT, [MONEY], id="settling locks it"),
    ],
)
async def test_a_budget_is_found_without_reading_the_versions_that_finance_keeps(
    store: Store, database: str, finance_database: str, statement: str, arguments: list[object]
) -> None:
    await set_up(store, campaign("hot"))
    async with changed_often(database, finance_database), store.serving_connection() as connection:
        plan = await explained(connection, statement, *arguments)
    assert pages_of(plan) < PAGES_MAX


async def test_a_budget_changes_without_reading_those_versions(
    store: Store, database: str, finance_database: str
) -> None:
    await set_up(store, campaign("hot", budgets={"lifetime": "1000000", "day": "1000000"}))
    change = "UPDATE budget_tracking SET generation = generation + 1 WHERE ctid = $1"
    async with (
        changed_often(database, finance_database),
        store.serving_connection() as connection,
        connection.transaction(),
    ):
        (place, another, *_) = await connection.fetch(spending.LOCK_OWN_BUDGETS, ["hot"])
        # The first change of a session reads the catalog too: the table's constraints and what they call.
        await connection.execute(change, another["row_ctid"])
        plan = await explained(connection, change, place["row_ctid"])
    assert pages_of(plan) < PAGES_MAX


async def test_a_late_impression_is_charged_without_reading_those_versions(
    store: Store, database: str, finance_database: str
) -> None:
    await set_up(store, campaign("hot", late_impressions="charge"))
    late = [beacon(item) for item in await serve_many(store, "hot", 10)]
    await set_clock(database, "transaction_timestamp() + interval '2 hours'")
    await sweep(store)
    requested = [*zip(*((item.request_key, item.slot, item.served_on, item.event) for item in late), strict=True)]
    async with (
        changed_often(database, finance_database),
        store.serving_connection() as connection,
        connection.transaction(),
    ):
        money = await connection.fetchval(holds.LOCK_LATE_EVENTS, *requested)
        places = [row["row_ctid"] for row in await connection.fetch(holds.LOCK_BUDGETS_FOR_SETTLEMENT, money)]
        plan = await explained(connection, holds.CHARGE_LATE_EVENTS, money, places)
    scans = [node for node in nodes_of(plan) if node.get("Relation Name") == "budget_tracking" and "Plans" not in node]
    assert len(scans) == 2
    assert sum(pages_of(scan) for scan in scans) < PAGES_MAX
    assert (await balance(database, "hot"))[0] == 10 * PRICE
