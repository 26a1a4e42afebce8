"""The commands for finance and DBAs: their results, and their one-line errors."""

import asyncio
import csv
import io
import json
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pyarrow.parquet
import pytest

from app.serving.keys import hash_key, user_key
from app.store.connections import Store
from tests.integration.accounting.world import (
    PRICE,
    balance,
    campaign,
    connected,
    open_store,
    payment,
    repair,
    serve,
    serve_many,
    set_clock,
    set_up,
)
from tests.launched import adserver
from tests.standby import set_standby

SECRET = "a-secret-for-tests"
TODAY = datetime.now(UTC).date()
YESTERDAY, TOMORROW = TODAY - timedelta(days=1), TODAY + timedelta(days=1)
CREDIT = ("--reason", "credit", "--key", "k1")


@pytest.fixture
async def store(app_database: str) -> AsyncIterator[Store]:
    """Ten ads of 2.50 USD, charged when they are served, and two of 2.50 EUR, held until they are seen."""
    store = open_store(app_database)
    await set_up(
        store,
        campaign("spring", billing="serve", frequency_caps=[{"impressions": 5, "per": "day"}]),
        campaign("italy", advertiser="Bella", currency="EUR"),
    )
    await serve_many(store, "spring", 10)
    await serve_many(store, "italy", 2)
    yield store
    await store.close()


async def run_command(database: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(adserver, *arguments, DATABASE_URL=database, SECRET_KEY=SECRET)


async def printed(database: str, *arguments: str) -> str:
    """Run a command that must succeed, and return its output."""
    done = await run_command(database, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


async def first_entry(database: str) -> int:
    async with connected(database) as connection:
        entry: int = await connection.fetchval("SELECT min(entry_id) FROM spend_ledger")
    return entry


@pytest.mark.usefixtures("store")
async def test_an_entry_is_adjusted_and_taken_back_each_once(database: str) -> None:
    adjusted = await printed(database, "ledger", "adjust", "spring", "--amount", "-5.25", *CREDIT)
    again = await printed(database, "ledger", "adjust", "spring", "--amount", "-5.25", *CREDIT)
    assert " booked: spring -5.250000 USD, dated " in adjusted
    assert again == adjusted.replace(" booked: ", " was already booked: ")
    reversal = ("ledger", "reverse", str(await first_entry(database)), "--reason", "fraud", "--key", "k2")
    assert " booked: spring -2.500000 USD, dated " in await printed(database, *reversal)
    assert (await balance(database, "spring"))[0] == 10 * PRICE - Decimal("5.25") - PRICE
    assert (await printed(database, "reconcile")).endswith("the books agree\n")


@pytest.mark.usefixtures("store")
async def test_the_balance_of_a_past_moment_is_told_to_finance_too(database: str, finance_database: str) -> None:
    async with connected(database) as connection:
        before = await connection.fetchval("SELECT clock_timestamp()")
    await printed(database, "ledger", "adjust", "spring", "--amount", "-5.25", *CREDIT)
    assert await printed(finance_database, "ledger", "balance") == "italy 0.000000 EUR\nspring 19.750000 USD\n"
    balance_then = ("ledger", "balance", "spring", "--at", before.isoformat())
    assert await printed(finance_database, *balance_then) == "spring 25.000000 USD\n"


async def test_the_balance_of_now_goes_by_the_clock_of_the_database(
    store: Store, database: str, finance_database: str
) -> None:
    await set_clock(database, "transaction_timestamp() + interval '5 minutes'")
    await serve_many(store, "spring", 1)
    assert await printed(finance_database, "ledger", "balance", "spring") == "spring 27.500000 USD\n"


@pytest.mark.usefixtures("store")
async def test_bad_input_is_named_on_one_line_and_books_nothing(database: str) -> None:
    month = f"{TODAY:%Y-%m}"
    await printed(database, "ledger", "adjust", "spring", "--amount", "-1", *CREDIT)
    for line, *arguments in [
        ("campaign_id: unknown campaign 'nobody'", "ledger", "adjust", "nobody", "--amount", "1", *CREDIT[:3], "k2"),
        ("currency: must be the campaign's, USD, got 'EUR'", "ledger", "adjust", "spring", "--amount", "1",
         "--currency", "EUR", *CREDIT),
        ("amount: must have at most 6 decimals, got '1.0000001'", "ledger", "adjust", "spring",
         "--amount", "1.0000001", *CREDIT),
        ("amount: must be a number, got '1,50'", "ledger", "adjust", "spring", "--amount", "1,50", *CREDIT),
        ("key: key k1 was already used for entry ", "ledger", "adjust", "spring", "--amount", "-2", *CREDIT),
        (f"date: must not be in the future, got {TODAY + timedelta(days=9)}", "ledger", "adjust", "spring",
         "--amount", "1", "--date", str(TODAY + timedelta(days=9)), *CREDIT[:3], "k2"),
        ("date: must have the form 2026-10-31, got 'today'", "ledger", "adjust", "spring", "--amount", "1",
         "--date", "today", *CREDIT),
        *((f"date: must be between the years 1970 and 9998, got {day}", "ledger", "adjust", "spring", "--amount", "1",
           "--date", day, *CREDIT[:3], "k2") for day in ("1969-12-31", "9999-12-31")),
        *((f"entry_id: unknown entry {entry}", "ledger", "reverse", str(entry), "--reason", "fraud", "--key", "k2")
          for entry in (999999, 2**63)),
        ("at: must have the form 2026-10-31T23:59:59Z, got '2026-10-31'", "ledger", "balance", "--at", "2026-10-31"),
        ("at: must have the form ", "ledger", "balance", "--at", "0001-01-01T00:00:00+14:00"),
        ("campaign_id: unknown campaign 'nobody'", "ledger", "balance", "nobody"),
        (f"month: {month} has not ended", "books", "close", month),
        ("month: must have the form 2026-10, got 'october'", "books", "close", "october"),
        ("month: 9998-12 has not ended", "books", "close", "9998-12"),
        *((f"month: must be between the years 1970 and 9998, got {far}", "books", "close", far)
          for far in ("0001-01", "9999-12")),
        (f"from: must not be after --to ({YESTERDAY}), got {TODAY}", "report", "spend",
         "--from", str(TODAY), "--to", str(YESTERDAY)),
        ("by: must be a comma-separated list of advertiser, campaign, day, month, got 'color'",
         "report", "spend", "--from", str(TODAY), "--to", str(TODAY), "--by", "color"),
        ("output: is required for parquet",
         "report", "spend", "--from", str(TODAY), "--to", str(TODAY), "--format", "parquet"),
    ]:  # fmt: skip
        refused = await run_command(database, *arguments)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1), refused
        assert refused.stderr.startswith(f"adserver: {line}")
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM spend_ledger") == 11
        assert await connection.fetchval("SELECT count(*) FROM closed_months") == 0


async def test_a_month_is_closed_and_proves_what_it_was(
    store: Store, database: str, finance_database: str, tmp_path: Path
) -> None:
    next_month = (TODAY.replace(day=1) + timedelta(days=32)).replace(day=1)
    await set_clock(database, f"timestamptz '{next_month} 12:00Z'")
    month = f"{TODAY:%Y-%m}"
    refused = await run_command(database, "books", "close", month)
    assert refused.stderr == f"adserver: month: {month} or an earlier month has 2 open holds\n"
    assert refused.returncode == 2
    assert (await run_command(database, "maintain")).returncode == 0
    printed_receipt = await printed(database, "books", "close", month)
    head, closed, journal, repairs, guards = (json.loads(line) for line in printed_receipt.splitlines())
    assert (head["made_by"], closed["month"], closed["closed_by"], closed["entries"]) == (
        "postgres",
        month,
        "postgres",
        10,
    )
    assert (journal["entries"], repairs["repairs"]) == (0, 0)
    assert (await printed(database, "books", "close", month)).splitlines()[1:] == printed_receipt.splitlines()[1:]
    receipt = tmp_path / "receipt.jsonl"
    receipt.write_text(printed_receipt)
    in_order = (
        f"{month} closed at {closed['closed_at']} by postgres, 10 entries, hash {closed['hash']}: ok\n"
        f"guards: ok, {len(guards['guards'])} in force, digest {guards['digest']}\n"
    )
    # The role that only reads checks everything itself, on a standby too.
    await set_standby(database, standby=True)
    for url in (database, finance_database):
        assert await printed(url, "books", "verify", "--expect", str(receipt)) == f"{in_order}receipt: ok\n"
    assert await printed(finance_database, "books", "verify", month) == in_order
    assert (await printed(finance_database, "reconcile")).endswith("the books agree\n")
    await set_standby(database, standby=False)
    for line, *arguments in [
        (f"date: the books of {month} are closed", "ledger", "adjust", "spring", "--amount", "-1", "--date",
         str(TODAY.replace(day=1)), *CREDIT),
        ("month: 1999-01 is not closed", "books", "verify", "1999-01"),
        ("expect: must be a file that `adserver books close` printed", "books", "verify", "--expect", __file__),
        ("expect: cannot read /nowhere: ", "books", "verify", "--expect", "/nowhere"),
    ]:  # fmt: skip
        wrong = await run_command(database, *arguments)
        assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1), wrong
        assert wrong.stderr.startswith(f"adserver: {line}")
    async with connected(database) as connection:
        await repair(connection, "UPDATE spend_ledger SET reason = 'mine'", "a wrong price")
        await connection.execute("ALTER TABLE budget_tracking DROP CONSTRAINT spend_within_budget")
    verdict = await run_command(finance_database, "books", "verify", "--expect", str(receipt))
    assert verdict.returncode == 1
    assert ": WRONG, an entry, a correction, a figure or its closing was changed\n" in verdict.stdout
    assert f"by postgres: UPDATE in spend_ledger_{TODAY:%Y%m}, 'a wrong price': " in verdict.stdout
    missing = "constraint spend_within_budget on public.budget_tracking"
    assert f"guards: WRONG, {missing} is missing or not in force\n" in verdict.stdout
    assert f"receipt: WRONG, {missing} is gone\n" in verdict.stdout


async def test_the_server_may_not_close_a_month_and_is_told_so(store: Store, database: str, app_database: str) -> None:
    await set_clock(database, f"timestamptz '{TODAY + timedelta(days=40)} 12:00Z'")
    maintained = await run_command(app_database, "maintain")
    assert "partitions created: " in maintained.stdout
    assert "partition_dropped" not in maintained.stdout
    assert "partition_dropped" in maintained.stderr
    refused = await run_command(app_database, "books", "close", f"{TODAY:%Y-%m}")
    assert (refused.returncode, refused.stderr) == (1, "adserver: only the owner of the database may close a month\n")


@pytest.mark.usefixtures("store")
async def test_a_report_is_the_same_for_people_sheets_and_machines(
    database: str, finance_database: str, tmp_path: Path
) -> None:
    await printed(database, "ledger", "adjust", "spring", "--amount", "-1", *CREDIT)
    span = ("report", "spend", "--from", str(YESTERDAY), "--to", str(TOMORROW), "--by", "advertiser,day")
    table = await printed(database, *span)
    assert [line.split() for line in table.splitlines()] == [
        ["advertiser", "day", "currency", "delivered", "corrected", "spent", "impressions"],
        ["Acme", str(TODAY), "USD", "25.000000", "-1.000000", "24.000000", "10"],
    ]
    sheet = await printed(finance_database, *span, "--format", "csv")
    lines = [line.split() for line in table.splitlines()]
    assert list(csv.reader(io.StringIO(sheet))) == lines
    file = tmp_path / "spend.parquet"
    await printed(database, *span, "--format", "parquet", "--output", str(file))
    columns = pyarrow.parquet.read_table(file).to_pydict()
    assert [columns["day"], columns["spent"]] == [[TODAY], [Decimal(24)]]
    assert names(tmp_path) == [file.name]
    lost = await run_command(database, *span, "--output", str(tmp_path / "nowhere" / "spend.txt"))
    assert (lost.returncode, lost.stderr.count("\n")) == (1, 1)


@pytest.mark.usefixtures("store")
async def test_maintain_says_what_it_did_and_may_run_many_times_at_once(database: str) -> None:
    await set_clock(database, "transaction_timestamp() + interval '2 days'")
    outputs = await asyncio.gather(*(printed(database, "maintain") for _ in range(3)))
    runs = [dict(line.split(": ") for line in output.splitlines()) for output in outputs]
    assert sum(int(counts["holds released"]) for counts in runs) == 2
    assert sum(int(counts["counts removed"]) for counts in runs) == 10
    assert sum(int(counts["partitions created"]) for counts in runs) > 0
    assert (await printed(database, "reconcile")).endswith("the books agree\n")


async def test_a_user_is_forgotten_and_the_books_stay(store: Store, database: str) -> None:
    viewer = user_key(hash_key(SECRET), "anna@example.com")
    async with store.serving_connection() as connection:
        for _ in range(3):
            await serve(connection, [payment("spring", viewer)])
    assert await printed(database, "users", "forget", "nobody") == "forgotten: 0 serves, 0 counts, 0 sessions\n"
    forgotten = await printed(database, "users", "forget", "anna@example.com")
    assert forgotten == "forgotten: 3 serves, 1 counts, 0 sessions\n"
    assert not await traces_of(database, viewer)
    assert (await balance(database, "spring"))[0] == 13 * PRICE
    assert (await printed(database, "reconcile")).endswith("the books agree\n")


async def test_a_user_is_forgotten_by_the_keys_of_before_too(store: Store, database: str) -> None:
    viewers = [user_key(hash_key(secret), "anna@example.com") for secret in ("a-secret-of-before", SECRET)]
    async with store.serving_connection() as connection:
        for viewer in viewers:
            await serve(connection, [payment("spring", viewer)])
    keys = {"SECRET_KEY": SECRET, "RETIRED_SECRET_KEYS": "a-secret-of-before"}
    forget = ("users", "forget", "anna@example.com")
    forgotten = await asyncio.to_thread(adserver, *forget, DATABASE_URL=database, **keys)
    assert forgotten.stdout == "forgotten: 2 serves, 2 counts, 0 sessions\n"
    assert [await traces_of(database, viewer) for viewer in viewers] == [0, 0]


async def test_without_the_servers_key_nobody_is_said_to_be_forgotten(database: str, tmp_path: Path) -> None:
    forget = ("users", "forget", "anna@example.com")
    refused = await asyncio.to_thread(adserver, *forget, DATABASE_URL=database, DATA_DIR=str(tmp_path))
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert refused.stderr.startswith("adserver: ADSERVER_SECRET_KEY: must be the server's")
    assert names(tmp_path) == []


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def traces_of(database: str, viewer: UUID) -> int:
    async with connected(database) as connection:
        rows: int = await connection.fetchval(
            "SELECT (SELECT count(*) FROM ad_serves WHERE user_key = $1) "
            "+ (SELECT count(*) FROM frequency_caps WHERE user_key = $1)",
            viewer,
        )
    return rows
