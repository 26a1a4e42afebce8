"""Which migration a database is at, and which one this code needs."""

from functools import cache
from pathlib import Path

import asyncpg
from alembic.config import Config
from alembic.script import ScriptDirectory
from asyncpg import Connection, Record

# A folder of its own beside `app`, in a checkout as well as where the project is installed.
MIGRATIONS = Path(__file__).parents[2] / "migrations"

REVISION = "SELECT version_num FROM alembic_version"
"""The last migration that has run."""


def alembic_config() -> Config:
    """Alembic's configuration without its file, which only its own command line needs."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def revisions() -> tuple[str, ...]:
    """Every migration that this code has, the newest first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions())


def needed_revision() -> str:
    """The migration that this code needs."""
    return revisions()[0]


async def current_revision(connection: "Connection[Record]") -> str | None:
    """The last migration that has run; None in a database where none has."""
    try:
        revision: str | None = await connection.fetchval(REVISION)
    except asyncpg.UndefinedTableError:
        return None
    return revision
