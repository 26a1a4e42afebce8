"""Money of a closed month is booked on the first open day, and its entry says to which day it belongs."""

from datetime import date
from decimal import Decimal

import pytest
from asyncpg import Connection, Record

from app.accounting.corrections import Adjustment, adjust
from app.accounting.month_close import close_month
from app.beacons.settlement import settle
from app.errors import InvalidEntry
from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from tests.integration.accounting.world import (
    PRICE,
    beacon_of_day,
    campaign,
    connected,
    disagreements,
    serve_many,
    set_clock,
    set_up,
)

OCTOBER, LAST_DAY, FIRST_OPEN_DAY = date(2026, 10, 1), date(2026, 10, 31), date(2026, 11, 1)
HONOLULU = {"timezone": "Pacific/Honolulu"}
BOOKED = "SELECT booked_on, late_from, kind, amount FROM spend_ledger ORDER BY entry_id"


async def close_october(store: Store, database: str) -> None:
    """Close October when only campaigns in UTC exist: in Honolulu it lasts for ten hours more."""
    await set_up(store, campaign("early"))
    await set_clock(database, "timestamptz '2026-11-01 00:30Z'")
    await Maintenance(store, 35).tasks["partitions created"].run()
    async with connected(database) as connection:
        await close_month(connection, OCTOBER)


async def booked(database: str) -> list[tuple[object, ...]]:
    async with connected(database) as connection:
        return [tuple(row) for row in await connection.fetch(BOOKED)]


@pytest.mark.parametrize("billing", ["serve", "impression"])
async def test_a_charge_on_a_local_day_of_a_closed_month(store: Store, database: str, billing: str) -> None:
    await close_october(store, database)
    await set_up(store, campaign("honolulu", billing=billing, **HONOLULU))
    await set_clock(database, "timestamptz '2026-11-01 05:00Z'")
    (served,) = await serve_many(store, "honolulu", 1)
    if billing == "impression":
        async with store.serving_connection() as connection:
            await settle(connection, [beacon_of_day(served, date(2026, 11, 1))])
    kind = "charge" if billing == "serve" else "settle"
    assert await booked(database) == [(FIRST_OPEN_DAY, LAST_DAY, kind, PRICE)]
    assert await disagreements(database) == []


async def test_an_impression_that_comes_after_its_month_was_closed(store: Store, database: str) -> None:
    await set_up(store, campaign("late", late_impressions="charge", hold_ttl_s=60))
    await set_clock(database, "timestamptz '2026-10-31 23:00Z'")
    await Maintenance(store, 35).tasks["partitions created"].run()
    (served,) = await serve_many(store, "late", 1)
    await set_clock(database, "timestamptz '2026-11-01 00:30Z'")
    await Maintenance(store, 35).tasks["holds released"].run()
    async with connected(database) as connection:
        await close_month(connection, OCTOBER)
    async with store.serving_connection() as connection:
        await settle(connection, [beacon_of_day(served, date(2026, 10, 31))])
    assert await booked(database) == [(FIRST_OPEN_DAY, LAST_DAY, "settle", PRICE)]
    assert await disagreements(database) == []


async def test_a_correction_without_a_date(store: Store, database: str) -> None:
    await close_october(store, database)
    await set_up(store, campaign("honolulu", **HONOLULU))
    await set_clock(database, "timestamptz '2026-11-01 05:00Z'")
    async with connected(database) as connection:
        wanted = Adjustment("honolulu", Decimal(3), "a fee", "k1")
        first = await adjust(connection, wanted)
        assert (await adjust(connection, wanted)).entry_id == first.entry_id
    assert await booked(database) == [(FIRST_OPEN_DAY, LAST_DAY, "adjustment", Decimal(3))]


async def test_a_correction_with_a_date_in_a_closed_month_is_one_clear_error(store: Store, database: str) -> None:
    await close_october(store, database)
    async with connected(database) as connection:
        with pytest.raises(InvalidEntry) as refused:
            await adjust(connection, Adjustment("early", Decimal(3), "a fee", "k1", day=LAST_DAY))
        assert str(refused.value) == "date: the books of 2026-10 are closed"
        assert await count(connection) == 0
        await adjust(connection, Adjustment("early", Decimal(3), "a fee", "k1", day=FIRST_OPEN_DAY))
        assert await count(connection) == 1


async def test_a_month_lasts_as_long_as_in_the_last_campaigns_timezone(store: Store, database: str) -> None:
    await set_up(store, campaign("early"), campaign("honolulu", **HONOLULU))
    async with connected(database) as connection:
        for moment in ("2026-11-01 00:30Z", "2026-11-01 10:01:59.999999Z"):
            await set_clock(database, f"timestamptz '{moment}'")
            with pytest.raises(InvalidEntry) as refused:
                await close_month(connection, OCTOBER)
            assert str(refused.value) == (
                "month: 2026-10 has not ended in Pacific/Honolulu, the timezone of a campaign"
            )
        await set_clock(database, "timestamptz '2026-11-01 10:02Z'")
        await close_month(connection, OCTOBER)


async def count(connection: "Connection[Record]") -> int:
    entries: int = await connection.fetchval("SELECT count(*) FROM spend_ledger")
    return entries
