"""ledger_corrections: book the ledger entries that people make by hand, once for each idempotency key."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from asyncpg import Connection, Record

LOCK_CORRECTION_KEY = "SELECT pg_advisory_xact_lock(hashtextextended('ledger correction ' || $1, 0))"
"""Lock an idempotency key, so that one transaction at a time uses it."""

FIND_CORRECTION = """
SELECT kind, campaign_id, amount, currency, reason, reverses, entry_id, booked_at, recorded_at
FROM ledger_corrections WHERE idempotency_key = $1
"""
"""Find the correction that was booked under a key."""

LOCK_CAMPAIGN_FOR_CORRECTION = """
SELECT currency, timezone, adserver_clock() AS now, $2::date::timestamp AT TIME ZONE timezone AS day_start
FROM campaigns WHERE id = $1 FOR NO KEY UPDATE
"""
"""Lock a campaign, so that one transaction at a time corrects it; return its clock and the start of the given day."""

FIND_LEDGER_ENTRY = """
SELECT l.entry_id, l.kind, l.campaign_id, l.request_key, l.slot, l.amount, l.currency, l.hour_start, l.day_start,
       k.entry_id AS reversed_by
FROM spend_ledger l LEFT JOIN ledger_corrections k ON k.reverses = l.entry_id
WHERE l.entry_id = $1
"""
"""Find one entry, with the id of the entry that reversed it, if any."""

READ_LAST_CLOSED_MONTH = "SELECT max(month) FROM closed_months"
"""Read the last closed month; all earlier months count as closed too."""

MAKE_PARTITION_FOR_ENTRY = "SELECT make_ledger_partition(date_trunc('month', $1::timestamptz, 'UTC')::date)"
"""Create the partition for an entry of this time if it is missing."""

ENTRY_PERIOD_START = "CASE t.period WHEN 'hour' THEN $2 WHEN 'day' THEN $3 ELSE to_timestamp(0) END"
"""The start of the period of `t` in which an entry counts; $2 and $3 are the entry's hour and day."""

LOCK_BUDGETS_FOR_CORRECTION = f"""
SELECT t.period, t.period_start, t.spent, t.held, least(t."limit", b."limit") AS "limit"
FROM budget_tracking t LEFT JOIN campaign_budgets b ON b.campaign_id = t.campaign_id AND b.period = t.period
WHERE t.campaign_id = $1 AND t.period_start = {ENTRY_PERIOD_START}
ORDER BY t.campaign_id, t.period, t.period_start
FOR UPDATE OF t
"""
"""Lock the budget periods in which an entry counts."""

READ_CAMPAIGN_BALANCE = "SELECT spent FROM finance.campaign_spend WHERE campaign_id = $1"
"""Read the amount that a campaign, with or without budgets, has spent according to the ledger."""

INSERT_MANUAL_ENTRY = """
INSERT INTO spend_ledger (booked_at, kind, campaign_id, request_key, slot, amount, currency, hour_start, day_start,
                          reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING entry_id
"""
"""Add a manual entry to the ledger."""

ADD_TO_COUNTERS = f"""
UPDATE budget_tracking t SET spent = t.spent + $4
WHERE t.campaign_id = $1 AND t.period_start = {ENTRY_PERIOD_START}
"""
"""Add an amount to the counters that `LOCK_BUDGETS_FOR_CORRECTION` has locked."""

RECORD_CORRECTION = """
INSERT INTO ledger_corrections (idempotency_key, kind, campaign_id, amount, currency, reason, reverses, entry_id,
                                booked_at, recorded_at, recorded_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, adserver_clock(), session_user)
"""
"""Store a correction under its key, with the time and the database user."""

CHECK_ROLLED_UP = "SELECT $1::timestamptz < rolled_up_to FROM books_state FOR SHARE"
"""Check whether the ledger is rolled up beyond this time, and block the rollup until this transaction ends."""

ROLL_UP_ENTRY = """
INSERT INTO spend_daily AS d (day, campaign_id, currency, kind, booked_on, amount, entries)
VALUES (($1::timestamptz AT TIME ZONE $2)::date, $3, $4, $5, ($1::timestamptz AT TIME ZONE 'UTC')::date, $6, 1)
ON CONFLICT (day, campaign_id, currency, kind, booked_on) DO UPDATE
    SET amount = d.amount + excluded.amount, entries = d.entries + 1
"""
"""Add an entry to its daily sum; the rollup does not read entries before its mark again."""


@dataclass(frozen=True, slots=True)
class ManualEntry:
    """A ledger entry that a person books."""

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
    """The properties of a locked campaign that a correction needs; `day_start` is the start of the requested day."""

    currency: str
    timezone: str
    now: datetime
    day_start: datetime | None


@dataclass(frozen=True, slots=True)
class Counter:
    """A budget period in which an entry counts; `limit` is the lower one of the period's and campaign's, or None."""

    period: str
    period_start: datetime
    spent: Decimal
    held: Decimal
    limit: Decimal | None


async def find_correction(connection: "Connection[Record]", key: str) -> Record | None:
    """Return the correction booked under the key, if any; no other transaction can use the key until this one ends."""
    await connection.execute(LOCK_CORRECTION_KEY, key)
    return await connection.fetchrow(FIND_CORRECTION, key)


async def lock_campaign(connection: "Connection[Record]", campaign_id: str, day: date | None) -> LockedCampaign | None:
    """Lock the campaign until the transaction ends and return it; None if it does not exist."""
    row = await connection.fetchrow(LOCK_CAMPAIGN_FOR_CORRECTION, campaign_id, day)
    return None if row is None else LockedCampaign(**row)


async def find_entry(connection: "Connection[Record]", entry_id: int) -> Record | None:
    """Return an entry of the ledger, or None."""
    return await connection.fetchrow(FIND_LEDGER_ENTRY, entry_id)


async def read_last_closed_month(connection: "Connection[Record]") -> date | None:
    """Return the last closed month, or None."""
    month: date | None = await connection.fetchval(READ_LAST_CLOSED_MONTH)
    return month


async def read_balance(connection: "Connection[Record]", campaign_id: str) -> Decimal:
    """Return the amount that the campaign has spent according to the ledger."""
    spent: Decimal = await connection.fetchval(READ_CAMPAIGN_BALANCE, campaign_id)
    return spent


async def book_entry(connection: "Connection[Record]", entry: ManualEntry, timezone: str) -> int:
    """Book the entry, store it under its key and return its id; `add_to_counters` updates the counters.

    It may wait for a running rollup or closing. Raises asyncpg's CheckViolationError if the entry's month is closed.
    """
    is_rolled_up = await connection.fetchval(CHECK_ROLLED_UP, entry.booked_at)
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
    if is_rolled_up:
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
    """Lock the counters of the entry until the transaction ends, and return them."""
    rows = await connection.fetch(LOCK_BUDGETS_FOR_CORRECTION, entry.campaign_id, entry.hour_start, entry.day_start)
    return [Counter(**row) for row in rows]


async def add_to_counters(connection: "Connection[Record]", entry: ManualEntry) -> None:
    """Add the entry to the locked counters; raises asyncpg's CheckViolationError if one of them would break a rule."""
    await connection.execute(ADD_TO_COUNTERS, entry.campaign_id, entry.hour_start, entry.day_start, entry.amount)
