"""Migration of a database's schema to the newest revision, and the check that a schema is new enough."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import asyncpg
from alembic import command
from alembic.runtime.migration import MigrationInfo
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from app.errors import MisconfiguredServer, StoreUnavailable
from app.store.connections import connect
from app.store.database_url import hide_password
from app.store.revision import alembic_config, current_revision, needed_revision, revisions

LOCK_RETRY_S = 60.0
"""Time for which a migration retries to get its locks before it gives up."""

RETRY_MIN_S, RETRY_MAX_S = 0.2, 1.0
"""Bounds of the random pause before each retry, in which other sessions proceed."""

LOCK_UNAVAILABLE = ("55P03", "40P01")
"""lock_not_available and deadlock_detected, see "PostgreSQL Error Codes" in the Postgres manual."""


def migrate(
    database_url: str,
    report: Callable[[str], None] = lambda _: None,
    *,
    on_wait: Callable[[str], None] = lambda _: None,
    lock_retry_s: float = LOCK_RETRY_S,
) -> None:
    """Apply every missing revision, and report the id of each when it is committed.

    While another migration runs, this waits, and from time to time passes `on_wait` a sentence that says so.
    A revision that cannot get a lock immediately is rolled back and retried, so that no session queues behind it.
    Starts an event loop of its own. Raises StoreUnavailable, with the database's reason, if the database cannot be
    reached or a revision cannot get its lock for `lock_retry_s`; revisions that were reported stay applied. Raises
    MisconfiguredServer if the schema is at a revision that this code does not have.
    """

    def on_version_apply(*, step: MigrationInfo, **_: Any) -> None:
        report(step.up_revision_id or "")

    config = alembic_config()
    config.attributes["on_wait"] = on_wait
    config.attributes["database_url"] = database_url
    config.attributes["on_version_apply"] = on_version_apply
    try:
        retry_on_lock_timeout(lambda: command.upgrade(config, "head"), lock_retry_s)
    except (OSError, DBAPIError, PendingRollbackError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"cannot migrate {hide_password(database_url)}: {_reason(error)}") from error
    except CommandError as error:
        raise MisconfiguredServer(f"cannot migrate {hide_password(database_url)}: {_refusal(error)}") from error


def retry_on_lock_timeout(run: Callable[[], None], lock_retry_s: float = LOCK_RETRY_S) -> None:
    """Run a migration until it gets its locks; raise the driver's error `lock_retry_s` after the first failed lock."""
    deadline: float | None = None
    while True:
        try:
            run()
        except (DBAPIError, asyncpg.PostgresError) as error:
            if deadline is None:
                deadline = time.monotonic() + lock_retry_s
            if not _is_lock_unavailable(error) or time.monotonic() >= deadline:
                raise
            time.sleep(random.uniform(RETRY_MIN_S, RETRY_MAX_S))  # noqa: S311 - jitter
        else:
            return


def require_schema(database_url: str) -> None:
    """Raise MisconfiguredServer if the schema is older than this code needs, StoreUnavailable without a database.

    A role that may not read the revision, such as finance's, is misconfigured too. A newer schema is accepted: the
    previous release works on it while the new one is rolled out.
    """

    async def read() -> str | None:
        async with connect(database_url) as connection:
            return await current_revision(connection)

    try:
        found = asyncio.run(read())
    except asyncpg.InsufficientPrivilegeError as error:
        raise MisconfiguredServer(f"{hide_password(database_url)} is not the server's role: {error}") from error
    if found is None:
        raise MisconfiguredServer(
            f"{hide_password(database_url)} has no schema yet; revision {needed_revision()} is required:"
            " run `adserver migrate`"
        )
    if found in revisions()[1:]:
        raise MisconfiguredServer(
            f"the schema of {hide_password(database_url)} is at revision {found};"
            f" revision {needed_revision()} is required: run `adserver migrate`"
        )


def _is_lock_unavailable(error: Exception) -> bool:
    driver_error = error.orig if isinstance(error, DBAPIError) else error
    return getattr(driver_error, "sqlstate", None) in LOCK_UNAVAILABLE


def _refusal(error: CommandError) -> str:
    unknown = error.__cause__
    if isinstance(unknown, ResolutionError):
        return (
            f"its schema is at revision {unknown.argument}, which this version does not have: install the version that"
            " created it, or use an empty database (for the embedded Postgres, another ADSERVER_DATA_DIR)"
        )
    return _reason(error)


def _reason(error: BaseException) -> str:
    if isinstance(error, PendingRollbackError) and error.__context__:
        # Outside a transaction, as for CREATE INDEX CONCURRENTLY, it hides the error that ended the connection.
        error = error.__context__
    return (str(error) or type(error).__name__).splitlines()[0]
