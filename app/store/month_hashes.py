"""The lines that the hash of a month covers: its entries, its corrections, its figures and its closing.

Only what the finance role may read, so that it can compute every hash itself; docs/finance.md has the formula.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from hashlib import sha256

from asyncpg import Connection, Record

CHUNK_LINES = 10_000
"""Lines that are hashed at a time; it is part of the formula."""

FIX_TEXT_FORMATS = """
SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true)
"""
"""Make the text of dates and times independent of the session, until the transaction ends."""

ENTRY_COLUMNS = (
    "entry_id, booked_at, booked_on, late_from, kind, order_id, advertiser_id, advertiser_name, campaign_id, "
    "creative_id, upstream_id, publisher_id, publisher_name, placement_id, request_key, slot, amount, "
    "publisher_amount, house_amount, currency, hour_start, day_start, reason"
)
"""All columns of the ledger, in the order in which they are hashed."""

HASH_ENTRIES = f"""
WITH chunk AS (
    SELECT entry_id, ROW({ENTRY_COLUMNS})::text AS line FROM public.spend_ledger
    WHERE booked_on >= $1 AND booked_on < $2 AND entry_id > $3 AND ($4::text IS NULL OR booked_at < $4::timestamptz)
    ORDER BY entry_id LIMIT {CHUNK_LINES}
)
SELECT count(*) AS lines, max(entry_id) AS last_entry,
       sha256(convert_to(string_agg(line, E'\\n' ORDER BY entry_id), 'UTF8')) AS digest
FROM chunk
"""
"""Hash the next entries of the days from $1 until before $2 in the order of their ids; only those booked before $4."""

READ_CORRECTION_LINES = """
SELECT ROW(entry_id, booked_on, recorded_at, recorded_by, k.kind, k.campaign_id, k.amount, k.currency, k.reason,
           reverses, idempotency_key)::text
FROM finance.corrections k JOIN public.spend_ledger l USING (entry_id, booked_on)
WHERE booked_on >= $1 AND booked_on < $2 AND ($3::text IS NULL OR l.booked_at < $3::timestamptz)
ORDER BY entry_id
"""
"""Read the corrections of the days from $1 until before $2, with reason and author; only those booked before $3."""

READ_PAYMENT_LINES = """
SELECT line FROM (
    SELECT recorded_at,
           ROW('credit', order_id, amount, currency, reason, recorded_at, recorded_by, idempotency_key)::text
    FROM finance.order_credits
    UNION ALL
    SELECT recorded_at, ROW('payout', publisher_id, amount, currency, recorded_at, recorded_by, idempotency_key)::text
    FROM finance.payouts
) AS payments (recorded_at, line)
WHERE recorded_at < $1::text::timestamptz ORDER BY recorded_at, line COLLATE "C"
"""
"""Read the credits of orders and the payouts to publishers that were recorded before a moment."""

READ_FIGURE_LINES = """
SELECT ROW(advertiser_id, advertiser, order_id, publisher_id, publisher, currency, charged, corrected, publisher_amount,
           released, held, publisher_held)::text
FROM finance.month_end($1) WHERE closed
ORDER BY advertiser_id COLLATE "C", order_id COLLATE "C", publisher_id COLLATE "C", currency COLLATE "C"
"""
"""Read the figures that were kept when a month was closed."""

READ_CLOSING_LINE = """
SELECT ROW(month, closed_at, closed_by, entries)::text FROM finance.closed_months WHERE month = $1
"""
"""Read when a month was closed, by whom, and with how many entries."""

READ_NEXT_CLOSING_LINE = "SELECT ROW($1::date, adserver_clock(), session_user::text, $2::bigint)::text"
"""Read the line of `READ_CLOSING_LINE` of a month that is being closed by this transaction."""

COUNT_ENTRIES = "SELECT count(*) FROM public.spend_ledger WHERE booked_on >= $1 AND booked_on < $2"
"""Count the entries of some days, to show the progress of hashing."""


@dataclass(frozen=True, slots=True)
class HashedChunk:
    """Consecutive lines, with their SHA-256."""

    lines: int
    digest: bytes


async def fix_text_formats(connection: "Connection[Record]") -> None:
    """Make the text of dates and times independent of the session, until the transaction ends."""
    await connection.execute(FIX_TEXT_FORMATS)


async def count_entries(connection: "Connection[Record]", begins: date, ends: date) -> int:
    """Return the number of entries from the first day until before the second one."""
    entries: int = await connection.fetchval(COUNT_ENTRIES, begins, ends)
    return entries


async def hash_entries(
    connection: "Connection[Record]", begins: date, ends: date, booked_before: str | None = None
) -> AsyncIterator[HashedChunk]:
    """Yield the chunks of the entries of these days; Postgres hashes them."""
    last_entry = 0
    while True:
        row = await connection.fetchrow(HASH_ENTRIES, begins, ends, last_entry, booked_before)
        if row is None or row["last_entry"] is None:
            return
        yield HashedChunk(row["lines"], row["digest"])
        last_entry = row["last_entry"]


def hash_corrections(
    connection: "Connection[Record]", begins: date, ends: date, booked_before: str | None = None
) -> AsyncIterator[HashedChunk]:
    """Return the chunks of the corrections of these days."""
    return _hash_rows(connection, READ_CORRECTION_LINES, begins, ends, booked_before)


def hash_payments(connection: "Connection[Record]", recorded_before: str) -> AsyncIterator[HashedChunk]:
    """Return the chunks of the credits and payouts that were recorded before a moment."""
    return _hash_rows(connection, READ_PAYMENT_LINES, recorded_before)


def hash_figures(connection: "Connection[Record]", month: date) -> AsyncIterator[HashedChunk]:
    """Return the chunks of the figures of a closed month."""
    return _hash_rows(connection, READ_FIGURE_LINES, month)


async def hash_closing(connection: "Connection[Record]", month: date) -> HashedChunk:
    """Hash who closed a month, and when."""
    return _hash_lines([await connection.fetchval(READ_CLOSING_LINE, month)])


async def hash_next_closing(connection: "Connection[Record]", month: date, entries: int) -> HashedChunk:
    """Hash who is closing a month in this transaction, and when."""
    return _hash_lines([await connection.fetchval(READ_NEXT_CLOSING_LINE, month, entries)])


async def _hash_rows(connection: "Connection[Record]", query: str, *values: object) -> AsyncIterator[HashedChunk]:
    """Yield the chunks of the lines that a query returns."""
    cursor = await connection.cursor(query, *values)
    while rows := await cursor.fetch(CHUNK_LINES):
        yield _hash_lines([row[0] for row in rows])


def _hash_lines(lines: list[str]) -> HashedChunk:
    return HashedChunk(len(lines), sha256("\n".join(lines).encode()).digest())
