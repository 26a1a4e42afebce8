"""finance.delivery_hourly: what happened by hour and place, equal to serves and ledger, rolled up or not."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from app.accounting.corrections import Adjustment, Reversal, adjust, reverse
from app.accounting.reconcile import reconcile
from app.domain import Event
from app.errors import StoreUnavailable
from app.maintenance.tasks import Maintenance
from app.store import delivery
from app.store.connections import Store
from app.store.delivery import RequestPlace
from app.store.ledger_checks import Disagreement
from tests.integration.accounting.evidence_world import CHARGED, DAY, LATE, SEEN, at, open_books, roll_up, send, serve
from tests.integration.accounting.world import connected, disagreements, open_store

COUNTERS = (
    *("requests", "serves", "seen", "first_quartile", "midpoint", "third_quartile", "completed", "clicks", "errors"),
    *("late", "expired", "invalid", "reversed", "charged", "corrected"),
)
EVERYTHING = "SELECT * FROM finance.delivery_hourly ORDER BY hour, campaign_id, placement_id, country"
QUARTILES = (Event.FIRST_QUARTILE, Event.MIDPOINT, Event.THIRD_QUARTILE)
LEDGER = """
SELECT campaign_id, currency, sum(amount) FILTER (WHERE kind IN ('charge', 'settle')), sum(amount)
FROM spend_ledger GROUP BY 1, 2 ORDER BY 1, 2
"""
TOTALS = """
SELECT campaign_id, currency, sum(charged), sum(charged + corrected)
FROM finance.delivery_hourly GROUP BY 1, 2 ORDER BY 1, 2
"""
SERVER_DIES_AT_THE_MARK = """
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER dies BEFORE UPDATE ON delivery_state FOR EACH ROW EXECUTE FUNCTION die();
"""
READ_PARTITIONS = """
SELECT DISTINCT right(relname, 8) FROM pg_stat_xact_user_tables
WHERE seq_scan + coalesce(idx_scan, 0) > 0 AND relname ~ '^(ad_serves|ad_events|hold_releases)_2' ORDER BY 1
"""


async def trade(store: Store, database: str, *, in_steps: bool = False) -> None:
    """Three hours in which everything that is counted happens; rolled up in steps, or not at all."""

    async def step(time: str) -> None:
        await at(store, database, time)
        if in_steps:
            await roll_up(store)

    await open_books(store)
    await step("09:59")
    charged = await serve(store, CHARGED, 5)
    await serve(store, CHARGED, 2, placement_id="beta", country=None, device_type=None)
    seen = await serve(store, SEEN, 7)
    late = await serve(store, LATE, 3)
    await step("10:01")
    for _repeat in range(2):
        await send(store, seen[:5], Event.IMPRESSION, Event.START)
        for event, ads in zip((*QUARTILES, Event.COMPLETE), (4, 3, 2, 1), strict=True):
            await send(store, seen[:ads], event)
        await send(store, seen[1:3], Event.CLICK, Event.MUTE)
    await send(store, seen[5:6], Event.ERROR)
    await step("10:05")
    await send(store, charged, Event.IMPRESSION)
    await step("10:30")
    await step("11:10")
    await send(store, [seen[6], *late[:2]], Event.IMPRESSION)
    async with connected(database) as connection:
        entry_id = await connection.fetchval("SELECT min(entry_id) FROM spend_ledger WHERE campaign_id = $1", SEEN)
        await reverse(connection, Reversal(entry_id, "a monitor", "k1"))
        await adjust(connection, Adjustment(CHARGED, Decimal("-1.25"), "a credit", "k2"))
        fee = await adjust(connection, Adjustment(CHARGED, Decimal(1), "a fee", "k3"))
        await reverse(connection, Reversal(fee.entry_id, "no fee", "k4"))
    await step("11:20")


EXPECTED = [
    ("09", CHARGED, "alpha", {"serves": 5, "charged": Decimal("12.5")}),
    ("09", CHARGED, "beta", {"serves": 2, "charged": Decimal(5)}),
    ("09", LATE, "alpha", {"serves": 3}),
    ("09", SEEN, "alpha", {"serves": 7}),
    ("10", CHARGED, "alpha", {"seen": 5}),
    ("10", LATE, "alpha", {"expired": 3}),
    (
        *("10", SEEN, "alpha"),
        {"seen": 5, "first_quartile": 4, "midpoint": 3, "third_quartile": 2, "completed": 1, "clicks": 2, "errors": 1}
        | {"expired": 1, "charged": Decimal("12.5")},
    ),
    ("11", CHARGED, None, {"corrected": Decimal("-1.25")}),
    ("11", LATE, "alpha", {"seen": 2, "late": 2, "charged": Decimal(5)}),
    ("11", SEEN, "alpha", {"seen": 1, "late": 1, "reversed": 1, "corrected": Decimal("-2.5")}),
]


async def shown(url: str) -> list[asyncpg.Record]:
    async with connected(url) as connection:
        return list(await connection.fetch(EVERYTHING))


@pytest.mark.parametrize("in_steps", [False, True])
async def test_everything_that_happens_is_counted_in_its_hour(
    store: Store, database: str, finance_database: str, in_steps: bool
) -> None:
    await trade(store, database, in_steps=in_steps)
    rows = await shown(finance_database)
    assert [
        (
            f"{row['hour']:%H}",
            row["campaign_id"],
            row["placement_id"],
            {name: row[name] for name in COUNTERS if row[name]},
        )
        for row in rows
    ] == EXPECTED
    for row in rows:
        place = (row["creative_id"], row["publisher_id"], row["country"], row["device_type"], row["currency"])
        if row["placement_id"] is None:
            assert place == (None, None, None, None, "USD")
        elif row["placement_id"] == "beta":
            assert place == (f"{CHARGED}-video", "beta-tv", None, None, "USD")
        else:
            assert place == (f"{row['campaign_id']}-video", "alpha-tv", "DE", "ctv", "USD")
    await roll_up(store)
    assert await shown(finance_database) == rows
    assert await disagreements(database) == []


async def test_the_amounts_are_the_ledgers_after_late_money_and_reversals(store: Store, database: str) -> None:
    await trade(store, database, in_steps=True)
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM spend_ledger WHERE booked_at < $1", mark("11:18")) > 0
        assert await connection.fetch(TOTALS) == await connection.fetch(LEDGER)
        assert await connection.fetchval("SELECT rolled_up_to FROM delivery_state") == mark("11:18")
        assert await connection.fetchval("SELECT sum(charged) FROM delivery_hourly") > 0


def mark(time: str) -> datetime:
    return datetime.combine(DAY, datetime.strptime(time, "%H:%M").time(), UTC)


async def test_a_server_that_dies_between_the_sums_and_the_mark_loses_and_doubles_nothing(
    store: Store, database: str
) -> None:
    await trade(store, database)
    before = await shown(database)
    roll_up_hours = Maintenance(store, 400).tasks["hours rolled up"].run
    await Maintenance(store, 400).tasks["days rolled up"].run()
    async with connected(database) as owner:
        await owner.execute(SERVER_DIES_AT_THE_MARK)
        with pytest.raises((StoreUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await roll_up_hours()
        assert await owner.fetchval("SELECT count(*) FROM delivery_hourly") == 0
        assert await shown(database) == before
        await owner.execute("DROP TRIGGER dies ON delivery_state")
    assert await roll_up_hours() > 1
    assert await shown(database) == before
    assert await disagreements(database) == []


async def test_many_servers_roll_up_once(store: Store, database: str, app_database: str) -> None:
    await trade(store, database)
    before = await shown(database)
    others = [open_store(app_database, others=1) for _ in range(4)]
    try:
        await asyncio.gather(*(roll_up(item) for item in others))
    finally:
        for item in others:
            await item.close()
    await roll_up(store)
    assert await shown(database) == before
    assert await disagreements(database) == []


async def test_delivery_is_never_rolled_up_further_than_the_ledger(store: Store, database: str) -> None:
    await trade(store, database)
    hours = Maintenance(store, 400).tasks["hours rolled up"].run
    assert await hours() == 0
    await at(store, database, "12:30")
    await roll_up(store)
    async with connected(database) as connection:
        marks = "SELECT d.rolled_up_to, b.rolled_up_to FROM delivery_state d, books_state b"
        assert tuple(await connection.fetchrow(marks) or ()) == (mark("12:28"), mark("12:28"))


async def since(database: str, day: date | None) -> list[Disagreement]:
    found: list[Disagreement] = []
    async with connected(database) as connection:
        await reconcile(connection, lambda _rule, wrong, _seconds: found.extend(wrong), since=day)
    return [item for item in found if item.rule == "delivery"]


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE delivery_hourly SET serves = serves + 1 WHERE placement_id = 'beta'",
        "UPDATE delivery_hourly SET country = 'FR' WHERE serves = 5",
        "UPDATE delivery_hourly SET hour = hour - interval '1 hour' WHERE serves = 5",
        "UPDATE delivery_hourly SET charged = charged + 0.000001 WHERE late = 2",
        "UPDATE delivery_hourly SET corrected = 0 WHERE reversed = 1",
        "DELETE FROM delivery_hourly WHERE corrected = -1.25",
        "DELETE FROM delivery_hourly WHERE serves = 3",
        "UPDATE delivery_state SET rolled_up_to = '{day} 10:00Z'",
    ],
)
async def test_a_row_that_somebody_changed_is_found(store: Store, database: str, tampering: str) -> None:
    await trade(store, database, in_steps=True)
    async with connected(database) as owner:
        await owner.execute(tampering.format(day=DAY))
    assert await since(database, None) != []
    assert await since(database, DAY) != []
    assert await since(database, DAY + timedelta(days=1)) == []


async def test_hours_are_removed_with_their_serves(store: Store, database: str) -> None:
    await trade(store, database, in_steps=True)
    async with store.connection() as connection:
        await delivery.add_requests(connection, {RequestPlace("alpha", "DE", "ctv"): 3})
    kept = await shown(database)
    maintenance = Maintenance(store, 60)
    for days, removed in ((60, 0), (61, len(kept))):
        await at(store, database, "12:00", DAY + timedelta(days=days))
        await roll_up(store)
        await maintenance.tasks["partitions dropped"].run()
        assert await maintenance.tasks["hours removed"].run() == removed
        assert await shown(database) == ([] if removed else kept)
        assert await disagreements(database) == []


async def test_a_rollup_reads_the_days_whose_beacons_may_still_come(
    store: Store, database: str, finance_database: str
) -> None:
    for days in range(12):
        await at(store, database, "12:00", DAY - timedelta(days=days))
    async with connected(finance_database) as connection, connection.transaction():
        span = "SELECT * FROM finance.compute_delivery($1, $1::timestamptz + interval '1 hour')"
        assert await connection.fetch(span, mark("10:00")) == []
        read = [row[0] for row in await connection.fetch(READ_PARTITIONS)]
    assert read == [f"{DAY - timedelta(days=days):%Y%m%d}" for days in range(8, -1, -1)]


async def test_requests_have_rows_without_a_campaign(store: Store, database: str, finance_database: str) -> None:
    await open_books(store)
    await at(store, database, "10:40")
    for _server in range(2):
        async with store.connection() as connection:
            await delivery.add_requests(
                connection, {RequestPlace("alpha", "DE", "ctv"): 3, RequestPlace(None, None, None): 2}
            )
    async with connected(finance_database) as finance:
        rows = await finance.fetch(
            "SELECT hour, campaign_id, placement_id, publisher_id, country, device_type, currency, requests, serves "
            "FROM finance.delivery_hourly ORDER BY requests"
        )
    assert [tuple(row) for row in rows] == [
        (mark("10:00"), None, None, None, None, None, None, 4, 0),
        (mark("10:00"), None, "alpha", "alpha-tv", "DE", "ctv", None, 6, 0),
    ]
