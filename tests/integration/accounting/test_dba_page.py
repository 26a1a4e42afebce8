"""The commands in docs/dba.md, run unchanged."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from asyncpg import Connection, Record
from sqlalchemy.engine import make_url

from app.embedded import EmbeddedPostgres
from app.launch.databases import set_role_passwords
from app.launch.migrate import migrate
from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from app.store.roles import APP
from tests.integration.accounting.world import (
    PRICE,
    campaign,
    connected,
    disagreements,
    open_store,
    serve_many,
    set_clock,
    set_up,
)
from tests.launched import adserver, free_port
from tests.postgres import TEMPORARY, temporary_postgres
from tests.postgres import temporary_folder as temporary_data

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "dba.md").read_text()
COMMAND_TIMEOUT_S = 60

# A restored server has no more connections than the configuration in its data directory says.
PLAIN = {"max_connections": "100"}


def shell_block(heading: str, first_words: str) -> str:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (block,) = [block for block in section.split("```sh\n")[1:] if block.startswith(first_words)]
    return block.partition("```")[0]


def sql_block(heading: str) -> str:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return section.partition("```sql\n")[2].partition("```")[0]


async def answered(connection: "Connection[Record]", heading: str) -> list[Record]:
    return await connection.fetch(sql_block(heading))


def run(server: EmbeddedPostgres, block: str, **variables: str) -> None:
    """As the user whom Postgres runs as, with its programs."""
    environment = {"PATH": f"{server.programs}:/usr/bin:/bin", "LC_ALL": "C", "PGUSER": "postgres", **variables}
    done = subprocess.run(
        ["sh", "-eu", "-c", block],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
        **as_postgres(),
    )
    assert done.returncode == 0, done.stdout.decode()


def as_postgres() -> dict[str, str | list[int]]:
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the user whom Postgres runs as."""
    with temporary_folder() as made:
        yield made


@contextmanager
def temporary_folder() -> Iterator[Path]:
    made = subprocess.run(
        ["mktemp", "--directory", f"{TEMPORARY}/adserver-backup-XXXXXX"],
        capture_output=True,
        check=True,
        **as_postgres(),
    )
    path = made.stdout.decode().strip()
    try:
        yield Path(path)
    finally:
        subprocess.run(["rm", "-r", path], check=True, **as_postgres())


@asynccontextmanager
async def served_from(server: EmbeddedPostgres) -> AsyncIterator[Store]:
    await asyncio.to_thread(migrate, server.dsn)
    await set_role_passwords(server)
    store = open_store(server.url(role=APP))
    await set_up(store, campaign("held"), campaign("charged", billing="serve"))
    yield store
    await store.close()


async def serves(url: str) -> int:
    async with connected(url) as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM ad_serves")
    return count


async def test_a_moment_between_two_serves_can_be_had_again(folder: Path) -> None:
    archive, backup, restored = (str(folder / name) for name in ("archive", "backup", "restored"))
    run_here = {"ARCHIVE": archive, "BACKUP": backup, "RESTORED": restored}
    await asyncio.to_thread(subprocess.run, ["mkdir", archive], check=True, **as_postgres())
    command = "archive_command = '"
    archive_command = PAGE.partition(command)[2].partition("'\n")[0].replace("/archive", archive)
    with temporary_postgres(**PLAIN, archive_mode="on", archive_command=archive_command) as server:
        async with served_from(server) as store:
            await serve_many(store, "charged", 10)
            await asyncio.to_thread(
                run, server, shell_block("Backup", "pg_basebackup"), OWNER_URL=server.dsn, **run_here
            )
            for name in ("held", "charged", "held"):
                await serve_many(store, name, 1)
            async with connected(server.dsn) as connection:
                moment = str(await connection.fetchval("SELECT clock_timestamp()"))
            await serve_many(store, "held", 5)
            await archived(server)
            port = free_port()
            run_there = {"MOMENT": moment, "PGPORT": str(port), **run_here}
            await asyncio.to_thread(run, server, shell_block("Backup", "cp "), **run_there)
            try:
                url = make_url(server.tcp_dsn).set(port=port).render_as_string(hide_password=False)
                await promoted(url)
                assert await serves(url) == 13
                assert await serves(server.dsn) == 18
                async with connected(url) as connection:
                    assert await answered(connection, "Bloat")
                    async with connected(url) as reader, reader.transaction():
                        await reader.fetch("SELECT FROM spend_ledger")
                        (longest,) = await answered(connection, "Migrations")
                    assert longest["query"] == "SELECT FROM spend_ledger"
                result = await asyncio.to_thread(adserver, "reconcile", DATABASE_URL=url)
                assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "the books agree")
            finally:
                await asyncio.to_thread(run, server, f'pg_ctl --pgdata="{restored}" --mode=immediate stop')


async def test_a_moment_that_was_not_archived_is_fatal_and_the_archive_is_recovered_instead(folder: Path) -> None:
    archive, backup, restored = (str(folder / name) for name in ("archive", "backup", "restored"))
    run_here = {"ARCHIVE": archive, "BACKUP": backup, "RESTORED": restored}
    await asyncio.to_thread(subprocess.run, ["mkdir", archive], check=True, **as_postgres())
    command = "archive_command = '"
    archive_command = PAGE.partition(command)[2].partition("'\n")[0].replace("/archive", archive)
    with temporary_postgres(**PLAIN, archive_mode="on", archive_command=archive_command) as server:
        async with served_from(server) as store:
            await asyncio.to_thread(
                run, server, shell_block("Backup", "pg_basebackup"), OWNER_URL=server.dsn, **run_here
            )
            await serve_many(store, "charged", 10)
            await archived(server)
            port = free_port()
            run_there = {"MOMENT": "2199-01-01 00:00:00+00:00", "PGPORT": str(port), **run_here}
            with pytest.raises(AssertionError, match="could not start server"):
                await asyncio.to_thread(run, server, shell_block("Backup", "cp "), **run_there)
            log = await asyncio.to_thread(subprocess.check_output, ["cat", f"{restored}/recovery.log"])
            assert b"FATAL:  recovery ended before configured recovery target was reached" in log
            try:
                await asyncio.to_thread(run, server, shell_block("Backup", "sed "), **run_there)
                url = make_url(server.tcp_dsn).set(port=port).render_as_string(hide_password=False)
                await promoted(url)
                assert await serves(url) == 10
                assert await disagreements(url) == []
            finally:
                await asyncio.to_thread(run, server, f'pg_ctl --pgdata="{restored}" --mode=immediate stop')


async def test_a_cluster_is_upgraded_in_place(folder: Path) -> None:
    new, port = str(folder / "new"), free_port()
    with temporary_data() as data:
        with EmbeddedPostgres(data) as server:
            async with served_from(server) as store:
                await serve_many(store, "charged", 10)
            programs, password = str(server.programs), make_url(server.dsn).password or ""
            old, url = str(server.root / "postgres"), make_url(server.tcp_dsn)
        folders = {"OLD": old, "NEW": new, "OLD_BIN": programs, "NEW_BIN": programs, "PGPASSWORD": password}
        block = shell_block("Moving from the embedded Postgres, and to a new major version", "cd ")
        await asyncio.to_thread(run, server, block, **folders)
        start = f'pg_ctl --pgdata="{new}" --log="{new}/log" --wait start'
        await asyncio.to_thread(run, server, start, PGPORT=str(port))
        try:
            upgraded = url.set(port=port).render_as_string(hide_password=False)
            assert await serves(upgraded) == 10
            assert await disagreements(upgraded) == []
        finally:
            await asyncio.to_thread(run, server, f'pg_ctl --pgdata="{new}" --mode=immediate stop')


async def archived(server: EmbeddedPostgres) -> None:
    """Returns when everything that was committed is in the archive."""
    async with connected(server.dsn) as connection, asyncio.timeout(30):
        segment = await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
        while await connection.fetchval("SELECT coalesce(last_archived_wal < $1, true) FROM pg_stat_archiver", segment):
            pass


async def promoted(url: str) -> None:
    async with connected(url) as connection, asyncio.timeout(30):
        while await connection.fetchval("SELECT pg_is_in_recovery()"):
            pass


async def test_the_embedded_database_moves_to_a_server(postgres: EmbeddedPostgres, database: str, folder: Path) -> None:
    store = open_store(postgres.url(make_url(database).database or "", APP))
    await set_up(store, campaign("held"), campaign("charged", billing="serve"))
    await serve_many(store, "held", 10)
    await serve_many(store, "charged", 10)
    await store.close()
    with temporary_postgres() as server:
        urls = {"OWNER_URL": database, "SERVER_URL": server.dsn, "DUMP": str(folder / "dump")}
        block = shell_block("Moving from the embedded Postgres, and to a new major version", "psql")
        await asyncio.to_thread(run, server, block, **urls)
        assert await disagreements(server.dsn) == []
        await asyncio.to_thread(migrate, server.dsn)
        await set_role_passwords(server)
        moved = open_store(server.url(role=APP))
        assert len(await serve_many(moved, "charged", 10)) == 10
        await moved.close()
        assert await serves(server.dsn) == 30
        assert await disagreements(server.dsn) == []


async def test_rollups_are_made_anew_after_a_clock_was_ahead(database: str, app_database: str) -> None:
    store = open_store(app_database)
    maintenance = Maintenance(store, 35)

    async def roll_up() -> None:
        for task in ("days rolled up", "hours rolled up"):
            await maintenance.tasks[task].run()

    await set_up(store, campaign("charged", billing="serve"))
    await set_clock(database, "transaction_timestamp() + interval '5 days'")
    await serve_many(store, "charged", 10)
    await set_clock(database, "transaction_timestamp() + interval '5 days 3 minutes'")
    await roll_up()
    await set_clock(database, "transaction_timestamp()")
    await serve_many(store, "charged", 7)
    assert {item.rule for item in await disagreements(database)} == {"rollup", "delivery"}
    async with connected(database) as connection:
        await connection.execute("SET ROLE adserver_owner")
        await connection.execute(sql_block("A clock that was wrong"))
        for clock in ("transaction_timestamp()", "transaction_timestamp() + interval '6 days'"):
            await set_clock(database, clock)
            for _ in range(2):
                assert await connection.fetchval("SELECT spent FROM finance.campaign_spend") == 17 * PRICE
                assert await connection.fetchval("SELECT sum(charged) FROM finance.delivery_hourly") == 17 * PRICE
                assert await disagreements(database) == []
                await roll_up()
        assert await connection.fetchval("SELECT sum(entries) FROM spend_daily") == 17
        assert await connection.fetchval("SELECT sum(serves) FROM delivery_hourly") == 17
    await store.close()
