"""The chain of revisions: up, down and up again, online and offline, and the schema that results."""

import asyncio
import io
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import redirect_stdout
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from pytest_alembic.config import Config
from pytest_alembic.runner import MigrationContext, runner
from pytest_alembic.tests import (
    test_model_definitions_match_ddl,  # noqa: F401  The tests of the package are collected here.
    test_single_head_revision,  # noqa: F401
    test_up_down_consistency,  # noqa: F401
    test_upgrade,  # noqa: F401
)

from app.embedded import EmbeddedPostgres
from app.errors import MisconfiguredServer, StoreUnavailable
from app.launch.migrate import migrate, require_schema
from app.store.connections import connect
from app.store.revision import MIGRATIONS, alembic_config, current_revision, needed_revision, revisions
from tests.launched import ADSERVER, adserver, environment
from tests.postgres import cloned_database

UNDESCRIBED = """
SELECT c.relname || coalesce('.' || a.attname, '')
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname IN ('public', 'finance')
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND c.relname <> 'alembic_version'
    AND (obj_description(c.oid) IS NULL OR col_description(c.oid, a.attnum) IS NULL)
UNION ALL
SELECT oid::regprocedure::text FROM pg_proc
WHERE pronamespace IN ('public'::regnamespace, 'finance'::regnamespace) AND obj_description(oid, 'pg_proc') IS NULL
UNION ALL
SELECT tgname || ' on ' || tgrelid::regclass FROM pg_trigger
WHERE NOT tgisinternal AND tgparentid = 0 AND obj_description(oid, 'pg_trigger') IS NULL
"""
UNNAMED_RULES = """
SELECT conrelid::regclass || '.' || conname FROM pg_constraint
WHERE contype = 'c' AND connamespace = 'public'::regnamespace AND conname LIKE conrelid::regclass || '%_check%'
"""
IN_OWN_SCHEMA = "SELECT relname FROM pg_class WHERE relnamespace = CURRENT_USER::regnamespace"
MONEY = """
SELECT table_name || '.' || column_name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name IN ('price', 'spent', 'held', 'limit', 'amount')
    AND (data_type, numeric_precision, numeric_scale) <> ('numeric', 18, 6)
    AND table_name NOT LIKE ALL (ARRAY['%_2%', '%_default'])
"""

# The same as in migrations/env.py, which only Alembic can import.
MIGRATION_LOCK = 0x61647376

NEW_CAMPAIGN = """
WITH acme AS (INSERT INTO advertisers (id, name) VALUES ('Acme', 'Acme') ON CONFLICT DO NOTHING)
INSERT INTO campaigns (id, advertiser_id, advertiser, status, currency, timezone, starts_at, ends_at, price_model,
                       price, billing, pacing, without_user, late_impressions, hold_ttl_s)
VALUES ('c', 'Acme', 'Acme', 'active', 'USD', 'UTC', '2020-01-01Z', '2040-01-01Z', 'cpm', 1, 'serve', 'asap', 'skip',
        'ignore', 3600)
RETURNING direct
"""

WAITING = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')
"""

SHAPE = """
SELECT * FROM (
SELECT table_schema || '.' || table_name || '.' || column_name,
       concat_ws(' ', data_type, is_nullable, column_default, collation_name, is_identity)
FROM information_schema.columns WHERE table_schema IN ('public', 'finance')
UNION ALL
SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT oid::regprocedure::text, concat_ws(' ', md5(pg_get_functiondef(oid)), pg_get_userbyid(proowner), proacl)
FROM pg_proc WHERE pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'finance'))
UNION ALL
SELECT tgname || ' on ' || tgrelid::regclass, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT table_schema || '.' || table_name, md5(view_definition) FROM information_schema.views
WHERE table_schema = 'finance'
UNION ALL
SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname IN ('public', 'finance')
UNION ALL
SELECT pg_describe_object(classoid, objoid, objsubid), description FROM pg_description WHERE objoid >= 16384
UNION ALL
SELECT oid::regclass::text, concat_ws(' ', relkind, pg_get_userbyid(relowner), relacl, reloptions) FROM pg_class
WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'finance'))
) AS shape (name, what) WHERE name !~ '_20[0-9]{4}'
ORDER BY 1, 2
"""
"""Without partitions: there is one for each day to come, and midnight may be between two migrations."""

WITHOUT_REVISION = f"SELECT * FROM ({SHAPE}) AS shape WHERE name NOT LIKE '%alembic_version%'"
"""Without Alembic's own table, which it creates and never drops."""


@pytest.fixture
async def empty_database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    async with cloned_database(postgres, "template1") as url:
        yield url


@pytest.fixture
def alembic_runner(empty_database: str) -> Iterator[MigrationContext]:
    config = alembic_config()
    config.attributes["database_url"] = empty_database
    # Without an engine here, env.py makes its own, asynchronous one, as it does for people.
    with runner(config=Config(alembic_config=config), engine=None) as context:
        yield context


def test_the_whole_chain_goes_up_down_and_up_again(empty_database: str) -> None:
    config = alembic_config()
    config.attributes["database_url"] = empty_database
    for target in (command.upgrade, "head"), (command.downgrade, "base"), (command.upgrade, "head"):
        target[0](config, target[1])
    command.check(config)
    require_schema(empty_database)


async def test_the_way_down_leaves_nothing_of_any_revision(empty_database: str) -> None:
    config = alembic_config()
    config.attributes["database_url"] = empty_database
    before = "base"
    async with connect(empty_database) as connection:
        for revision in reversed(revisions()):
            shape = await connection.fetch(WITHOUT_REVISION)
            for target in (command.upgrade, revision), (command.downgrade, before), (command.upgrade, revision):
                await asyncio.to_thread(target[0], config, target[1])
                assert (await connection.fetch(WITHOUT_REVISION) == shape) == (target[1] == before), revision
            before = revision


def test_migrating_twice_changes_nothing(empty_database: str) -> None:
    reported: list[str] = []
    migrate(empty_database, reported.append)
    assert reported == list(reversed(revisions()))
    migrate(empty_database, reported.append)
    assert reported == list(reversed(revisions()))


async def test_a_migration_that_waits_for_another_reports_its_session(database: str) -> None:
    reported: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    async with connect(database) as other:
        await other.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)

        def report(line: str) -> None:
            loop.call_soon_threadsafe(reported.put_nowait, line)

        migrating = asyncio.create_task(asyncio.to_thread(migrate, database, on_wait=report))
        async with asyncio.timeout(20):
            line = await reported.get()
        assert line.startswith(f"Waiting for another migration (session {other.get_server_pid()}), for 1 s")
    await migrating


def test_alembic_without_a_url_names_the_setting() -> None:
    alembic = ADSERVER.with_name("alembic")
    done = subprocess.run(
        [alembic, "current"], env=environment(), capture_output=True, text=True, check=False, cwd=MIGRATIONS.parent
    )
    assert done.returncode != 0
    assert "ADSERVER_DATABASE_URL: must be set for alembic" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


async def test_the_sql_that_is_printed_offline_makes_the_same_schema(
    postgres: EmbeddedPostgres, empty_database: str, database: str
) -> None:
    with redirect_stdout(io.StringIO()) as printed:
        config = alembic_config()
        config.output_buffer = printed
        command.upgrade(config, "head", sql=True)
    async with connect(empty_database) as offline, connect(database) as online:
        # As a DBA runs it. Sent as one string, an index could not be built CONCURRENTLY.
        psql = [postgres.programs / "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", empty_database]
        await asyncio.to_thread(
            subprocess.run, psql, input=printed.getvalue().encode(), capture_output=True, check=True
        )
        assert await current_revision(offline) == needed_revision()
        assert await offline.fetch(SHAPE) == await online.fetch(SHAPE)


async def test_the_schema_is_created_in_public_even_if_the_user_has_a_schema(empty_database: str) -> None:
    async with connect(empty_database) as connection:
        # The search path is "$user", public unless somebody sets another.
        await connection.execute("CREATE SCHEMA AUTHORIZATION CURRENT_USER")
    await asyncio.to_thread(migrate, empty_database)
    async with connect(empty_database) as connection:
        assert await connection.fetch(IN_OWN_SCHEMA) == []
    await asyncio.to_thread(require_schema, empty_database)


async def test_a_database_that_cannot_hold_every_character_is_refused(postgres: EmbeddedPostgres) -> None:
    async with cloned_database(postgres, "template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'") as url:
        with pytest.raises(MisconfiguredServer, match="has the encoding LATIN1; create one with ENCODING 'UTF8'"):
            await asyncio.to_thread(migrate, url)
        async with connect(url) as connection:
            assert await current_revision(connection) is None


def test_a_schema_behind_the_code_is_refused(empty_database: str) -> None:
    config = alembic_config()
    config.attributes["database_url"] = empty_database
    command.upgrade(config, revisions()[1])
    with pytest.raises(
        MisconfiguredServer, match=f"is at revision {revisions()[1]}; revision {revisions()[0]} is required"
    ):
        require_schema(empty_database)


async def test_a_role_that_may_not_read_the_revision_is_refused(database: str, finance_database: str) -> None:
    async with connect(database) as connection:
        await connection.execute("REVOKE SELECT ON alembic_version FROM adserver_finance")
    with pytest.raises(
        MisconfiguredServer, match=r"adserver_finance:\*\*\*@.* permission denied for table alembic_version"
    ):
        await asyncio.to_thread(require_schema, finance_database)


async def test_a_newer_schema_lets_the_server_before_it_serve_but_not_migrate(database: str) -> None:
    async with connect(database) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await asyncio.to_thread(require_schema, database)
    with pytest.raises(MisconfiguredServer, match=r"cannot migrate .*9999"):
        await asyncio.to_thread(migrate, database)


@pytest.mark.parametrize("name", ["migrate", "run"])
async def test_a_revision_that_is_unknown_is_one_line_that_says_what_to_do(
    database: str, tmp_path: Path, name: str
) -> None:
    async with connect(database) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    done = await asyncio.to_thread(adserver, name, DATABASE_URL=database, DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.endswith(
        ": its schema is at revision 9999, which this version does not have: install the version that created it,"
        " or use an empty database (for the embedded Postgres, another ADSERVER_DATA_DIR)\n"
    )


async def test_a_migration_that_cannot_get_its_lock_gives_up_and_reports_it(database: str) -> None:
    async with connect(database) as connection, connection.transaction():
        await connection.execute("LOCK TABLE alembic_version")
        with pytest.raises(StoreUnavailable, match=r"cannot migrate .*lock timeout"):
            await asyncio.to_thread(migrate, database, lock_retry_s=0)


async def test_a_migration_that_cannot_get_its_lock_lets_others_proceed_and_retries(empty_database: str) -> None:
    config = alembic_config()
    config.attributes["database_url"] = empty_database
    await asyncio.to_thread(command.upgrade, config, revisions()[1])
    async with connect(empty_database) as finance, connect(empty_database) as player:
        reading = finance.transaction()
        await reading.start()
        await finance.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        migrating = asyncio.create_task(asyncio.to_thread(migrate, empty_database))
        for _ in range(2):
            await waits_for_lock(player, waits=True)
            await waits_for_lock(player, waits=False)
        assert not migrating.done()
        await reading.rollback()
        await migrating
        assert await current_revision(player) == needed_revision()


async def waits_for_lock(connection: "asyncpg.Connection[asyncpg.Record]", *, waits: bool) -> None:
    """Return when a session of this database waits for a lock, or none does."""
    async with asyncio.timeout(20):
        while await connection.fetchval(WAITING) != waits:
            pass


async def test_the_locks_of_a_migration_that_vanishes_are_released(empty_database: str) -> None:
    vanished, over = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def stop_in_the_middle(revision: str) -> None:
        if revision == "0006":
            loop.call_soon_threadsafe(vanished.set)
            over.wait(60)

    migration = asyncio.create_task(asyncio.to_thread(migrate, empty_database, stop_in_the_middle))
    await vanished.wait()
    async with connect(empty_database) as player:
        try:
            await player.execute("SET lock_timeout = '30s'")
            # It creates a trigger on this table.
            assert await player.execute("UPDATE budget_tracking SET spent = spent") == "UPDATE 0"
            assert await current_revision(player) == "0005"
        finally:
            over.set()
    with pytest.raises(StoreUnavailable):
        await migration
    await asyncio.to_thread(migrate, empty_database)


async def test_a_campaign_is_not_direct_unless_it_says_so(database: str) -> None:
    async with connect(database) as connection:
        assert await connection.fetchval(NEW_CAMPAIGN) is False


async def test_two_migrations_at_once_do_the_work_once(empty_database: str) -> None:
    commands = [asyncio.to_thread(adserver, "migrate", DATABASE_URL=empty_database) for _ in range(2)]
    done = await asyncio.gather(*commands)
    assert [command.stderr for command in done] == ["", ""]
    lines = [line for command in done for line in command.stdout.splitlines() if not line.startswith("Waiting for")]
    assert lines == [f"Migrated to {revision}." for revision in reversed(revisions())]


async def test_every_table_view_and_column_is_described(database: str) -> None:
    async with connect(database) as connection:
        assert [row[0] for row in await connection.fetch(UNDESCRIBED)] == []


async def test_every_rule_has_a_name_of_its_own(database: str) -> None:
    async with connect(database) as connection:
        assert [row[0] for row in await connection.fetch(UNNAMED_RULES)] == []


async def test_money_is_numeric_with_six_decimals_everywhere(database: str) -> None:
    async with connect(database) as connection:
        assert [row[0] for row in await connection.fetch(MONEY)] == []
