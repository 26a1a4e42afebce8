"""A closed month takes no entry, and shows when it was changed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from alembic import command
from asyncpg import Connection, Record

from app.accounting.corrections import Adjustment, Reversal, adjust, reverse
from app.accounting.dates import parse_month
from app.accounting.month_close import MonthCheck, close_month
from app.accounting.verification import verify_books
from app.errors import AdServerError, InvalidEntry
from app.launch.migrate import migrate
from app.maintenance.tasks import Maintenance
from app.store import month_hashes
from app.store.connections import Store
from app.store.revision import alembic_config
from tests.integration.accounting.world import (
    campaign,
    connected,
    disagreements,
    entry,
    repair,
    serve_many,
    set_clock,
    set_up,
)

AUGUST, SEPTEMBER, OCTOBER, NOVEMBER = (date(2026, month, 1) for month in (8, 9, 10, 11))
NOW = "timestamptz '2026-11-20 12:00Z'"
CREDIT_IN_AUGUST = Adjustment("autumn", Decimal(-1), "credit", "k1", day=date(2026, 8, 20))

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
async def books(store: Store, database: str) -> AsyncIterator["Connection[Record]"]:
    """The owner's connection to books with 30 entries in each of September, October and November."""
    await set_up(store, campaign("autumn", billing="serve", timezone="Europe/Berlin"))
    for day in ("2026-09-30 21:59:59.999999Z", "2026-09-30 22:00Z", "2026-11-19 12:00Z"):
        await set_clock(database, f"timestamptz '{day}'")
        await Maintenance(store, 35).tasks["partitions created"].run()
        await serve_many(store, "autumn", 30)
    await set_clock(database, NOW)
    async with connected(database) as connection:
        yield connection


async def verdicts(connection: "Connection[Record]") -> list[MonthCheck]:
    return list((await verify_books(connection)).months)


async def all_wait(connection: "Connection[Record]", *tasks: "asyncio.Task[Any]") -> None:
    """Returns when each of the tasks waits for a lock; fails if one of them comes to its end instead."""
    while await connection.fetchval(WAITING) < len(tasks):
        assert not any(task.done() for task in tasks)


async def test_a_month_is_closed_once_and_proves_itself(books: "Connection[Record]") -> None:
    closed = await close_month(books, SEPTEMBER)
    assert closed.entries == 30
    assert await close_month(books, SEPTEMBER) == closed
    october = await close_month(books, OCTOBER)
    assert october.previous_hash == closed.hash
    assert [(check.month.month, check.fault) for check in await verdicts(books)] == [(SEPTEMBER, ""), (OCTOBER, "")]


async def test_a_campaigns_lines_in_a_closed_month_are_found_by_an_index(books: "Connection[Record]") -> None:
    await books.execute("SET enable_seqscan = off; SET enable_sort = off")
    question = (
        "EXPLAIN (COSTS OFF) SELECT * FROM finance.invoice_lines "
        "WHERE campaign_id = 'autumn' AND day BETWEEN '2026-09-01' AND '2026-09-30' ORDER BY entry_id LIMIT 1000"
    )
    before = [row[0] for row in await books.fetch(question)]
    await close_month(books, SEPTEMBER)
    after = [row[0] for row in await books.fetch(question)]
    index_scan = "->  Index Scan using spend_ledger_202609_by_campaign on spend_ledger_202609 spend_ledger"
    assert not any("by_campaign" in line for line in before)
    assert any(line.strip() == index_scan for line in after)


async def test_hashing_in_blocks_tells_progress(books: "Connection[Record]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(month_hashes, "HASH_ENTRIES", month_hashes.HASH_ENTRIES.replace("10000", "12"))
    reported: list[tuple[int, int]] = []
    await close_month(books, SEPTEMBER, lambda done, total: reported.append((done, total)))
    assert reported == [(12, 30), (24, 30), (30, 30)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE spend_ledger SET house_amount = house_amount + 0.000001, amount = amount + 0.000001 WHERE {first}",
        "UPDATE spend_ledger SET reason = 'mine' WHERE {first}",
        "UPDATE spend_ledger SET publisher_id = 'mine' WHERE {first}",
        "DELETE FROM spend_ledger WHERE {first}",
        entry("autumn", "2026-09-15"),
        "UPDATE closed_months SET previous_hash = '\\x00'",
        "UPDATE closed_months SET closed_by = 'somebody'",
        "UPDATE month_ends SET held = held + 1",
        "DELETE FROM month_ends",
    ],
)
async def test_a_repair_in_a_closed_month_is_recorded_and_found(books: "Connection[Record]", change: str) -> None:
    await close_month(books, SEPTEMBER)
    change = change.format(first="entry_id = (SELECT min(entry_id) FROM spend_ledger)")
    await repair(books, change, "a test of repairs")
    assert [bool(check.fault) for check in await verdicts(books)] == [True]
    (recorded,) = await books.fetch("SELECT * FROM finance.book_repairs")
    assert (recorded["reason"], recorded["operation"]) == ("a test of repairs", change.split(" ")[0])
    assert (recorded["old_row"] is None) == (recorded["operation"] == "INSERT")
    assert (recorded["new_row"] is None) == (recorded["operation"] == "DELETE")


@pytest.mark.parametrize("day", ["2026-09-15", "2026-02-15", "2026-08-15"])
async def test_the_database_lets_not_even_the_owner_book_in_a_closed_month_or_before(
    books: "Connection[Record]", day: str
) -> None:
    await books.execute("SELECT make_ledger_partition('2026-08-01')")
    await close_month(books, SEPTEMBER)
    await books.execute("SET session_replication_role = replica")
    with pytest.raises(asyncpg.CheckViolationError, match=r"the books of 2026-0\d are closed"):
        await books.execute(entry("autumn", day))


async def test_a_partition_that_is_made_for_a_month_before_the_closed_one_takes_no_entry(
    books: "Connection[Record]",
) -> None:
    await close_month(books, SEPTEMBER)
    await books.execute("SELECT make_ledger_partition('2026-08-01')")
    with pytest.raises(asyncpg.CheckViolationError, match="the books of 2026-08 are closed"):
        await books.execute(entry("autumn", "2026-08-15"))


async def test_a_closed_month_takes_no_entry_after_the_schema_went_down_and_up_again(
    books: "Connection[Record]", database: str
) -> None:
    await books.execute("SELECT make_ledger_partition('2026-08-01')")
    await close_month(books, SEPTEMBER)
    config = alembic_config()
    config.attributes["database_url"] = database
    await asyncio.to_thread(command.downgrade, config, "0005")
    await asyncio.to_thread(migrate, database)
    for day in ("2026-08-15", "2026-09-15"):
        with pytest.raises(asyncpg.CheckViolationError, match=r"the books of 2026-0\d are closed"):
            await books.execute(entry("autumn", day))
    for change in ("DELETE FROM spend_ledger", "TRUNCATE spend_ledger_202609"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="are never changed or removed"):
            await books.execute(change)


@pytest.mark.parametrize("month", ["2026-08", "2026-10"])
async def test_an_entry_that_appears_between_closed_months_or_before_them_is_found(
    books: "Connection[Record]", database: str, month: str
) -> None:
    await repair(books, "DELETE FROM spend_ledger WHERE booked_on >= '2026-10-01'", "nothing was booked in October")
    await set_clock(database, "timestamptz '2026-12-01 12:00Z'")
    for closed in (SEPTEMBER, NOVEMBER):
        await close_month(books, closed)
    await books.execute(f"SELECT make_ledger_partition('{month}-01')")
    await books.execute(f"DROP TRIGGER month_is_closed ON spend_ledger_{month.replace('-', '')}")
    assert [check.fault for check in await verdicts(books)] == ["", ""]
    await books.execute(entry("autumn", f"{month}-15"))
    assert [bool(check.fault) for check in await verdicts(books)].count(True) == 1


async def test_an_adjustment_in_a_closed_month_is_refused_and_one_after_it_is_not(books: "Connection[Record]") -> None:
    await close_month(books, SEPTEMBER)

    def credit(key: str, day: date) -> Adjustment:
        return Adjustment("autumn", Decimal(-1), "credit", key, day=day)

    for day in (date(2026, 9, 15), date(2026, 2, 1)):
        with pytest.raises(InvalidEntry, match=r"the books of 2026-0\d are closed"):
            await adjust(books, credit("k1", day))
    await adjust(books, credit("k2", date(2026, 10, 1)))


async def test_an_entry_of_a_closed_month_is_taken_back_in_the_month_that_runs(
    books: "Connection[Record]", database: str
) -> None:
    await close_month(books, SEPTEMBER)
    first = await books.fetchval("SELECT min(entry_id) FROM spend_ledger")
    before = await books.fetchrow("SELECT * FROM finance.advertiser_spend_monthly WHERE month = '2026-09-01'")
    assert (await reverse(books, Reversal(first, "fraud", "k1"))).booked_on.month == 11
    assert await books.fetchrow("SELECT * FROM finance.advertiser_spend_monthly WHERE month = '2026-09-01'") == before
    assert [check.fault for check in await verdicts(books)] == [""]
    assert await disagreements(database) == []


@pytest.mark.parametrize(
    ("month", "words"),
    [
        (NOVEMBER, "2026-11 has not ended"),
        (date(2027, 1, 1), "2027-01 has not ended"),
        (OCTOBER, "2026-09 must be closed before 2026-10"),
    ],
)
async def test_a_month_that_cannot_be_closed_yet_is_not(books: "Connection[Record]", month: date, words: str) -> None:
    with pytest.raises(InvalidEntry, match=words):
        await close_month(books, month)
    assert await verdicts(books) == []


async def test_a_month_is_over_when_no_transaction_can_still_carry_its_date(
    books: "Connection[Record]", database: str
) -> None:
    await close_month(books, SEPTEMBER)
    await set_clock(database, "timestamptz '2026-10-31 23:01:59.999999Z'")
    with pytest.raises(InvalidEntry, match="has not ended"):
        await close_month(books, OCTOBER)
    await set_clock(database, "timestamptz '2026-10-31 23:02Z'")
    await close_month(books, OCTOBER)


async def test_a_month_lasts_as_long_as_in_any_campaigns_timezone(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    await set_up(store, campaign("west", timezone="America/Los_Angeles"), campaign("east", timezone="Asia/Tokyo"))
    await close_month(books, SEPTEMBER)
    await set_clock(database, "timestamptz '2026-11-01 07:01:59.999999Z'")
    with pytest.raises(InvalidEntry, match="2026-10 has not ended in America/Los_Angeles, the timezone of a campaign"):
        await close_month(books, OCTOBER)
    await set_clock(database, "timestamptz '2026-11-01 07:02Z'")
    await close_month(books, OCTOBER)


async def test_a_month_with_open_holds_is_not_closed(books: "Connection[Record]", store: Store, database: str) -> None:
    await set_up(store, campaign("unseen"))
    await set_clock(database, "timestamptz '2026-10-31 23:30Z'")
    await serve_many(store, "unseen", 7)
    await set_clock(database, NOW)
    await close_month(books, SEPTEMBER)
    with pytest.raises(InvalidEntry, match="2026-10 or an earlier month has 7 open holds"):
        await close_month(books, OCTOBER)
    await Maintenance(store, 35).tasks["holds released"].run()
    await close_month(books, OCTOBER)


async def test_an_empty_month_can_be_closed_and_takes_nothing_either(books: "Connection[Record]") -> None:
    assert (await close_month(books, AUGUST)).entries == 0
    with pytest.raises(InvalidEntry, match="the books of 2026-08 are closed"):
        await adjust(books, CREDIT_IN_AUGUST)


async def test_the_server_cannot_close_a_month(books: "Connection[Record]", app_database: str) -> None:
    async with connected(app_database) as connection:
        with pytest.raises(AdServerError, match="only the owner of the database may close a month"):
            await close_month(connection, SEPTEMBER)


async def test_closing_waits_for_who_is_booking_in_the_month(books: "Connection[Record]", app_database: str) -> None:
    async with connected(app_database) as booking:
        transaction = booking.transaction()
        await transaction.start()
        await booking.execute(entry("autumn", "2026-09-15"))
        closing = asyncio.create_task(close_month(books, SEPTEMBER))
        await all_wait(booking, closing)
        await transaction.commit()
        assert (await closing).entries == 31


async def test_no_correction_gets_into_an_earlier_month_while_a_month_is_closed(
    books: "Connection[Record]", database: str, app_database: str
) -> None:
    await books.execute("SELECT make_ledger_partition('2026-08-01')")
    async with connected(database) as booking, connected(app_database) as correcting:
        async with booking.transaction():
            await booking.execute("LOCK TABLE spend_ledger_202609 IN ROW EXCLUSIVE MODE")
            closing = asyncio.create_task(close_month(books, SEPTEMBER))
            await all_wait(booking, closing)
            correction = asyncio.create_task(adjust(correcting, CREDIT_IN_AUGUST))
            await all_wait(booking, closing, correction)
        await closing
        with pytest.raises(InvalidEntry, match="the books of 2026-08 are closed"):
            await correction


async def test_closing_waits_for_who_is_correcting_an_earlier_month(
    books: "Connection[Record]", database: str, app_database: str
) -> None:
    async with connected(database) as rolling_up, connected(app_database) as correcting:
        async with rolling_up.transaction():
            await rolling_up.execute("SELECT FROM books_state FOR UPDATE")
            correction = asyncio.create_task(adjust(correcting, CREDIT_IN_AUGUST))
            await all_wait(rolling_up, correction)
            closing = asyncio.create_task(close_month(books, SEPTEMBER))
            await all_wait(rolling_up, correction, closing)
        await correction
        with pytest.raises(InvalidEntry, match="2026-08 must be closed before 2026-09"):
            await closing


async def test_months_that_are_closed_at_once_are_chained_all_the_same(
    books: "Connection[Record]", database: str
) -> None:
    await books.execute("SELECT make_ledger_partition('2026-08-01')")
    async with connected(database) as booking, connected(database) as other:
        async with booking.transaction():
            await booking.execute(entry("autumn", "2026-08-15"))
            august = asyncio.create_task(close_month(books, AUGUST))
            await all_wait(booking, august)
            september = asyncio.create_task(close_month(other, SEPTEMBER))
            await all_wait(booking, august, september)
        await asyncio.gather(august, september)
    assert [(check.month.entries, check.fault) for check in await verdicts(books)] == [(1, ""), (30, "")]


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-10-01", "october", "", "0000-01"])
def test_months_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidEntry, match="must have the form 2026-10"):
        parse_month(text)
