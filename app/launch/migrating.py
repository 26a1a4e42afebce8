"""Brings a database's schema to the head of the migrations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationInfo
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from app.errors import StoreUnavailable

# A folder of its own beside `app`, in a checkout as well as where the project is installed.
MIGRATIONS = Path(__file__).parents[2] / "migrations"


def migrate(database_url: str, report: Callable[[str], None] = lambda _: None) -> None:
    """Runs every revision that is missing, and reports each by its name when it is committed.

    Starts an event loop of its own. Raises StoreUnavailable, with the database's reason, if it cannot be reached
    or a revision cannot have its lock; revisions that were reported stay.
    """

    def on_version_apply(*, step: MigrationInfo, **_: Any) -> None:
        report(step.up_revision_id or "")

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["database_url"] = database_url
    config.attributes["on_version_apply"] = on_version_apply
    try:
        command.upgrade(config, "head")
    except (OSError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        where = make_url(database_url).render_as_string(hide_password=True)
        raise StoreUnavailable(f"cannot migrate {where}: {str(error).splitlines()[0]}") from error
