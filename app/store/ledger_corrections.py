"""ledger_corrections: book the ledger entries that people make by hand, once for each idempotency key."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from app.store.correction_counters import CorrectedAmount
from app.store.sql_fragments import SERVE_COLUMNS

LOCK_CORRECTION_KEY = "SELECT pg_advisory_xact_lock(hashtextextended('ledger correction ' || $1, 0))"
"""Lock an idempotency key, so that one transaction at a time uses it."""

FIND_CORRECTION = """
SELECT k.kind, k.campaign_id, k.amount, k.currency, k.reason, k.reverses, k.entry_id, k.booked_on,
       (k.recorded_at AT TIME ZONE c.timezone)::date AS recorded_on
FROM ledger_corrections k JOIN campaigns c ON c.id = k.campaign_id WHERE k.idempotency_key = $1 AND k.set_entry IS NULL
"""
"""Find the single correction that was booked under a key."""

LOCK_CAMPAIGN_FOR_CORRECTION = """
SELECT currency, (adserver_clock() AT TIME ZONE timezone)::date AS today, order_id, advertiser_id,
       advertiser AS advertiser_name
FROM campaigns WHERE id = $1 FOR NO KEY UPDATE
"""
"""Lock a campaign, so that one transaction at a time corrects it; return its current day and who pays for it."""

FIND_LEDGER_ENTRY = """
SELECT l.*, k.entry_id AS reversed_by
FROM spend_ledger l LEFT JOIN ledger_corrections k ON k.reverses = l.entry_id
WHERE l.entry_id = $1
"""
"""Find one entry, with the id of the entry that reversed it, if any."""

READ_LAST_CLOSED_MONTH = "SELECT max(month) FROM closed_months"
"""Read the last closed month; all earlier months count as closed too."""

MAKE_PARTITION_FOR_ENTRY = "SELECT make_ledger_partition(date_trunc('month', $1::date::timestamp)::date)"
"""Create the partition for an entry of this day if it is missing."""

READ_CAMPAIGN_BALANCE = "SELECT spent FROM finance.campaign_spend WHERE campaign_id = $1"
"""Read the amount that a campaign, with or without budgets, has spent according to the ledger."""

INSERT_MANUAL_ENTRY = f"""
INSERT INTO spend_ledger (booked_at, booked_on, late_from, kind, {SERVE_COLUMNS}, amount, publisher_amount,
                          house_amount, currency, hour_start, day_start, reason)
SELECT now.booked_at, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $15::numeric - $16, $17,
       $18, $19, $20
FROM (SELECT greatest(adserver_clock(), rolled_up_to) AS booked_at FROM books_state FOR SHARE) AS now
RETURNING entry_id
"""
"""Add a manual entry to the ledger.

Its transaction may have waited so long that the ledger is rolled up beyond its clock. The entry gets the time from
which on nothing is rolled up, and the rollup waits until the transaction ends."""

RECORD_CORRECTION = """
INSERT INTO ledger_corrections (idempotency_key, kind, campaign_id, amount, currency, reason, reverses,
                                reverses_booked_on, entry_id, booked_on, recorded_at, recorded_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, adserver_clock(), session_user)
"""
"""Store a correction under its key, with the time and the database user."""


class Parties(NamedTuple):
    """The payers and earners of an ad, in the order of the first columns of SERVE_COLUMNS."""

    order_id: str | None
    advertiser_id: str
    advertiser_name: str
    campaign_id: str
    creative_id: str | None = None
    upstream_id: str | None = None
    publisher_id: str | None = None
    publisher_name: str | None = None
    placement_id: str | None = None


@dataclass(frozen=True, slots=True)
class ManualEntry:
    """A ledger entry that a person books; `late_from` is the day to which it belongs if that is in a closed month."""

    key: str
    kind: str
    parties: Parties
    amount: Decimal
    currency: str
    reason: str
    booked_on: date
    hour_start: datetime
    day_start: datetime
    late_from: date | None = None
    publisher_amount: Decimal = Decimal(0)
    request_key: UUID | None = None
    slot: int | None = None
    reverses: int | None = None
    reverses_booked_on: date | None = None

    @property
    def corrected_amount(self) -> CorrectedAmount:
        """The amount that the entry adds to budgets."""
        parties = self.parties
        return CorrectedAmount(parties.campaign_id, parties.order_id, self.hour_start, self.day_start, self.amount)


@dataclass(frozen=True, slots=True)
class LockedCampaign:
    """The properties of a locked campaign that a correction needs; `today` is the current day in its timezone."""

    currency: str
    today: date
    order_id: str | None
    advertiser_id: str
    advertiser_name: str


async def lock_key(connection: "Connection[Record]", key: str) -> None:
    """Lock the key until the transaction ends."""
    await connection.execute(LOCK_CORRECTION_KEY, key)


async def find_correction(connection: "Connection[Record]", key: str) -> Record | None:
    """Return the single correction booked under the key, if any; no other transaction can use the key meanwhile."""
    await lock_key(connection, key)
    return await connection.fetchrow(FIND_CORRECTION, key)


async def lock_campaign(connection: "Connection[Record]", campaign_id: str) -> LockedCampaign | None:
    """Lock the campaign until the transaction ends and return it; None if it does not exist."""
    row = await connection.fetchrow(LOCK_CAMPAIGN_FOR_CORRECTION, campaign_id)
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


async def book_entry(connection: "Connection[Record]", entry: ManualEntry) -> int:
    """Book the entry, store it under its key and return its id; `add_to_counters` updates the counters.

    Raises asyncpg's CheckViolationError if the entry's month is closed.
    """
    await connection.execute(MAKE_PARTITION_FOR_ENTRY, entry.booked_on)
    entry_id: int = await connection.fetchval(
        INSERT_MANUAL_ENTRY,
        entry.booked_on,
        entry.late_from,
        entry.kind,
        *entry.parties,
        entry.request_key,
        entry.slot,
        entry.amount,
        entry.publisher_amount,
        entry.currency,
        entry.hour_start,
        entry.day_start,
        entry.reason,
    )
    await connection.execute(
        RECORD_CORRECTION,
        entry.key,
        entry.kind,
        entry.parties.campaign_id,
        entry.amount,
        entry.currency,
        entry.reason,
        entry.reverses,
        entry.reverses_booked_on,
        entry_id,
        entry.booked_on,
    )
    return entry_id
