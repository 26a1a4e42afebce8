"""Runs the migrations: one transaction a revision, behind an advisory lock, with the shortest of lock waits."""

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

import app.store.accounting_tables  # noqa: F401  Its tables join the others in `metadata`.
from app.errors import MisconfiguredServer
from app.launch.env_settings import settings_from_environment
from app.store.connections import DIALECT, KEEPALIVES, open_connection
from app.store.database_url_parameters import parse_url
from app.store.tables import is_managed, metadata

# Two migrations at once would race; the second tries this again and again, and then finds nothing left to do. Were it
# to wait inside a statement, CREATE INDEX CONCURRENTLY would wait for that statement, and each for the other.
MIGRATION_LOCK = 0x61647376
TRY_LOCK = "SELECT pg_try_advisory_lock(:key)"
TRY_LOCK_INTERVAL_S = 0.2
# A lock of one key of 64 bits has its halves in two columns; see "pg_locks" in the Postgres manual.
LOCK_HOLDER = """
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = 0 AND objid = :key AND objsubid = 1
"""
FIRST_WAIT_REPORT_S = 1.0
WAIT_REPORT_INTERVAL_S = 10.0
# Whoever wants what a migration waits for queues behind it. So it waits less than a player does, gives up, and is
# tried again by `adserver migrate`.
LOCK_TIMEOUT = "100ms"
STATEMENT_TIMEOUT = "15min"
# A migration that stopped in the middle, or whose machine is gone, gives its locks back. It does not idle by itself.
IDLE_IN_TRANSACTION_TIMEOUT = "5s"
# Whoever migrates may have a schema of their own, which the default path looks into first, and tables would land there.
SEARCH_PATH = "SET search_path = public"
# What a database cannot say in its encoding would fail when a campaign is set up, or when somebody asks for one.
ENCODING_OF_AN_EMPTY_DATABASE = """
SELECT current_setting('server_encoding') WHERE to_regclass('public.alembic_version') IS NULL
"""
# Autovacuum makes way for whoever has waited for this long, which has to be less than the lock's time-out.
END_AUTOVACUUM = """
SELECT set_config('deadlock_timeout', '50ms', false) WHERE has_parameter_privilege('deadlock_timeout', 'SET')
"""

# From 0004 on everything belongs to one role, whoever migrates: the functions that run with their owner's rights
# shall not have a superuser's. What an extension brought stays with whoever installed it, and what belongs to others
# that the user who migrates is no member of stays theirs.
HAND_OVER = """
DO $$
DECLARE
    thing record;
BEGIN
    IF to_regrole('adserver_owner') IS NULL OR NOT has_schema_privilege('adserver_owner', 'public', 'CREATE') THEN
        RETURN;
    END IF;
    FOR thing IN
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
        EXECUTE thing.statement;
    END LOOP;
END
$$
"""


def after_each_revision(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    """Runs at the end of every revision, in its transaction; then tells the caller, if it wants to be told."""
    ctx.execute(HAND_OVER)
    report: Callable[..., None] | None = context.config.attributes.get("on_version_apply")
    if report is not None:
        report(ctx=ctx, step=step, heads=heads, run_args=run_args)


def database_url() -> str:
    """The URL handed over by the caller, or the configured one. Raises CommandError without one that can be read."""
    try:
        url: str = context.config.attributes.get("database_url") or settings_from_environment().database_url
    except MisconfiguredServer as error:
        raise CommandError(str(error)) from error
    if not url:
        raise CommandError(
            "ADSERVER_DATABASE_URL: must be set for alembic; for the embedded Postgres of a server that runs, set it to"
            " what `adserver dsn` prints, or use `adserver migrate`"
        )
    return url


def migrate_offline() -> None:
    """Prints the SQL for `alembic upgrade head --sql`."""
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


def _take_turn(connection: Connection) -> None:
    """Waits until no other migration runs, and says now and then for which session it waits."""
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
    """Runs on one connection, each revision in its own transaction."""
    _take_turn(connection)
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
    connection.execute(text(f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_TIMEOUT}'"))
    connection.execute(text(SEARCH_PATH))
    connection.execute(text(END_AUTOVACUUM))
    encoding = connection.scalar(text(ENCODING_OF_AN_EMPTY_DATABASE))
    if encoding not in (None, "UTF8"):
        raise CommandError(f"the database has the encoding {encoding}; make one with ENCODING 'UTF8'")
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
    """Opens a connection of its own; closing it frees the advisory lock whatever happened."""
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
