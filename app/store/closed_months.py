"""closed_months: close months of the ledger, so that no entry can be added, and keep a hash of their entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from asyncpg import Connection, Record

LOCK_CLOSING_EXCLUSIVE = "LOCK TABLE ledger_corrections IN SHARE ROW EXCLUSIVE MODE"
"""Take the closing lock exclusively: wait for running corrections and closings, and block new ones until commit.

It is not an advisory lock, because any role that may read could take and keep one."""

LOCK_CLOSING_SHARED = "LOCK TABLE ledger_corrections IN ROW EXCLUSIVE MODE"
"""Take the closing lock in shared mode: wait for a running closing, and block new ones until commit."""

READ_MONTH_STATUS = """
SELECT ends,
       (SELECT timezone FROM (
            SELECT timezone FROM campaigns UNION SELECT 'UTC' WHERE NOT EXISTS (SELECT FROM campaigns)
        ) AS calendars
        WHERE adserver_clock() < ends::timestamp AT TIME ZONE timezone + interval '2 minutes'
        ORDER BY ends::timestamp AT TIME ZONE timezone DESC LIMIT 1) AS lasts_in,
       (SELECT count(*) FROM holds WHERE booked_on < ends) AS open_holds,
       (SELECT max(month) FROM closed_months) AS last_closed,
       (SELECT min(booked_on) FROM spend_ledger WHERE booked_on < $1
            AND booked_on >= coalesce((SELECT max(month) + interval '1 month' FROM closed_months), '-infinity')
       ) AS earlier_entry
FROM (SELECT ($1::date + interval '1 month')::date AS ends) AS month
"""
"""Read the facts that decide whether a month may be closed.

It lasts in a timezone until two minutes after its end, when no running transaction can still book an entry in it."""

READ_CLOSED_MONTHS = (
    "SELECT month, closed_at, closed_by, entries, previous_hash, hash FROM closed_months ORDER BY month"
)
"""Read all closed months in order."""

MAKE_PARTITION_FOR_MONTH = "SELECT make_ledger_partition($1)"
"""Create the month's partition of the ledger if it is missing."""

FIND_OPEN_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'spend_ledger'::regclass AND c.relname ~ '_[0-9]{6}$'
    AND right(c.relname, 6) <= to_char($1::date, 'YYYYMM')
    AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'month_is_closed')
ORDER BY c.relname
"""
"""Find the partitions of the month and of the earlier months that have no trigger against new entries."""

REFUSE_ENTRIES = """
CREATE TRIGGER month_is_closed BEFORE INSERT OR UPDATE OR DELETE ON {partition}
FOR EACH ROW EXECUTE FUNCTION refuse_closed_month('closed')
"""
"""Refuse all further changes of a partition; it waits for transactions that are booking, and does not block readers."""

HASH_CHUNK = """
SELECT count(*) AS entries, max(entry_id) AS last_entry, sha256(convert_to(coalesce(string_agg(jsonb_build_array(
    entry_id, extract(epoch FROM booked_at), kind, campaign_id, request_key, slot, amount, currency,
    extract(epoch FROM hour_start), extract(epoch FROM day_start), reason)::text, E'\\n' ORDER BY entry_id), ''),
    'UTF8')) AS digest
FROM (
    SELECT * FROM spend_ledger WHERE booked_on >= $1 AND booked_on < $2 AND entry_id > $3 ORDER BY entry_id LIMIT $4
) AS chunk
"""
"""Hash the next entries of a month, at most $4, in the order of their ids; each is a JSON array of its columns."""

COUNT_ENTRIES = "SELECT count(*) FROM spend_ledger WHERE booked_on >= $1 AND booked_on < $2"
"""Count the entries of a month, to show the progress of hashing."""

CLOSE_MONTH = """
INSERT INTO closed_months (month, closed_at, closed_by, entries, previous_hash, hash)
VALUES ($1, adserver_clock(), session_user, $2, $3, $4)
"""
"""Store the hash of a month and its number of entries."""


@dataclass(frozen=True, slots=True)
class MonthStatus:
    """The facts that decide whether a month may be closed; `ends` is the first day of the next month."""

    ends: date
    lasts_in: str | None
    """A campaign's timezone in which the month is not over; None if it is over everywhere."""
    open_holds: int
    last_closed: date | None
    earlier_entry: date | None
    """Day of the first entry in an earlier month that is not closed."""


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """A month that accepts no further entries, with the hash of its entries."""

    month: date
    closed_at: datetime
    closed_by: str
    entries: int
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class HashedChunk:
    """Consecutive entries of a month, with their hash."""

    entries: int
    last_entry: int | None
    digest: bytes


async def lock_closing_exclusive(connection: "Connection[Record]") -> None:
    """Block all other closings and all corrections of the ledger until the transaction ends."""
    await connection.execute(LOCK_CLOSING_EXCLUSIVE)


async def lock_closing_shared(connection: "Connection[Record]") -> None:
    """Block the closing of months until the transaction ends."""
    await connection.execute(LOCK_CLOSING_SHARED)


async def read_month_status(connection: "Connection[Record]", month: date) -> MonthStatus:
    """Return the facts that decide whether this month may be closed."""
    row = await connection.fetchrow(READ_MONTH_STATUS, month)
    if row is None:
        raise AssertionError("the query returns one row")
    return MonthStatus(**row)


async def read_closed_months(connection: "Connection[Record]") -> Sequence[ClosedMonth]:
    """Return all closed months in order."""
    return [ClosedMonth(**row) for row in await connection.fetch(READ_CLOSED_MONTHS)]


async def refuse_entries(connection: "Connection[Record]", month: date) -> None:
    """Refuse entries in this month and all earlier ones after commit; needs the owner of the tables."""
    await connection.execute(MAKE_PARTITION_FOR_MONTH, month)
    for row in await connection.fetch(FIND_OPEN_PARTITIONS, month):
        await connection.execute(REFUSE_ENTRIES.format(partition=row["relname"]))


async def count_entries(connection: "Connection[Record]", begins: date, ends: date) -> int:
    """Return the number of entries from the first day until before the second one."""
    entries: int = await connection.fetchval(COUNT_ENTRIES, begins, ends)
    return entries


async def hash_chunk(
    connection: "Connection[Record]", begins: date, ends: date, after_entry: int, limit: int
) -> HashedChunk:
    """Hash at most `limit` entries after this one."""
    row = await connection.fetchrow(HASH_CHUNK, begins, ends, after_entry, limit)
    if row is None:
        raise AssertionError("an aggregate returns one row")
    return HashedChunk(**row)


async def close_month(
    connection: "Connection[Record]", month: date, entries: int, previous_hash: bytes, month_hash: bytes
) -> None:
    """Store the month as closed, with the hash of its entries."""
    await connection.execute(CLOSE_MONTH, month, entries, previous_hash, month_hash)
