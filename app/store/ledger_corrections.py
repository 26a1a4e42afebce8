"""spend_ledger and ledger_corrections: entries that people book, and what the balance was."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from asyncpg import Connection, Record

LOCK_CORRECTION_KEY = "SELECT pg_advisory_xact_lock(hashtextextended('ledger correction ' || $1, 0))"
"""Lets one transaction at a time book under a key."""

FIND_CORRECTION = """
SELECT kind, campaign_id, amount, currency, reason, reverses, entry_id, booked_at, recorded_at
FROM ledger_corrections WHERE idempotency_key = $1
"""
"""What was booked under a key before."""

LOCK_CAMPAIGN_FOR_CORRECTION = """
SELECT currency, timezone, adserver_clock() AS now, $2::date::timestamp AT TIME ZONE timezone AS day_began
FROM campaigns WHERE id = $1 FOR NO KEY UPDATE
"""
"""One correction of a campaign at a time; also tells what time it is there, and when a day of its calendar began."""

FIND_LEDGER_ENTRY = """
SELECT l.entry_id, l.kind, l.campaign_id, l.request_key, l.slot, l.amount, l.currency, l.hour_start, l.day_start,
       k.entry_id AS reversed_by
FROM spend_ledger l LEFT JOIN ledger_corrections k ON k.reverses = l.entry_id
WHERE l.entry_id = $1
"""
"""One entry, and the one that took it back, if there is one."""

READ_LAST_CLOSED_MONTH = "SELECT max(month) FROM closed_months"
"""The last month that was closed; every month before it counts as closed too."""

MAKE_PARTITION_FOR_ENTRY = "SELECT make_ledger_partition(date_trunc('month', $1::timestamptz, 'UTC')::date)"
"""Makes the partition that an entry of this date goes to, if it is missing."""

LOCK_BUDGETS_FOR_CORRECTION = """
SELECT t.period, t.period_start, t.spent, t.held, least(t."limit", b."limit") AS "limit"
FROM budget_tracking t LEFT JOIN campaign_budgets b ON b.campaign_id = t.campaign_id AND b.period = t.period
WHERE t.campaign_id = $1 AND t.period_start = CASE t.period WHEN 'hour' THEN $2 WHEN 'day' THEN $3
                                                            ELSE to_timestamp(0) END
ORDER BY t.campaign_id, t.period, t.period_start
FOR UPDATE OF t
"""
"""The budget periods that an entry counts in."""

READ_CAMPAIGN_BALANCE = "SELECT spent FROM finance.campaign_spend WHERE campaign_id = $1"
"""What a campaign has spent by the ledger, whether it has a budget or not."""

INSERT_MANUAL_ENTRY = """
INSERT INTO spend_ledger (booked_at, kind, campaign_id, request_key, slot, amount, currency, hour_start, day_start,
                          reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING entry_id
"""
"""Adds a manual entry."""

ADD_TO_COUNTERS = """
UPDATE budget_tracking SET spent = spent + $4
WHERE campaign_id = $1 AND period_start = CASE period WHEN 'hour' THEN $2 WHEN 'day' THEN $3 ELSE to_timestamp(0) END
"""
"""Adds an amount to the counters that LOCK_BUDGETS has locked."""

RECORD_CORRECTION = """
INSERT INTO ledger_corrections (idempotency_key, kind, campaign_id, amount, currency, reason, reverses, entry_id,
                                booked_at, recorded_at, recorded_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, adserver_clock(), session_user)
"""
"""Remembers what was booked under a key, when and by whom."""

CHECK_ROLLED_UP = "SELECT $1::timestamptz < rolled_up_to FROM books_state FOR SHARE"
"""Whether the ledger is rolled up beyond that moment; no roll-up begins before this transaction ends."""

ROLL_UP_ENTRY = """
INSERT INTO spend_daily AS d (day, campaign_id, currency, kind, booked_on, amount, entries)
VALUES (($1::timestamptz AT TIME ZONE $2)::date, $3, $4, $5, ($1::timestamptz AT TIME ZONE 'UTC')::date, $6, 1)
ON CONFLICT (day, campaign_id, currency, kind, booked_on) DO UPDATE
    SET amount = d.amount + excluded.amount, entries = d.entries + 1
"""
"""Adds an entry whose date lies before the mark: the roll-up does not come by there again."""


@dataclass(frozen=True, slots=True)
class ManualEntry:
    """An entry that a person books."""

    key: str
    kind: str
    campaign_id: str
    amount: Decimal
    currency: str
    reason: str
    booked_at: datetime
    hour_start: datetime
    day_start: datetime
    request_key: UUID | None = None
    slot: int | None = None
    reverses: int | None = None


@dataclass(frozen=True, slots=True)
class LockedCampaign:
    """What a correction needs to know of its campaign."""

    currency: str
    timezone: str
    now: datetime
    day_began: datetime | None


@dataclass(frozen=True, slots=True)
class Counter:
    """A budget period that an entry counts in; `limit` is the lower of the period's and the campaign's, or None."""

    period: str
    period_start: datetime
    spent: Decimal
    held: Decimal
    limit: Decimal | None


async def find_correction(connection: "Connection[Record]", key: str) -> Record | None:
    """What was booked under the key; nobody else books under it until the transaction ends."""
    await connection.execute(LOCK_CORRECTION_KEY, key)
    return await connection.fetchrow(FIND_CORRECTION, key)


async def lock_campaign(connection: "Connection[Record]", campaign_id: str, day: date | None) -> LockedCampaign | None:
    """The campaign, for this transaction alone; None if there is none."""
    row = await connection.fetchrow(LOCK_CAMPAIGN_FOR_CORRECTION, campaign_id, day)
    return None if row is None else LockedCampaign(**row)


async def find_entry(connection: "Connection[Record]", entry_id: int) -> Record | None:
    """An entry of the ledger."""
    return await connection.fetchrow(FIND_LEDGER_ENTRY, entry_id)


async def read_last_closed_month(connection: "Connection[Record]") -> date | None:
    """None if no month was ever closed."""
    month: date | None = await connection.fetchval(READ_LAST_CLOSED_MONTH)
    return month


async def read_balance(connection: "Connection[Record]", campaign_id: str) -> Decimal:
    """What the campaign has spent by the ledger."""
    spent: Decimal = await connection.fetchval(READ_CAMPAIGN_BALANCE, campaign_id)
    return spent


async def book_entry(connection: "Connection[Record]", entry: ManualEntry, timezone: str) -> int:
    """Books the entry and remembers its key, and leaves its counters to `count`; returns the entry's id.

    A roll-up or a month that is being closed may have to be waited for. Raises asyncpg's CheckViolationError if the
    entry's month is closed.
    """
    before_mark = await connection.fetchval(CHECK_ROLLED_UP, entry.booked_at)
    await connection.execute(MAKE_PARTITION_FOR_ENTRY, entry.booked_at)
    entry_id: int = await connection.fetchval(
        INSERT_MANUAL_ENTRY,
        entry.booked_at,
        entry.kind,
        entry.campaign_id,
        entry.request_key,
        entry.slot,
        entry.amount,
        entry.currency,
        entry.hour_start,
        entry.day_start,
        entry.reason,
    )
    if before_mark:
        await connection.execute(
            ROLL_UP_ENTRY, entry.booked_at, timezone, entry.campaign_id, entry.currency, entry.kind, entry.amount
        )
    await connection.execute(
        RECORD_CORRECTION,
        entry.key,
        entry.kind,
        entry.campaign_id,
        entry.amount,
        entry.currency,
        entry.reason,
        entry.reverses,
        entry_id,
        entry.booked_at,
    )
    return entry_id


async def lock_counters(connection: "Connection[Record]", entry: ManualEntry) -> list[Counter]:
    """The counters that the entry counts in, until the transaction ends."""
    rows = await connection.fetch(LOCK_BUDGETS_FOR_CORRECTION, entry.campaign_id, entry.hour_start, entry.day_start)
    return [Counter(**row) for row in rows]


async def add_to_counters(connection: "Connection[Record]", entry: ManualEntry) -> None:
    """Adds the entry to the locked counters. Raises asyncpg's CheckViolationError if one of them would break a rule."""
    await connection.execute(ADD_TO_COUNTERS, entry.campaign_id, entry.hour_start, entry.day_start, entry.amount)
