"""Campaigns that move between orders: each ad counts in the order that its campaign belonged to when it was served."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import cast

from asyncpg import Connection, Record

from app.beacons.settlement import settle
from app.campaign_file.apply import ApplyResult
from app.domain import Event
from app.store import spending
from app.store.connections import Store
from app.store.spending import Payment
from tests.integration.accounting.order_world import (
    apply_tables,
    in_order,
    open_budgets,
    order,
    order_balance,
    pay,
    pay_group,
    pay_one,
    pay_until_refused,
)
from tests.integration.accounting.world import beacon, connected, disagreements, payment
from tests.invariants.world import somebody_waits


async def test_a_campaign_that_moves_leaves_what_it_spent_to_its_former_order(store: Store, database: str) -> None:
    await apply_tables(
        store, [order("o1", budget="10"), order("o2", budget="5")], [in_order("a", billing="impression")]
    )
    before = await pay_group(store, "a", "a")
    await apply_tables(store, [], [in_order("a", billing="impression", order="o2")])
    after = await pay_group(store, "a", "a", "a")
    assert len(after) == 2
    async with store.serving_connection() as connection:
        await settle(connection, [beacon(before[0]), beacon(before[1], Event.ERROR), beacon(after[0])])
    assert await order_balance(database, "o1") == (Decimal("2.5"), 0, 1)
    assert await order_balance(database, "o2") == (Decimal("2.5"), Decimal("2.5"), 2)
    await apply_tables(store, [], [in_order("a", billing="impression", order="o1")])
    assert len(await pay_until_refused(store, [["a"]])) == 3
    assert await disagreements(database) == []


async def test_a_campaign_moves_while_it_is_served(store: Store, database: str) -> None:
    await apply_tables(store, [order("o1", budget="40"), order("o2", budget="25")], [in_order("a")])

    async def move() -> None:
        for position in range(6):
            await apply_tables(store, [], [in_order("a", order=f"o{position % 2 + 1}")])

    served, _ = await asyncio.gather(pay_until_moved(store), move())
    await apply_tables(store, [], [in_order("a", order="o1")])
    served += await pay_until_refused(store, [["a"]])
    await apply_tables(store, [], [in_order("a", order="o2")])
    served += await pay_until_refused(store, [["a"]])
    assert len(served) == 16 + 10
    assert await disagreements(database) == []


async def pay_until_moved(store: Store) -> list[Payment]:
    """Pay for ten groups on each of four connections; a group whose order has just changed is refused."""

    async def worker() -> list[Payment]:
        paid: list[Payment] = []
        async with store.serving_connection() as connection:
            for _ in range(10):
                served, reasons = await pay(connection, [payment("a")])
                assert set(reasons) <= {"budget", "missing_period"}
                paid += served
        return paid

    await open_budgets(store, ["a"])
    return [item for paid in await asyncio.gather(*(worker() for _ in range(4))) for item in paid]


class PausedConnection:
    """A connection that does something else after its first statement, which locks the budgets."""

    def __init__(self, connection: "Connection[Record]", pause: Callable[[], Awaitable[None]]) -> None:
        self._connection = connection
        self._pause: Callable[[], Awaitable[None]] | None = pause

    async def fetch(self, *arguments: object) -> list[Record]:
        rows: list[Record] = await self._connection.fetch(*arguments)
        if self._pause is not None:
            await self._pause()
            self._pause = None
        return rows


def without_order(**values: object) -> dict[str, object]:
    return {key: value for key, value in in_order("a", **values).items() if key != "order"}


async def test_a_campaign_joins_an_order_after_the_transactions_that_run(store: Store, database: str) -> None:
    """The campaign has no budget whose row they both lock."""
    await apply_tables(store, [order(budget="5")], [without_order()])
    joining: list[asyncio.Task[ApplyResult]] = []

    async def join() -> None:
        joining.append(asyncio.ensure_future(apply_tables(store, [], [in_order("a")])))
        waits = asyncio.ensure_future(somebody_waits(database))
        await asyncio.wait([joining[0], waits], return_when="FIRST_COMPLETED")
        waits.cancel()

    async with store.serving_connection() as connection, connection.transaction():
        paused = PausedConnection(connection, join)
        result = await spending.spend(cast("Connection[Record]", paused), [payment("a")])
    assert result.refusals == {}
    await joining[0]
    assert await order_balance(database) == (0, 0, 0)
    assert len(await pay_until_refused(store, [["a"]])) == 2
    assert await disagreements(database) == []


async def test_a_campaign_joins_an_order_before_the_transactions_that_wait(store: Store, database: str) -> None:
    budgets = {"lifetime": "100"}
    await apply_tables(store, [order(budget="5")], [without_order(budgets=budgets)])
    async with connected(database) as blocker, blocker.transaction():
        await blocker.execute("SELECT FROM budget_tracking WHERE campaign_id = 'a' FOR UPDATE")
        joining = asyncio.ensure_future(apply_tables(store, [], [in_order("a", budgets=budgets)]))
        await somebody_waits(database)
        serving = asyncio.ensure_future(pay_one(store, "a"))
        await somebody_waits(database, 2)
    assert (await asyncio.gather(joining, serving))[1] is None
    assert await order_balance(database) == (Decimal("2.5"), 0, 1)
    assert await disagreements(database) == []
