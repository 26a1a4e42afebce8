"""`adserver third-party`: its results, and its one-line errors."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.integration.accounting.world import campaign, open_store, set_up
from tests.launched import adserver


async def run_command(database: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(adserver, *arguments, DATABASE_URL=database, SECRET_KEY="a-secret-for-tests")


@pytest.fixture
async def counts(app_database: str, tmp_path: Path) -> str:
    """A file of counts of the campaign "spring"."""
    store = open_store(app_database)
    await set_up(store, campaign("spring"))
    await store.close()
    file = tmp_path / "counts.csv"
    file.write_text("day,campaign,count\n2024-11-01,spring,3\n2024-11-02,spring,0\n")
    return str(file)


async def test_counts_are_imported_and_compared(counts: str, database: str, finance_database: str) -> None:
    imported = await run_command(database, "third-party", "import", counts, "--source", "adform")
    again = await run_command(database, "third-party", "import", counts, "--source", "adform")
    assert imported.stdout == "source adform: 2 new counts, 0 replaced, 0 unchanged\n"
    assert again.stdout == "source adform: 0 new counts, 0 replaced, 2 unchanged\n"
    days = ("--from", "2024-11-01", "--to", "2024-11-02")
    listed = await run_command(finance_database, "third-party", "list", *days)
    causes = "late 0, error 0, expired 0, repeat 0, reversed 0"
    assert listed.stdout.splitlines() == [
        f"2024-11-01 spring adform: ours 0, theirs 3, +3; {causes}",
        f"2024-11-02 spring adform: ours 0, theirs 0, +0; {causes}",
    ]
    assert (await run_command(finance_database, "third-party", "list", *days, "--source", "ias")).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "errors"),
    [
        (
            ("list", "--from=2024-11-02", "--to=2024-11-01"),
            ["from: must not be after --to (2024-11-01), got 2024-11-02"],
        ),
        (("list", "--from=monday", "--to=2024-11-01"), ["from: must have the form 2026-10-31, got 'monday'"]),
        (("import", "gone.csv"), ["file: cannot read gone.csv: No such file or directory"]),
    ],
)
@pytest.mark.usefixtures("counts")
async def test_what_is_refused_is_one_line(database: str, arguments: tuple[str, ...], errors: list[str]) -> None:
    done = await run_command(database, "third-party", *arguments)
    assert (done.returncode, done.stderr.splitlines()) == (2, [f"adserver: {error}" for error in errors])


@pytest.mark.usefixtures("counts")
async def test_each_bad_line_is_one_line(database: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("2024-11-01,gone,3\n2024-11-02,spring,3\n2024-11-03,away,3\n")
    done = await run_command(database, "third-party", "import", str(bad))
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            f"adserver: {bad}: line 1: campaign: unknown campaign 'gone'",
            f"adserver: {bad}: line 3: campaign: unknown campaign 'away'",
        ],
    )
