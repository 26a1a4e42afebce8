"""Every role is denied every statement outside its privileges."""

from collections.abc import Iterable

import asyncpg
import pytest

from tests.integration.accounting.world import entry

ARCHIVE = ("budget_archive", "archived_months", "opening_balances", "archived_charges")
HISTORY = ("setup_history", "unrecorded_setup")
TABLES = (
    *HISTORY,
    *ARCHIVE,
    *("ad_events", "ad_serves", "budget_tracking", "configured_budgets", "campaign_caps", "campaign_upstreams"),
    *("campaigns", "catalog", "creatives", "frequency_caps", "hold_releases", "holds", "midnight_requests"),
    *("delivery_hourly", "delivery_state", "requests_hourly"),
    *("placement_campaigns", "placements", "publishers", "quotas", "served_documents", "sessions", "spend_ledger"),
    *("upstreams", "ledger_corrections", "closed_months", "spend_daily", "books_state", "retention"),
    *("maintenance", "requests_daily", "budget_periods", "catalog_changes", "advertisers", "orders"),
    *("order_credits", "month_ends", "book_repairs", "correction_sets", "correction_set_entries"),
    *("third_party_counts", "repeated_impressions", "flat_days"),
    "alembic_version",
    *("payouts", "invoice_counter", "invoices", "invoice_details", "webhooks", "outbox", "webhook_deliveries"),
)

SERVED_AND_BOOKED = (
    "ad_serves",
    "ad_events",
    "served_documents",
    "spend_ledger",
    "ledger_corrections",
    "flat_days",
    "correction_sets",
    "correction_set_entries",
    "third_party_counts",
    "order_credits",
    "payouts",
    "invoices",
    "invoice_details",
)
NEVER_DELETED = (
    *HISTORY,
    *ARCHIVE,
    *SERVED_AND_BOOKED,
    *("publishers", "upstreams", "campaigns", "creatives", "placements", "budget_tracking"),
    *("advertisers", "orders", "webhooks", "invoice_counter", "hold_releases", "delivery_state"),
    *(
        "catalog",
        "spend_daily",
        "books_state",
        "closed_months",
        "month_ends",
        "book_repairs",
        "retention",
        "maintenance",
        "requests_daily",
        "repeated_impressions",
        "budget_periods",
    ),
    "alembic_version",
)
NEVER_WRITTEN = (
    *HISTORY,
    *ARCHIVE,
    "closed_months",
    "month_ends",
    "book_repairs",
    "retention",
    "alembic_version",
    "invoice_counter",
)
FINANCE_READS = ("budget_tracking", "spend_ledger", "alembic_version")

COLUMNS = """
SELECT attrelid::regclass::text, min(attname) FROM pg_attribute
WHERE attrelid = ANY ($1::text[]::regclass[]) AND attnum > 0 AND attgenerated = '' GROUP BY 1
"""

EVERY_TABLE = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
"""

OWNERS_FUNCTIONS = """
SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef
"""
MAY_CALL = "SELECT has_function_privilege('adserver_finance', $1, 'EXECUTE')"

STRANGERS = """
SELECT relname FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'finance'::regnamespace)
    AND relkind IN ('r', 'p', 'v', 'S') AND relowner <> 'adserver_owner'::regrole
UNION ALL
SELECT proname FROM pg_proc WHERE pronamespace IN ('public'::regnamespace, 'finance'::regnamespace)
    AND proowner <> 'adserver_owner'::regrole
"""

GRANTED_PARTITIONS = """
SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'
    AND EXISTS (SELECT FROM aclexplode(relacl) a WHERE a.grantee <> relowner)
"""

LIMITS = """
SELECT name, setting FROM pg_settings
WHERE name LIKE '%timeout' OR name IN ('default_transaction_read_only', 'temp_file_limit')
"""

READ_WRITE = "SET default_transaction_read_only = off"

DDL = (
    "CREATE TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE INDEX ON spend_ledger (amount)",
    "CREATE TRIGGER mine BEFORE INSERT ON spend_ledger FOR EACH ROW EXECUTE FUNCTION stamp_author()",
    "ALTER TABLE spend_ledger DISABLE TRIGGER ALL",
    "ALTER TABLE budget_tracking DROP CONSTRAINT spend_within_budget",
    "ALTER TABLE campaigns ADD COLUMN mine int",
    "DROP TABLE ad_serves",
    "DROP TRIGGER entries_are_kept ON spend_ledger",
    "COMMENT ON TABLE campaigns IS 'mine'",
    "ALTER FUNCTION adserver_clock() SECURITY DEFINER",
    "SET ROLE adserver_owner",
    "ALTER ROLE adserver_finance SET statement_timeout = 0",
    "CREATE ROLE mine",
    "COPY campaigns TO PROGRAM 'cat'",
    "SET session_replication_role = replica",
)


async def first_columns(database: str, tables: Iterable[str]) -> dict[str, str]:
    """A column of each table."""
    connection = await asyncpg.connect(database)
    try:
        return dict(await connection.fetch(COLUMNS, list(tables)))
    finally:
        await connection.close()


async def refused(url: str, statement: str) -> bool:
    """Whether the database says that the role may not."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError):
        return True
    finally:
        await connection.close()
    return False


async def allowed(url: str, statements: Iterable[str]) -> list[str]:
    """Those that the role was not kept from; none is what is wanted."""
    return [statement for statement in statements if not await refused(url, statement)]


async def test_no_table_is_left_out_here(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert {row[0] for row in await connection.fetch(EVERY_TABLE)} == set(TABLES)
    finally:
        await connection.close()


async def test_the_server_cannot_change_the_schema(app_database: str) -> None:
    assert not await allowed(app_database, DDL)


async def test_the_server_cannot_truncate(app_database: str) -> None:
    assert not await allowed(app_database, [f"TRUNCATE {table}" for table in TABLES])


async def test_the_server_cannot_change_what_was_served_or_booked(database: str, app_database: str) -> None:
    columns = await first_columns(database, SERVED_AND_BOOKED)
    assert not await allowed(
        app_database, [f"UPDATE {table} SET {column} = {column}" for table, column in columns.items()]
    )


async def test_the_server_cannot_delete(app_database: str) -> None:
    assert not await allowed(app_database, [f"DELETE FROM {table}" for table in NEVER_DELETED])


async def test_the_server_cannot_write_what_only_the_owner_does(database: str, app_database: str) -> None:
    columns = await first_columns(database, NEVER_WRITTEN)
    assert not await allowed(
        app_database,
        [
            verb.format(table=table, column=column)
            for table, column in columns.items()
            for verb in ("INSERT INTO {table} DEFAULT VALUES", "UPDATE {table} SET {column} = {column}")
        ],
    )


async def test_the_server_has_no_right_to_a_partition_but_through_its_table(app_database: str) -> None:
    verbs = ("SELECT FROM {}", "DELETE FROM {}", "TRUNCATE {}", "ALTER TABLE {} SET UNLOGGED")
    partitions = ("ad_serves_default", "spend_ledger_default")
    assert not await allowed(app_database, [verb.format(table) for verb in verbs for table in partitions])


async def test_finance_cannot_change_the_schema(finance_database: str) -> None:
    assert not await allowed(finance_database, [f"{READ_WRITE}; {statement}" for statement in DDL])


async def test_finance_writes_nothing_even_when_it_turns_read_only_off(database: str, finance_database: str) -> None:
    columns = await first_columns(database, TABLES)
    assert not await allowed(
        finance_database,
        [
            f"{READ_WRITE}; {verb.format(table=table, column=column)}"
            for table, column in columns.items()
            for verb in (
                "INSERT INTO public.{table} DEFAULT VALUES",
                "UPDATE public.{table} SET {column} = {column}",
                "DELETE FROM public.{table}",
                "TRUNCATE public.{table}",
            )
        ],
    )


async def test_finance_reads_three_tables_and_no_other(finance_database: str) -> None:
    statements = [f"SELECT FROM public.{table} LIMIT 1" for table in TABLES]
    assert await allowed(finance_database, statements) == [
        f"SELECT FROM public.{table} LIMIT 1" for table in FINANCE_READS
    ]


async def test_finance_cannot_call_what_runs_with_the_owners_rights(database: str, finance_database: str) -> None:
    functions = ("make_partitions(1)", "recount_budgets('{}')", "drop_partition('ad_serves', '2020-01-01')")
    assert not await allowed(finance_database, [f"{READ_WRITE}; SELECT {function}" for function in functions])
    connection = await asyncpg.connect(database)
    try:
        names = [row[0] for row in await connection.fetch(OWNERS_FUNCTIONS)]
        callable_ones = [name for name in names if await connection.fetchval(MAY_CALL, name)]
    finally:
        await connection.close()
    assert len(names) > len(functions)
    assert callable_ones == []


async def test_finance_is_told_to_stop_before_it_takes_all_time_or_space(finance_database: str) -> None:
    connection = await asyncpg.connect(finance_database)
    try:
        settings = dict(await connection.fetch(LIMITS))
    finally:
        await connection.close()
    assert settings["default_transaction_read_only"] == "on"
    assert settings["statement_timeout"] == "600000"
    assert settings["transaction_timeout"] == "900000"
    assert settings["idle_in_transaction_session_timeout"] == "60000"
    assert settings["lock_timeout"] == "2000"
    assert settings["temp_file_limit"] == str(5 * 1024 * 1024)


@pytest.mark.parametrize(
    "statement", ["UPDATE spend_ledger SET amount = 0", "DELETE FROM spend_ledger", "TRUNCATE spend_ledger"]
)
async def test_the_trigger_keeps_entries_even_from_a_role_that_was_granted_everything(
    database: str, app_database: str, statement: str
) -> None:
    owner = await asyncpg.connect(database)
    try:
        await owner.execute(entry("spring", "today"))
        await owner.execute("GRANT ALL ON spend_ledger TO adserver_app")
    finally:
        await owner.close()
    assert await refused(app_database, statement)
    assert await refused(app_database, f"SET adserver.repair = 'mine'; {statement}")


async def test_everything_belongs_to_the_owner_and_so_do_new_partitions(database: str, app_database: str) -> None:
    app = await asyncpg.connect(app_database)
    owner = await asyncpg.connect(database)
    try:
        assert await app.fetchval("SELECT make_partitions(40)") > 0
        strangers = await owner.fetch(STRANGERS)
        granted = await owner.fetch(GRANTED_PARTITIONS)
    finally:
        await app.close()
        await owner.close()
    assert not strangers
    assert not granted
