"""Budget periods that are over move to an archive, and the books stay provable."""

from collections.abc import Mapping

import asyncpg
import pytest

from app.accounting import corrections
from app.accounting.corrections import Reversal
from app.maintenance.tasks import Maintenance
from app.store import budget_periods
from app.store.connections import Store
from tests.integration.accounting.world import (
    PRICE,
    campaign,
    connected,
    disagreements,
    serve_many,
    set_clock,
    set_up,
)

BUDGETS: Mapping[str, str] = {"hour": "1000", "day": "2000", "lifetime": "3000"}
PERIODS = "SELECT period, spent, impressions, running FROM finance.budgets ORDER BY period, period_start"
TRACKED = "SELECT count(*) FROM budget_tracking"
OPENED = "SELECT count(*) FROM budget_periods"
ARCHIVED = "SELECT count(*) FROM budget_archive"
ENTRY = "SELECT min(entry_id) FROM spend_ledger"


async def archive(store: Store) -> int:
    return await Maintenance(store, 35).tasks["budget periods archived"].run()


async def count(database: str, statement: str) -> int:
    async with connected(database) as connection:
        number: int = await connection.fetchval(statement)
    return number


async def served_long_ago(store: Store, database: str) -> None:
    """One hour and one day that ended 40 days ago, and another that did not."""
    await set_up(store, campaign("old", billing="serve", budgets=BUDGETS))
    await serve_many(store, "old", 4)
    await set_clock(database, "transaction_timestamp() + interval '40 days'")
    await serve_many(store, "old", 3)


async def test_periods_that_are_over_move_to_the_archive_and_the_books_agree(store: Store, database: str) -> None:
    await served_long_ago(store, database)
    async with connected(database) as connection:
        before = await connection.fetch(PERIODS)
    assert len(before) == 5
    assert await archive(store) == 2
    assert await archive(store) == 0
    assert [await count(database, statement) for statement in (TRACKED, OPENED, ARCHIVED)] == [3, 3, 2]
    async with connected(database) as connection:
        assert await connection.fetch(PERIODS) == before
    assert await disagreements(database) == []


async def test_a_changed_archive_is_found(store: Store, database: str) -> None:
    await served_long_ago(store, database)
    await archive(store)
    async with connected(database) as connection:
        await connection.execute("UPDATE budget_archive SET spent = spent + 1 WHERE period = 'day'")
        assert [(item.rule, item.actual) for item in await disagreements(database)] == [("I2", "11.000000")]
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE budget_archive SET spent = 2001")


async def test_an_entry_is_reversed_in_periods_that_were_archived(store: Store, database: str) -> None:
    await served_long_ago(store, database)
    await archive(store)
    async with store.connection() as connection:
        entry = await connection.fetchval(ENTRY)
        await corrections.reverse(connection, Reversal(entry, "bad traffic", "key"))
    async with connected(database) as connection:
        old = [row for row in await connection.fetch(PERIODS) if not row["running"]]
    assert [(row["period"], row["spent"]) for row in old] == [("day", 3 * PRICE), ("hour", 3 * PRICE)]
    assert await count(database, ARCHIVED) == 0
    assert await disagreements(database) == []
    assert await archive(store) == 2
    assert await disagreements(database) == []


async def test_a_period_that_holds_money_is_not_archived(store: Store, database: str) -> None:
    await set_up(store, campaign("held", budgets=BUDGETS))
    await serve_many(store, "held", 1)
    await set_clock(database, "transaction_timestamp() + interval '40 days'")
    assert await archive(store) == 0
    await Maintenance(store, 35).tasks["holds released"].run()
    assert await archive(store) == 2
    assert await disagreements(database) == []


async def test_nothing_young_is_archived_and_nothing_during_a_correction(store: Store, database: str) -> None:
    await served_long_ago(store, database)
    async with store.connection() as connection:
        with pytest.raises(asyncpg.InvalidParameterValueError, match="at least 10"):
            await budget_periods.archive_periods(connection, 9, 500)
        async with connected(database) as correcting, correcting.transaction():
            await correcting.execute("LOCK TABLE ledger_corrections IN ROW EXCLUSIVE MODE")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await budget_periods.archive_periods(connection, 35, 500)


async def test_campaigns_that_cannot_serve_get_no_rows_on_demand(store: Store, database: str) -> None:
    await set_up(store, campaign("paused", status="paused", budgets=BUDGETS), campaign("active", budgets=BUDGETS))
    await set_clock(database, "transaction_timestamp() + interval '40 days'")
    before = await count(database, TRACKED)
    async with store.connection() as connection:
        await budget_periods.open_periods(connection, ["paused", "active"], only_in_flight=True)
    assert await count(database, TRACKED) == before + 2
