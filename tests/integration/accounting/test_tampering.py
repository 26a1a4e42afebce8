"""Whoever tampers with the books, superusers included, is refused or found.

Each case is rolled back, so all of them share one database.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.accounting.corrections import Adjustment, adjust
from app.accounting.month_close import MonthCheck, close_month, verify_months
from app.accounting.receipts import Receipt, find_changes, make_receipt, parse_receipt
from app.beacons.settlement import settle
from app.embedded import EmbeddedPostgres
from app.maintenance.tasks import Maintenance
from app.store.connections import snapshot
from app.store.guards import REQUIRED_GUARDS, REQUIRED_TRIGGERS, read_guards, read_repairs
from app.store.ledger_checks import RULES, find_disagreements
from tests.integration.accounting.world import (
    beacon_of_day,
    campaign,
    connected,
    entry,
    open_store,
    repair,
    serve_many,
    set_clock,
    set_up,
)
from tests.postgres import as_server, cloned_database

OCTOBER = date(2026, 10, 1)
REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.CheckViolationError)
SETS = ("correction_sets", "correction_set_entries")
KEPT = ("ledger_corrections", *SETS, "order_credits", "payouts", "closed_months", "month_ends", "book_repairs")
LEDGER = ("spend_ledger", "spend_ledger_202610", "spend_ledger_202611", "spend_ledger_default")
ORDER = """
INSERT INTO orders (id, advertiser_id, currency) SELECT 'o1', id, 'USD' FROM advertisers;
INSERT INTO publishers (id, name) VALUES ('p1', 'P');
INSERT INTO payouts VALUES ('p1', 'p1', 'P', 'USD', 1, now(), 'cfo');
INSERT INTO correction_sets VALUES ('s1', 'campaign autumn', 1, 'why', now(), 'cfo');
INSERT INTO correction_set_entries VALUES ('s1', 1, 1, '2026-10-31', 'autumn');
"""
CREDIT = """
INSERT INTO order_credits (idempotency_key, order_id, amount, reason, recorded_at, recorded_by)
VALUES ('{}', 'o1', 5, 'a payment', now(), 'cfo')
"""
CORRECTION = """
INSERT INTO ledger_corrections (idempotency_key, kind, campaign_id, amount, currency, reason, reverses, entry_id,
                                booked_on, recorded_at, recorded_by)
SELECT 'forged', kind, campaign_id, amount, currency, reason, reverses, -entry_id, {}, recorded_at, 'cfo'
FROM ledger_corrections LIMIT 1
"""
FIRST_ENTRY = "SELECT min(entry_id) FROM spend_ledger WHERE kind = 'charge' AND booked_on >= $1"

IN_BALANCE = """
DELETE FROM ad_serves s USING spend_ledger l WHERE l.entry_id = {entry} AND l.request_key = s.request_key;
UPDATE budget_tracking SET spent = spent - 2.5, impressions = impressions - 1 WHERE campaign_id = 'autumn';
UPDATE spend_daily d SET amount = d.amount - 2.5, entries = d.entries - 1, ads = d.ads - 1
FROM spend_ledger l WHERE l.entry_id = {entry} AND d.booked_on = l.booked_on AND d.kind = l.kind
    AND d.campaign_id = l.campaign_id;
DELETE FROM spend_ledger WHERE entry_id = {entry};
"""
"""Removes an entry with its serve, from every counter and daily sum."""

SWITCHES = """
SELECT format('ALTER TABLE %s {} TRIGGER %I', tgrelid::regclass, tgname)
FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'A' AND tgparentid = 0
"""


@pytest.fixture(scope="module")
async def books_url(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[str]:
    """Ads, impressions and a correction in October, which is closed, and in November; a credit, and a repair."""
    async with cloned_database(postgres, migrated_template) as url:
        store = open_store(url)
        await set_up(store, campaign("autumn", billing="serve"), campaign("seen"))
        async with connected(url) as connection, connected(as_server(url)) as server:
            for day in (date(2026, 10, 31), date(2026, 11, 1)):
                await set_clock(url, f"timestamptz '{day} 12:00Z'")
                maintenance = Maintenance(store, 35)
                for task in ("partitions created", "holds released"):
                    await maintenance.tasks[task].run()
                await serve_many(store, "autumn", 10)
                served = await serve_many(store, "seen", 5)
                await settle(connection, [beacon_of_day(item, day) for item in served[:3]])
                await adjust(server, Adjustment("autumn", Decimal(-1), "a credit", f"k{day.day}"))
            await connection.execute(ORDER + CREDIT.format("c1"))
            await repair(connection, "UPDATE order_credits SET reason = 'a payment in cash'", "it was mistyped")
            await set_clock(url, "timestamptz '2026-11-01 12:10Z'")
            await maintenance.tasks["days rolled up"].run()
            await close_month(connection, OCTOBER)
        await store.close()
        yield url


@asynccontextmanager
async def rolled_back(url: str) -> AsyncIterator["Connection[Record]"]:
    """A transaction that leaves nothing, of a superuser if the URL is the owner's."""
    async with connected(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            yield connection
        finally:
            await transaction.rollback()


async def receipt_of(url: str) -> Receipt:
    async with connected(url) as connection, snapshot(connection):
        return parse_receipt("\n".join(await make_receipt(connection)))


async def unguarded(connection: "Connection[Record]", statements: str) -> None:
    """Switch all triggers off, run the statements, and switch them on again as they were."""
    off = [row[0] for row in await connection.fetch(SWITCHES.format("DISABLE"))]
    on = [row[0] for row in await connection.fetch(SWITCHES.format("ENABLE ALWAYS"))]
    await connection.execute(";".join(off))
    await connection.execute(statements)
    await connection.execute(";".join(on))


async def month_faults(connection: "Connection[Record]") -> list[str]:
    checks: list[MonthCheck] = []
    await verify_months(connection, checks.append)
    return [check.fault for check in checks if check.fault]


async def changes(connection: "Connection[Record]", receipt: Receipt) -> list[str]:
    return await find_changes(connection, receipt, await read_guards(connection), with_journal=True)


async def disagreements(connection: "Connection[Record]") -> list[str]:
    found = [await find_disagreements(connection, rule, 10) for rule in RULES]
    return [item.explanation for items in found for item in items]


async def refused(connection: "Connection[Record]", statement: str) -> bool:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"{statement}; SET CONSTRAINTS ALL IMMEDIATE")
    except REFUSED:
        return True
    finally:
        await transaction.rollback()
    return False


async def test_books_that_nobody_tampered_with_show_nothing(books_url: str) -> None:
    receipt = await receipt_of(books_url)
    async with rolled_back(books_url) as connection:
        assert await month_faults(connection) == []
        assert await disagreements(connection) == []
        assert (await read_guards(connection)).missing == []
        assert await changes(connection, receipt) == []


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_a_plain_statement_is_refused(books_url: str, role: str) -> None:
    async with rolled_back(books_url) as connection:
        await connection.execute(entry("autumn", "2031-01-01"))
        first = await connection.fetchval(FIRST_ENTRY, date(2026, 11, 1))
        statements = [
            *(f"DELETE FROM {table}" for table in (*LEDGER, *KEPT)),
            *(f"UPDATE {table} SET reason = 'mine'" for table in LEDGER),
            *(f"TRUNCATE {table} CASCADE" for table in (*LEDGER, *KEPT)),
            *(
                f"UPDATE {table} SET reason = 'mine'"
                for table in ("ledger_corrections", "order_credits", "book_repairs")
            ),
            *(f"UPDATE {table} SET recorded_by = 'cfo'" for table in ("ledger_corrections", "order_credits")),
            *(f"UPDATE {table} SET idempotency_key = 'mine'" for table in SETS),
            "UPDATE closed_months SET closed_by = 'cfo'",
            "UPDATE month_ends SET held = 0",
            f"DELETE FROM spend_ledger WHERE entry_id = {first}",
            f"UPDATE spend_ledger SET booked_on = '2031-01-01' WHERE entry_id = {first}",
            f"DELETE FROM spend_ledger WHERE entry_id = {first};" + IN_BALANCE.format(entry=first),
            entry("autumn", "2026-10-05"),
            entry("autumn", "2026-10-05").replace("spend_ledger", "spend_ledger_202610"),
            entry("autumn", "1999-10-05"),
            CORRECTION.format("'2026-10-05'"),
            "INSERT INTO month_ends SELECT * FROM month_ends",
        ]
        await connection.execute(f"SET LOCAL session_replication_role = {role}")
        assert [statement for statement in statements if not await refused(connection, statement)] == []


async def test_an_entry_leaves_the_default_partition_only_for_another(books_url: str) -> None:
    async with rolled_back(books_url) as connection:
        await connection.execute(entry("autumn", "2031-01-01"))
        assert await refused(connection, "DELETE FROM spend_ledger_default")
        copied = "SELECT * FROM spend_ledger_default"
        moved = f"CREATE TEMP TABLE moved AS {copied}; DELETE FROM spend_ledger_default; {{}}"
        back = "INSERT INTO spend_ledger OVERRIDING SYSTEM VALUE SELECT * FROM moved"
        assert not await refused(connection, moved.format(back))
        assert await refused(connection, moved.format(f"UPDATE moved SET reason = 'mine'; {back}"))


async def test_a_repair_is_recorded_and_its_record_cannot_be_repaired(books_url: str) -> None:
    async with rolled_back(books_url) as connection:
        (recorded,) = await read_repairs(connection)
        assert (recorded.reason, recorded.operation, recorded.table_name) == (
            "it was mistyped",
            "UPDATE",
            "order_credits",
        )
        assert "in cash" in str(recorded.new_row)
        assert "in cash" not in str(recorded.old_row)
        await connection.execute("SET LOCAL adserver.repair = 'nobody will see'")
        for statement in ("DELETE FROM book_repairs", "UPDATE book_repairs SET reason = ''", "TRUNCATE book_repairs"):
            assert await refused(connection, statement)
        assert await refused(connection, "TRUNCATE spend_ledger")
        await connection.execute("UPDATE spend_ledger SET reason = 'mine' WHERE booked_on < '2026-11-01'")
        assert len(await read_repairs(connection)) > 1
        assert await month_faults(connection)


async def test_nobody_records_under_another_name(books_url: str) -> None:
    async with connected(books_url) as owner, rolled_back(as_server(books_url)) as server:
        await server.execute(CREDIT.format("forged"))
        await server.execute(CORRECTION.format("'2026-11-01'"))
        for table in ("order_credits", "ledger_corrections"):
            author = await server.fetchval(f"SELECT recorded_by FROM {table} WHERE idempotency_key = 'forged'")
            assert author == "adserver_app"
        for table, column in (("closed_months", "closed_by"), ("correction_sets", "recorded_by")):
            assert await owner.fetchval(f"SELECT {column} FROM {table}") == "postgres"


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE spend_ledger SET reason = 'mine' WHERE entry_id = {closed}",
        "UPDATE spend_ledger SET booked_at = booked_at + interval '1 us' WHERE entry_id = {closed}",
        IN_BALANCE.replace("{entry}", "{closed}"),
        "UPDATE ledger_corrections SET recorded_by = 'cfo' WHERE booked_on < '2026-11-01'",
        "UPDATE ledger_corrections SET reason = 'another' WHERE booked_on < '2026-11-01'",
        "UPDATE ledger_corrections SET recorded_at = now() WHERE booked_on < '2026-11-01'",
        "UPDATE closed_months SET closed_by = 'cfo'",
        "UPDATE closed_months SET closed_at = now()",
        "UPDATE month_ends SET held = 0, publisher_held = 1",
        entry("autumn", "2026-10-05"),
    ],
)
async def test_a_closed_month_shows_what_was_done_while_its_guards_were_off(books_url: str, tampering: str) -> None:
    async with rolled_back(books_url) as connection:
        first = await connection.fetchval(FIRST_ENTRY, OCTOBER)
        await unguarded(connection, tampering.format(closed=first))
        assert (await read_guards(connection)).missing == []
        assert await month_faults(connection)


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        (IN_BALANCE.replace("{entry}", "{open}"), "the entries, .* recorded before .* have changed"),
        ("UPDATE ledger_corrections SET recorded_by = 'cfo' WHERE booked_on > '2026-10-31'", "the authors .* changed"),
        ("UPDATE ledger_corrections SET reason = 'mine' WHERE booked_on > '2026-10-31'", "the entries, .* changed"),
        ("UPDATE order_credits SET recorded_by = 'cfo'", "the entries, .* changed"),
        ("DELETE FROM closed_months", "2026-10 is not closed any more"),
        ("DELETE FROM book_repairs", "the recorded repairs have changed"),
        ("UPDATE book_repairs SET repaired_by = 'somebody'", "the recorded repairs have changed"),
    ],
)
async def test_a_receipt_shows_what_was_done_while_the_guards_were_off(
    books_url: str, tampering: str, found: str
) -> None:
    receipt = await receipt_of(books_url)
    async with rolled_back(books_url) as connection:
        first = await connection.fetchval(FIRST_ENTRY, date(2026, 11, 1))
        await unguarded(connection, tampering.format(open=first))
        assert await month_faults(connection) == []
        assert await disagreements(connection) == []
        assert [change for change in await changes(connection, receipt) if matches(found, change)]


async def test_a_month_that_was_emptied_and_closed_again_is_found_by_its_receipt(books_url: str) -> None:
    receipt = await receipt_of(books_url)
    async with rolled_back(books_url) as connection:
        first = await connection.fetchval(FIRST_ENTRY, OCTOBER)
        await unguarded(
            connection, "DELETE FROM closed_months; DELETE FROM month_ends;" + IN_BALANCE.format(entry=first)
        )
        await close_month(connection, OCTOBER)
        assert await month_faults(connection) == []
        assert await disagreements(connection) == []
        assert any(change.startswith("hash of 2026-10 was ") for change in await changes(connection, receipt))


@pytest.mark.parametrize(
    "breakage",
    [
        "DROP TRIGGER entries_are_kept ON spend_ledger",
        "ALTER TABLE spend_ledger DISABLE TRIGGER entries_are_kept",
        "ALTER TABLE spend_ledger_202611 DISABLE TRIGGER entries_are_kept",
        "ALTER TABLE spend_ledger_202611 ENABLE TRIGGER entries_are_not_truncated",
        "DROP TRIGGER entries_are_not_truncated ON spend_ledger_202610",
        "DROP TRIGGER month_is_closed ON spend_ledger_202610",
        "ALTER TABLE spend_ledger ENABLE TRIGGER entries_are_kept",
        "ALTER TABLE closed_months ENABLE REPLICA TRIGGER closings_are_kept",
        "ALTER TABLE ledger_corrections DISABLE TRIGGER ALL",
        "DROP TRIGGER author_is_stamped ON ledger_corrections",
        "ALTER TABLE budget_tracking DROP CONSTRAINT spend_within_budget",
        "ALTER TABLE frequency_caps DROP CONSTRAINT count_within_cap",
        "ALTER TABLE budget_tracking DROP CONSTRAINT spend_within_budget; ALTER TABLE budget_tracking "
        'ADD CONSTRAINT spend_within_budget CHECK (spent + held <= "limit") NOT VALID',
    ],
)
async def test_a_guard_that_is_not_in_force_is_missed(books_url: str, breakage: str) -> None:
    receipt = await receipt_of(books_url)
    async with rolled_back(books_url) as connection:
        await connection.execute(breakage)
        assert (await read_guards(connection)).missing
        if "spend_ledger_2026" not in breakage:
            assert await changes(connection, receipt)


@pytest.mark.parametrize(
    ("breakage", "found"),
    [
        (
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "function public.refuse_change() was changed",
        ),
        (
            "CREATE OR REPLACE FUNCTION adserver_clock() RETURNS timestamptz LANGUAGE sql STABLE RETURN now()",
            "function public.adserver_clock() was changed",
        ),
        (
            "ALTER TABLE budget_tracking DROP CONSTRAINT spend_within_budget; "
            "ALTER TABLE budget_tracking ADD CONSTRAINT spend_within_budget CHECK (spent >= 0)",
            "constraint spend_within_budget on public.budget_tracking was changed",
        ),
        (
            "DROP TRIGGER budget_period_has_one_row ON budget_tracking",
            "trigger budget_period_has_one_row on .* is gone",
        ),
        (
            "CREATE TRIGGER mine BEFORE INSERT ON spend_ledger FOR EACH ROW EXECUTE FUNCTION stamp_author()",
            "trigger mine on public.spend_ledger is new",
        ),
        ("GRANT DELETE ON spend_ledger TO adserver_app", "privileges on public.spend_ledger was changed"),
        ("GRANT UPDATE (amount) ON spend_ledger TO adserver_app", "privileges on public.spend_ledger was changed"),
        ("ALTER TABLE sessions OWNER TO adserver_app", "privileges on public.sessions was changed"),
        ("ALTER ROLE adserver_app SUPERUSER", "role adserver_app was changed"),
        ("GRANT adserver_owner TO adserver_app", "role adserver_app was changed"),
        (
            "CREATE OR REPLACE VIEW finance.book_repairs AS SELECT * FROM public.book_repairs WHERE false",
            "view finance.book_repairs was changed",
        ),
    ],
)
async def test_a_receipt_shows_a_guard_that_was_changed(books_url: str, breakage: str, found: str) -> None:
    receipt = await receipt_of(books_url)
    async with rolled_back(books_url) as connection:
        await connection.execute(breakage)
        assert any(matches(found, change) for change in await changes(connection, receipt))


async def test_impressions_that_were_deleted_are_missed(books_url: str) -> None:
    async with rolled_back(books_url) as connection:
        await connection.execute("DELETE FROM ad_events")
        assert "an ad was charged, and the impression event is missing" in await disagreements(connection)


async def test_every_guard_that_fires_for_everybody_is_required(books_url: str) -> None:
    async with rolled_back(books_url) as connection:
        rows = await connection.fetch(
            "SELECT 'public.' || tgrelid::regclass AS table, array_agg(tgname::text ORDER BY tgname) AS names "
            "FROM pg_trigger WHERE tgenabled = 'A' AND NOT tgrelid::regclass::text ~ '_20[0-9]+$' GROUP BY 1"
        )
    assert {row["table"]: tuple(row["names"]) for row in rows} == {
        table: tuple(sorted(names)) for table, names in REQUIRED_TRIGGERS.items()
    }
    assert "constraint spend_within_budget on public.budget_tracking" in REQUIRED_GUARDS


def matches(pattern: str, text: str) -> bool:
    escaped = pattern.replace("(", r"\(").replace(")", r"\)")
    return re.fullmatch(f"{escaped}.*", text) is not None
