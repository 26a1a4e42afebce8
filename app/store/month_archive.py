"""archived_months, opening_balances and archived_charges: take a closed month out of the ledger."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from asyncpg import Connection, Record
from asyncpg.exceptions import LockNotAvailableError

from app.store.tables.accounting import spend_ledger

READ_MONTH_ENTRIES = "SELECT * FROM spend_ledger WHERE booked_on >= $1 AND booked_on < $2 ORDER BY entry_id"
"""Read the entries of a month, in the order of their ids."""

READ_ARCHIVED_MONTH = """
SELECT month, archived_at, archived_by, entries, manifest_hash FROM archived_months WHERE month = $1
"""
"""Read the record of an archived month."""

FIND_UNSUMMED_ENTRY = """
SELECT EXISTS (SELECT FROM spend_ledger WHERE booked_on >= $1 AND booked_on < $2
                   AND booked_at >= (SELECT least(b.rolled_up_to, d.rolled_up_to) FROM books_state b, delivery_state d))
"""
"""Check whether a month has an entry that spend_daily or delivery_hourly does not include."""

ADD_OPENING_BALANCES = """
INSERT INTO opening_balances (month, campaign_id, order_id, period, period_start, amount, ads)
SELECT $1, p.campaign_id, p.order_id, p.period, p.period_start, sum(e.amount), sum(e.ads)
FROM (
    SELECT campaign_id, order_id, hour_start, day_start, sum(amount) AS amount,
           count(*) FILTER (WHERE kind IN ('charge', 'settle')) AS ads
    FROM spend_ledger WHERE booked_on >= $1 AND booked_on < $2
    GROUP BY campaign_id, order_id, hour_start, day_start
) AS e
CROSS JOIN LATERAL (VALUES
    (e.campaign_id, NULL, 'hour', e.hour_start), (e.campaign_id, NULL, 'day', e.day_start),
    (e.campaign_id, NULL, 'lifetime', to_timestamp(0)), (NULL, e.order_id, 'lifetime', to_timestamp(0))
) AS p (campaign_id, order_id, period, period_start)
WHERE num_nonnulls(p.campaign_id, p.order_id) = 1 AND (
    p.period = 'lifetime'
    OR EXISTS (SELECT FROM budget_archive a
               WHERE a.campaign_id = p.campaign_id AND a.period = p.period AND a.period_start = p.period_start)
    OR EXISTS (SELECT FROM budget_periods b
               WHERE b.budget_id = p.campaign_id AND b.period = p.period AND b.period_start = p.period_start))
GROUP BY p.campaign_id, p.order_id, p.period, p.period_start
"""
"""Sum up the entries of a month for every counter in which they count."""

STORE_ARCHIVED_CHARGES = """
INSERT INTO archived_charges (request_key, slot, campaign_id, currency, amount, kind, booked_at)
SELECT request_key, slot, campaign_id, currency, amount, kind, booked_at
FROM spend_ledger
WHERE booked_on >= $1 AND booked_on < $2 AND kind IN ('charge', 'settle')
    AND (booked_at AT TIME ZONE 'UTC')::date >= coalesce(
        (SELECT dropped_before FROM retention WHERE parent = 'ad_serves'), '-infinity')
"""
"""Keep the charges of a month whose serves may still exist, so that reconciliation can match the two."""

RECORD_ARCHIVED_MONTH = """
INSERT INTO archived_months (month, archived_at, archived_by, entries, manifest_hash, daily_hash)
SELECT $1, adserver_clock(), session_user, $3, $4, sha256(convert_to(coalesce(string_agg(jsonb_build_array(
    booked_on, recorded_on, order_id, advertiser_id, advertiser_name, campaign_id, publisher_id, publisher_name,
    currency, kind, amount, publisher_amount, entries, ads)::text, E'\\n' ORDER BY jsonb_build_array(
    booked_on, recorded_on, order_id, advertiser_id, advertiser_name, campaign_id, publisher_id, publisher_name,
    currency, kind)::text COLLATE "C"), ''), 'UTF8'))
FROM spend_daily WHERE booked_on >= $1 AND booked_on < $2
"""
"""Record a month as archived, with the hash of its manifest and of its daily sums, as finance.reconciliation has it."""

DETACH_PARTITION = "ALTER TABLE spend_ledger DETACH PARTITION {partition}"
"""Detach a month from the ledger. Beside a default partition Postgres does not support DETACH CONCURRENTLY."""

DESCRIBE_DETACHED_TABLE = (
    "COMMENT ON TABLE {partition} IS 'Entries of an archived month; no longer a part of the ledger'"
)
"""Describe the table that a detached partition becomes."""

FIND_DETACHED_TABLE = """
SELECT EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass('public.' || $1) AND NOT c.relispartition)
"""
"""Check whether a detached partition still exists."""

DROP_DETACHED_TABLE = "DROP TABLE {partition}"
"""Drop the table of a detached month."""

LIMIT_LOCK_WAIT = "SET LOCAL lock_timeout = '200ms'"
"""Limit the wait for the lock on the ledger: ads that need the ledger wait behind it."""

FETCH_ENTRIES = 10_000
"""Entries per round trip."""


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """A month whose entries are in an archive."""

    month: date
    archived_at: datetime
    archived_by: str
    entries: int
    manifest_hash: bytes


def partition_name(month: date) -> str:
    """Return the name of the ledger's partition of a month."""
    return f"spend_ledger_{month:%Y%m}"


async def read_entries(connection: "Connection[Record]", begins: date, ends: date) -> AsyncIterator[Record]:
    """Yield the entries from the first day until before the second one; needs an open transaction."""
    async for row in connection.cursor(READ_MONTH_ENTRIES, begins, ends, prefetch=FETCH_ENTRIES):
        yield row


async def read_archived_month(connection: "Connection[Record]", month: date) -> ArchivedMonth | None:
    """Return the record of an archived month; None if the month is not archived."""
    row = await connection.fetchrow(READ_ARCHIVED_MONTH, month)
    return None if row is None else ArchivedMonth(**row)


async def has_unsummed_entries(connection: "Connection[Record]", begins: date, ends: date) -> bool:
    """Return whether the month has an entry that the daily sums do not include yet."""
    unsummed: bool = await connection.fetchval(FIND_UNSUMMED_ENTRY, begins, ends)
    return unsummed


async def record_archive(
    connection: "Connection[Record]", begins: date, ends: date, entries: int, manifest_hash: bytes
) -> None:
    """Record the month as archived, with all that reconciliation needs once its entries are gone."""
    await connection.execute(ADD_OPENING_BALANCES, begins, ends)
    await connection.execute(STORE_ARCHIVED_CHARGES, begins, ends)
    await connection.execute(RECORD_ARCHIVED_MONTH, begins, ends, entries, manifest_hash)


async def detach_partition(connection: "Connection[Record]", month: date) -> bool:
    """Detach the partition of a month; return False if a query holds the ledger. Needs an open transaction."""
    partition = partition_name(month)
    try:
        async with connection.transaction():
            await connection.execute(LIMIT_LOCK_WAIT)
            await connection.execute(DETACH_PARTITION.format(partition=partition))
    except LockNotAvailableError:
        return False
    await connection.execute(DESCRIBE_DETACHED_TABLE.format(partition=partition))
    return True


async def drop_detached_table(connection: "Connection[Record]", month: date) -> bool:
    """Drop the table of a detached month; return whether it existed."""
    partition = partition_name(month)
    if not await connection.fetchval(FIND_DETACHED_TABLE, partition):
        return False
    await connection.execute(DROP_DETACHED_TABLE.format(partition=partition))
    return True


def ledger_columns() -> Sequence[tuple[str, str]]:
    """Return the name and the kind of type of each column of the ledger, such as `Numeric`."""
    return [(column.name, type(column.type).__name__) for column in spend_ledger.columns]
