"""The commands for orders and payouts: their results, and their one-line errors."""

import asyncio
import subprocess
from collections.abc import AsyncIterator

import pytest

from app.store.connections import Store
from tests.integration.accounting.order_world import apply_tables, in_order, on_placement, open_budgets, order, pay
from tests.integration.accounting.world import open_store
from tests.launched import adserver

CREDIT = ("--reason", "payment 4711", "--key", "k1")


@pytest.fixture
async def store(app_database: str) -> AsyncIterator[Store]:
    """A prepaid order with a campaign of 2.50 USD an ad, half of which publisher p1 earns, and another order."""
    store = open_store(app_database)
    orders = [order(prepaid=True), order("o2", budget="10")]
    await apply_tables(store, orders, [in_order("spring")], [{"id": "p1", "revenue_share": "0.5"}], ["spring"])
    yield store
    await store.close()


async def run_command(database: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(adserver, *arguments, DATABASE_URL=database, SECRET_KEY="a-secret-for-tests")


async def serve(store: Store, ads: int) -> int:
    """Return the number of ads that were paid for."""
    await open_budgets(store, ["spring"])
    async with store.serving_connection() as connection:
        paid, _ = await pay(connection, [on_placement("spring") for _ in range(ads)])
    return len(paid)


async def test_an_order_is_credited_and_its_publisher_paid(store: Store, database: str, finance_database: str) -> None:
    assert await serve(store, 1) == 0
    credited = await run_command(database, "orders", "credit", "o1", "--amount", "7.50", *CREDIT)
    again = await run_command(database, "orders", "credit", "o1", "--amount", "7.50", *CREDIT)
    assert credited.stdout == (
        "order o1 credited: +7.500000 USD; 7.500000 credited, 0.000000 spent and held, 7.500000 remaining\n"
    )
    assert again.stdout == credited.stdout.replace("credited:", "was already credited:", 1)
    assert await serve(store, 5) == 3
    listed = await run_command(finance_database, "orders", "list")
    assert listed.stdout.splitlines() == [
        "o1 7.500000 USD booked, 0.000000 held, 0.000000 remaining",
        "o2 0.000000 USD booked, 0.000000 held, 10.000000 remaining",
    ]
    paid = await run_command(database, "payouts", "record", "p1", "--amount", "5", "--key", "k1")
    assert paid.stdout == "payout to p1 recorded: 5.000000 USD; -1.250000 USD owed now\n"
    assert (await run_command(database, "reconcile")).stdout.endswith("the books agree\n")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("orders credit o2 --amount 1", "order_id: must be a prepaid order, and order o2 is not prepaid"),
        ("orders credit gone --amount 1", "order_id: unknown order 'gone'"),
        ("orders credit o1 --amount 0.0000001", "amount: must have at most 6 decimals, got '0.0000001'"),
        ("payouts record gone --amount 1", "publisher_id: unknown publisher 'gone'"),
        ("payouts record p1 --amount 1", "currency: is required, because publisher p1 has earned nothing yet"),
        ("payouts record p1 --amount x --currency USD", "amount: must be a number, got 'x'"),
    ],
)
async def test_a_bad_argument_is_one_line(database: str, command: str, error: str) -> None:
    options = CREDIT if command.startswith("orders") else CREDIT[2:]
    done = await run_command(database, *command.split(), *options)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"adserver: {error}\n")
