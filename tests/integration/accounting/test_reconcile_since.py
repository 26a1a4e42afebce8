"""Reconciliation since a day finds what went wrong since then, and reads no more than it needs."""

from collections.abc import Sequence
from datetime import date

import pytest

from app.accounting.reconcile import reconcile
from app.beacons.settlement import settle
from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from app.store.ledger_checks import Disagreement
from tests.integration.accounting.world import beacon, campaign, connected, repair, serve_many, set_clock, set_up
from tests.launched import adserver

FIRST, SECOND = date(2027, 2, 10), date(2027, 2, 25)
CAPPED = campaign(
    "capped",
    billing="serve",
    timezone="America/Los_Angeles",
    budgets={"lifetime": "1000", "day": "500", "hour": "100"},
    frequency_caps=[{"impressions": 3, "per": "day"}],
)
HELD = campaign("held", timezone="Pacific/Kiritimati", budgets={"lifetime": "1000", "day": "500"}, hold_ttl_s=60)

# Each breaks the books of either day.
BREAKAGES = [
    ("I2", "UPDATE budget_tracking SET spent = spent - 0.000001 WHERE period = 'hour' AND {starts}"),
    ("I2", "UPDATE budget_tracking SET impressions = impressions + 1 WHERE period = 'day' AND {starts}"),
    ("I3", "DELETE FROM ad_serves WHERE campaign_id = 'capped' AND {served}"),
    ("I3", "DELETE FROM spend_ledger WHERE kind = 'charge' AND {booked}"),
    ("I3", "DELETE FROM hold_releases WHERE {served}"),
    ("I5", "UPDATE frequency_caps SET count = count - 1 WHERE \"window\" = 'day' AND window_start {at}"),
    ("rollup", "UPDATE spend_daily SET publisher_amount = 1 WHERE {recorded}"),
]


async def make_books(store: Store, database: str) -> None:
    """The same on two days: charges, holds that settled and holds that were released; all of it is rolled up."""
    await set_up(store, CAPPED, HELD)
    for day in (FIRST, SECOND):
        for hour in ("03:00", "12:00"):
            await set_clock(database, f"timestamptz '{day} {hour}Z'")
            await serve_many(store, "capped", 4)
            served = await serve_many(store, "held", 4)
            async with store.connection() as connection:
                await settle(connection, [beacon(item)._replace(served_on=day) for item in served[:2]])
            await set_clock(database, f"timestamptz '{day} {hour}Z' + interval '5 minutes'")
            await Maintenance(store, 400).tasks["holds released"].run()
        for task in ("days rolled up", "partitions created"):
            await Maintenance(store, 400).tasks[task].run()


async def check(database: str, since: date | None) -> Sequence[Disagreement]:
    found: list[Disagreement] = []
    async with connected(database) as connection:
        await reconcile(connection, lambda _rule, wrong, _seconds: found.extend(wrong), since=since)
    return found


def broken(statement: str, day: date) -> str:
    at = f"BETWEEN '{day} 00:00Z' AND '{day} 23:59Z'"
    conditions = {"starts": f"period_start {at}", "booked": f"booked_at {at}", "served": f"served_on = '{day}'"}
    return statement.format(at=at, recorded=f"recorded_on = '{day}'", **conditions)


async def test_books_that_are_right_show_nothing_since_any_day(store: Store, database: str) -> None:
    await make_books(store, database)
    for since in (None, FIRST, date(2027, 2, 12), SECOND, date(2027, 3, 1)):
        assert await check(database, since) == []


@pytest.mark.parametrize(("rule", "statement"), BREAKAGES)
async def test_what_went_wrong_since_the_day_is_found_and_nothing_of_before(
    store: Store, database: str, rule: str, statement: str
) -> None:
    await make_books(store, database)
    async with connected(database) as connection:
        await repair(connection, broken(statement, SECOND), "a test of reconciliation")
        assert rule in {item.rule for item in await check(database, SECOND)}
        assert rule in {item.rule for item in await check(database, FIRST)}
        assert await check(database, date(2027, 3, 6)) == []


async def test_a_lifetime_is_always_checked(store: Store, database: str) -> None:
    await make_books(store, database)
    async with connected(database) as connection:
        await connection.execute("UPDATE budget_tracking SET spent = spent + 1 WHERE period = 'lifetime'")
    assert [item.rule for item in await check(database, SECOND)] == ["I2", "I2"]


async def test_only_partitions_since_the_day_are_read(store: Store, database: str) -> None:
    await make_books(store, database)
    async with connected(database) as connection, connection.transaction():
        await connection.execute("SET LOCAL adserver.reconcile_since = '2027-02-25'")
        plan = "\n".join(
            row[0]
            for row in await connection.fetch("EXPLAIN (COSTS OFF, ANALYZE, TIMING OFF) TABLE finance.reconciliation")
        )
    assert "Subplans Removed" in plan
    assert "ad_serves_20270210" not in plan


async def test_the_command_takes_a_day(store: Store, database: str) -> None:
    await make_books(store, database)
    done = adserver("reconcile", "--since", "2027-02-25", DATABASE_URL=database)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the books agree")
    refused = adserver("reconcile", "--since", "yesterday", DATABASE_URL=database)
    assert refused.returncode == 2
    assert refused.stderr == "adserver: since: must have the form 2026-10-31, got 'yesterday'\n"
