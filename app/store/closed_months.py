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

READ_CLOSED_MONTHS = """
SELECT month, closed_at, closed_by, entries, previous_hash, hash, archived FROM finance.closed_months ORDER BY month
"""
"""Read all closed months in order."""

MAKE_PARTITION_FOR_MONTH = "SELECT make_ledger_partition($1)"
"""Create the month's partition of the ledger if it is missing."""

GUARD_CLOSED_PARTITIONS = """
SELECT guard_ledger_partition(c.oid, true)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'spend_ledger'::regclass AND c.relname ~ '_[0-9]{6}$'
    AND right(c.relname, 6) <= to_char($1::date, 'YYYYMM')
ORDER BY c.relname
"""
"""Refuse new entries in the partitions of the month and of all earlier ones.

It waits for transactions that are booking, and does not block readers."""

CREATE_CLOSED_ENTRY_INDEX = """
CREATE INDEX IF NOT EXISTS spend_ledger_{month:%Y%m}_by_campaign ON spend_ledger_{month:%Y%m} (campaign_id, entry_id)
"""
"""Index the entries of a month by campaign. An open month has no such index, so that charges stay fast."""

CLOSE_FIGURES = """
INSERT INTO month_ends (month, advertiser_id, advertiser_name, order_id, publisher_id, publisher_name, currency,
                        charged, corrected, publisher_amount, released, held, publisher_held)
SELECT $1, advertiser_id, advertiser_name, order_id, publisher_id, publisher_name, currency, charged, corrected,
       publisher_amount, released, held, publisher_held
FROM compute_month_end($1)
"""
"""Keep the figures of a month."""

CLOSE_MONTH = """
INSERT INTO closed_months (month, entries, previous_hash, hash) VALUES ($1, $2, $3, $4)
"""
"""Store the hash of a month and its number of entries; a trigger adds the time and the role."""


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
    previous_hash: str
    """The hash of the month closed before, in hexadecimal digits."""
    hash: str
    archived: bool
    """Whether its entries are in an archive and not in the ledger."""


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
    await connection.execute(GUARD_CLOSED_PARTITIONS, month)


async def index_entries(connection: "Connection[Record]", month: date) -> None:
    """Index the entries of a month that accepts no further ones, so that finance finds a campaign's quickly."""
    await connection.execute(CREATE_CLOSED_ENTRY_INDEX.format(month=month))


async def close_figures(connection: "Connection[Record]", month: date) -> None:
    """Keep what the month comes to; nothing may be booked in it any more."""
    await connection.execute(CLOSE_FIGURES, month)


async def close_month(
    connection: "Connection[Record]", month: date, entries: int, previous_hash: bytes, month_hash: bytes
) -> None:
    """Store the month as closed, with its hash."""
    await connection.execute(CLOSE_MONTH, month, entries, previous_hash, month_hash)
