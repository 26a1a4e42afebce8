"""A closed month moves to Parquet files, and the books stay provable."""

import asyncio
import json
from datetime import UTC, date, datetime
from pathlib import Path

import asyncpg
import pyarrow.parquet
import pytest

from app.accounting.month_archive import Archive, archive_month, find_archive_fault
from app.accounting.month_close import close_month
from app.accounting.verification import verify_books
from app.errors import AdServerError, InvalidEntry
from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from tests.integration.accounting.world import (
    PRICE,
    campaign,
    connected,
    disagreements,
    repair,
    serve_many,
    set_clock,
    set_up,
)
from tests.launched import adserver

MONTH = date(2027, 2, 1)
BUDGETS = {"hour": "1000", "day": "2000", "lifetime": "3000"}
VIEWS = (
    "SELECT * FROM finance.campaign_spend ORDER BY campaign_id",
    "SELECT * FROM finance.campaign_spend_daily ORDER BY campaign_id, day",
    "SELECT * FROM finance.advertiser_spend_monthly ORDER BY advertiser_id, month",
    "SELECT * FROM finance.budgets ORDER BY campaign_id, period, period_start",
    "SELECT * FROM finance.delivery_hourly ORDER BY hour, campaign_id",
    "SELECT * FROM finance.balance_as_of('2027-02-11T00:00:00Z')",
)
SUM = "SELECT coalesce(sum(amount), 0) FROM spend_ledger"


async def roll_up(store: Store, days: int = 3650) -> None:
    maintenance = Maintenance(store, days)
    await maintenance.tasks["days rolled up"].run()
    await maintenance.tasks["hours rolled up"].run()
    await maintenance.tasks["partitions created"].run()
    await maintenance.tasks["budget periods archived"].run()


async def closed_february(store: Store, database: str) -> None:
    """Serves on three days of February and one of March; February is closed in April."""
    await set_up(store, campaign("charged", billing="serve", budgets=BUDGETS), campaign("held", hold_ttl_s=60))
    for day in ("2027-02-10", "2027-02-10", "2027-02-28", "2027-03-01"):
        await set_clock(database, f"timestamptz '{day} 12:00Z'")
        await serve_many(store, "charged", 5)
        await serve_many(store, "held", 2)
    await set_clock(database, "timestamptz '2027-04-10 12:00Z'")
    await Maintenance(store, 3650).tasks["holds released"].run()
    await roll_up(store)
    async with connected(database) as connection:
        await close_month(connection, MONTH)


async def archive(database: str, folder: Path, *, drop: bool = False) -> Archive:
    async with connected(database) as connection:
        return await archive_month(connection, MONTH, folder, drop=drop)


async def reports(database: str) -> list[list[asyncpg.Record]]:
    async with connected(database) as connection:
        return [await connection.fetch(view) for view in VIEWS]


async def test_an_archived_month_leaves_the_ledger_and_changes_no_report(
    store: Store, database: str, tmp_path: Path
) -> None:
    await closed_february(store, database)
    before = await reports(database)
    made = await archive(database, tmp_path)
    assert (made.entries, made.dropped) == (15, False)
    manifest = json.loads(made.manifest.read_text())
    assert (manifest["month"], manifest["amounts"]) == ("2027-02", {"USD": "37.500000"})
    table = pyarrow.parquet.read_table([tmp_path / item["name"] for item in manifest["files"]])
    assert sum(table["amount"].to_pylist()) == 15 * PRICE
    async with connected(database) as connection:
        assert await connection.fetchval(SUM) == 5 * PRICE
        assert await connection.fetchval("SELECT count(*) FROM spend_ledger_202702") == 15
        assert not (await verify_books(connection)).has_faults
        assert await find_archive_fault(connection, MONTH, tmp_path) == ""
    assert await reports(database) == before
    assert await disagreements(database) == []


async def test_serving_rollups_and_retention_go_on_after_it(store: Store, database: str, tmp_path: Path) -> None:
    await closed_february(store, database)
    await archive(database, tmp_path, drop=True)
    await serve_many(store, "charged", 5)
    await set_clock(database, "timestamptz '2027-04-11 12:00Z'")
    await roll_up(store)
    assert await disagreements(database) == []
    await set_clock(database, "timestamptz '2027-05-20 12:00Z'")
    await Maintenance(store, 35).tasks["partitions dropped"].run()
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM archived_charges") == 0
        await close_month(connection, date(2027, 3, 1))
        await close_month(connection, date(2027, 4, 1))
        assert not (await verify_books(connection)).has_faults
    assert await disagreements(database) == []


async def test_the_table_is_dropped_only_while_the_files_are_as_they_were_written(
    store: Store, database: str, tmp_path: Path
) -> None:
    await closed_february(store, database)
    made = await archive(database, tmp_path)
    file = tmp_path / "spend_ledger-2027-02-1.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(InvalidEntry, match="is missing or was changed"):
        await archive(database, tmp_path, drop=True)
    async with connected(database) as connection:
        assert "was changed" in await find_archive_fault(connection, MONTH, tmp_path)
    file.write_bytes(content)
    text = made.manifest.read_text()
    made.manifest.write_text(text.replace("37.5", "38.5"))
    with pytest.raises(InvalidEntry, match="is not the manifest"):
        await archive(database, tmp_path, drop=True)
    made.manifest.write_text(text)
    assert (await archive(database, tmp_path, drop=True)).dropped
    assert not (await archive(database, tmp_path, drop=True)).dropped


@pytest.mark.parametrize(
    ("statement", "rules"),
    [
        ("UPDATE opening_balances SET amount = amount + 1 WHERE period = 'lifetime'", {"I2"}),
        ("UPDATE opening_balances SET ads = ads + 1 WHERE period = 'day'", {"I2"}),
        ("DELETE FROM opening_balances", {"I2"}),
        ("UPDATE spend_daily SET publisher_amount = 1 WHERE booked_on < '2027-03-01'", {"rollup"}),
        ("UPDATE delivery_hourly SET charged = charged + 1 WHERE hour < '2027-02-11' AND charged > 0", {"delivery"}),
        ("DELETE FROM archived_charges WHERE slot = 0", {"I3", "delivery"}),
        ("DELETE FROM ad_serves WHERE served_on = '2027-02-10'", {"I3", "delivery"}),
    ],
)
async def test_a_change_of_what_an_archive_left_behind_is_found(
    store: Store, database: str, tmp_path: Path, statement: str, rules: set[str]
) -> None:
    await closed_february(store, database)
    await archive(database, tmp_path, drop=True)
    async with connected(database) as connection:
        await connection.execute(statement)
    assert {item.rule for item in await disagreements(database)} == rules


async def test_only_a_closed_month_that_is_rolled_up_and_unchanged_is_archived(
    store: Store, database: str, tmp_path: Path
) -> None:
    await closed_february(store, database)
    async with connected(database) as connection:
        with pytest.raises(InvalidEntry, match="2027-03 is not closed"):
            await archive_month(connection, date(2027, 3, 1), tmp_path, drop=False)
        for state in ("books_state", "delivery_state"):
            mark = await connection.fetchval(f"SELECT rolled_up_to FROM {state}")
            await connection.execute(f"UPDATE {state} SET rolled_up_to = $1", datetime(2027, 2, 20, tzinfo=UTC))
            with pytest.raises(InvalidEntry, match="not rolled up yet"):
                await archive_month(connection, MONTH, tmp_path, drop=False)
            await connection.execute(f"UPDATE {state} SET rolled_up_to = $1", mark)
        await repair(connection, "UPDATE closed_months SET hash = previous_hash", "a test")
        with pytest.raises(InvalidEntry, match="has changed since it was closed"):
            await archive_month(connection, MONTH, tmp_path, drop=False)
        assert await connection.fetchval(SUM) == 20 * PRICE


async def test_a_month_whose_files_lack_an_entry_stays_in_the_ledger(
    store: Store, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await closed_february(store, database)
    write_table = pyarrow.parquet.ParquetWriter.write_table

    def lose_an_entry(writer: pyarrow.parquet.ParquetWriter, table: pyarrow.Table) -> None:
        write_table(writer, table.slice(1))

    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "write_table", lose_an_entry)
    with pytest.raises(AdServerError, match="do not have entry"):
        await archive(database, tmp_path)
    async with connected(database) as connection:
        assert await connection.fetchval(SUM) == 20 * PRICE


async def test_an_archive_is_made_once_and_by_the_owner(
    store: Store, database: str, app_database: str, tmp_path: Path
) -> None:
    await closed_february(store, database)
    async with connected(app_database) as connection:
        with pytest.raises(AdServerError, match="only the owner"):
            await archive_month(connection, MONTH, tmp_path / "app", drop=False)
    await archive(database, tmp_path)
    with pytest.raises(InvalidEntry, match="already archived"):
        await archive(database, tmp_path)


async def test_a_query_on_the_ledger_holds_up_the_archive_and_no_ads(
    store: Store, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await closed_february(store, database)
    monkeypatch.setattr("app.accounting.month_archive.DETACH_RETRY_S", 0.5)
    async with connected(database) as reader, reader.transaction():
        await reader.fetch(SUM)
        with pytest.raises(AdServerError, match="try again"):
            await archive(database, tmp_path)
        await serve_many(store, "charged", 1)
    assert await disagreements(database) == []


async def test_the_command_archives_then_drops_and_names_what_is_wrong(
    store: Store, database: str, tmp_path: Path
) -> None:
    await closed_february(store, database)
    folder = str(tmp_path / "books")
    environment = {"DATABASE_URL": database}

    async def run(*arguments: str, command: str = "archive") -> tuple[int, list[str]]:
        done = await asyncio.to_thread(adserver, "books", command, *arguments, **environment)
        return done.returncode, (done.stdout + done.stderr).splitlines()

    status, lines = await run("2027-02", "--to", folder)
    assert (status, lines[1]) == (0, "table spend_ledger_202702 is detached; --drop drops it")
    assert lines[0].startswith("2027-02 archived: 15 entries, ")
    status, lines = await run("2027-02", "--to", folder, "--drop")
    assert (status, lines[1]) == (0, "table spend_ledger_202702 was dropped")
    status, lines = await run("--archive", folder, command="verify")
    assert (status, lines[0][-4:]) == (0, ": ok")
    (tmp_path / "books" / "spend_ledger-2027-02-1.parquet").unlink()
    status, lines = await run("--archive", folder, command="verify")
    assert status == 1
    assert lines[0].endswith("spend_ledger-2027-02-1.parquet is missing or was changed")
    status, lines = await run("2027-03", "--to", folder)
    assert status == 2
    assert lines == ["adserver: month: 2027-03 is not closed"]
