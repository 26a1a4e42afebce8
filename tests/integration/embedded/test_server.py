"""The embedded Postgres: it restarts by itself, refuses a second launcher, and lives where its user can reach it."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from app.embedded import EmbeddedPostgres, paths, running_dsn
from app.embedded import server as server_module
from app.embedded.processes import acquire_lock, announce_stop, find_processes
from app.errors import MisconfiguredServer, StoreUnavailable
from app.store.connections import connect
from tests.players import becomes
from tests.postgres import temporary_folder, temporary_postgres

STRANGER = 4711


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty data directory that every user may enter."""
    with temporary_folder() as folder:
        yield folder


async def test_a_killed_postmaster_is_started_again_with_every_committed_row() -> None:
    with temporary_postgres() as server:
        async with connect(server.dsn) as connection:
            await connection.execute("CREATE TABLE kept (n int)")
            await connection.execute("INSERT INTO kept VALUES (7)")
        server.kill()
        server.wait_until_ready()
        async with connect(server.dsn) as connection:
            assert await connection.fetchval("SELECT n FROM kept") == 7
            names = ("fsync", "synchronous_commit", "full_page_writes")
            assert [await connection.fetchval(f"SHOW {name}") for name in names] == ["on", "on", "on"]


def test_a_stopped_server_leaves_no_process_and_is_not_found(tmp_path: Path) -> None:
    with temporary_postgres() as server:
        root = server.root
        assert running_dsn(root) == server.tcp_dsn
    assert find_processes(root / "postgres") == []
    assert running_dsn(root) is None


def test_a_second_starter_on_the_same_folder_is_refused() -> None:
    with temporary_postgres() as server:
        with pytest.raises(MisconfiguredServer, match=f"process {os.getpid()} already runs Postgres"):
            EmbeddedPostgres(server.root).start()
        assert running_dsn(server.root) == server.tcp_dsn


def test_a_file_that_says_how_to_reach_the_server_is_for_our_eyes_alone() -> None:
    with temporary_postgres() as server:
        assert (server.root / "postgres.json").stat().st_mode & 0o077 == 0
        assert server.log_path.stat().st_mode & 0o077 == 0


async def test_a_log_that_grows_long_makes_way_for_a_new_one_while_postgres_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "LOG_MAX_BYTES", 10_000)
    monkeypatch.setattr(server_module, "LOG_CHECK_S", 0.01)
    with temporary_postgres() as server:
        before = server.log_path.with_suffix(".log.1")
        async with connect(server.dsn) as connection, asyncio.timeout(20):
            while not before.exists() or server.log_path.stat().st_size > 10_000:
                await connection.execute("DO $$ BEGIN RAISE LOG 'the long log'; END $$")
            await connection.execute("DO $$ BEGIN RAISE LOG 'after it'; END $$")
        assert "the long log" in before.read_text()
        assert "after it" in server.log_path.read_text()
        assert [path.stat().st_mode & 0o077 for path in (before, server.log_path)] == [0, 0]


def test_data_that_nobody_knows_the_password_of_are_refused(folder: Path) -> None:
    (folder / "postgres").mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder / "postgres", paths.UNPRIVILEGED)
    with pytest.raises(MisconfiguredServer, match=r"has data, but .*postgres\.json is missing"):
        EmbeddedPostgres(folder).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_somebody_else_s_data_are_refused_and_left_as_they_are(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres.json").write_text('{"port": 20000, "password": "theirs", "socket_dir": null}')
    for path in (folder, *folder.iterdir()):
        os.chown(path, STRANGER, STRANGER)
    with pytest.raises(MisconfiguredServer, match=f"belongs to user {STRANGER}, not to user"):
        EmbeddedPostgres(folder).start()
    assert sorted(path.name for path in folder.iterdir()) == ["postgres", "postgres.json"]
    assert (folder / "postgres.json").stat().st_uid == STRANGER


def test_what_the_system_refuses_on_a_data_directory_is_told_with_the_file(folder: Path) -> None:
    (folder / "lock").mkdir()
    with pytest.raises(MisconfiguredServer, match=r"^ADSERVER_DATA_DIR: .*/lock: Is a directory$"):
        EmbeddedPostgres(folder).start()
    with pytest.raises(MisconfiguredServer, match=r"^ADSERVER_DATA_DIR: .*/postgres: File name too long$"):
        running_dsn(folder / ("x" * 300))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's Postgres runs as somebody else")
def test_programs_that_the_unprivileged_user_cannot_reach_run_from_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "is_open_to_all", lambda path: paths.PACKAGE.replace("-", "_") not in str(path))
    with temporary_postgres() as server:
        assert server.programs.is_relative_to(server.root)
        # Without the package's folder: a copy that leans on it would fail where that is closed.
        for program in ("postgres", "psql", "pg_dump", "initdb"):
            linked = subprocess.run(
                ["ldd", server.programs / program], capture_output=True, text=True, check=True
            ).stdout
            assert "not found" not in linked
            assert "site-packages" not in linked


def test_a_data_directory_below_a_closed_folder_lives_elsewhere_for_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    place = paths.postgres_root(tmp_path / "var")
    assert place.is_relative_to(paths.FALLBACK_ROOT if os.geteuid() == 0 else tmp_path)


def test_a_start_waits_for_the_launcher_that_is_stopping(folder: Path) -> None:
    reported: list[str] = []
    with acquire_lock(folder) as lock:
        announce_stop(lock)

        def end(line: str) -> None:
            reported.append(line)
            lock.close()

        acquire_lock(folder, end).close()
    assert reported == [f"Waiting for process {os.getpid()}, which is stopping Postgres in {folder}."]


def test_a_frozen_postgres_stops_too() -> None:
    with temporary_postgres() as server:
        for process in find_processes(server.root / "postgres"):
            process.suspend()
        root = server.root
    assert find_processes(root / "postgres") == []


async def test_a_frozen_backend_is_killed_and_the_others_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "FROZEN_CHECK_S", 1.0)
    with temporary_postgres() as server:
        async with connect(server.dsn) as connection:
            psutil.Process(connection.get_server_pid()).suspend()
            with pytest.raises(asyncpg.PostgresConnectionError):
                async with asyncio.timeout(30):
                    await connection.fetchval("SELECT 1")

        async def comes_again() -> bool:
            with suppress(StoreUnavailable, asyncpg.PostgresConnectionError):
                async with connect(server.dsn) as after:
                    return bool(await after.fetchval("SELECT true"))
            return False

        await becomes(comes_again, 30)
