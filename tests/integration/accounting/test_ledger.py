"""Corrections: manual entries, each booked once, and their effect on counters."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.accounting.corrections import Adjustment, BookedEntry, Reversal, adjust, parse_amount, reverse
from app.errors import InvalidEntry
from app.maintenance.tasks import Maintenance
from app.store import finance_reports
from app.store.connections import Store
from tests.integration.accounting.world import (
    PRICE,
    balance,
    campaign,
    connected,
    disagreements,
    serve_many,
    set_clock,
    set_up,
)

SPRING = campaign("spring", billing="serve", budgets={"lifetime": "100", "day": "50", "hour": "40"})

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def books(store: Store, app_database: str) -> AsyncIterator["Connection[Record]"]:
    """The books of a campaign that has spent 25.00, as the server's role sees them."""
    await set_up(store, SPRING)
    await serve_many(store, "spring", 10)
    async with connected(app_database) as connection:
        yield connection


def adjustment(amount: str, key: str = "k1", **values: object) -> Adjustment:
    return Adjustment(**{"campaign_id": "spring", "amount": Decimal(amount), "reason": "credit", "key": key} | values)


async def first_entry(connection: "Connection[Record]") -> int:
    entry: int = await connection.fetchval("SELECT min(entry_id) FROM spend_ledger")
    return entry


async def test_an_adjustment_is_an_entry_and_counts_in_the_lifetime_budget_alone(
    books: "Connection[Record]", database: str
) -> None:
    booked = await adjust(books, adjustment("-5.25"))
    assert await balance(database, "spring") == (Decimal("19.75"), Decimal(0), 10)
    assert await balance(database, "spring", "day") == (Decimal(25), Decimal(0), 10)
    row = await books.fetchrow("SELECT * FROM finance.corrections")
    assert row is not None
    assert (row["entry_id"], row["amount"], row["reason"], row["recorded_by"]) == (
        booked.entry_id,
        Decimal("-5.25"),
        "credit",
        "adserver_app",
    )
    assert await disagreements(database) == []


async def test_the_same_key_again_books_nothing_and_tells_what_was_booked(
    books: "Connection[Record]", database: str
) -> None:
    first = await adjust(books, adjustment("-5"))
    again = await adjust(books, adjustment("-5"))
    assert (again.entry_id, again.is_repeat) == (first.entry_id, True)
    assert (await balance(database, "spring"))[0] == 20


async def test_one_key_books_once_though_many_send_it_at_once(
    books: "Connection[Record]", database: str, app_database: str
) -> None:
    async def send() -> BookedEntry:
        async with connected(app_database) as connection:
            return await adjust(connection, adjustment("-5"))

    booked = await asyncio.gather(*(send() for _ in range(8)))
    assert len({item.entry_id for item in booked}) == 1
    assert sum(not item.is_repeat for item in booked) == 1
    assert (await balance(database, "spring"))[0] == 20


async def test_one_entry_is_taken_back_once_though_many_keys_ask_for_it(
    books: "Connection[Record]", database: str, app_database: str
) -> None:
    entry = await first_entry(books)

    async def send(number: int) -> bool:
        async with connected(app_database) as connection:
            try:
                await reverse(connection, Reversal(entry, "fraud", f"k{number}"))
            except InvalidEntry:
                return False
        return True

    assert sum(await asyncio.gather(*(send(number) for number in range(8)))) == 1
    assert (await balance(database, "spring"))[0] == 25 - PRICE


async def test_a_reversal_counts_where_its_entry_did_and_makes_room_there(
    books: "Connection[Record]", database: str
) -> None:
    booked = await reverse(books, Reversal(await first_entry(books), "fraud", "k1"))
    assert booked.amount == -PRICE
    for period in ("lifetime", "day", "hour"):
        assert await balance(database, "spring", period) == (25 - PRICE, Decimal(0), 10)
    assert await disagreements(database) == []


async def test_a_reversal_of_an_adjustment_is_no_reversal_of_a_reversal(books: "Connection[Record]") -> None:
    credit = await adjust(books, adjustment("-5"))
    back = await reverse(books, Reversal(credit.entry_id, "wrong campaign", "k2"))
    assert back.amount == 5
    with pytest.raises(InvalidEntry, match=f"entry_id: entry {back.entry_id} cannot be reversed"):
        await reverse(books, Reversal(back.entry_id, "again", "k3"))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (adjustment("75.000001"), "amount: must be at most 75.000000 USD, the rest of the lifetime budget"),
        (adjustment("-25.000001"), "amount: must be at least -25.000000 USD, because no more was spent"),
        (adjustment("1", campaign_id="nobody"), "campaign_id: unknown campaign 'nobody'"),
        (adjustment("1", currency="EUR"), "currency: must be the campaign's, USD, got 'EUR'"),
        (adjustment("1", reason=" "), "reason: must have 1 to 1000 printable characters"),
        (adjustment("1", key="a\nb"), "key: must have 1 to 128 printable characters"),
        (adjustment("1", day=datetime.now(UTC).date() + timedelta(days=2)), "date: must not be in the future, got .*"),
    ],
)
async def test_what_is_refused_is_named_and_books_nothing(
    books: "Connection[Record]", database: str, bad: Adjustment, words: str
) -> None:
    with pytest.raises(InvalidEntry, match=words):
        await adjust(books, bad)
    assert await books.fetchval("SELECT count(*) FROM spend_ledger") == 10
    assert (await balance(database, "spring"))[0] == 25


@pytest.mark.parametrize(
    "lock",
    [
        pytest.param("SELECT FROM books_state FOR UPDATE", id="rolled up"),
        pytest.param("LOCK TABLE spend_ledger_202501 IN SHARE ROW EXCLUSIVE MODE", id="closed"),
    ],
)
async def test_a_correction_that_waits_holds_up_no_ad_and_goes_by_what_was_spent_meanwhile(
    books: "Connection[Record]", store: Store, database: str, lock: str
) -> None:
    await set_clock(database, "transaction_timestamp() + interval '1 day'")
    async with connected(database) as owner:
        await owner.execute("SELECT make_ledger_partition('2025-01-01')")
        async with owner.transaction():
            await owner.execute(lock)
            correcting = asyncio.create_task(adjust(books, adjustment("75", day=date(2025, 1, 15))))
            while not await owner.fetchval(WAITING):
                assert not correcting.done()
            async with asyncio.timeout(5):
                await serve_many(store, "spring", 1)
    with pytest.raises(InvalidEntry, match=r"must be at most 72\.500000 USD, the rest of the lifetime budget"):
        await correcting
    assert (await balance(database, "spring"))[0] == 25 + PRICE
    assert await disagreements(database) == []


async def test_a_key_cannot_stand_for_two_things(books: "Connection[Record]") -> None:
    await adjust(books, adjustment("-5"))
    for other in (adjustment("-6"), adjustment("-5", reason="another")):
        with pytest.raises(InvalidEntry, match=r"key: key k1 was already used for entry [0-9]+ with different values"):
            await adjust(books, other)
    with pytest.raises(InvalidEntry, match=r"key: key k1 was already used for entry [0-9]+ with different values"):
        await reverse(books, Reversal(await first_entry(books), "fraud", "k1"))


async def test_a_key_stands_for_one_date(books: "Connection[Record]") -> None:
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)
    await adjust(books, adjustment("-5"))
    await adjust(books, adjustment("-5", "k2", day=yesterday))
    assert (await adjust(books, adjustment("-5", "k2", day=yesterday))).is_repeat
    for other in (
        adjustment("-5", day=yesterday),
        adjustment("-5", "k2"),
        adjustment("-5", "k2", day=today - timedelta(days=40)),
    ):
        with pytest.raises(
            InvalidEntry, match=r"key: key k[12] was already used for entry [0-9]+ with different values"
        ):
            await adjust(books, other)


async def test_a_campaign_without_a_budget_cannot_go_below_zero_either(store: Store, app_database: str) -> None:
    await set_up(store, campaign("house", billing="serve", budgets={}))
    await serve_many(store, "house", 2)
    async with connected(app_database) as connection:
        with pytest.raises(InvalidEntry, match=r"must be at least -5\.000000 USD, because no more was spent"):
            await adjust(connection, adjustment("-5.01", campaign_id="house"))
        await adjust(connection, adjustment("-5", campaign_id="house"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.0000001", "must have at most 6 decimals"),
        ("0", "must not be 0"),
        ("1e12", "must not be 0, and must be between"),
        ("NaN", "must not be 0, and must be between"),
        ("Infinity", "must not be 0, and must be between"),
        ("1,50", "must be a number"),
        ("", "must be a number"),
    ],
)
def test_amounts_that_are_none_are_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidEntry, match=words):
        parse_amount(text)


async def test_an_entry_of_an_earlier_date_is_in_the_rollups_at_once(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    await set_clock(database, "transaction_timestamp() + interval '3 days'")
    await Maintenance(store, 35).tasks["days rolled up"].run()
    day = datetime.now(UTC).date() - timedelta(days=70)
    booked = await adjust(books, adjustment("-5", day=day))
    assert booked.booked_on == day
    spent = await books.fetchval("SELECT spent FROM finance.campaign_spend_daily WHERE day = $1", day)
    assert spent == -5
    assert await disagreements(database) == []


async def test_the_balance_of_any_past_moment_can_be_had(store: Store, database: str, app_database: str) -> None:
    await set_up(store, campaign("spring", billing="serve"))
    moments: dict[datetime, Decimal] = {}
    for hours in (100, 60, 59, 30, 2, 1):
        moment = datetime.now(UTC) - timedelta(hours=hours)
        await set_clock(database, f"timestamptz '{moment.isoformat()}'")
        await serve_many(store, "spring", 4)
        await Maintenance(store, 35).tasks["days rolled up"].run()
        moments[moment] = 4 * PRICE * (len(moments) + 1)
    async with connected(app_database) as connection:
        for moment, spent in moments.items():
            assert [item.spent for item in await finance_reports.read_balances(connection, moment)] == [spent]
            before = await finance_reports.read_balances(connection, moment - timedelta(microseconds=1))
            assert [item.spent for item in before] == [spent - 4 * PRICE]


async def test_the_database_itself_refuses_what_would_break_a_budget(books: "Connection[Record]") -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="spend_is_not_negative"):
        await books.execute("UPDATE budget_tracking SET spent = spent - 26 WHERE period = 'lifetime'")
    with pytest.raises(asyncpg.CheckViolationError, match="spend_within_budget"):
        await books.execute("UPDATE budget_tracking SET spent = spent + 76 WHERE period = 'lifetime'")
