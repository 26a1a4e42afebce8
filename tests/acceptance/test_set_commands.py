"""`adserver ledger reverse` for many entries: its results, and its one-line errors."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.store.connections import Store
from tests.integration.accounting.world import campaign, connected, open_store, serve_many, set_up
from tests.launched import adserver

WHY = ("--reason", "fraud", "--key", "k1")


@pytest.fixture
async def store(app_database: str) -> AsyncIterator[Store]:
    """The books of a campaign that has served four ads of 2.50 USD."""
    store = open_store(app_database)
    await set_up(store, campaign("spring", billing="serve"))
    await serve_many(store, "spring", 4)
    yield store
    await store.close()


async def run_command(database: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(adserver, *arguments, DATABASE_URL=database, SECRET_KEY="a-secret-for-tests")


@pytest.mark.usefixtures("store")
async def test_many_entries_are_reversed_under_one_key(database: str, finance_database: str, tmp_path: Path) -> None:
    async with connected(database) as owner:
        rows = await owner.fetch("SELECT entry_id FROM spend_ledger ORDER BY entry_id")
    file = tmp_path / "entries.csv"
    file.write_text("entry_id\n" + "".join(f"{row[0]}\n" for row in rows[:3]))
    single = await run_command(database, "ledger", "reverse", str(rows[0][0]), "--reason", "fraud", "--key", "k0")
    assert single.stdout.startswith("entry ")
    done = await run_command(database, "ledger", "reverse", "--from", str(file), *WHY)
    again = await run_command(database, "ledger", "reverse", "--from", str(file), *WHY)
    assert done.stdout == (
        "set k1 recorded: 2 of 3 entries reversed, 1 already reversed before; -5.000000 USD booked\n"
    )
    assert again.stdout == done.stdout.replace("recorded:", "was already recorded:")
    rest = await run_command(
        database, "ledger", "reverse", "--campaign", "spring", "--since", "2020-01-01T00:00:00Z", *WHY[:2], "--key=k2"
    )
    assert rest.stdout.endswith("1 of 4 entries reversed, 3 already reversed before; -2.500000 USD booked\n")
    listed = await run_command(finance_database, "ledger", "sets")
    assert listed.stdout.splitlines() == [
        "k1 complete: 2 of 3 entries reversed, 1 already reversed before, by postgres: fraud",
        "k2 complete: 1 of 4 entries reversed, 3 already reversed before, by postgres: fraud",
    ]
    assert (await run_command(database, "reconcile")).stdout.endswith("the books agree\n")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "entry: is required, or --from, or a condition such as --campaign"),
        (("1", "--campaign=spring"), "entry: must be given alone: without --from and without conditions"),
        (("--campaign=spring", "--since=monday"), "since: must have the form 2026-10-31T23:59:59Z, got 'monday'"),
        (("--campaign=gone",), "entries: no charge of an ad meets the conditions: campaign gone"),
        (("--from=gone.txt",), "file: cannot read gone.txt: No such file or directory"),
    ],
)
async def test_what_is_refused_is_one_line(database: str, arguments: tuple[str, ...], error: str) -> None:
    done = await run_command(database, "ledger", "reverse", *arguments, *WHY)
    assert (done.returncode, done.stderr) == (2, f"adserver: {error}\n")
