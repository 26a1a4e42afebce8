"""Invoices and credit notes: each entry in one of them, rounded once, numbered without holes, never changed."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.accounting.corrections import Adjustment, Reversal, adjust, reverse
from app.accounting.invoices import make_invoices, minor_units, round_total
from app.accounting.month_close import close_month
from app.errors import InvalidEntry
from app.store.connections import Store
from app.store.invoices import Invoice, read_invoices
from tests.integration.accounting.invoice_world import (
    NOVEMBER,
    OCTOBER,
    SEPTEMBER,
    at,
    september_closed,
    set_up,
    shown,
)
from tests.integration.accounting.world import connected, disagreements, serve_many
from tests.launched import adserver

SUMS = """
SELECT date_trunc('month', booked_on)::date AS month, advertiser_id, order_id, currency, sum(amount) AS amount
FROM spend_ledger GROUP BY 1, 2, 3, 4 HAVING bool_or(amount <> 0) ORDER BY 1, 2, 3, 4
"""
INVOICED = """
SELECT month, advertiser_id, order_id, currency, sum(total_exact) AS amount
FROM finance.invoices GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""
ENTRIES = "SELECT entry_id FROM spend_ledger WHERE campaign_id = $1 AND kind = $2 ORDER BY entry_id"
ALL_OF = "SELECT i.*, d.* FROM invoices i JOIN invoice_details d USING (number) ORDER BY i.number, d.position"

BLOCK_DETAILS = "LOCK TABLE invoice_details IN ACCESS EXCLUSIVE MODE"
"""Stops the making of invoices after it has taken the first number."""
END_BLOCKED_SESSION = """
SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = 'invoice_details'::regclass
"""


async def all_wait(connection: "Connection[Record]", *tasks: "asyncio.Task[int]") -> None:
    """Returns when each of the tasks waits for a lock; fails if one of them ends instead."""
    while await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < len(tasks):
        assert not any(task.done() for task in tasks)


@pytest.fixture
async def books(store: Store, database: str) -> AsyncIterator["Connection[Record]"]:
    async with september_closed(store, database) as connection:
        yield connection


def figures(invoice: Invoice) -> tuple[object, ...]:
    return (
        invoice.number,
        invoice.kind,
        invoice.advertiser_id,
        invoice.order_id,
        f"{invoice.total_exact:f}",
        f"{invoice.total:f} {invoice.currency}",
    )


async def test_an_order_has_one_invoice_and_the_other_campaigns_one_for_each_currency(
    books: "Connection[Record]", database: str
) -> None:
    made = (await make_invoices(books, SEPTEMBER)).made
    assert [figures(invoice) for invoice in made] == [
        (1, "invoice", "acme", None, "0.030000", "0.03 USD"),
        (2, "invoice", "acme", "o1", "0.014005", "0.01 USD"),
        (3, "invoice", "bella", None, "1.500000", "2 JPY"),
        (4, "invoice", "bella", None, "0.000500", "0.001 KWD"),
    ]
    assert [dict(row) for row in await books.fetch(SUMS)] == [dict(row) for row in await books.fetch(INVOICED)]
    order = await shown(books, 2)
    assert [(line.campaign_id, line.cpm, line.impressions, line.amount) for line in order.details] == [
        ("spring", Decimal("1.001"), 5, Decimal("0.005005")),
        ("summer", Decimal("2.250"), 4, Decimal("0.009000")),
    ]
    assert (order.invoice.purchase_order, order.invoice.billing_details) == ("PO 7", "1 Main Street\nSpringfield")
    assert (order.invoice.rounding, order.invoice.made_by) == (Decimal("-0.004005"), "postgres")
    assert await disagreements(database) == []


@pytest.mark.parametrize(
    ("exact", "currency", "total"),
    [
        ("0.005000", "USD", "0.01"),
        ("0.004999", "USD", "0.00"),
        ("-0.005000", "USD", "-0.01"),
        ("2.675000", "USD", "2.68"),
        ("0.500000", "JPY", "1"),
        ("1.500000", "JPY", "2"),
        ("0.000500", "KWD", "0.001"),
        ("0.000050", "CLF", "0.0001"),
        ("0.123456", "XAU", "0.123456"),
    ],
)
async def test_python_and_the_database_round_alike(
    books: "Connection[Record]", exact: str, currency: str, total: str
) -> None:
    rounded = round_total(Decimal(exact), minor_units(currency))
    assert f"{rounded:f}" == total
    assert await books.fetchval("SELECT round($1::numeric, $2)", Decimal(exact), minor_units(currency)) == rounded


async def test_making_again_makes_only_what_is_missing(books: "Connection[Record]") -> None:
    first = await make_invoices(books, SEPTEMBER, "o1")
    rest = await make_invoices(books, SEPTEMBER)
    again = await make_invoices(books, SEPTEMBER)
    assert [len(result.made) for result in (first, rest, again)] == [1, 3, 0]
    assert [result.made_before for result in (first, rest, again)] == [0, 1, 4]
    assert [invoice.number for invoice in await read_invoices(books, limit=9)] == [1, 2, 3, 4]


async def test_the_servers_role_makes_invoices_too_and_cannot_sign_for_another(
    books: "Connection[Record]", app_database: str
) -> None:
    async with connected(app_database) as app:
        await make_invoices(app, SEPTEMBER, "o1")
        await app.execute(
            "INSERT INTO invoices (number, kind, month, advertiser_id, advertiser_name, currency, minor_units, "
            "total_exact, total, made_at, made_by) VALUES (77, 'invoice', $1, 'x', 'X', 'USD', 2, 0, 0, now(), 'cfo')",
            SEPTEMBER,
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute("UPDATE invoice_counter SET last_number = 5")
    assert [tuple(row) for row in await books.fetch("SELECT number, made_by FROM invoices ORDER BY 1")] == [
        (1, "adserver_app"),
        (2, "adserver_app"),
    ]


async def test_many_that_make_at_once_make_each_invoice_once_and_a_crash_leaves_no_hole(
    books: "Connection[Record]", database: str
) -> None:
    async def make() -> int:
        async with connected(database) as connection:
            return len((await make_invoices(connection, SEPTEMBER)).made)

    async with books.transaction():
        await books.execute(BLOCK_DETAILS)
        crashing = asyncio.create_task(make())
        await all_wait(books, crashing)
        waiting = [asyncio.create_task(make()) for _ in range(4)]
        await all_wait(books, crashing, *waiting)
        assert await books.fetchval(END_BLOCKED_SESSION)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await crashing
    assert sorted(await asyncio.gather(*waiting)) == [0, 0, 0, 4]
    assert [invoice.number for invoice in await read_invoices(books, limit=9)] == [1, 2, 3, 4]
    assert await disagreements(database) == []


@pytest.mark.parametrize("table", ["invoices", "invoice_details"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET number = number", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_not_even_a_superuser_changes_an_invoice(
    books: "Connection[Record]", table: str, statement: str, role: str
) -> None:
    await make_invoices(books, SEPTEMBER)
    before = await books.fetch(ALL_OF)
    await books.execute(f"SET session_replication_role = {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="invoices are never changed or removed"):
        await books.execute(statement.format(table))
    assert await books.fetch(ALL_OF) == before


async def test_nobody_adds_a_line_to_an_invoice_that_was_made(books: "Connection[Record]") -> None:
    await make_invoices(books, SEPTEMBER)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="invoice 1 was already made"):
        await books.execute(
            "INSERT INTO invoice_details (number, position, kind, campaign_id, cpm, impressions, reversed, amount) "
            "VALUES (1, 9, 'ads', 'plain', 10, 1, 1, 0)"
        )


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("total_is_rounded_once", "'invoice', '2026-09-01', 2, 0.006, 0.00"),
        ("a_credit_note_is_negative", "'invoice', '2026-09-01', 2, -1, -1"),
        ("invoiced_month_is_closed", "'invoice', '2026-10-01', 2, 1, 1"),
        ("invoice_is_for_a_month", "'invoice', '2026-08-02', 2, 1, 1"),
    ],
)
async def test_the_database_refuses_an_invoice_that_breaks_a_rule(
    books: "Connection[Record]", rule: str, values: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await books.execute(
            "INSERT INTO invoices (kind, month, minor_units, total_exact, total, advertiser_id, advertiser_name, "
            f"currency) VALUES ({values}, 'x', 'X', 'USD')"
        )
    assert refused.value.constraint_name == rule


async def test_corrections_are_in_the_month_in_which_they_are_booked(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    await make_invoices(books, SEPTEMBER)
    september = [row[0] for row in await books.fetch(ENTRIES, "plain", "charge")]
    await serve_many(store, "plain", 2)
    october = [row[0] for row in await books.fetch(ENTRIES, "plain", "charge")][len(september) :]
    for entry in (september[0], september[1], october[0]):
        await reverse(books, Reversal(entry, "a monitor", f"k{entry}"))
    adjusted = await adjust(books, Adjustment("plain", Decimal("0.02"), "set-up fee", "fee"))
    await at(store, database, "2026-11-02 12:00Z")
    await close_month(books, OCTOBER)
    assert (await make_invoices(books, SEPTEMBER)).made == []
    invoice, credit_note = (await make_invoices(books, OCTOBER)).made
    assert figures(invoice) == (5, "invoice", "acme", None, "0.030000", "0.03 USD")
    assert figures(credit_note) == (6, "credit_note", "acme", None, "-0.020000", "-0.02 USD")
    assert (invoice.corrects, credit_note.corrects) == (None, 1)
    lines = (await shown(books, 5)).details
    assert [(line.kind, line.impressions, line.reversed, line.billable, line.amount) for line in lines] == [
        ("ads", 2, 1, 1, Decimal("0.01")),
        ("adjustment", None, None, None, Decimal("0.02")),
    ]
    assert (lines[1].entry_id, lines[1].reason) == (adjusted.entry_id, "set-up fee")
    (line,) = (await shown(books, 6)).details
    assert (line.impressions, line.reversed, line.billable, line.amount) == (0, 2, -2, Decimal("-0.02"))
    await reverse(books, Reversal(adjusted.entry_id, "no fee", "no-fee"))
    await at(store, database, "2026-12-02 12:00Z")
    await close_month(books, NOVEMBER)
    (second,) = (await make_invoices(books, NOVEMBER)).made
    assert (second.kind, second.corrects, second.total) == ("credit_note", 5, Decimal("-0.02"))
    assert [dict(row) for row in await books.fetch(SUMS)] == [dict(row) for row in await books.fetch(INVOICED)]
    assert await disagreements(database) == []


async def test_a_credit_note_needs_the_invoice_that_it_corrects(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    (entry, *_) = [row[0] for row in await books.fetch(ENTRIES, "plain", "charge")]
    await reverse(books, Reversal(entry, "a monitor", "k1"))
    await at(store, database, "2026-11-02 12:00Z")
    await close_month(books, OCTOBER)
    with pytest.raises(InvalidEntry, match="month: 2026-09 must be invoiced first, because 2026-10 reverses"):
        await make_invoices(books, OCTOBER)
    assert await books.fetchval("SELECT last_number FROM invoice_counter") == 0


async def test_a_new_name_is_in_later_invoices_only(books: "Connection[Record]", store: Store, database: str) -> None:
    await make_invoices(books, SEPTEMBER)
    await set_up(store, acme="Acme Global")
    await serve_many(store, "plain", 1)
    await at(store, database, "2026-11-02 12:00Z")
    await close_month(books, OCTOBER)
    await make_invoices(books, OCTOBER)
    named = await books.fetch(
        "SELECT month, advertiser FROM finance.invoices WHERE advertiser_id = 'acme' ORDER BY number"
    )
    assert [tuple(row) for row in named] == [
        (SEPTEMBER, "Acme Inc"),
        (SEPTEMBER, "Acme Inc"),
        (OCTOBER, "Acme Global"),
    ]


async def test_what_cannot_be_invoiced_is_one_line_and_makes_nothing(
    books: "Connection[Record]", database: str, finance_database: str
) -> None:
    await books.execute("INSERT INTO orders (id, advertiser_id, currency) VALUES ('empty', 'bella', 'EUR')")
    for line, *arguments in [
        ("month: 2026-10 is not closed; close it first: adserver books close 2026-10", "make", "2026-10"),
        ("month: must have the form 2026-10, got '2026-9-1'", "make", "2026-9-1"),
        ("order: unknown order 'o9'", "make", "2026-09", "--order", "o9"),
        ("order: order 'empty' has nothing to invoice in 2026-09", "make", "2026-09", "--order", "empty"),
        ("number: unknown invoice 1", "show", "1"),
        ("number: unknown invoice 9223372036854775808", "show", "9223372036854775808"),
    ]:
        refused = await asyncio.to_thread(adserver, "invoices", *arguments, DATABASE_URL=database)
        assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"adserver: {line}\n")
    assert await read_invoices(books, limit=9) == []
    made = await asyncio.to_thread(adserver, "invoices", "make", "2026-09", "--order", "o1", DATABASE_URL=database)
    assert made.stdout == (
        "made invoice 1: 2026-09, advertiser acme, order o1, 0.01 USD\n2026-09: 1 made, 0 made before\n"
    )
    listed = await asyncio.to_thread(adserver, "invoices", "list", DATABASE_URL=finance_database)
    assert listed.stdout == "invoice 1: 2026-09, advertiser acme, order o1, 0.01 USD\n"
    printed = await asyncio.to_thread(adserver, "invoices", "show", "1", DATABASE_URL=finance_database)
    assert "Purchase order: PO 7\n" in printed.stdout
    assert "No tax is included." in printed.stdout


async def test_invoices_that_differ_from_the_ledger_are_found(books: "Connection[Record]", database: str) -> None:
    await make_invoices(books, SEPTEMBER)
    await books.execute("ALTER TABLE invoices DISABLE TRIGGER invoices_are_kept")
    for change in (
        "UPDATE invoices SET total_exact = 1, total = 1 WHERE number = 1",
        "UPDATE invoices SET number = 99 WHERE number = 4",
    ):
        await books.execute("BEGIN; SET LOCAL session_replication_role = replica")
        await books.execute(change)
        await books.execute("COMMIT")
    assert sorted((found.rule, found.subject) for found in await disagreements(database)) == [
        ("invoice", "advertiser acme, 2026-09, USD"),
        ("invoice", "invoice 1"),
        ("invoice", "invoice 99"),
        ("invoice", "invoice numbers"),
    ]


async def test_ads_are_served_while_invoices_are_made(books: "Connection[Record]", store: Store, database: str) -> None:
    async def make() -> int:
        async with connected(database) as connection:
            return len((await make_invoices(connection, SEPTEMBER)).made)

    async with books.transaction():
        await books.execute(BLOCK_DETAILS)
        making = asyncio.create_task(make())
        await all_wait(books, making)
        async with asyncio.timeout(20):
            await serve_many(store, "plain", 1)
    assert await making == 4
