"""A worker whose database has no disk space left says that it is not ready."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded import EmbeddedPostgres
from app.launch.migrate import migrate
from app.observability.readiness import Readiness
from tests.integration.accounting.world import open_store
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
        readiness = Readiness(store, dict)
        try:
            assert (await readiness.check()).ready
            fill(small_disk / "filler")
            report = await readiness.check()
            assert (report.ready, report.database) == (False, "has no disk space left")
            make_room(small_disk / "filler")
            assert (await readiness.check()).ready
        finally:
            await store.close()
