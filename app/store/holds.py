"""holds, hold_releases and ad_events: record beacons, and settle or release the money that serving has held.

The `billing` of a hold is the event that settles it: the impression, the click or the completed view that was sold.

The transaction that deletes a row of `holds` settles or releases it, so each hold ends once, even if several beacons
and sweepers compete for it. Locks are taken in the order of holds, events, budgets: the most contended rows come last
and are locked for the shortest time. Serving locks budgets before it inserts holds, and that cannot deadlock, because
no transaction can wait for a hold that is not committed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from app.store.budget_periods import open_periods
from app.store.sql_fragments import (
    ALLOWED_LIMITS,
    BOOKS_CALENDAR,
    LOCK_BUDGET_PERIODS,
    NEW_ENTRY_ID,
    NEXT_GENERATION,
    SERVE_COLUMNS,
    TABLE_WRITE_LOCK,
    book_entries,
)

HOLD_ENDING_STEPS = f"""
ended_holds AS (
    DELETE FROM holds h USING ending e WHERE h.ctid = e.row_ctid
    RETURNING h.*, e.settles, e.cause, CASE WHEN e.settles THEN {NEW_ENTRY_ID} END AS entry_id
), booked AS (
    {book_entries("settle")}
    FROM (
        SELECT entry_id, {SERVE_COLUMNS}, price, publisher_amount, currency, hour_start, day_start,
               greatest(booked_on, first_open_day) AS booked_on,
               CASE WHEN booked_on < first_open_day THEN booked_on END AS late_from
        FROM ended_holds {BOOKS_CALENDAR}
        WHERE settles
    ) AS settled
    ORDER BY request_key, slot
), released AS (
    INSERT INTO hold_releases ({SERVE_COLUMNS}, served_on, booked_on, price, publisher_amount, currency, billing,
                               released_at, cause)
    SELECT {SERVE_COLUMNS}, served_on, booked_on, price, publisher_amount, currency, billing, adserver_clock(), cause
    FROM ended_holds WHERE NOT settles
    ORDER BY request_key, slot
), {TABLE_WRITE_LOCK}, moved AS (
    SELECT campaign_id, order_id, hour_start, day_start, sum(price) AS freed,
           coalesce(sum(price) FILTER (WHERE settles), 0) AS settled, count(*) FILTER (WHERE NOT settles) AS released
    FROM ended_holds GROUP BY campaign_id, order_id, hour_start, day_start
)
"""
"""CTEs that end holds: delete the holds of the CTE `ending`, book or record each one, and sum up the moved amounts."""

MOVED_AMOUNTS = "(SELECT json_agg(moved)::text FROM moved) AS moved_amounts"
"""The input of `LOCK_BUDGETS_FOR_SETTLEMENT` and `MOVE_HELD_TO_SPENT`, as JSON text, which is exact."""

COUNTED_PERIODS = """CROSS JOIN LATERAL (VALUES
        (campaign_id, 'hour', hour_start), (campaign_id, 'day', day_start), (campaign_id, 'lifetime', to_timestamp(0)),
        (' order ' || order_id, 'lifetime', to_timestamp(0))
    ) AS p (budget_id, period, period_start)"""
"""The budget periods in which the row of a hold or a serve counts: its campaign's and its order's."""

RELEASED_SERVE_COLUMNS = ", ".join(f"r.{name.strip()}" for name in SERVE_COLUMNS.split(","))
"""The serve's columns of a release `r`."""

LOCK_BUDGETS_FOR_SETTLEMENT = f"""
WITH budget_period AS MATERIALIZED (
    SELECT DISTINCT budget_id, period, period_start
    FROM json_to_recordset($1::text::json) AS m (
        campaign_id varchar COLLATE "C", order_id varchar COLLATE "C", hour_start timestamptz, day_start timestamptz)
    {COUNTED_PERIODS}
    WHERE budget_id IS NOT NULL
    ORDER BY budget_id, period, period_start
)
{LOCK_BUDGET_PERIODS}
"""
"""Lock the budgets of ended holds or late events, ordered by budget, period and start; return their ctids."""

MOVE_HELD_TO_SPENT = f"""
WITH ended AS MATERIALIZED (
    SELECT budget_id, period, period_start, sum(freed) AS freed, sum(settled) AS settled, sum(released) AS released
    FROM json_to_recordset($1::text::json) AS m (
        campaign_id varchar, order_id varchar, hour_start timestamptz, day_start timestamptz, freed numeric,
        settled numeric, released bigint)
    {COUNTED_PERIODS}
    GROUP BY budget_id, period, period_start
), budget AS MATERIALIZED (
    SELECT t.ctid AS row_ctid, t.budget_id, t.period, t.period_start
    FROM budget_tracking t WHERE t.ctid = ANY ($2::tid[])
)
UPDATE budget_tracking t
SET held = t.held - e.freed, spent = t.spent + e.settled, impressions = t.impressions - e.released,
    generation = {NEXT_GENERATION}
FROM ended e JOIN budget USING (budget_id, period, period_start)
WHERE t.ctid = budget.row_ctid
"""
"""Move the amounts of ended holds out of `held` of the locked budgets, and the settled ones into `spent`."""

DECISIVE_EVENTS = "('impression', 'click', 'complete', 'error')"
"""The events that may end a hold."""

RECORD_BEACONS = f"""
WITH beacon AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::date[], $4::varchar[], $5::text[], $6::smallint[])
        WITH ORDINALITY AS b (request_key, slot, served_on, campaign_id, event, error_code, ordinal)
), decisive AS MATERIALIZED (
    SELECT request_key, slot, served_on, array_agg(event ORDER BY ordinal) AS events
    FROM beacon WHERE event IN {DECISIVE_EVENTS} GROUP BY request_key, slot, served_on
), ending AS MATERIALIZED (
    SELECT h.ctid AS row_ctid, coalesce(p.settled < p.failed, p.failed IS NULL) AS settles, 'error' AS cause
    FROM holds h JOIN decisive d USING (request_key, slot, served_on)
    CROSS JOIN LATERAL (
        SELECT array_position(d.events, h.billing) AS settled, array_position(d.events, 'error') AS failed
    ) AS p
    WHERE num_nonnulls(p.settled, p.failed) > 0
    ORDER BY h.request_key, h.slot, h.served_on
    FOR UPDATE OF h
), {HOLD_ENDING_STEPS}, new_event AS (
    INSERT INTO ad_events (request_key, slot, served_on, event, campaign_id, received_at, error_code, entry_id)
    SELECT DISTINCT ON (request_key, slot, served_on, event)
           request_key, slot, served_on, event, b.campaign_id, adserver_clock(), error_code,
           CASE event WHEN e.billing THEN e.entry_id END
    FROM beacon b LEFT JOIN ended_holds e USING (request_key, slot, served_on)
    WHERE (SELECT count(*) FROM ended_holds) >= 0
    ORDER BY request_key, slot, served_on, event, ordinal
    ON CONFLICT DO NOTHING
    RETURNING event
), without_hold AS MATERIALIZED (
    SELECT DISTINCT ON (request_key, slot, served_on, event) b.campaign_id, b.event, b.ordinal
    FROM beacon b LEFT JOIN ended_holds e USING (request_key, slot, served_on)
    WHERE b.event IN {DECISIVE_EVENTS} AND e.settles IS NOT TRUE
    ORDER BY request_key, slot, served_on, event, b.ordinal
)
SELECT (SELECT count(*) FROM new_event) AS new_events,
       (SELECT count(*) FROM ended_holds WHERE settles) AS settled,
       (SELECT count(*) FROM ended_holds WHERE NOT settles) AS released,
       (SELECT array_agg(w.ordinal ORDER BY w.ordinal) FROM without_hold w JOIN campaigns c ON c.id = w.campaign_id
        WHERE c.late_impressions = 'charge' AND w.event = CASE c.billing WHEN 'serve' THEN 'impression'
                                                                             ELSE c.billing END) AS possibly_late,
       {MOVED_AMOUNTS}
"""
"""Record a group of beacons, each event of a serve once; the event that was sold settles its hold, and an error
releases it.

If a group has both for one serve, the first one counts. Return the numbers of new events and of settled and released
holds, the ordinals of the events without a hold that may be charged late, and the moved amounts. The insert reads
the count of `ended_holds`, so that holds are locked before events are inserted.

An event may be charged late if its campaign is sold by it. One that was billed by impression may be billed by serve
by now, and its late impressions are charged all the same."""

COUNT_REPEATED_IMPRESSIONS = """
SELECT b.campaign_id, sum(b.beacons - (e.xmin = pg_current_xact_id()::xid)::integer)::bigint AS impressions
FROM (
    SELECT request_key, slot, served_on, campaign_id, count(*) AS beacons
    FROM unnest($1::uuid[], $2::smallint[], $3::date[], $4::varchar[]) AS i (request_key, slot, served_on, campaign_id)
    GROUP BY request_key, slot, served_on, campaign_id
) AS b
JOIN ad_events e ON e.request_key = b.request_key AND e.slot = b.slot AND e.served_on = b.served_on
    AND e.event = 'impression'
GROUP BY b.campaign_id
"""
"""Count those impressions of a group that this transaction has not recorded, because they were recorded before."""

RELEASE_EXPIRED_HOLDS = f"""
WITH ending AS MATERIALIZED (
    SELECT ctid AS row_ctid, false AS settles, 'expiry' AS cause
    FROM holds WHERE expires_at <= adserver_clock() AND ($2::varchar IS NULL OR campaign_id = $2)
    ORDER BY expires_at LIMIT $1
    FOR UPDATE SKIP LOCKED
), {HOLD_ENDING_STEPS}
SELECT (SELECT count(*) FROM ended_holds) AS holds, {MOVED_AMOUNTS}
"""
"""Release expired holds, oldest first, of one campaign, or of all campaigns for NULL.

Any number of sweepers may run concurrently: each skips the holds that another transaction has locked."""

FIND_CAMPAIGNS_WITH_EXPIRED_HOLDS = (
    "SELECT DISTINCT campaign_id FROM holds WHERE expires_at <= adserver_clock() ORDER BY 1"
)
"""Find the campaigns that have expired holds."""

LOCK_LATE_EVENTS = f"""
WITH beacon AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::date[], $4::text[])
        WITH ORDINALITY AS b (request_key, slot, served_on, event, ordinal)
), late AS MATERIALIZED (
    SELECT r.request_key, r.slot, r.served_on, r.campaign_id, r.order_id, r.price, b.ordinal,
           (adserver_clock() AT TIME ZONE c.timezone)::date AS today,
           window_start('hour', adserver_clock(), c.timezone) AS hour_start,
           window_start('day', adserver_clock(), c.timezone) AS day_start
    FROM hold_releases r JOIN beacon b USING (request_key, slot, served_on)
    JOIN campaigns c ON c.id = r.campaign_id
    WHERE r.billing = b.event AND r.cause = 'expiry' AND r.entry_id IS NULL AND c.late_impressions = 'charge'
    ORDER BY r.request_key, r.slot
    FOR UPDATE OF r
), {TABLE_WRITE_LOCK}
SELECT json_agg(late)::text FROM late
"""
"""Lock the releases of events that may be charged late, and return the price of each and the current periods.

The result is the input of `LOCK_BUDGETS_FOR_SETTLEMENT` and `CHARGE_LATE_EVENTS`; NULL if there is no release. A
late event counts in the campaign's current periods, and in the order of its serve, whose advertiser pays."""

CHARGE_LATE_EVENTS = f"""
WITH late AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1::text::json) AS l (
        request_key uuid, slot smallint, served_on date, campaign_id varchar, order_id varchar, price numeric,
        ordinal bigint, today date, hour_start timestamptz, day_start timestamptz)
), budget AS MATERIALIZED (
    SELECT t.ctid AS row_ctid, t.budget_id, t.period, t."limit", t.spent + t.held AS used,
           t.impressions_limit, t.impressions
    FROM budget_tracking t WHERE t.ctid = ANY ($2::tid[])
), room AS (
    SELECT c.campaign_id, c.order_id, bool_or(t.row_ctid IS NULL) AS missing_period,
           min(allowed."limit" - t.used) FILTER (WHERE b.order_id IS NULL) AS amount,
           min(allowed.impressions - t.impressions) FILTER (WHERE b.order_id IS NULL) AS ads,
           min(allowed."limit" - t.used) FILTER (WHERE b.order_id IS NOT NULL) AS order_amount,
           min(allowed.impressions - t.impressions) FILTER (WHERE b.order_id IS NOT NULL) AS order_ads
    FROM (SELECT DISTINCT campaign_id, order_id FROM late) AS c
    JOIN configured_budgets b ON b.budget_id = ANY (ARRAY[c.campaign_id, ' order ' || c.order_id])
    LEFT JOIN budget t ON t.budget_id = b.budget_id AND t.period = b.period
    {ALLOWED_LIMITS}
    GROUP BY c.campaign_id, c.order_id
), wanted AS (
    SELECT late.*, sum(price) OVER of_campaign AS running, row_number() OVER of_campaign AS nth,
           sum(price) OVER of_order AS order_running, row_number() OVER of_order AS order_nth
    FROM late WINDOW of_campaign AS (PARTITION BY campaign_id ORDER BY ordinal),
                     of_order AS (PARTITION BY order_id ORDER BY ordinal)
), paid AS MATERIALIZED (
    SELECT w.*, greatest(w.today, first_open_day) AS booked_on
    FROM wanted w LEFT JOIN room r ON r.campaign_id = w.campaign_id AND r.order_id IS NOT DISTINCT FROM w.order_id
    {BOOKS_CALENDAR}
    WHERE r.missing_period IS NOT TRUE AND (w.running <= r.amount AND w.nth <= r.ads) IS NOT FALSE
        AND (w.order_running <= r.order_amount AND w.order_nth <= r.order_ads) IS NOT FALSE
), charged AS (
    UPDATE budget_tracking t
    SET spent = t.spent + p.amount, impressions = t.impressions + p.ads,
        generation = {NEXT_GENERATION}
    FROM (
        SELECT budget_id, sum(price) AS amount, count(*) AS ads
        FROM paid CROSS JOIN LATERAL (VALUES (campaign_id), (' order ' || order_id)) AS b (budget_id)
        GROUP BY budget_id
    ) AS p JOIN budget USING (budget_id)
    WHERE t.ctid = budget.row_ctid
), taken AS (
    UPDATE hold_releases r SET entry_id = {NEW_ENTRY_ID} FROM paid p
    WHERE r.request_key = p.request_key AND r.slot = p.slot AND r.served_on = p.served_on
    RETURNING {RELEASED_SERVE_COLUMNS}, r.entry_id, r.price, r.publisher_amount, r.currency,
              r.booked_on AS served_day, p.booked_on, p.hour_start, p.day_start, p.ordinal
), booked AS (
    {book_entries("settle")}
    FROM (SELECT *, nullif(served_day, booked_on) AS late_from FROM taken) AS late_entry
    ORDER BY ordinal
)
SELECT count(*) FROM taken
"""
"""Charge locked late events up to the room in the locked budgets, first come first served; return their number.

The entry's number in the release ensures that each serve is charged once."""


class Beacon(NamedTuple):
    """One beacon with the contents of its token and URL; `event` is a value of `domain.Event`."""

    request_key: UUID
    slot: int
    served_on: date
    campaign_id: str
    event: str
    error_code: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedBeacons:
    """The outcome of a group of beacons."""

    new_events: int
    """Number of beacons that are the first of their serve and event; all others are repeats."""
    settled: int
    released: int
    possibly_late: tuple[int, ...]
    """Positions from 0 of events without a hold, of campaigns that charge late ones."""
    repeated: Mapping[str, int]
    """Number of impressions that were recorded before, by campaign."""


async def record_beacons(connection: "Connection[Record]", beacons: Sequence[Beacon]) -> RecordedBeacons:
    """Record the group, and settle and release its holds, in one transaction."""
    async with connection.transaction():
        (row,) = await connection.fetch(
            RECORD_BEACONS,
            [beacon.request_key for beacon in beacons],
            [beacon.slot for beacon in beacons],
            [beacon.served_on for beacon in beacons],
            [beacon.campaign_id for beacon in beacons],
            [beacon.event for beacon in beacons],
            [beacon.error_code for beacon in beacons],
        )
        is_repeated = row["new_events"] < len(beacons)
        repeated = await _count_repeated_impressions(connection, beacons) if is_repeated else {}
        await _move_held_to_spent(connection, row["moved_amounts"])
    return RecordedBeacons(
        new_events=row["new_events"],
        settled=row["settled"],
        released=row["released"],
        possibly_late=tuple(ordinal - 1 for ordinal in row["possibly_late"] or ()),
        repeated=repeated,
    )


async def charge_late_events(connection: "Connection[Record]", beacons: Sequence[Beacon]) -> int:
    """Charge these late events as far as the budgets allow, in one transaction; return the number charged.

    The same transaction opens the periods, because they may have ended before another one begins.
    """
    async with connection.transaction():
        await open_periods(connection, sorted({beacon.campaign_id for beacon in beacons}))
        late = await connection.fetchval(
            LOCK_LATE_EVENTS,
            [beacon.request_key for beacon in beacons],
            [beacon.slot for beacon in beacons],
            [beacon.served_on for beacon in beacons],
            [beacon.event for beacon in beacons],
        )
        if late is None:
            return 0
        charged: int = await connection.fetchval(CHARGE_LATE_EVENTS, late, await _lock_budgets(connection, late))
    return charged


async def release_expired_holds(connection: "Connection[Record]", limit: int, campaign_id: str | None = None) -> int:
    """Release at most `limit` expired holds of this campaign, or of all campaigns; return their number.

    Raises CheckViolationError and releases nothing if a budget holds less than the amount that must leave it.
    """
    async with connection.transaction():
        (row,) = await connection.fetch(RELEASE_EXPIRED_HOLDS, limit, campaign_id)
        await _move_held_to_spent(connection, row["moved_amounts"])
    holds: int = row["holds"]
    return holds


async def find_campaigns_with_expired_holds(connection: "Connection[Record]") -> list[str]:
    """Return the campaigns that have expired holds."""
    return [row["campaign_id"] for row in await connection.fetch(FIND_CAMPAIGNS_WITH_EXPIRED_HOLDS)]


async def _count_repeated_impressions(connection: "Connection[Record]", beacons: Sequence[Beacon]) -> dict[str, int]:
    """Return the number of repeated impressions by campaign, in the transaction that has recorded the beacons."""
    seen = [beacon for beacon in beacons if beacon.event == "impression"]
    rows = await connection.fetch(
        COUNT_REPEATED_IMPRESSIONS,
        [beacon.request_key for beacon in seen],
        [beacon.slot for beacon in seen],
        [beacon.served_on for beacon in seen],
        [beacon.campaign_id for beacon in seen],
    )
    return {row["campaign_id"]: row["impressions"] for row in rows if row["impressions"]}


async def _move_held_to_spent(connection: "Connection[Record]", moved_amounts: str | None) -> None:
    """Update the budgets of the holds that ended, if any did."""
    if moved_amounts is None:
        return
    await connection.execute(MOVE_HELD_TO_SPENT, moved_amounts, await _lock_budgets(connection, moved_amounts))


async def _lock_budgets(connection: "Connection[Record]", moved_amounts: str) -> list[object]:
    """Lock the budgets in which these amounts count; return the ctids of their rows."""
    return [row["row_ctid"] for row in await connection.fetch(LOCK_BUDGETS_FOR_SETTLEMENT, moved_amounts)]
