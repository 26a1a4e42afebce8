"""The revision of a database's schema, and the one that this code needs."""

from functools import cache
from pathlib import Path

import asyncpg
from alembic.config import Config
from alembic.script import ScriptDirectory
from asyncpg import Connection, Record

# Beside `app`, both in a checkout and where the project is installed.
MIGRATIONS = Path(__file__).parents[2] / "migrations"

READ_SCHEMA_REVISION = "SELECT version_num FROM alembic_version"
"""Read the revision that was applied last."""


def alembic_config() -> Config:
    """Return Alembic's configuration without alembic.ini, which only Alembic's own command line needs."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def revisions() -> tuple[str, ...]:
    """Return the id of every revision that this code has, newest first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions())


def needed_revision() -> str:
    """Return the revision that this code needs."""
    return revisions()[0]


async def current_revision(connection: "Connection[Record]") -> str | None:
    """Return the revision that was applied last, or None if the database has no schema."""
    try:
        revision: str | None = await connection.fetchval(READ_SCHEMA_REVISION)
    except asyncpg.UndefinedTableError:
        return None
    return revision
