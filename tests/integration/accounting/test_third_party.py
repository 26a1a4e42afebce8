"""Counts of third parties: imported all or nothing, kept in every version, and compared with our own."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.accounting.corrections import Reversal, reverse
from app.accounting.third_party import ImportedCounts, import_counts, read_count_file
from app.beacons.settlement import settle, sweep
from app.domain import Event
from app.errors import InvalidEntry, InvalidFile
from app.store import third_party
from app.store.connections import Store
from app.store.holds import Beacon
from app.store.third_party import Discrepancy
from tests.integration.accounting.world import (
    beacon,
    campaign,
    connected,
    disagreements,
    serve_many,
    set_clock,
    set_up,
)

TODAY = datetime.now(UTC).date()
EVER = (date(2020, 1, 1), date(2040, 1, 1))


@pytest.fixture
async def books(store: Store, app_database: str) -> AsyncIterator["Connection[Record]"]:
    """Two campaigns that are charged when their ads are seen, as the server's role sees them."""
    await set_up(store, campaign("spring"), campaign("autumn", timezone="America/New_York"))
    async with connected(app_database) as connection:
        yield connection


def counts_file(folder: Path, content: str) -> Path:
    file = folder / "counts.csv"
    file.write_text(content)
    return file


async def load(
    connection: "Connection[Record]", folder: Path, content: str, source: str = "adform"
) -> tuple[int, int, int]:
    """Import a file; return the numbers of new, replaced and unchanged counts."""
    done = await import_counts(connection, source, read_count_file(counts_file(folder, content)))
    return done.new, done.replaced, done.unchanged


async def compared(connection: "Connection[Record]") -> list[Discrepancy]:
    return await third_party.read_discrepancies(connection, *EVER, None, None, 100)


async def test_a_newer_count_replaces_the_earlier_one_which_is_kept(
    books: "Connection[Record]", tmp_path: Path
) -> None:
    first = "day,campaign,count\n2024-11-01,spring,100\n2024-11-02,spring,5\n"
    assert await load(books, tmp_path, first) == (2, 0, 0)
    assert await load(books, tmp_path, first) == (0, 0, 2)
    assert await load(books, tmp_path, "2024-11-01,spring,90\n2024-11-02,spring,5\n") == (0, 1, 1)
    assert await load(books, tmp_path, "2024-11-01,spring,70\n", "ias") == (1, 0, 0)
    rows = await books.fetch(
        "SELECT source, version, impressions, recorded_by FROM finance.third_party_counts "
        "WHERE day = '2024-11-01' ORDER BY source, version"
    )
    assert [tuple(row) for row in rows] == [
        ("adform", 1, 100, "adserver_app"),
        ("adform", 2, 90, "adserver_app"),
        ("ias", 1, 70, "adserver_app"),
    ]
    assert [(row.source, row.theirs) for row in await compared(books)] == [("adform", 90), ("ias", 70), ("adform", 5)]


async def test_many_imports_of_one_source_make_one_version_of_each_count(
    books: "Connection[Record]", app_database: str, tmp_path: Path
) -> None:
    listed = read_count_file(counts_file(tmp_path, "2024-11-01,spring,100\n2024-11-01,autumn,7\n"))

    async def send() -> ImportedCounts:
        async with connected(app_database) as connection:
            return await import_counts(connection, "adform", listed)

    done = await asyncio.gather(*(send() for _ in range(6)))
    assert sorted((item.new, item.unchanged) for item in done) == [(0, 2)] * 5 + [(2, 0)]


async def test_each_bad_line_is_named_and_nothing_is_imported(books: "Connection[Record]", tmp_path: Path) -> None:
    file = counts_file(tmp_path, "day,campaign,count\n2024-11-01,spring,1\n2024-11-01,gone,2\n2024-11-02,away,2\n")
    with pytest.raises(InvalidFile) as refused:
        await import_counts(books, "adform", read_count_file(file))
    assert str(refused.value).replace(f"{tmp_path}/", "").splitlines() == [
        "counts.csv: line 3: campaign: unknown campaign 'gone'",
        "counts.csv: line 4: campaign: unknown campaign 'away'",
    ]
    assert await books.fetchval("SELECT count(*) FROM third_party_counts") == 0
    with pytest.raises(InvalidEntry, match="source: must have 1 to 128 printable characters"):
        await load(books, tmp_path, "2024-11-01,spring,1\n", " ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("01.11.2026,spring,1", "line 2: day: must have the form 2026-10-31, got '01.11.2026'"),
        ("2039-01-01,spring,1", "line 2: day: must not be in the future, got 2039-01-01"),
        ("2024-11-01,,1", "line 2: campaign: must have 1 to 128 printable characters"),
        ("2024-11-01,spring,-1", "line 2: count: must be a whole number from 0 to 1000000000000, got '-1'"),
        ("2024-11-01,spring,1.5", "line 2: count: must be a whole number from 0 to 1000000000000, got '1.5'"),
        ("2024-11-01,spring,1000000000001", "line 2: count: must be a whole number from 0 to 1000000000000, got"),
        ("2023-11-01,spring,1", "line 2: campaign: the count of spring on 2023-11-01 is already in line 1"),
        ("2024-11-01,spring", r"line 2: must have 3 cells \(day, campaign, count\), got 2"),
    ],
)
def test_a_bad_line_is_refused(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(InvalidFile, match=words):
        read_count_file(counts_file(tmp_path, f"2023-11-01,spring,1\n{line}\n"))


def test_a_file_without_counts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidEntry, match=r"file: .*counts\.csv lists no counts"):
        read_count_file(counts_file(tmp_path, "count,day,campaign\n"))


async def test_a_difference_is_shown_with_what_it_may_consist_of(
    books: "Connection[Record]", store: Store, database: str, tmp_path: Path
) -> None:
    """Of twelve ads, six are charged, one of them reversed; two fail, three expire, and one of those is seen late."""
    noon = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC) - timedelta(days=1)
    await set_clock(database, f"timestamptz '{noon.isoformat()}'")
    served = await serve_many(store, "spring", 12)
    day = noon.date()

    def reported(number: int, event: Event = Event.IMPRESSION) -> Beacon:
        return beacon(served[number], event)._replace(served_on=day)

    await settle(books, [reported(number) for number in range(6)])
    await settle(books, [reported(6, Event.ERROR), reported(7, Event.ERROR), reported(0), reported(1), reported(1)])
    await set_clock(database, f"timestamptz '{(noon + timedelta(hours=2)).isoformat()}'")
    assert await sweep(store) == 4
    await settle(books, [reported(8)])
    await reverse(books, Reversal(await books.fetchval("SELECT min(entry_id) FROM spend_ledger"), "fraud", "k1"))
    await load(books, tmp_path, f"{day},spring,9\n{day},autumn,0\n")
    autumn, spring = await compared(books)
    assert spring == Discrepancy(day, "adform", "spring", 6, 9, 3, Decimal("50.00"), 1, 2, 3, 3, 1)
    assert autumn == Discrepancy(day, "adform", "autumn", 0, 0, 0, None, 0, 0, 0, 0, 0)
    assert await disagreements(database) == []


async def test_a_day_that_a_source_left_out_is_shown(
    books: "Connection[Record]", store: Store, database: str, tmp_path: Path
) -> None:
    await set_up(store, campaign("served", billing="serve"))
    for day in (1, 2, 3, 4):
        await set_clock(database, f"timestamptz '2024-10-0{day} 12:00Z'")
        await serve_many(store, "served", day)
    await load(books, tmp_path, "2024-10-01,served,1\n2024-10-03,served,2\n")
    shown = [(row.day.day, row.ours, row.theirs, row.difference_percentage) for row in await compared(books)]
    assert shown == [(1, 1, 1, 0), (2, 2, None, None), (3, 3, 2, Decimal("-33.33"))]


async def test_what_retention_has_dropped_is_unknown(
    books: "Connection[Record]", database: str, tmp_path: Path
) -> None:
    async with connected(database) as owner:
        await owner.execute("INSERT INTO retention VALUES ('hold_releases', '2024-10-02')")
    await load(books, tmp_path, "2024-10-02,spring,1\n2024-10-03,spring,1\n")
    assert [(row.late, row.error, row.expired) for row in await compared(books)] == [(None, None, None), (0, 0, 0)]


async def test_counts_are_never_changed(books: "Connection[Record]", database: str, tmp_path: Path) -> None:
    await load(books, tmp_path, "2024-11-01,spring,1\n")
    async with connected(database) as owner:
        for statement in (
            "UPDATE third_party_counts SET impressions = 2",
            "DELETE FROM third_party_counts",
            "TRUNCATE third_party_counts",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="never changed or removed"):
                await owner.execute(statement)


async def test_repeated_impressions_are_counted_by_campaign(books: "Connection[Record]", store: Store) -> None:
    spring, autumn = await serve_many(store, "spring", 2), await serve_many(store, "autumn", 2)
    group = [beacon(item) for item in (*spring, *autumn)]
    await settle(books, group)
    assert await books.fetch("SELECT FROM repeated_impressions") == []
    await settle(books, [beacon(spring[0], Event.START), beacon(spring[0], Event.START)])
    await settle(books, [*group, beacon(spring[0])])
    await settle(books, group[:1])
    rows = await books.fetch("SELECT campaign_id, sum(impressions) FROM repeated_impressions GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in rows] == [("autumn", 2), ("spring", 4)]
