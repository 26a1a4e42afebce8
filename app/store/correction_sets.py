"""correction_sets: reverse many entries of the ledger under one key, in chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from asyncpg import Connection, Record

from app.store.correction_counters import CorrectedAmount
from app.store.ledger_corrections import MAKE_PARTITION_FOR_ENTRY
from app.store.sql_fragments import BOOKS_CALENDAR, NEW_ENTRY_ID, SERVE_COLUMNS

FIND_CORRECTION_SET = "SELECT selection, reason, entries FROM correction_sets WHERE idempotency_key = $1"
"""Find the set that was recorded under a key."""

ENTRY_CHARGES_AD = "l.kind IN ('charge', 'settle') AND l.amount <> 0"
"""Condition: the ledger entry `l` charges an ad, so a set may reverse it."""

CHOSEN_SET = """recorded AS (
    INSERT INTO correction_sets (idempotency_key, selection, reason, entries, recorded_at, recorded_by)
    SELECT $1::varchar, $2, $3, count(*), adserver_clock(), session_user FROM chosen HAVING count(*) > 0
), listed AS (
    INSERT INTO correction_set_entries (idempotency_key, position, entry_id, booked_on, campaign_id)
    SELECT $1, row_number() OVER (ORDER BY campaign_id, entry_id), entry_id, booked_on, campaign_id FROM chosen
)
SELECT count(*) FROM chosen"""
"""The end of a statement that records the entries of the CTE `chosen` as a set, and returns their number.

The entries of a campaign follow one another, so that a chunk locks few budgets."""

RECORD_SET_OF_ENTRIES = f"""
WITH chosen AS MATERIALIZED (
    SELECT l.entry_id, l.booked_on, l.campaign_id
    FROM unnest($4::bigint[]) AS w (entry_id) JOIN spend_ledger l ON l.entry_id = w.entry_id
    WHERE {ENTRY_CHARGES_AD}
), {CHOSEN_SET}
"""
"""Record those of the given entries that charge an ad as a set."""

RECORD_SET_BY_CONDITION = f"""
WITH chosen AS MATERIALIZED (
    SELECT l.entry_id, l.booked_on, l.campaign_id FROM spend_ledger l
    WHERE {ENTRY_CHARGES_AD} AND ($4::varchar IS NULL OR l.campaign_id = $4)
        AND ($5::varchar IS NULL OR l.placement_id = $5) AND ($6::varchar IS NULL OR l.publisher_id = $6)
        AND l.booked_at >= coalesce($7::timestamptz, '-infinity')
        AND l.booked_at < coalesce($8::timestamptz, 'infinity')
    LIMIT $9
), {CHOSEN_SET}
"""
"""Record the charges of ads that meet all given conditions as a set, at most $9 of them."""

FIND_IRREVERSIBLE_ENTRIES = f"""
SELECT w.entry_id, l.kind
FROM unnest($1::bigint[]) WITH ORDINALITY AS w (entry_id, ordinal) LEFT JOIN spend_ledger l ON l.entry_id = w.entry_id
WHERE ({ENTRY_CHARGES_AD}) IS NOT TRUE
ORDER BY w.ordinal LIMIT $2
"""
"""Find the first of the given entries that a set cannot reverse, with the kind of each, NULL if it does not exist."""

FIND_PENDING_ENTRIES = """
SELECT e.entry_id, e.booked_on, e.campaign_id FROM correction_set_entries e
WHERE e.idempotency_key = $1 AND e.position BETWEEN $2 AND $3
    AND NOT EXISTS (SELECT FROM ledger_corrections k WHERE k.reverses = e.entry_id)
"""
"""Find the entries of a part of a set that no correction has reversed."""

LOCK_CAMPAIGNS_OF_SET = f"""
SELECT c.id AS campaign_id, greatest(today, first_open_day) AS booked_on,
       CASE WHEN today < first_open_day THEN today END AS late_from
FROM campaigns c
CROSS JOIN LATERAL (SELECT (adserver_clock() AT TIME ZONE c.timezone)::date AS today) AS calendar
{BOOKS_CALENDAR}
WHERE c.id IN (SELECT campaign_id FROM ({FIND_PENDING_ENTRIES}) AS pending)
ORDER BY c.id
FOR NO KEY UPDATE OF c
"""
"""Lock the campaigns of the pending entries of a part of a set, in the order of their ids, so that one transaction at
a time corrects each.

Return the day to which a correction is booked, and the current day if that is in a closed month."""

BOOK_REVERSALS_OF_SET = f"""
WITH pending AS MATERIALIZED ({FIND_PENDING_ENTRIES}), booking AS (
    SELECT * FROM unnest($4::varchar[], $5::date[], $6::date[]) AS b (campaign_id, reversed_on, reversed_late_from)
), cause AS MATERIALIZED (
    SELECT reason AS cause FROM correction_sets WHERE idempotency_key = $1
), moment AS MATERIALIZED (
    SELECT greatest(adserver_clock(), rolled_up_to) AS reversed_at FROM books_state FOR SHARE
), reversal AS MATERIALIZED (
    SELECT {NEW_ENTRY_ID} AS reversal_id, l.*, b.reversed_on, b.reversed_late_from, cause, reversed_at
    FROM pending p JOIN spend_ledger l ON l.entry_id = p.entry_id AND l.booked_on = p.booked_on
    JOIN booking b ON b.campaign_id = l.campaign_id CROSS JOIN cause CROSS JOIN moment
), booked AS (
    INSERT INTO spend_ledger (entry_id, booked_at, booked_on, late_from, kind, {SERVE_COLUMNS}, amount,
                              publisher_amount, house_amount, currency, hour_start, day_start, reason)
    OVERRIDING SYSTEM VALUE
    SELECT reversal_id, reversed_at, reversed_on, reversed_late_from, 'reversal', {SERVE_COLUMNS}, -amount,
           -publisher_amount, -house_amount, currency, hour_start, day_start, cause
    FROM reversal
), recorded AS (
    INSERT INTO ledger_corrections (idempotency_key, kind, campaign_id, amount, currency, reason, reverses,
                                    reverses_booked_on, entry_id, booked_on, recorded_at, recorded_by, set_entry)
    SELECT $1, 'reversal', campaign_id, -amount, currency, cause, entry_id, booked_on, reversal_id, reversed_on,
           adserver_clock(), session_user, entry_id
    FROM reversal
)
SELECT campaign_id, order_id, hour_start, day_start, -sum(amount) AS amount
FROM reversal GROUP BY campaign_id, order_id, hour_start, day_start
"""
"""Reverse the pending entries of a part of a set, each with the split of its original, and record each reversal.

Return what budgets must take. As in a single correction, the entries get a time from which on nothing is rolled up."""

FIND_OVERDRAWN_CAMPAIGN = f"""
WITH pending AS MATERIALIZED ({FIND_PENDING_ENTRIES}), movement AS (
    SELECT campaign_id, amount FROM spend_daily
    UNION ALL
    SELECT campaign_id, amount FROM spend_ledger WHERE booked_at >= (SELECT rolled_up_to FROM books_state)
    UNION ALL
    SELECT l.campaign_id, -l.amount
    FROM pending p JOIN spend_ledger l ON l.entry_id = p.entry_id AND l.booked_on = p.booked_on
)
SELECT m.campaign_id, -sum(m.amount) AS amount
FROM movement m
WHERE m.campaign_id IN (SELECT e.campaign_id FROM correction_set_entries e
                        WHERE e.idempotency_key = $1 AND e.position BETWEEN $2 AND $3)
GROUP BY m.campaign_id HAVING sum(m.amount) < 0
ORDER BY m.campaign_id LIMIT 1
"""
"""Find a campaign of a part of a set that will have spent less than nothing, and by how much."""

READ_SET_PROGRESS = """
SELECT idempotency_key AS key, selection, reason, recorded_by, entries, reversed, skipped, remaining
FROM finance.correction_sets WHERE $1::text IS NULL OR idempotency_key = $1 ORDER BY recorded_at, idempotency_key
"""
"""Read one set, or all of them, with the number of entries that are done."""

SUM_SET_AMOUNTS = """
SELECT currency, sum(amount) AS amount FROM ledger_corrections
WHERE idempotency_key = $1 AND set_entry IS NOT NULL GROUP BY currency ORDER BY currency
"""
"""Sum what a set has taken back."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Conditions for the entries of a set, all of which must hold; None for any."""

    campaign_id: str | None = None
    placement_id: str | None = None
    publisher_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Entries that were booked from `since` on, and before `until`."""


@dataclass(frozen=True, slots=True)
class RecordedSet:
    """A set as it was recorded under its key."""

    selection: str
    reason: str
    entries: int


@dataclass(frozen=True, slots=True)
class SetPart:
    """The entries of a set from one position to another, both included."""

    key: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class CampaignBooking:
    """The day to which corrections of a campaign are booked now, and the current day if that is in a closed month."""

    campaign_id: str
    booked_on: date
    late_from: date | None


@dataclass(frozen=True, slots=True)
class SetProgress:
    """A set, and the number of its entries that it reversed, that another correction reversed, and that remain."""

    key: str
    selection: str
    reason: str
    recorded_by: str
    entries: int
    reversed: int
    skipped: int
    remaining: int


async def find_set(connection: "Connection[Record]", key: str) -> RecordedSet | None:
    """Return the set under the key, if any."""
    row = await connection.fetchrow(FIND_CORRECTION_SET, key)
    return None if row is None else RecordedSet(**row)


async def record_entries(connection: "Connection[Record]", key: str, wanted: RecordedSet, ids: Sequence[int]) -> int:
    """Record those of the entries that can be reversed as a set; return their number."""
    entries: int = await connection.fetchval(RECORD_SET_OF_ENTRIES, key, wanted.selection, wanted.reason, ids)
    return entries


async def record_condition(
    connection: "Connection[Record]", key: str, wanted: RecordedSet, condition: Condition, limit: int
) -> int:
    """Record at most `limit` of the entries that meet the condition as a set; return their number."""
    entries: int = await connection.fetchval(
        RECORD_SET_BY_CONDITION,
        key,
        wanted.selection,
        wanted.reason,
        condition.campaign_id,
        condition.placement_id,
        condition.publisher_id,
        condition.since,
        condition.until,
        limit,
    )
    return entries


async def find_irreversible(
    connection: "Connection[Record]", ids: Sequence[int], limit: int
) -> list[tuple[int, str | None]]:
    """Return the first entries that a set cannot reverse, with their kind, or None for an unknown entry."""
    return [(row[0], row[1]) for row in await connection.fetch(FIND_IRREVERSIBLE_ENTRIES, ids, limit)]


async def lock_campaigns(connection: "Connection[Record]", part: SetPart) -> list[CampaignBooking]:
    """Lock the campaigns of the pending entries until the transaction ends, and return them."""
    rows = await connection.fetch(LOCK_CAMPAIGNS_OF_SET, part.key, part.first, part.last)
    return [CampaignBooking(**row) for row in rows]


async def reverse_entries(
    connection: "Connection[Record]", part: SetPart, bookings: Sequence[CampaignBooking]
) -> list[CorrectedAmount]:
    """Reverse the pending entries of the locked campaigns, and return what budgets must take."""
    for month in {booking.booked_on.replace(day=1) for booking in bookings}:
        await connection.execute(MAKE_PARTITION_FOR_ENTRY, month)
    rows = await connection.fetch(
        BOOK_REVERSALS_OF_SET,
        part.key,
        part.first,
        part.last,
        [booking.campaign_id for booking in bookings],
        [booking.booked_on for booking in bookings],
        [booking.late_from for booking in bookings],
    )
    return [CorrectedAmount(*row) for row in rows]


async def find_overdrawn(connection: "Connection[Record]", part: SetPart) -> tuple[str, Decimal] | None:
    """Return a campaign of which more would be taken back than was spent, and how much more."""
    row = await connection.fetchrow(FIND_OVERDRAWN_CAMPAIGN, part.key, part.first, part.last)
    return None if row is None else (row["campaign_id"], row["amount"])


async def read_sets(connection: "Connection[Record]", key: str | None = None) -> list[SetProgress]:
    """Return one set, or all of them in the order in which they were recorded."""
    return [SetProgress(**row) for row in await connection.fetch(READ_SET_PROGRESS, key)]


async def sum_amounts(connection: "Connection[Record]", key: str) -> list[tuple[str, Decimal]]:
    """Return what the set has taken back, by currency."""
    return [(row["currency"], row["amount"]) for row in await connection.fetch(SUM_SET_AMOUNTS, key)]
