"""Flat prices: each day that is over is booked once, and the days of a flight add up to the price."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.accounting.invoices import make_invoices
from app.accounting.month_close import close_month
from app.beacons.settlement import settle, sweep
from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.errors import InvalidFile
from app.maintenance.tasks import Maintenance
from app.serving.keys import new_request_key
from app.store.connections import Store
from app.store.flat_prices import book_due_day
from app.store.spending import Payment
from tests.integration.accounting.world import (
    balance,
    beacon_of_day,
    campaign,
    connected,
    disagreements,
    open_store,
    serve,
    serve_many,
    set_clock,
    set_up,
)

FLIGHT = {"starts_at": datetime(2026, 11, 2, 9, tzinfo=UTC), "ends_at": datetime(2026, 11, 9, tzinfo=UTC)}
BOOKED = """
SELECT booked_on, late_from, publisher_id, amount, publisher_amount FROM spend_ledger WHERE kind = 'flat' ORDER BY 1, 3
"""
DAYS = "SELECT day, part, amount FROM flat_days ORDER BY day"


def flat(price: str = "1000", **values: object) -> dict[str, object]:
    """A campaign of seven days with a flat price."""
    terms = campaign("flat", **FLIGHT, **{"budgets": {}, **values}) | {"price": {"flat": price}}
    return {key: value for key, value in terms.items() if key not in ("cpm", "billing")}


async def at(database: str, moment: str) -> None:
    await set_clock(database, f"timestamptz '{moment}Z'")


async def book(store: Store) -> int:
    return await Maintenance(store, 35).tasks["flat prices booked"].run()


async def days(database: str) -> list[tuple[object, ...]]:
    async with connected(database) as connection:
        return [tuple(row) for row in await connection.fetch(DAYS)]


async def entries(database: str) -> list[tuple[object, ...]]:
    async with connected(database) as connection:
        return [tuple(row) for row in await connection.fetch(BOOKED)]


async def show(connection: "Connection[Record]", placement_id: str | None, ads: int) -> None:
    """Serve ads of the campaign in a placement."""
    payments = [
        Payment(new_request_key(), 0, "flat", "flat-video", None, placement_id, None, None, 0) for _ in range(ads)
    ]
    assert len(await serve(connection, payments)) == ads


async def test_the_days_of_a_flight_add_up_to_the_price_to_the_last_millionth(store: Store, database: str) -> None:
    await at(database, "2026-11-01 12:00")
    await set_up(store, flat("1000", budgets={"lifetime": "1000"}))
    assert await book(store) == 0
    await at(database, "2026-11-03 00:01")
    assert await book(store) == 0
    await at(database, "2026-11-03 00:02")
    assert (await book(store), await book(store)) == (1, 0)
    assert await balance(database, "flat") == (Decimal("142.857143"), Decimal(0), 0)
    await at(database, "2026-12-01 00:00")
    assert (await book(store), await book(store)) == (6, 0)
    parts = [part for _, part, _ in await days(database)]
    assert (len(parts), sum(parts), max(parts) - min(parts)) == (7, 1000, Decimal("0.000001"))
    assert await balance(database, "flat") == (Decimal(1000), Decimal(0), 0)
    assert [entry[0] for entry in await entries(database)] == [date(2026, 11, day) for day in range(2, 9)]
    assert await disagreements(database) == []


async def test_days_are_those_of_the_campaigns_timezone(store: Store, database: str) -> None:
    await at(database, "2026-11-01 12:00")
    await set_up(store, flat("7", timezone="Pacific/Auckland"))
    await at(database, "2026-11-02 11:01")
    assert await book(store) == 0
    await at(database, "2026-11-02 11:02")
    assert await book(store) == 1
    await at(database, "2026-11-20 00:00")
    assert await book(store) == 7
    assert [row[0] for row in await days(database)] == [date(2026, 11, day) for day in range(2, 10)]
    assert sum(row[2] for row in await days(database)) == 7


async def test_a_day_without_the_campaign_costs_nothing_and_is_not_made_up_for(store: Store, database: str) -> None:
    await at(database, "2026-11-01 12:00")
    await set_up(store, flat("700"))
    await at(database, "2026-11-04 12:00")
    await set_up(store, flat("700", status="paused"))
    await at(database, "2026-11-06 12:00")
    await set_up(store, flat("700"))
    await at(database, "2026-11-07 12:00")
    await set_up(store, flat("700", status="ended"))
    await at(database, "2026-11-20 00:00")
    assert await book(store) == 7
    assert [(row[0].day, row[1], row[2]) for row in await days(database)] == [
        (day, 100, 0 if day in (5, 8) else 100) for day in range(2, 9)
    ]
    assert await disagreements(database) == []


async def test_publishers_share_a_day_by_the_ads_that_they_showed(store: Store, database: str) -> None:
    await at(database, "2026-11-01 12:00")
    publishers = [{"id": "a", "revenue_share": "0.5"}, {"id": "b", "revenue_share": "0.7"}]
    placements = [
        {"id": f"of-{publisher['id']}", "publisher_id": publisher["id"], "campaigns": ["flat"]}
        for publisher in publishers
    ]
    await set_up(store, flat("0.00007"))
    await apply(store, read_draft("test", {"publishers": publishers, "placements": placements}))
    await at(database, "2026-11-02 12:00")
    async with store.serving_connection() as connection:
        for placement_id, ads in (("of-a", 1), ("of-b", 1), (None, 1)):
            await show(connection, placement_id, ads)
    await at(database, "2026-11-03 12:00")
    await Maintenance(store, 35).tasks["days rolled up"].run()
    async with store.serving_connection() as connection:
        await show(connection, "of-b", 3)
    await at(database, "2026-11-05 12:00")
    assert await book(store) == 3
    third, fourth = Decimal("0.000003"), Decimal("0.000004")
    assert await entries(database) == [
        (date(2026, 11, 2), None, "a", fourth, Decimal("0.000002")),
        (date(2026, 11, 2), None, "b", third, Decimal("0.000002")),
        (date(2026, 11, 2), None, None, third, Decimal(0)),
        (date(2026, 11, 3), None, "b", Decimal("0.00001"), Decimal("0.000007")),
        (date(2026, 11, 4), None, None, Decimal("0.00001"), Decimal(0)),
    ]
    assert await disagreements(database) == []


async def test_many_servers_book_each_day_once(store: Store, app_database: str, database: str) -> None:
    await at(database, "2026-11-01 12:00")
    await set_up(store, flat("1000"))
    await at(database, "2026-11-20 00:00")
    stores = [open_store(app_database) for _ in range(4)]
    try:
        booked = await asyncio.gather(*(book(each) for each in stores))
    finally:
        await asyncio.gather(*(each.close() for each in stores))
    assert sum(booked) == 7
    assert sum(row[2] for row in await days(database)) == 1000
    assert await disagreements(database) == []


async def test_a_crash_before_the_commit_books_nothing(store: Store, database: str) -> None:
    await at(database, "2026-11-01 12:00")
    await set_up(store, flat("700"))
    await at(database, "2026-11-03 12:00")
    async with store.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert await book_due_day(connection, "flat") is not None
        await transaction.rollback()
    assert (await days(database), await entries(database)) == ([], [])
    assert await book(store) == 1
    async with connected(database) as owner:
        with pytest.raises(asyncpg.UniqueViolationError):
            await owner.execute("INSERT INTO flat_days SELECT * FROM flat_days")
    assert await disagreements(database) == []


async def test_an_order_without_room_is_not_overspent_and_the_day_is_booked_later(store: Store, database: str) -> None:
    await at(database, "2026-11-01 12:00")
    order = {"id": "o", "advertiser": "Acme", "currency": "USD", "prepaid": True}
    draft = read_draft("test", {"orders": [order], "campaigns": [flat("700", order="o", status="paused")]})
    await apply(store, draft)
    await apply(store, read_draft("test", {"orders": [{**order, "prepaid": False, "budget": "700"}]}))
    await set_up(store, flat("700", order="o"))
    await apply(store, read_draft("test", {"orders": [{**order, "prepaid": False, "budget": "250"}]}))
    await at(database, "2026-11-20 00:00")
    assert (await book(store), await book(store)) == (2, 0)
    await apply(store, read_draft("test", {"orders": [{**order, "prepaid": False, "budget": "700"}]}))
    assert await book(store) == 5
    assert sum(row[2] for row in await days(database)) == 700
    assert await disagreements(database) == []


async def test_a_day_of_a_closed_month_is_booked_on_the_first_open_day(store: Store, database: str) -> None:
    await at(database, "2026-10-30 12:00")
    flight = {"starts_at": datetime(2026, 10, 31, tzinfo=UTC), "ends_at": datetime(2026, 11, 2, tzinfo=UTC)}
    await set_up(store, flat("10") | flight)
    await at(database, "2026-11-02 12:00")
    await Maintenance(store, 35).tasks["partitions created"].run()
    async with connected(database) as connection:
        await close_month(connection, date(2026, 10, 1))
    assert await book(store) == 2
    assert [entry[:2] for entry in await entries(database)] == [
        (date(2026, 11, 1), date(2026, 10, 31)),
        (date(2026, 11, 1), None),
    ]
    assert await disagreements(database) == []


async def test_a_missing_or_changed_entry_of_a_day_is_found(store: Store, database: str) -> None:
    await at(database, "2026-11-01 12:00")
    await set_up(store, flat("700"))
    await at(database, "2026-11-03 12:00")
    await book(store)
    async with connected(database) as owner:
        await owner.execute("UPDATE flat_days SET part = 99, amount = 99")
    assert [(found.rule, found.campaign_id) for found in await disagreements(database)] == [("flat", "flat")]


async def test_a_flat_price_fits_its_order(store: Store) -> None:
    order = {"id": "o", "advertiser": "Acme", "currency": "USD", "budget": "99"}
    with pytest.raises(InvalidFile) as refused:
        await apply(store, read_draft("f.toml", {"orders": [order], "campaigns": [flat("100", order="o")]}))
    assert [(fault.key, fault.reason) for fault in refused.value.faults if "price" in fault.key] == [
        ("campaigns[0].price.flat", "must not exceed 99, the budget of order 'o'")
    ]


async def test_an_invoice_has_lines_of_what_was_sold(store: Store, database: str) -> None:
    await at(database, "2026-11-01 12:00")
    await set_up(store, flat("700"), {**flat(), "id": "clicks", "price": {"cpc": "0.333333"}})
    await at(database, "2026-11-02 12:00")
    served = await serve_many(store, "clicks", 3)
    async with store.serving_connection() as connection:
        await show(connection, None, 2)
        beacons = [beacon_of_day(item, date(2026, 11, 2))._replace(event="click") for item in served[:2]]
        assert (await settle(connection, beacons)).settled == 2
    await at(database, "2026-12-02 12:00")
    await book(store)
    await sweep(store)
    async with connected(database) as connection:
        await close_month(connection, date(2026, 11, 1))
        await make_invoices(connection, date(2026, 11, 1))
        rows = await connection.fetch(
            "SELECT campaign_id, kind, unit_price, billable, amount FROM finance.invoice_details ORDER BY position"
        )
    assert [tuple(row) for row in rows] == [
        ("clicks", "clicks", Decimal("0.333333"), 2, Decimal("0.666666")),
        ("flat", "ads", Decimal(0), 2, Decimal(0)),
        ("flat", "days", None, 7, Decimal(700)),
    ]
    assert await disagreements(database) == []
