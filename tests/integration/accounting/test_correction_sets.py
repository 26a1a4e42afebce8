"""Sets of reversals: many entries under one key, in chunks, continued after an interruption, each reversed once."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.accounting import correction_sets, line_files
from app.accounting.correction_sets import SetReversal, read_entry_file, require_condition, reverse_set
from app.accounting.corrections import Adjustment, Reversal, adjust, reverse
from app.accounting.month_close import close_month
from app.errors import InvalidEntry, InvalidFile
from app.store.connections import Store
from app.store.correction_sets import Condition, SetProgress
from tests.integration.accounting.order_world import apply_tables, in_order, on_placement, open_budgets, order, pay
from tests.integration.accounting.world import (
    PRICE,
    balance,
    campaign,
    connected,
    disagreements,
    payment,
    serve_many,
    set_clock,
    set_up,
)

ADS = 30
SPRING = campaign("spring", billing="serve", budgets={"lifetime": "1000000", "day": "50000", "hour": "40000"})
AUTUMN = campaign("autumn", billing="serve", currency="EUR", timezone="America/New_York")

SPLITS = """
SELECT order_id, campaign_id, publisher_id, publisher_name, placement_id, request_key, slot, $2 * amount,
       $2 * publisher_amount, $2 * house_amount, currency, hour_start, day_start
FROM spend_ledger WHERE kind = $1 AND publisher_id = 'p1' ORDER BY request_key
"""
BUDGETS = "SELECT campaign_id, period, spent FROM budget_tracking WHERE spent <> 0 ORDER BY 1, 2"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def books(store: Store, app_database: str) -> AsyncIterator["Connection[Record]"]:
    """The books of two campaigns with thirty ads each, as the server's role sees them."""
    await set_up(store, SPRING, AUTUMN)
    await serve_many(store, "spring", ADS)
    await serve_many(store, "autumn", ADS)
    async with connected(app_database) as connection:
        yield connection


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correction_sets, "CHUNK_ENTRIES", 7)


async def entries(connection: "Connection[Record]", condition: str = "kind = 'charge'") -> list[int]:
    rows = await connection.fetch(f"SELECT entry_id FROM spend_ledger WHERE {condition} ORDER BY entry_id")
    return [row[0] for row in rows]


def listed(folder: Path, ids: Iterable[int], key: str = "k1", reason: str = "fraud") -> SetReversal:
    file = folder / "entries.txt"
    file.write_text("".join(f"{entry}\n" for entry in ids))
    return SetReversal(read_entry_file(file), reason, key)


async def book(connection: "Connection[Record]", wanted: SetReversal) -> SetProgress:
    return (await reverse_set(connection, wanted, lambda _done, _total: None))[0]


async def test_every_entry_of_a_file_is_reversed_in_every_budget(
    books: "Connection[Record]", database: str, tmp_path: Path, small_chunks: None
) -> None:
    done = await book(books, listed(tmp_path, await entries(books)))
    assert (done.entries, done.reversed, done.skipped, done.remaining) == (2 * ADS, 2 * ADS, 0, 0)
    assert await books.fetch(BUDGETS) == []
    rows = await books.fetch(
        "SELECT campaign_id, currency, sum(amount), count(*) FROM finance.corrections "
        "WHERE idempotency_key = 'k1' AND recorded_by = 'adserver_app' AND reason = 'fraud' GROUP BY 1, 2 ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        ("autumn", "EUR", -ADS * PRICE, ADS),
        ("spring", "USD", -ADS * PRICE, ADS),
    ]
    assert await disagreements(database) == []


async def test_reversals_are_split_as_their_entries_and_leave_the_order(
    store: Store, database: str, app_database: str
) -> None:
    """Two campaigns of different prices share an order of 100, on a publisher that earns a third."""
    publishers = [{"id": "p1", "revenue_share": "0.3333"}]
    campaigns = [in_order("a", "1234.567"), in_order("b")]
    await apply_tables(store, [order(budget="100")], campaigns, publishers, ["a", "b"])
    await open_budgets(store, ["a", "b"])
    async with store.serving_connection() as connection:
        await pay(connection, [on_placement(name) for name in ("a", "b", "b")] + [payment("a")])
    await apply_tables(store, publishers=[{"id": "p1", "name": "Renamed", "revenue_share": "1"}], sold=["a", "b"])
    async with connected(app_database) as connection:
        done = await book(connection, SetReversal(Condition(publisher_id="p1"), "fraud", "k1"))
        assert done.reversed == 3
        assert await connection.fetch(SPLITS, "reversal", -1) == await connection.fetch(SPLITS, "charge", 1)
        spent = await connection.fetchval("SELECT spent FROM budget_tracking WHERE order_id = 'o1'")
    assert spent == Decimal("1.234567")
    assert await disagreements(database) == []


async def test_the_same_key_again_books_nothing_whatever_the_order_of_the_lines(
    books: "Connection[Record]", tmp_path: Path
) -> None:
    ids = await entries(books)
    await book(books, listed(tmp_path, ids))
    again, is_repeat = await reverse_set(books, listed(tmp_path, reversed(ids)), lambda _done, _total: None)
    assert (again.reversed, is_repeat) == (2 * ADS, True)
    assert len(await entries(books, "kind = 'reversal'")) == 2 * ADS


async def test_a_key_is_for_one_set(books: "Connection[Record]", tmp_path: Path) -> None:
    ids = await entries(books)
    await book(books, listed(tmp_path, ids[:5]))
    for other in (
        listed(tmp_path, ids[:6]),
        listed(tmp_path, ids[:5], reason="another"),
        SetReversal(Condition(campaign_id="spring"), "fraud", "k1"),
    ):
        with pytest.raises(InvalidEntry, match="key: key k1 was already used for another set or reason: 5 listed"):
            await book(books, other)
    with pytest.raises(InvalidEntry, match="key: key k1 was already used for a set of entries"):
        await reverse(books, Reversal(ids[10], "fraud", "k1"))
    with pytest.raises(InvalidEntry, match="key: key k1 was already used for a set of entries"):
        await adjust(books, Adjustment("spring", Decimal(-1), "credit", "k1"))
    alone = await reverse(books, Reversal(ids[10], "fraud", "k2"))
    with pytest.raises(InvalidEntry, match=f"key: key k2 was already used for entry {alone.entry_id} alone"):
        await book(books, listed(tmp_path, ids[:6], "k2"))
    assert len(await entries(books, "kind = 'reversal'")) == 6


async def test_entries_that_are_reversed_already_are_skipped_and_counted(
    books: "Connection[Record]", database: str, tmp_path: Path, small_chunks: None
) -> None:
    ids = await entries(books, "campaign_id = 'spring'")
    await reverse(books, Reversal(ids[3], "fraud", "alone"))
    await book(books, listed(tmp_path, ids[:5], "first"))
    done = await book(books, listed(tmp_path, ids, "second"))
    assert (done.entries, done.reversed, done.skipped, done.remaining) == (ADS, ADS - 5, 5, 0)
    assert (await balance(database, "spring"))[0] == 0
    assert await disagreements(database) == []


@pytest.mark.parametrize(
    ("condition", "reversed_entries"),
    [
        (Condition(campaign_id="spring"), "campaign_id = 'spring'"),
        (Condition(since=datetime(2020, 1, 1, tzinfo=UTC), until=datetime(2040, 1, 1, tzinfo=UTC)), "true"),
    ],
)
async def test_every_charge_that_meets_the_conditions_is_reversed(
    books: "Connection[Record]", condition: Condition, reversed_entries: str
) -> None:
    await book(books, SetReversal(require_condition(condition), "outage", "k1"))
    rows = await books.fetch("SELECT reverses FROM finance.corrections ORDER BY reverses")
    assert [row[0] for row in rows] == await entries(books, f"kind = 'charge' AND {reversed_entries}")


async def test_a_condition_is_for_the_entries_of_its_first_run(books: "Connection[Record]", store: Store) -> None:
    wanted = SetReversal(Condition(campaign_id="spring"), "outage", "k1")
    await book(books, wanted)
    await serve_many(store, "spring", 3)
    assert (await book(books, wanted)).reversed == ADS


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Condition(), "entry: is required, or --from, or a condition such as --campaign"),
        (Condition(campaign_id=" "), "campaign: must have 1 to 128 printable characters"),
        (
            Condition(since=datetime(2026, 1, 2, tzinfo=UTC), until=datetime(2026, 1, 1, tzinfo=UTC)),
            r"since: must be before --until \(2026-01-01T00:00:00Z\)",
        ),
    ],
)
def test_a_condition_that_says_nothing_is_refused(condition: Condition, words: str) -> None:
    with pytest.raises(InvalidEntry, match=words):
        require_condition(condition)


async def test_a_condition_that_nothing_meets_is_refused(books: "Connection[Record]") -> None:
    with pytest.raises(InvalidEntry, match="entries: no charge of an ad meets the conditions: campaign nobody"):
        await book(books, SetReversal(Condition(campaign_id="nobody"), "outage", "k1"))
    assert await books.fetchval("SELECT count(*) FROM correction_sets") == 0


async def test_each_line_that_is_wrong_is_named_and_nothing_is_booked(
    books: "Connection[Record]", tmp_path: Path
) -> None:
    ids = await entries(books)
    adjustment = await adjust(books, Adjustment("spring", Decimal(-1), "credit", "k0"))
    wanted = listed(tmp_path, [ids[0], 999_999_999, ids[1], adjustment.entry_id])
    with pytest.raises(InvalidFile) as refused:
        await book(books, wanted)
    assert str(refused.value).replace(f"{tmp_path}/", "").splitlines() == [
        "entries.txt: line 2: unknown entry 999999999",
        f"entries.txt: line 4: entry {adjustment.entry_id} charges no ad: its kind is adjustment",
    ]
    assert await books.fetchval("SELECT count(*) FROM correction_sets") == 0
    assert await entries(books, "kind = 'reversal'") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1\nx\n", "entries.csv: line 2: entry_id must be the number of an entry, got 'x'"),
        ("1\n-2\n", "entries.csv: line 2: entry_id must be the number of an entry, got '-2'"),
        ("1\n9223372036854775808\n", "line 2: entry_id must be the number of an entry, got '9223372036854775808'"),
        ("\n5\n\n5\n", "entries.csv: line 4: entry 5 is already in line 2"),
        ("1,2\n", r"entries.csv: line 1: must have 1 cell \(entry_id\), got 2"),
        ("day,entry_id\nx\n", r"entries.csv: line 2: must have 2 cells \(day, entry_id\), got 1"),
        ('1\n"2\n', "entries.csv: line 2: is not valid CSV: unexpected end of data"),
        ("entry_id\n", "from: .*entries.csv lists no entries"),
        ("".join(f"x{line}\n" for line in range(25)), "entries.csv: more: 5 further faults"),
        ("\xff", "file: must be UTF-8, and byte 0 is not"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "entries.csv"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises((InvalidFile, InvalidEntry), match=words):
        read_entry_file(file)


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [("LINES_MAX", 2, "file: must have at most 2 lines"), ("FILE_BYTES_MAX", 7, "file: must have at most 7 bytes")],
)
def test_a_file_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, words: str
) -> None:
    monkeypatch.setattr(line_files, limit, value)
    file = tmp_path / "entries.txt"
    file.write_text("1\n2\n3\n4\n")
    with pytest.raises(InvalidEntry, match=words):
        read_entry_file(file)


def test_a_column_of_a_csv_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "entries.csv"
    file.write_bytes(b'\xef\xbb\xbfday,entry_id,why\r\n2026-11-01, 12 ,"a, b"\r\n2026-11-01,7,c\r\n')
    assert read_entry_file(file).lines == {12: 2, 7: 3}


async def test_a_set_that_was_interrupted_is_continued_and_books_nothing_twice(
    books: "Connection[Record]", database: str, app_database: str, tmp_path: Path, small_chunks: None
) -> None:
    """The connection is cut, as by `kill -9`, in the chunk that takes the first amounts off the budgets of "spring"."""
    wanted = listed(tmp_path, await entries(books))
    reached: list[int] = []
    async with connected(database) as owner, connected(app_database) as dying, owner.transaction():
        await owner.execute("SELECT FROM budget_tracking WHERE campaign_id = 'spring' FOR UPDATE")
        reversing = asyncio.create_task(reverse_set(dying, wanted, lambda done, _total: reached.append(done)))
        while not await owner.fetchval(WAITING):
            assert not reversing.done()
        dying.terminate()
        with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresError, ConnectionError)):
            await reversing
    assert reached == [7, 14, 21, 28]
    assert await books.fetchval("SELECT remaining FROM finance.correction_sets") == 2 * ADS - 28
    done = await book(books, wanted)
    assert (done.reversed, done.remaining) == (2 * ADS, 0)
    assert await disagreements(database) == []


async def test_chunks_that_were_booked_stay_booked_when_a_later_one_fails(
    books: "Connection[Record]", database: str, tmp_path: Path, small_chunks: None
) -> None:
    wanted = listed(tmp_path, await entries(books))

    def interrupt(done: int, _total: int) -> None:
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await reverse_set(books, wanted, interrupt)
    assert await books.fetchval("SELECT remaining FROM finance.correction_sets") == 2 * ADS - 14
    assert await disagreements(database) == []
    assert (await book(books, wanted)).reversed == 2 * ADS
    assert await books.fetch(BUDGETS) == []
    assert await disagreements(database) == []


async def test_a_set_that_waits_holds_up_no_ad(books: "Connection[Record]", store: Store, database: str) -> None:
    async with connected(database) as owner, owner.transaction():
        await owner.execute("SELECT FROM books_state FOR UPDATE")
        reversing = asyncio.create_task(book(books, SetReversal(Condition(campaign_id="spring"), "outage", "k1")))
        while not await owner.fetchval(WAITING):
            assert not reversing.done()
        async with asyncio.timeout(5):
            await serve_many(store, "spring", 1)
    assert (await reversing).reversed == ADS
    assert (await balance(database, "spring"))[0] == PRICE
    assert await disagreements(database) == []


async def test_many_that_reverse_one_set_reverse_each_entry_once(
    books: "Connection[Record]", database: str, app_database: str, tmp_path: Path, small_chunks: None
) -> None:
    ids = await entries(books)
    sets = [listed(tmp_path, ids), listed(tmp_path, ids), listed(tmp_path, ids[::2], "k2")]

    async def send(wanted: SetReversal) -> SetProgress:
        async with connected(app_database) as connection:
            return await book(connection, wanted)

    done = await asyncio.gather(*(send(wanted) for wanted in sets))
    assert [item.remaining for item in done] == [0, 0, 0]
    assert len(await entries(books, "kind = 'reversal'")) == 2 * ADS
    assert await disagreements(database) == []


async def test_no_more_is_taken_back_than_was_spent(books: "Connection[Record]", tmp_path: Path) -> None:
    await adjust(books, Adjustment("spring", Decimal(-74), "credit", "k0"))
    with pytest.raises(InvalidEntry, match=r"would take back 74\.000000 more than campaign spring has spent"):
        await book(books, listed(tmp_path, await entries(books)))
    assert await entries(books, "kind = 'reversal'") == []
    assert await books.fetchval("SELECT count(*) FROM correction_sets") == 0


async def test_entries_of_a_closed_month_are_reversed_on_an_open_day(
    store: Store, database: str, app_database: str, tmp_path: Path
) -> None:
    await set_clock(database, "timestamptz '2026-10-15 12:00:00Z'")
    await set_up(store, SPRING)
    await serve_many(store, "spring", 5)
    await set_clock(database, "timestamptz '2026-11-20 12:00:00Z'")
    async with connected(database) as owner:
        await close_month(owner, datetime(2026, 10, 1, tzinfo=UTC).date())
    async with connected(app_database) as connection:
        await book(connection, listed(tmp_path, await entries(connection)))
        days = await connection.fetch("SELECT DISTINCT booked_on::text FROM finance.corrections")
    assert [row[0] for row in days] == ["2026-11-20"]
    assert await disagreements(database) == []


async def test_a_set_of_ten_thousand_entries_takes_seconds(store: Store, database: str, app_database: str) -> None:
    await set_up(store, SPRING)
    await serve_many(store, "spring", 10_000, group=1000)
    async with connected(app_database) as connection:
        async with asyncio.timeout(20):
            done = await book(connection, SetReversal(Condition(campaign_id="spring"), "outage", "k1"))
    assert done.reversed == 10_000
    assert (await balance(database, "spring"))[0] == 0
    assert await disagreements(database) == []
