"""Indexes on tables that are in use: the recipe of migrations/script.py.mako, and the revision that follows it."""

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from alembic import command

from app.errors import StoreUnavailable
from app.launch.migrate import migrate
from app.store.connections import connect
from app.store.revision import MIGRATIONS, alembic_config, current_revision, needed_revision

TEMPLATE = (MIGRATIONS / "script.py.mako").read_text()
REVISION = """
from alembic import op

revision = "9999"
down_revision = "{before}"


def upgrade() -> None:
{recipe}


def downgrade() -> None:
    op.execute("DROP INDEX the_index")
"""
INI = """
[alembic]
script_location = {migrations}
version_locations = {migrations}/versions:{folder}
path_separator = os
"""
INDEXED = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
WAITS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'virtualxid' AND query LIKE 'CREATE INDEX CONCURRENTLY%'
"""

INDEX = "sessions_expires_at_idx"
REVISION_BEFORE_INDEX = "0009"

MIGRATION_LOCK = 0x61647376
KEPT_OUT = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND (query LIKE '%advisory_lock(%' OR query LIKE 'COMMIT%')
"""
"""Nodes that have tried to get the lock at least once."""


def recipe() -> str:
    lines = TEMPLATE.splitlines()
    first = next(index for index, line in enumerate(lines) if "autocommit_block" in line)
    block = textwrap.dedent("\n".join(lines[first : first + 5]))
    named = block.replace("the_table", "budget_tracking").replace("the_column", "spent")
    return textwrap.indent(named, "    ")


@pytest.fixture
def with_an_index_more(tmp_path: Path) -> Path:
    """Alembic's configuration of a chain that has one more revision."""
    (tmp_path / "9999_an_index.py").write_text(REVISION.format(before=needed_revision(), recipe=recipe()))
    ini = tmp_path / "alembic.ini"
    ini.write_text(INI.format(migrations=MIGRATIONS, folder=tmp_path))
    return ini


def upgrade(ini: Path, database: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).parent / "alembic", "-c", ini, "upgrade", "head"],
        env={**os.environ, "ADSERVER_DATABASE_URL": database},
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_an_index_waits_for_older_queries_while_another_node_migrates_too(
    database: str, with_an_index_more: Path
) -> None:
    async with connect(database) as finance, connect(database) as watching, asyncio.timeout(60):
        reading = finance.transaction(isolation="repeatable_read")
        await reading.start()
        await finance.fetch("SELECT FROM budget_tracking")
        await watching.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        nodes = [asyncio.create_task(asyncio.to_thread(upgrade, with_an_index_more, database)) for _ in range(2)]
        while await watching.fetchval(KEPT_OUT) < len(nodes):
            pass
        await watching.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)
        while not await watching.fetchval(WAITS):
            pass
        # Ads go on meanwhile.
        await watching.execute("UPDATE budget_tracking SET spent = spent")
        await reading.rollback()
        assert [(node.returncode, node.stderr) for node in await asyncio.gather(*nodes)] == [(0, "")] * 2
        assert await watching.fetchval(INDEXED, "the_index") is True


async def test_the_index_of_a_revision_waits_for_older_queries_while_sessions_are_written(database: str) -> None:
    await without_index(database)
    async with connect(database) as finance, connect(database) as server, asyncio.timeout(60):
        async with finance.transaction(isolation="repeatable_read"):
            await finance.fetch("SELECT FROM budget_tracking")
            migrating = asyncio.create_task(asyncio.to_thread(migrate, database))
            while not await server.fetchval(WAITS):
                pass
            await server.execute("UPDATE sessions SET ended_at = expires_at")
        await migrating
        assert await server.fetchval(INDEXED, INDEX) is True
        assert await current_revision(server) == needed_revision()


async def test_an_index_that_was_left_invalid_is_built_again(database: str) -> None:
    await without_index(database)
    async with connect(database) as finance, connect(database) as dba, asyncio.timeout(60):
        async with finance.transaction(isolation="repeatable_read"):
            await finance.fetch("SELECT FROM budget_tracking")
            migrating = asyncio.create_task(asyncio.to_thread(migrate, database))
            while not (builder := await dba.fetchval(WAITS)):
                pass
            await dba.execute("SELECT pg_terminate_backend($1)", builder)
            with pytest.raises(
                StoreUnavailable, match=r"connection (was closed|does not exist)|terminating connection"
            ):
                await migrating
        assert await dba.fetchval(INDEXED, INDEX) is False
        assert await current_revision(dba) == REVISION_BEFORE_INDEX
        await asyncio.to_thread(migrate, database)
        assert await dba.fetchval(INDEXED, INDEX) is True


async def without_index(database: str) -> None:
    config = alembic_config()
    config.attributes["database_url"] = database
    await asyncio.to_thread(command.downgrade, config, REVISION_BEFORE_INDEX)
