"""What a month came to: computed while it is open, kept with its closing, and equal to the daily sums."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import pytest
from asyncpg import Connection, Record

from app.accounting.corrections import Adjustment, Reversal, adjust, reverse
from app.accounting.month_close import close_month
from app.beacons.settlement import settle
from app.domain import Event
from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from app.store.spending import Payment
from tests.integration.accounting.order_world import apply_tables, in_order, on_placement, open_budgets, order, pay
from tests.integration.accounting.world import beacon_of_day, connected, disagreements, set_clock

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
PRICE = Decimal(2)
FIGURES = """
SELECT closed, advertiser_id, order_id, publisher_id, currency, charged, corrected, spent, publisher_amount, released,
       held, publisher_held
FROM finance.month_end($1)
"""
SUMS = """
SELECT currency, sum(charged) AS delivered, sum(corrected) AS corrected, sum(spent) AS spent
FROM finance.month_end($1) GROUP BY currency ORDER BY currency
"""
DAILY_SUMS = """
SELECT currency, sum(delivered) AS delivered, sum(corrected) AS corrected, sum(spent) AS spent
FROM finance.campaign_spend_daily WHERE date_trunc('month', day) = $1 GROUP BY currency ORDER BY currency
"""
OWED = """
SELECT sum(publisher_amount) FROM finance.month_end($1) WHERE publisher_id IS NOT NULL
"""
EARNED = "SELECT sum(earned) FROM finance.publisher_earnings_monthly WHERE month = $1"


async def at(store: Store, database: str, moment: str) -> None:
    """Set the clock, and do what servers do from time to time."""
    await set_clock(database, f"timestamptz '{moment}'")
    maintenance = Maintenance(store, 35)
    for task in ("partitions created", "holds released"):
        await maintenance.tasks[task].run()


async def serve(store: Store, campaign_id: str, count: int) -> list[Payment]:
    await open_budgets(store, [campaign_id])
    async with store.serving_connection() as connection:
        paid, refusals = await pay(connection, [on_placement(campaign_id) for _ in range(count)])
    assert refusals == []
    return paid


async def see(store: Store, ads: Sequence[Payment], served_on: date, event: Event = Event.IMPRESSION) -> None:
    async with store.serving_connection() as connection:
        await settle(connection, [beacon_of_day(item, served_on)._replace(event=event.value) for item in ads])


async def figures(connection: "Connection[Record]", month: date) -> list[dict[str, object]]:
    return [dict(row) for row in await connection.fetch(FIGURES, month)]


async def assert_ties(connection: "Connection[Record]", month: date) -> None:
    assert await connection.fetch(SUMS, month) == await connection.fetch(DAILY_SUMS, month)
    assert await connection.fetchval(OWED, month) == await connection.fetchval(EARNED, month)


@pytest.fixture
async def october(store: Store, database: str) -> list[Payment]:
    """New York's October ends at 04:00 UTC; ten ads are held then, and the serves of November are other ones."""
    await apply_tables(
        store,
        [order()],
        [
            in_order("sold", "2000", timezone="America/New_York"),
            in_order("seen", "2000", billing="impression", timezone="America/New_York", hold_ttl_s=3600),
            in_order("free", "2000", order=None, currency="EUR"),
        ],
        [{"id": "p1", "revenue_share": "0.25"}],
        ["sold", "seen", "free"],
    )
    await at(store, database, "2026-10-31 12:00Z")
    await serve(store, "sold", 5)
    await serve(store, "free", 3)
    early = await serve(store, "seen", 4)
    await see(store, early[:2], date(2026, 10, 31))
    await see(store, early[2:3], date(2026, 10, 31), Event.ERROR)
    await at(store, database, "2026-11-01 03:59:59Z")
    return await serve(store, "seen", 10)


async def test_a_month_that_is_open_is_computed_and_a_closed_one_is_kept(
    october: list[Payment], store: Store, database: str
) -> None:
    async with connected(database) as connection:
        before = {row["currency"]: row for row in await figures(connection, OCTOBER)}
        usd = before["USD"]
        assert (usd["closed"], usd["order_id"], usd["publisher_id"]) == (False, "o1", "p1")
        assert (usd["charged"], usd["held"], usd["released"]) == (7 * PRICE, 10 * PRICE, 2 * PRICE)
        assert (before["EUR"]["order_id"], before["EUR"]["charged"]) == (None, 3 * PRICE)
        await assert_ties(connection, OCTOBER)

        await at(store, database, "2026-11-01 04:00Z")
        later = await serve(store, "seen", 20)
        await at(store, database, "2026-11-01 04:30Z")
        await see(store, october[:6], date(2026, 11, 1))
        await see(store, later[:6], date(2026, 11, 1))
        await at(store, database, "2026-11-01 05:00Z")
        await Maintenance(store, 35).tasks["days rolled up"].run()
        await adjust(connection, Adjustment("sold", Decimal(-1), "a credit", "k1", day=date(2026, 10, 31)))
        entry = await connection.fetchval("SELECT min(entry_id) FROM spend_ledger WHERE campaign_id = 'sold'")
        await reverse(connection, Reversal(entry, "fraud", "k2"))
        expected = usd | {
            "charged": 13 * PRICE,
            "corrected": Decimal(-1),
            "spent": 13 * PRICE - 1,
            "publisher_amount": 13 * PRICE / 4,
            "released": 6 * PRICE,
        }
        now = await figures(connection, OCTOBER)
        assert [row for row in now if row["currency"] == "USD"] == split_by_publisher(expected)
        await assert_ties(connection, OCTOBER)
        await close_month(connection, OCTOBER)
        closed = await figures(connection, OCTOBER)
        assert closed == [row | {"closed": True} for row in now]
        await assert_ties(connection, OCTOBER)
        assert [row["corrected"] for row in await figures(connection, NOVEMBER)] == [-PRICE]
        await assert_ties(connection, NOVEMBER)
    assert await disagreements(database) == []


def split_by_publisher(expected: dict[str, object]) -> list[dict[str, object]]:
    """An adjustment has no publisher: it is a row of its own."""
    nothing = Decimal(0)
    adjusted = {"publisher_id": None, "charged": nothing, "publisher_amount": nothing, "released": nothing}
    return [
        expected | {"corrected": nothing, "spent": expected["charged"]},
        expected | adjusted | {"spent": expected["corrected"], "held": nothing, "publisher_held": nothing},
    ]


async def test_a_new_name_and_a_late_impression_change_no_closed_month(
    october: list[Payment], store: Store, database: str
) -> None:
    await at(store, database, "2026-11-01 05:30Z")
    async with connected(database) as connection:
        await close_month(connection, OCTOBER)
        closed = await connection.fetch("SELECT * FROM finance.month_end($1)", OCTOBER)
        assert sum(row["held"] for row in closed) == 10 * PRICE
        assert sum(row["released"] for row in closed) == 12 * PRICE
        await connection.execute("UPDATE advertisers SET name = 'Acme Limited'")
        await connection.execute("UPDATE campaigns SET late_impressions = 'charge'")
        await see(store, october[:1], date(2026, 11, 1))
        assert await connection.fetch("SELECT * FROM finance.month_end($1)", OCTOBER) == closed
        assert sum(row["charged"] for row in await figures(connection, NOVEMBER)) == PRICE
        assert await connection.fetch("SELECT * FROM finance.month_end($1)", date(2026, 10, 17)) == closed
        assert await figures(connection, date(2026, 9, 1)) == []
