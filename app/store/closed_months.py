"""closed_months: what a month's entries were, and that none can be added."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from asyncpg import Connection, Record

LOCK_CLOSING_EXCLUSIVE = "LOCK TABLE ledger_corrections IN SHARE ROW EXCLUSIVE MODE"
"""Waits until no correction or closing is under way, and makes the next ones wait for this transaction.

Not an advisory lock, which everybody who may read could take and keep."""

LOCK_CLOSING_SHARED = "LOCK TABLE ledger_corrections IN ROW EXCLUSIVE MODE"
"""Waits for a month that is being closed; no other is before this transaction ends."""

READ_MONTH_STATUS = """
SELECT $1::date::timestamp AT TIME ZONE 'UTC' AS begins, ends, adserver_clock() >= ends + interval '2 minutes' AS over,
       (SELECT count(*) FROM holds WHERE served_on < ends AT TIME ZONE 'UTC') AS open_holds,
       (SELECT max(month) FROM closed_months) AS last_closed,
       (SELECT min(booked_at) FROM spend_ledger WHERE booked_at < $1::date::timestamp AT TIME ZONE 'UTC'
            AND booked_at >= coalesce((SELECT max(month) + interval '1 month' FROM closed_months), '-infinity')
                AT TIME ZONE 'UTC') AS earlier_entry
FROM (SELECT ($1::date + interval '1 month') AT TIME ZONE 'UTC' AS ends) AS month
"""
"""What stands against closing a month. It is over when no transaction can still carry its date, see maintenance."""

READ_CLOSED_MONTHS = (
    "SELECT month, closed_at, closed_by, entries, previous_hash, hash FROM closed_months ORDER BY month"
)
"""Every closed month."""

MAKE_PARTITION_FOR_MONTH = "SELECT make_ledger_partition($1)"
"""Makes the month's partition if it had no entry."""

FIND_OPEN_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'spend_ledger'::regclass AND c.relname ~ '_[0-9]{6}$'
    AND right(c.relname, 6) <= to_char($1::date, 'YYYYMM')
    AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'month_is_closed')
ORDER BY c.relname
"""
"""The month's partition, and those of months before it that had no entry and were not closed themselves."""

REFUSE_ENTRIES = """
CREATE TRIGGER month_is_closed BEFORE INSERT OR UPDATE OR DELETE ON {partition}
FOR EACH ROW EXECUTE FUNCTION refuse_closed_month('closed')
"""
"""Waits for whoever is booking in the month, and lets nobody else, from then on; readers go on."""

HASH_CHUNK = """
SELECT count(*) AS entries, max(entry_id) AS last_entry, sha256(convert_to(coalesce(string_agg(jsonb_build_array(
    entry_id, extract(epoch FROM booked_at), kind, campaign_id, request_key, slot, amount, currency,
    extract(epoch FROM hour_start), extract(epoch FROM day_start), reason)::text, E'\\n' ORDER BY entry_id), ''),
    'UTF8')) AS digest
FROM (
    SELECT * FROM spend_ledger WHERE booked_at >= $1 AND booked_at < $2 AND entry_id > $3 ORDER BY entry_id LIMIT $4
) AS block
"""
"""The hash of the next so many entries of a month, in the order of their ids, each as a JSON array of its columns."""

COUNT_ENTRIES = "SELECT count(*) FROM spend_ledger WHERE booked_at >= $1 AND booked_at < $2"
"""How many entries a month has: what progress is measured by."""

CLOSE_MONTH = """
INSERT INTO closed_months (month, closed_at, closed_by, entries, previous_hash, hash)
VALUES ($1, adserver_clock(), session_user, $2, $3, $4)
"""
"""Keeps what the month was."""


@dataclass(frozen=True, slots=True)
class MonthStatus:
    """What stands against closing a month."""

    begins: datetime
    ends: datetime
    over: bool
    open_holds: int
    last_closed: date | None
    earlier_entry: datetime | None
    """The first entry before the month that is in none that is closed."""


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """A month that takes no entry any more."""

    month: date
    closed_at: datetime
    closed_by: str
    entries: int
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class HashedChunk:
    """Some entries of a month, and their hash."""

    entries: int
    last_entry: int | None
    digest: bytes


async def lock_closing_exclusive(connection: "Connection[Record]") -> None:
    """From here to the end of the transaction nobody else closes a month, or corrects the ledger at whatever date."""
    await connection.execute(LOCK_CLOSING_EXCLUSIVE)


async def lock_closing_shared(connection: "Connection[Record]") -> None:
    """From here to the end of the transaction no month is closed."""
    await connection.execute(LOCK_CLOSING_SHARED)


async def read_month_status(connection: "Connection[Record]", month: date) -> MonthStatus:
    """What the database says about closing this month."""
    row = await connection.fetchrow(READ_MONTH_STATUS, month)
    if row is None:
        raise AssertionError("the query returns one row")
    return MonthStatus(**row)


async def read_closed_months(connection: "Connection[Record]") -> Sequence[ClosedMonth]:
    """Every closed month, the first one first."""
    return [ClosedMonth(**row) for row in await connection.fetch(READ_CLOSED_MONTHS)]


async def refuse_entries(connection: "Connection[Record]", month: date) -> None:
    """Lets no entry into the month, nor before it, once this transaction is committed. Only the owner may."""
    await connection.execute(MAKE_PARTITION_FOR_MONTH, month)
    for row in await connection.fetch(FIND_OPEN_PARTITIONS, month):
        await connection.execute(REFUSE_ENTRIES.format(partition=row["relname"]))


async def count_entries(connection: "Connection[Record]", begins: datetime, ends: datetime) -> int:
    """The number of entries between."""
    entries: int = await connection.fetchval(COUNT_ENTRIES, begins, ends)
    return entries


async def hash_chunk(
    connection: "Connection[Record]", begins: datetime, ends: datetime, after_entry: int, limit: int
) -> HashedChunk:
    """The next entries after that one."""
    row = await connection.fetchrow(HASH_CHUNK, begins, ends, after_entry, limit)
    if row is None:
        raise AssertionError("an aggregate returns one row")
    return HashedChunk(**row)


async def close_month(
    connection: "Connection[Record]", month: date, entries: int, previous_hash: bytes, month_hash: bytes
) -> None:
    """Keeps the month's hash."""
    await connection.execute(CLOSE_MONTH, month, entries, previous_hash, month_hash)
