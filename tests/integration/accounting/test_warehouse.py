"""Logical replication of the ledger into another database, with the statements of docs/dba.md."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.embedded import EmbeddedPostgres
from app.launch.databases import set_role_passwords
from app.launch.migrate import migrate
from app.store import partitions
from app.store.connections import Store
from app.store.roles import APP
from tests.integration.accounting.test_dba_page import PAGE
from tests.integration.accounting.world import (
    PRICE,
    campaign,
    connected,
    disagreements,
    open_store,
    serve_many,
    set_clock,
    set_up,
)
from tests.players import becomes
from tests.postgres import cloned_database, temporary_postgres

SECTION = PAGE.partition("\n## Replicating the ledger to a warehouse\n")[2].partition("\n## ")[0]
PUBLISH, CREATE_TABLE, SUBSCRIBE = (block.partition("```")[0] for block in SECTION.split("```sql\n")[1:])

TOTALS = "SELECT count(*), count(DISTINCT entry_id), coalesce(sum(amount), 0) FROM spend_ledger"
SLOT = "SELECT pg_create_logical_replication_slot('warehouse', 'pgoutput')"
IS_COPIED = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
# A subscription that creates its slot in its own cluster would wait for itself.
WITH_SLOT = "PUBLICATION warehouse WITH (create_slot = false, slot_name = 'warehouse')"


@pytest.fixture(scope="module")
def logical() -> Iterator[EmbeddedPostgres]:
    with temporary_postgres(wal_level="logical") as server:
        migrate(server.dsn)
        yield server


@pytest.fixture
async def source(logical: EmbeddedPostgres) -> AsyncIterator[Store]:
    await set_role_passwords(logical)
    store = open_store(logical.url(role=APP))
    yield store
    await store.close()


@pytest.fixture
async def warehouse(logical: EmbeddedPostgres) -> AsyncIterator["Connection[Record]"]:
    async with cloned_database(logical, "template0") as url, connected(url) as connection:
        yield connection
        await connection.execute("ALTER SUBSCRIPTION warehouse DISABLE")
        await connection.execute("ALTER SUBSCRIPTION warehouse SET (slot_name = NONE)")
        await connection.execute("DROP SUBSCRIPTION warehouse")


async def subscribe(logical: EmbeddedPostgres, warehouse: "Connection[Record]") -> None:
    async with connected(logical.dsn) as owner:
        await owner.execute(PUBLISH)
        await owner.execute(SLOT)
    await warehouse.execute(CREATE_TABLE)
    statement = SUBSCRIBE.replace("host=db1 user=warehouse dbname=adserver", logical.tcp_dsn)
    await warehouse.execute(statement.replace("PUBLICATION warehouse", WITH_SLOT))


async def make_partitions(store: Store) -> int:
    async with store.connection() as connection:
        return await partitions.make_partitions(connection, 1)


async def test_a_warehouse_loses_and_doubles_no_entry_that_moves_between_partitions(
    logical: EmbeddedPostgres, source: Store, warehouse: "Connection[Record]"
) -> None:
    await set_up(source, campaign("charged", billing="serve"))
    await serve_many(source, "charged", 20)
    await set_clock(logical.dsn, "transaction_timestamp() + interval '100 days'")
    await serve_many(source, "charged", 30)
    await subscribe(logical, warehouse)

    async def is_copied() -> bool:
        return bool(await warehouse.fetchval(IS_COPIED))

    await becomes(is_copied, timeout_s=60)
    await serve_many(source, "charged", 40)
    assert await make_partitions(source)
    await serve_many(source, "charged", 50)
    await set_clock(logical.dsn, "transaction_timestamp() + interval '200 days'")
    await serve_many(source, "charged", 60)
    assert await make_partitions(source)
    async with source.connection() as connection:
        assert not await partitions.has_misplaced_rows(connection)
    async with connected(logical.dsn) as owner:
        totals = tuple(await owner.fetchrow(TOTALS) or ())
    assert totals == (200, 200, 200 * PRICE)

    async def has_all() -> bool:
        return tuple(await warehouse.fetchrow(TOTALS) or ()) == totals

    await becomes(has_all, timeout_s=60)
    assert await disagreements(logical.dsn) == []


async def test_an_entry_leaves_the_default_partition_only_for_its_own(store: Store, database: str) -> None:
    await set_up(store, campaign("late", billing="serve"))
    await set_clock(database, "transaction_timestamp() + interval '100 days'")
    await serve_many(store, "late", 3)
    async with connected(database) as owner:
        for statement in (
            "DELETE FROM spend_ledger_default",
            "SET session_replication_role = replica; DELETE FROM spend_ledger_default",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only for its own partition"):
                await owner.execute(statement)
    await make_partitions(store)
    async with connected(database) as owner:
        assert await owner.fetchval("SELECT count(*) FROM spend_ledger_default") == 0
        assert await owner.fetchval("SELECT sum(amount) FROM spend_ledger") == 3 * Decimal(PRICE)


async def test_every_partition_and_its_columns_have_comments(store: Store, database: str) -> None:
    await make_partitions(store)
    async with connected(database) as owner:
        assert await owner.fetch(WITHOUT_COMMENT) == []


WITHOUT_COMMENT = """
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relispartition AND c.relkind = 'r' AND NOT c.relname LIKE '%\\_default'
    AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)
UNION ALL
SELECT relname, '' FROM pg_class WHERE relispartition AND relkind = 'r' AND obj_description(oid, 'pg_class') IS NULL
"""
