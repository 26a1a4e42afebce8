"""The day of a new name: reports show one of both names, the same one before and after the day is rolled up."""

import pytest

from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from tests.integration.accounting.order_world import apply_tables, in_order, on_placement, open_budgets, order, pay
from tests.integration.accounting.world import connected, set_clock

NAMES = """
SELECT (SELECT array_agg(advertiser) FROM finance.advertiser_spend_monthly) AS advertiser_spend_monthly,
       (SELECT array_agg(advertiser) FROM finance.campaign_spend_daily) AS campaign_spend_daily,
       (SELECT array_agg(publisher) FROM finance.publisher_earnings_daily) AS publisher_earnings_daily,
       (SELECT array_agg(publisher) FROM finance.publisher_earnings_monthly) AS publisher_earnings_monthly,
       (SELECT array_agg(publisher) FROM finance.publisher_statement) AS publisher_statement,
       (SELECT array_agg(advertiser || publisher) FROM finance.month_end('2026-10-01')) AS month_end
"""


@pytest.mark.parametrize("names", [("Alpha", "Zeta"), ("Zeta", "Alpha")], ids="-".join)
async def test_reports_show_the_same_name_after_the_rollup(store: Store, database: str, names: tuple[str, str]) -> None:
    await set_clock(database, "timestamptz '2026-10-15 12:00Z'")
    for name in names:
        await serve_as(store, name)
    async with connected(database) as connection:
        before = dict((await connection.fetchrow(NAMES)) or {})
        await set_clock(database, "timestamptz '2026-10-15 13:00Z'")
        await Maintenance(store, 35).tasks["days rolled up"].run()
        assert await connection.fetchval("SELECT count(*) FROM spend_daily") == 2
        assert dict((await connection.fetchrow(NAMES)) or {}) == before
    assert before == {view: ["Alpha"] for view in before} | {"month_end": ["AlphaAlpha"]}


async def serve_as(store: Store, name: str) -> None:
    """Serve an ad while the advertiser and the publisher have this name."""
    await apply_tables(
        store,
        advertisers=[{"id": "Acme", "name": name}],
        orders=[order()],
        campaigns=[in_order("c1")],
        publishers=[{"id": "p1", "name": name, "revenue_share": "0.5"}],
        sold=["c1"],
    )
    await open_budgets(store, ["c1"])
    async with store.serving_connection() as connection:
        paid, _ = await pay(connection, [on_placement("c1")])
    assert len(paid) == 1
