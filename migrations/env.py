"""Runs the migrations: one transaction for each revision, behind an advisory lock, with short lock timeouts."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.errors import MisconfiguredServer
from app.launch.env_settings import settings_from_environment
from app.store.connections import DIALECT, KEEPALIVES, open_connection
from app.store.database_url_parameters import parse_url
from app.store.tables import is_managed, metadata

# Two concurrent migrations would race. The second one polls for this lock, and then finds nothing left to do. It must
# not wait inside a statement: CREATE INDEX CONCURRENTLY would wait for that statement, and the two
# would wait for each other forever.
MIGRATION_LOCK = 0x61647376
TRY_LOCK = "SELECT pg_try_advisory_lock(:key)"
TRY_LOCK_INTERVAL_S = 0.2
# pg_locks has the halves of a 64-bit key in two columns; see "pg_locks" in the Postgres manual.
LOCK_HOLDER = """
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = 0 AND objid = :key AND objsubid = 1
"""
FIRST_WAIT_REPORT_S = 1.0
WAIT_REPORT_INTERVAL_S = 10.0
# Sessions that need a lock that a migration is waiting for queue behind it. So it waits for less time than a player
# does, and gives up; `adserver migrate` then retries it.
LOCK_TIMEOUT = "100ms"
STATEMENT_TIMEOUT = "15min"
# Releases the locks of a migration that has stopped in the middle or lost its machine. A running one is never idle.
IDLE_IN_TRANSACTION_TIMEOUT = "5s"
# The role that migrates may have a schema of its own, where the default search path would create the tables.
SEARCH_PATH = "SET search_path = public"
# In a database with another encoding, characters that it cannot represent would fail set-up and ad requests later.
ENCODING_OF_AN_EMPTY_DATABASE = """
SELECT current_setting('server_encoding') WHERE to_regclass('public.alembic_version') IS NULL
"""
# Autovacuum yields to a session that has waited for a lock for this long, which must be less than the lock timeout.
END_AUTOVACUUM = """
SELECT set_config('deadlock_timeout', '50ms', false) WHERE has_parameter_privilege('deadlock_timeout', 'SET')
"""

# Everything belongs to adserver_owner, no matter which role migrates, so that functions that run with the rights of
# their owner do not have those of a superuser. Objects of extensions keep their owner, and so do those of roles of
# which the role that migrates is not a member.
HAND_OVER = """
DO $$
DECLARE
    object record;
BEGIN
    IF to_regrole('adserver_owner') IS NULL OR NOT has_schema_privilege('adserver_owner', 'public', 'CREATE') THEN
        RETURN;
    END IF;
    FOR object IN
        SELECT format('ALTER SCHEMA %I OWNER TO adserver_owner', nspname) AS statement
        FROM pg_namespace WHERE nspname = 'finance' AND nspowner <> 'adserver_owner'::regrole
        UNION ALL
        SELECT format('ALTER TABLE %s OWNER TO adserver_owner', oid::regclass) FROM pg_class c
        WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'finance'))
            AND relkind IN ('r', 'p', 'v') AND relowner <> 'adserver_owner'::regrole AND pg_has_role(relowner, 'USAGE')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO adserver_owner', oid::regprocedure) FROM pg_proc p
        WHERE pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'finance'))
            AND proowner <> 'adserver_owner'::regrole AND pg_has_role(proowner, 'USAGE')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    LOOP
        EXECUTE object.statement;
    END LOOP;
END
$$
"""


def after_each_revision(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    """Set the owner of what a revision created, in its transaction, and report the revision to the caller."""
    ctx.execute(HAND_OVER)
    report: Callable[..., None] | None = context.config.attributes.get("on_version_apply")
    if report is not None:
        report(ctx=ctx, step=step, heads=heads, run_args=run_args)


def database_url() -> str:
    """Return the caller's URL or the configured one. Raise CommandError if there is no valid URL."""
    try:
        url: str = context.config.attributes.get("database_url") or settings_from_environment().database_url
    except MisconfiguredServer as error:
        raise CommandError(str(error)) from error
    if not url:
        raise CommandError(
            "ADSERVER_DATABASE_URL: must be set for alembic; for the embedded Postgres of a running server, set it to"
            " the output of `adserver dsn`, or use `adserver migrate`"
        )
    return url


def migrate_offline() -> None:
    """Print the SQL for `alembic upgrade head --sql`."""
    context.configure(
        dialect_name="postgresql",
        # With the default style every % would be printed twice.
        dialect_opts={"paramstyle": "named"},
        target_metadata=metadata,
        literal_binds=True,
        on_version_apply=after_each_revision,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        context.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        context.execute(SEARCH_PATH)
        context.run_migrations()


def _acquire_lock(connection: Connection) -> None:
    """Wait until no other migration runs, and report from time to time which session is holding the lock."""
    report: Callable[[str], None] = context.config.attributes.get("on_wait", lambda _: None)
    began = time.monotonic()
    next_report_s = FIRST_WAIT_REPORT_S
    while not connection.scalar(text(TRY_LOCK), {"key": MIGRATION_LOCK}):
        waited_s = time.monotonic() - began
        if waited_s >= next_report_s:
            holder = connection.scalar(text(LOCK_HOLDER), {"key": MIGRATION_LOCK})
            report(f"Waiting for another migration (session {holder}), for {waited_s:.0f} s so far.")
            next_report_s += WAIT_REPORT_INTERVAL_S
        connection.commit()
        time.sleep(TRY_LOCK_INTERVAL_S)


def migrate(connection: Connection) -> None:
    """Run the migrations on one connection, each revision in its own transaction."""
    _acquire_lock(connection)
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
    connection.execute(text(f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_TIMEOUT}'"))
    connection.execute(text(SEARCH_PATH))
    connection.execute(text(END_AUTOVACUUM))
    encoding = connection.scalar(text(ENCODING_OF_AN_EMPTY_DATABASE))
    if encoding not in (None, "UTF8"):
        raise CommandError(f"the database has the encoding {encoding}; create one with ENCODING 'UTF8'")
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=is_managed,
        compare_server_default=True,
        on_version_apply=after_each_revision,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


async def migrate_online() -> None:
    """Migrate on a new connection; closing it releases the advisory lock in any case."""
    url = database_url()
    arguments: dict[str, Any] = {
        "async_creator_fn": open_connection,
        "dsn": url,
        "server_settings": dict(KEEPALIVES),
    }
    if not parse_url(url).caches_statements:
        arguments["prepared_statement_cache_size"] = 0
    engine = create_async_engine(DIALECT, poolclass=NullPool, connect_args=arguments)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    migrate_offline()
elif (connection := context.config.attributes.get("connection")) is not None:
    migrate(connection)
else:
    asyncio.run(migrate_online())
