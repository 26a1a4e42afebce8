"""Brings a database's schema to the head of the migrations, and refuses one that is not there."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import asyncpg
from alembic import command
from alembic.runtime.migration import MigrationInfo
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from app.errors import MisconfiguredServer, StoreUnavailable
from app.store.connections import connect
from app.store.database_url import hide_password
from app.store.revision import alembic_config, current_revision, needed_revision, revisions

PATIENCE_S = 60.0
"""How long a migration tries to have its locks before it gives up."""

RETRY_MIN_S, RETRY_MAX_S = 0.2, 1.0
"""How long it lets everybody else go on, at random between these, before it tries again."""

NOT_NOW = ("55P03", "40P01")
"""lock_not_available and deadlock_detected, see "PostgreSQL Error Codes" in the Postgres manual."""


def migrate(
    database_url: str,
    report: Callable[[str], None] = lambda _: None,
    *,
    on_wait: Callable[[str], None] = lambda _: None,
    patience_s: float = PATIENCE_S,
) -> None:
    """Runs every revision that is missing, and reports each by its name when it is committed.

    Waits while another migration runs; from time to time `on_wait` takes a sentence that says so.
    A revision that cannot have a lock at once is rolled back and tried again, so that nobody queues behind it.
    Starts an event loop of its own. Raises StoreUnavailable, with the database's reason, if it cannot be reached
    or a revision cannot have its lock in all that time; revisions that were reported stay. Raises
    MisconfiguredServer if the schema is newer than this code.
    """

    def on_version_apply(*, step: MigrationInfo, **_: Any) -> None:
        report(step.up_revision_id or "")

    config = alembic_config()
    config.attributes["on_wait"] = on_wait
    config.attributes["database_url"] = database_url
    config.attributes["on_version_apply"] = on_version_apply
    try:
        patiently(lambda: command.upgrade(config, "head"), patience_s)
    except (OSError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"cannot migrate {hide_password(database_url)}: {_reason(error)}") from error
    except CommandError as error:
        raise MisconfiguredServer(f"cannot migrate {hide_password(database_url)}: {_reason(error)}") from error


def patiently(run: Callable[[], None], patience_s: float = PATIENCE_S) -> None:
    """Runs a migration again and again until it has its locks; raises the driver's error when patience is over."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            run()
        except (DBAPIError, asyncpg.PostgresError) as error:
            if not _is_not_now(error) or time.monotonic() >= deadline:
                raise
            time.sleep(random.uniform(RETRY_MIN_S, RETRY_MAX_S))  # noqa: S311 - jitter
        else:
            return


def require_schema(database_url: str) -> None:
    """Raises MisconfiguredServer if the schema is older than this code needs, StoreUnavailable without a database.

    Whoever may not read its revision, as finance may not, is misconfigured too. A newer schema is let pass: the server
    before works on it while the new one is rolled out.
    """

    async def read() -> str | None:
        async with connect(database_url) as connection:
            return await current_revision(connection)

    try:
        found = asyncio.run(read())
    except asyncpg.InsufficientPrivilegeError as error:
        raise MisconfiguredServer(f"{hide_password(database_url)} is not the server's role: {error}") from error
    if found is None or found in revisions()[1:]:
        raise MisconfiguredServer(
            f"the schema of {hide_password(database_url)} is at {found or 'nothing'},"
            f" and {needed_revision()} is needed; run `adserver migrate`"
        )


def _is_not_now(error: Exception) -> bool:
    driver_error = error.orig if isinstance(error, DBAPIError) else error
    return getattr(driver_error, "sqlstate", None) in NOT_NOW


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
