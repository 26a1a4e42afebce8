"""The views of orders and campaigns, and the checks of orders' limits."""

from decimal import Decimal

from app.accounting.corrections import Reversal, reverse
from app.beacons.settlement import settle
from app.store.connections import Store
from app.store.ledger_checks import count_wrong_budgets
from tests.integration.accounting.order_world import apply_tables, in_order, order, pay_group
from tests.integration.accounting.world import balance, beacon, connected, disagreements


async def test_the_quick_check_counts_orders_too(store: Store, database: str) -> None:
    await apply_tables(store, [order(budget="100"), order("o2", budget="5")], [in_order("a"), in_order("b", "1000")])
    await pay_group(store, "a", "b")
    async with connected(database) as connection:
        assert await count_wrong_budgets(connection) == 0
        await connection.execute("UPDATE budget_tracking SET spent = spent + 1 WHERE order_id IS NOT NULL")
        assert await count_wrong_budgets(connection) == 2
    assert {item.rule for item in await disagreements(database)} == {"I2"}


async def test_views_show_orders_and_campaigns(store: Store, database: str, finance_database: str) -> None:
    orders = [order(budget="20", impressions=50, purchase_order="PO-1"), order("o2")]
    campaigns = [
        in_order("a", budgets={"lifetime": "15", "day": "10", "hour": {"impressions": 9}}),
        in_order("b", "1000", billing="impression"),
    ]
    await apply_tables(store, orders, campaigns)
    served = await pay_group(store, *"aabbb")
    async with store.serving_connection() as connection:
        await settle(connection, [beacon(next(item for item in served if item.campaign_id == "b"))])
    async with connected(database) as connection:
        entry = await connection.fetchval("SELECT min(entry_id) FROM spend_ledger")
        await reverse(connection, Reversal(entry, "fraud", "k1"))
    async with connected(finance_database) as connection:
        first, second = await connection.fetch("SELECT * FROM finance.orders ORDER BY order_id")
        campaign = await connection.fetchrow("SELECT * FROM finance.campaigns WHERE campaign_id = 'a'")
        budgets = await connection.fetchrow("SELECT remaining FROM finance.budgets WHERE order_id = 'o1'")
    assert budgets is not None
    assert first["remaining"] == budgets["remaining"]
    columns = ("purchase_order", "budget", "delivered", "corrected", "booked", "held", "remaining")
    assert [first[column] for column in (*columns, "impressions", "reversed", "open_holds")] == [
        "PO-1",
        20,
        6,
        Decimal("-2.5"),
        Decimal("3.5"),
        2,
        Decimal("14.5"),
        3,
        1,
        2,
    ]
    assert (first["impressions_limit"], first["impressions_remaining"], first["billable"]) == (50, 45, 2)
    assert (second["remaining"], second["booked"], second["impressions_remaining"]) == (None, 0, None)
    assert campaign is not None
    assert (campaign["order_id"], campaign["lifetime_budget"], campaign["day_budget"]) == ("o1", 15, 10)
    assert (campaign["hour_budget"], campaign["hour_impressions"], campaign["remaining"]) == (None, 9, Decimal("12.5"))
    assert (await balance(database, "a"))[0] == campaign["booked"]


async def test_what_is_wrong_with_an_order_is_found(store: Store, database: str) -> None:
    await apply_tables(store, [order(prepaid=True), order("o2", budget="5", impressions=7)], [in_order("a")])
    async with connected(database) as connection:
        await connection.execute(
            "INSERT INTO order_credits VALUES ('k', 'o1', 10, 'paid', now(), 'me');"
            "UPDATE configured_budgets SET \"limit\" = 10 WHERE order_id = 'o1';"
            "UPDATE budget_tracking SET \"limit\" = 10 WHERE order_id = 'o1'"
        )
        await pay_group(store, *"aaaa")
        assert await disagreements(database) == []
        for breakage, subject in {
            "UPDATE order_credits SET amount = 9.999999": "credits",
            "DELETE FROM order_credits": "limit",
            "UPDATE configured_budgets SET \"limit\" = 10.000001 WHERE order_id = 'o1'": "limit",
            "UPDATE configured_budgets SET \"limit\" = 5.000001 WHERE order_id = 'o2'": "limit",
            "UPDATE configured_budgets SET impressions_limit = 8 WHERE order_id = 'o2'": "impressions",
            "DELETE FROM configured_budgets WHERE order_id = 'o1'": "limit",
            "UPDATE orders SET prepaid = true, budget = NULL WHERE id = 'o2'": "limit",
        }.items():
            broken = connection.transaction()
            await broken.start()
            await connection.execute("SET LOCAL adserver.repair = 'a test of reconciliation'")
            await connection.execute(breakage)
            found = await connection.fetch("SELECT subject FROM finance.reconciliation WHERE rule = 'order'")
            await broken.rollback()
            assert subject in {row["subject"] for row in found}, breakage
        assert await disagreements(database) == []
