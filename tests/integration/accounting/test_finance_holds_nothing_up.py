"""Limits on a role that may only read: no locks, temporary tables or large objects."""

import asyncio

import asyncpg
import pytest

from app.embedded import EmbeddedPostgres
from app.launch.migrate import migrate
from app.store import closed_months
from app.store.roles import FINANCE
from tests.integration.accounting.world import connected
from tests.postgres import cloned_database

FORBIDDEN = [
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock(1, 2)",
    "SELECT pg_advisory_xact_lock_shared(hashtextextended('closed_months', 0))",
    "LOCK TABLE maintenance IN ACCESS SHARE MODE",
    "LOCK TABLE ledger_corrections IN ACCESS SHARE MODE",
    "LOCK TABLE budget_tracking IN ROW EXCLUSIVE MODE",
    "SELECT lo_create(0)",
    "SELECT lo_creat(-1)",
    "SELECT lo_from_bytea(0, 'x')",
    "CREATE TEMPORARY TABLE mine (x integer)",
]
TAKE_ADVISORY = "GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO adserver_finance"


async def test_finance_may_neither_lock_nor_write_elsewhere(postgres: EmbeddedPostgres) -> None:
    # A database that is copied has lost what was revoked of it itself.
    async with cloned_database(postgres, "template1") as url:
        await asyncio.to_thread(migrate, url)
        async with connected(url) as finance:
            await finance.execute(f"SET SESSION AUTHORIZATION {FINANCE}")
            for statement in FORBIDDEN:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with finance.transaction():
                        await finance.execute(statement)


async def test_who_takes_any_advisory_lock_holds_up_no_maintenance(
    database: str, app_database: str, finance_database: str
) -> None:
    async with connected(database) as owner:
        await owner.execute(TAKE_ADVISORY)
    keys = ("hashtext('make_partitions')", "hashtextextended('closed_months', 0)")
    async with connected(finance_database) as finance, connected(app_database) as app, connected(database) as owner:
        for key in keys:
            await finance.execute(f"SELECT pg_advisory_lock({key})")
        await app.execute("SET lock_timeout = '1s'")
        assert await app.fetchval("SELECT make_partitions(9)") > 0
        await app.execute("SELECT make_ledger_partition('2031-05-01')")
        async with app.transaction():
            await closed_months.lock_closing_shared(app)
        async with owner.transaction():
            await closed_months.lock_closing_exclusive(owner)


async def test_partitions_are_made_one_caller_after_the_other(app_database: str, database: str) -> None:
    async with connected(app_database) as first, connected(database) as second:
        async with first.transaction():
            await first.execute("SELECT make_partitions(1)")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await second.execute("SELECT make_partitions(1)")
        await second.execute("SELECT make_partitions(1)")


async def test_a_month_is_closed_while_nobody_corrects(app_database: str, database: str) -> None:
    async with connected(app_database) as app, connected(database) as owner:
        await owner.execute("SET lock_timeout = '100ms'")
        async with app.transaction():
            await closed_months.lock_closing_shared(app)
            with pytest.raises(asyncpg.LockNotAvailableError):
                async with owner.transaction():
                    await closed_months.lock_closing_exclusive(owner)


@pytest.mark.parametrize("ahead_days", ["-1", "367", "100000", "NULL"])
async def test_partitions_are_made_for_a_year_ahead_and_no_more(app_database: str, ahead_days: str) -> None:
    async with connected(app_database) as app:
        with pytest.raises(asyncpg.InvalidParameterValueError, match="ahead_days: must be between 0 and 366"):
            await app.execute(f"SELECT make_partitions({ahead_days})")
