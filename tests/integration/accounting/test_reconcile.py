"""Reconciliation finds every kind of error, and reports none in correct books."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.beacons.settlement import settle, sweep
from app.domain import Event
from app.store import budget_periods
from app.store.connections import Store
from tests.clock import set_clock
from tests.integration.accounting.world import (
    beacon,
    beacon_of_day,
    campaign,
    connected,
    disagreements,
    entry,
    payment,
    serve,
    serve_many,
    set_up,
)

CAPPED = campaign(
    "capped",
    billing="serve",
    budgets={"lifetime": "1000", "day": "500", "hour": "100"},
    frequency_caps=[{"impressions": 3, "per": "day"}, {"impressions": 9, "per": "lifetime"}],
)


async def make_books(store: Store) -> None:
    """Charges, settled, released and open holds, and users at their cap."""
    await set_up(store, CAPPED, campaign("held", budgets={"lifetime": "1000", "day": "500"}, hold_ttl_s=60))
    await serve_many(store, "capped", 20)
    served = await serve_many(store, "held", 30)
    user = uuid4()
    async with store.serving_connection() as connection:
        for _ in range(5):
            await serve(connection, [payment("capped", user)])
        await settle(connection, [beacon(item) for item in served[:10]])
        await settle(connection, [beacon(item, Event.ERROR) for item in served[10:15]])
    assert await sweep(store) == 0


async def test_books_that_are_right_show_nothing(store: Store, database: str) -> None:
    await make_books(store)
    assert await disagreements(database) == []


async def test_the_servers_and_finances_roles_can_check_too(
    store: Store, app_database: str, finance_database: str
) -> None:
    await make_books(store)
    assert await disagreements(app_database) == []
    async with connected(finance_database) as connection:
        assert await connection.fetch("TABLE finance.reconciliation") == []


@pytest.mark.parametrize(
    ("rule", "breakage"),
    [
        ("I1", 'UPDATE budget_tracking SET "limit" = 1'),
        ("I2", "UPDATE budget_tracking SET spent = spent + 0.000001 WHERE period = 'lifetime'"),
        ("I2", "UPDATE budget_tracking SET spent = spent - 0.000001 WHERE period = 'hour'"),
        ("I2", "UPDATE budget_tracking SET held = held + 1 WHERE period = 'day'"),
        ("I2", "UPDATE budget_tracking SET impressions = impressions + 1 WHERE period = 'day'"),
        ("I2", "DELETE FROM budget_tracking WHERE period = 'lifetime'"),
        ("I2", "UPDATE spend_ledger SET day_start = day_start - interval '1 day' WHERE kind = 'settle'"),
        ("I3", "DELETE FROM ad_serves WHERE campaign_id = 'capped'"),
        ("I3", "UPDATE ad_serves SET slot = slot + 1"),
        ("I3", "DELETE FROM spend_ledger WHERE kind = 'settle'"),
        ("I3", "DELETE FROM hold_releases"),
        ("I3", "DELETE FROM holds"),
        ("I3", "UPDATE ad_serves SET price = price + 1 WHERE campaign_id = 'held'"),
        ("I3", "UPDATE spend_ledger SET currency = 'EUR'"),
        (
            "I3",
            "CREATE TEMPORARY TABLE twice AS SELECT * FROM spend_ledger LIMIT 1; "
            "UPDATE twice SET entry_id = entry_id + 1000000; "
            "INSERT INTO spend_ledger OVERRIDING SYSTEM VALUE TABLE twice",
        ),
        ("I5", "UPDATE frequency_caps SET count = count - 1"),
        ("I5", "UPDATE frequency_caps SET count = count + 1, cap = cap + 1"),
        ("I5", "DELETE FROM frequency_caps WHERE \"window\" = 'day'"),
        ("I5", "UPDATE frequency_caps SET cap = 0"),
        ("rollup", "UPDATE books_state SET rolled_up_to = now() + interval '1 minute'"),
        ("correction", entry("held", "today")),
    ],
)
async def test_what_is_wrong_is_found(store: Store, database: str, rule: str, breakage: str) -> None:
    await make_books(store)
    async with connected(database) as connection:
        await connection.execute("ALTER TABLE budget_tracking DROP CONSTRAINT spend_within_budget")
        await connection.execute("ALTER TABLE frequency_caps DROP CONSTRAINT count_within_cap")
        await connection.execute("UPDATE campaign_caps SET counts_from = now() - interval '1 hour'")
        await connection.execute("SET adserver.repair = 'a test of reconciliation'")
        await connection.execute(breakage)
    assert rule in {item.rule for item in await disagreements(database)}


async def test_a_cap_that_was_added_in_the_middle_of_its_window_is_not_wrong(store: Store, database: str) -> None:
    await set_up(store, CAPPED | {"frequency_caps": []})
    user = uuid4()
    async with store.serving_connection() as connection:
        for _ in range(5):
            assert await serve(connection, [payment("capped", user)])
        await set_up(store, CAPPED)
        await serve(connection, [payment("capped", user)])
    assert await disagreements(database) == []


@pytest.mark.parametrize("second", ["held", "capped"])
async def test_a_request_that_is_served_again_a_day_later_is_not_wrong(
    store: Store, database: str, second: str
) -> None:
    """Both serves have the key of the request, and the event of the first one comes after the second serve."""
    await set_up(store, CAPPED, campaign("held", budgets={"lifetime": "1000"}, hold_ttl_s=172_800))
    first, item = datetime(2026, 3, 7, 12, tzinfo=UTC), payment("held")
    again = item._replace(campaign_id=second, creative_id=f"{second}-video")
    for moment, served in ((first, item), (first + timedelta(hours=25), again)):
        await set_clock(database, moment.isoformat())
        async with store.serving_connection() as connection:
            await budget_periods.open_periods(connection, ["capped", "held"])
            assert await serve(connection, [served]) == [served]
    async with store.connection() as connection:
        await settle(connection, [beacon_of_day(item, first.date())])
    assert await disagreements(database) == []
    async with connected(database) as connection:
        await connection.execute("DELETE FROM ad_events")
    assert {item.rule for item in await disagreements(database)} == {"I3"}
