"""A budget added to a campaign that has already spent: counted from the rollups and later entries."""

from decimal import Decimal

import pytest

from app.accounting.corrections import Adjustment, Reversal, adjust, reverse
from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from tests.integration.accounting.world import (
    PRICE,
    balance,
    campaign,
    connected,
    disagreements,
    repair,
    serve_many,
    set_clock,
    set_up,
)

MOMENTS = ("2026-05-30 10:00Z", "2026-05-31 10:00Z", "2026-05-31 11:00Z")
REMOVE_ROLLED_UP = "DELETE FROM spend_ledger WHERE booked_at < (SELECT rolled_up_to FROM books_state)"
ENTRIES = "SELECT min(entry_id), max(entry_id) FROM spend_ledger"


async def make_books(store: Store, database: str) -> None:
    """Four ads at each moment, those before the last are rolled up; one of the first and one of the last taken back."""
    await set_up(store, campaign("spring", billing="serve", budgets={}))
    for moment in MOMENTS:
        await set_clock(database, f"timestamptz '{moment}'")
        for task in ("partitions created", "days rolled up"):
            await Maintenance(store, 35).tasks[task].run()
        await serve_many(store, "spring", 4)
    async with connected(database) as connection:
        for number, entry in enumerate(await connection.fetchrow(ENTRIES) or ()):
            await reverse(connection, Reversal(entry, "fraud", f"r{number}"))
        await adjust(connection, Adjustment("spring", Decimal("-0.5"), "credit", "a1"))


@pytest.mark.parametrize(
    ("period", "spent", "ads"),
    [("lifetime", 10 * PRICE - Decimal("0.5"), 12), ("day", 7 * PRICE, 8), ("hour", 3 * PRICE, 4)],
)
async def test_a_budget_counts_what_was_spent_before_it_came(
    store: Store, database: str, period: str, spent: Decimal, ads: int
) -> None:
    await make_books(store, database)
    await set_up(store, campaign("spring", billing="serve", budgets={period: "1000"}))
    assert await balance(database, "spring", period) == (spent, 0, ads)
    assert await disagreements(database) == []


async def test_a_lifetime_budget_is_counted_without_reading_what_is_rolled_up(store: Store, database: str) -> None:
    await make_books(store, database)
    async with connected(database) as connection:
        await repair(connection, REMOVE_ROLLED_UP, "a test of recounting")
    await set_up(store, campaign("spring", billing="serve", budgets={"lifetime": "1000"}))
    assert await balance(database, "spring") == (10 * PRICE - Decimal("0.5"), 0, 12)
