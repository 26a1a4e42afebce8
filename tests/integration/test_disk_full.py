"""A worker whose database has no disk space left says that it is not ready."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded import EmbeddedPostgres
from app.launch.migrate import migrate
from app.observability.readiness import DISK_CHECK_INTERVAL_S, Readiness
from tests.fake_clock import FakeClock
from tests.integration.accounting.world import connected, open_store
from tests.players import becomes
from tests.postgres import temporary_folder

DISK_MIB = 400
CHUNK = b"\0" * 2**20


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own for one database."""
    with temporary_folder() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=755", "tmpfs", folder],
            capture_output=True,
            check=False,
        )
        if mounted.returncode:
            pytest.skip("needs the right to mount a file system")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)


def fill(file: Path) -> None:
    """Write until there is no space left."""
    with file.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(CHUNK)
        except OSError:
            os.fsync(filler.fileno())


def make_room(file: Path) -> None:
    file.unlink()


async def test_a_worker_is_not_ready_while_the_disk_is_full(small_disk: Path) -> None:
    settings = {"min_wal_size": "32MB", "max_wal_size": "64MB", "shared_buffers": "32MB"}
    with EmbeddedPostgres(small_disk, settings) as server:
        await asyncio.to_thread(migrate, server.dsn)
        store = open_store(server.dsn)
        clock = FakeClock()
        readiness = Readiness(store, dict, clock.time)
        try:
            assert (await readiness.check()).ready
            fill(small_disk / "filler")
            await clock.advance(DISK_CHECK_INTERVAL_S)
            report = await readiness.check()
            assert (report.ready, report.database) == (False, "has no disk space left")
            make_room(small_disk / "filler")
            await clock.advance(DISK_CHECK_INTERVAL_S)
            assert (await readiness.check()).ready
        finally:
            await store.close()


async def temporary_files(url: str) -> int:
    async with connected(url) as connection:
        written: int = await connection.fetchval(
            "SELECT temp_files FROM pg_stat_database WHERE datname = current_database()"
        )
    return written


async def test_many_checks_of_a_worker_write_one_file_in_an_interval(database: str) -> None:
    clock = FakeClock()
    store = open_store(database)
    readiness = Readiness(store, dict, clock.time)
    for _ in range(2):
        reports = await asyncio.gather(*(readiness.check() for _ in range(20)))
        assert all(report.ready for report in reports)
        await clock.advance(DISK_CHECK_INTERVAL_S)
    # Postgres counts the files of a connection when it ends.
    await store.close()
    await becomes(lambda: has_written(database, files=2))


async def has_written(url: str, files: int) -> bool:
    written = await temporary_files(url)
    assert written <= files
    return written == files
