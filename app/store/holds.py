"""holds, hold_releases and ad_events: what beacons and time do to the money that serving held.

Whoever deletes a row of `holds` settles or releases it, so one hold ends once, however many beacons and sweepers
meet at it. Locks are taken in the order of holds, events, budgets: those whose row everybody wants come last and are
held shortest. Serving takes budgets before it inserts holds, and nobody can wait for a hold that is not committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from app.store.budget_fragments import ALLOWED_BY_BUDGET, LOCK_DUE_BUDGETS
from app.store.budget_periods import open_periods

HOLD_ENDING_STEPS = """
gone AS (
    DELETE FROM holds h USING ending e WHERE h.ctid = e.place
    RETURNING h.*, e.settles, e.cause
), booked AS (
    INSERT INTO spend_ledger (booked_at, kind, campaign_id, request_key, slot, amount, currency, hour_start, day_start)
    SELECT adserver_clock(), 'settle', campaign_id, request_key, slot, price, currency, hour_start, day_start
    FROM gone WHERE settles
    ORDER BY request_key, slot
), released AS (
    INSERT INTO hold_releases (request_key, slot, served_on, campaign_id, price, currency, released_at, cause)
    SELECT request_key, slot, served_on, campaign_id, price, currency, adserver_clock(), cause
    FROM gone WHERE NOT settles
    ORDER BY request_key, slot
), writing AS (
    UPDATE budget_tracking SET spent = spent WHERE false
), money AS (
    SELECT campaign_id, hour_start, day_start, sum(price) AS freed,
           coalesce(sum(price) FILTER (WHERE settles), 0) AS settled, count(*) FILTER (WHERE NOT settles) AS unseen
    FROM gone GROUP BY campaign_id, hour_start, day_start
)
"""
"""The common end of the statements below: takes `ending` out of the holds, books or records it, and adds up its money.

`writing` is as in `budgets.LOCK`."""

MOVED_AMOUNTS = "(SELECT json_agg(money)::text FROM money) AS money"
"""What `LOCK_BUDGETS` and `MOVE` are given: text that the server hands on, with exact amounts and times."""

LOCK_BUDGETS_FOR_SETTLEMENT = f"""
WITH due AS MATERIALIZED (
    SELECT DISTINCT campaign_id, period, period_start
    FROM json_to_recordset($1::text::json) AS m (
        campaign_id varchar COLLATE "C", hour_start timestamptz, day_start timestamptz)
    CROSS JOIN LATERAL (
        VALUES ('hour', hour_start), ('day', day_start), ('lifetime', to_timestamp(0))) AS p (period, period_start)
    ORDER BY campaign_id, period, period_start
)
{LOCK_DUE_BUDGETS}
"""
"""Locks the budgets that ended holds were held in, or late impressions are charged in, in the order of campaign, period
and start, and says where the rows lie."""

MOVE_HELD_TO_SPENT = """
WITH ended AS MATERIALIZED (
    SELECT campaign_id, period, period_start, sum(freed) AS freed, sum(settled) AS settled, sum(unseen) AS unseen
    FROM json_to_recordset($1::text::json) AS m (campaign_id varchar, hour_start timestamptz, day_start timestamptz,
                                                 freed numeric, settled numeric, unseen bigint)
    CROSS JOIN LATERAL (
        VALUES ('hour', hour_start), ('day', day_start), ('lifetime', to_timestamp(0))) AS p (period, period_start)
    GROUP BY campaign_id, period, period_start
), budget AS MATERIALIZED (
    SELECT t.ctid AS place, t.campaign_id, t.period, t.period_start
    FROM budget_tracking t WHERE t.ctid = ANY ($2::tid[])
)
UPDATE budget_tracking t
SET held = t.held - e.freed, spent = t.spent + e.settled, impressions = t.impressions - e.unseen,
    generation = t.generation + (random() < 0.03)::integer
FROM ended e JOIN budget USING (campaign_id, period, period_start)
WHERE t.ctid = budget.place
"""
"""Moves the money of ended holds out of what the locked budgets hold, and into what they have spent if it settles."""

RECORD_BEACONS = f"""
WITH beacon AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::date[], $4::varchar[], $5::text[], $6::smallint[])
        WITH ORDINALITY AS b (request_key, slot, served_on, campaign_id, event, error_code, no)
), verdict AS MATERIALIZED (
    SELECT DISTINCT ON (request_key, slot, served_on) request_key, slot, served_on, event
    FROM beacon WHERE event IN ('impression', 'error')
    ORDER BY request_key, slot, served_on, no
), ending AS MATERIALIZED (
    SELECT h.ctid AS place, v.event = 'impression' AS settles, 'error' AS cause
    FROM holds h JOIN verdict v USING (request_key, slot, served_on)
    ORDER BY h.request_key, h.slot, h.served_on
    FOR UPDATE OF h
), {HOLD_ENDING_STEPS}, first AS (
    INSERT INTO ad_events (request_key, slot, served_on, event, campaign_id, received_at, error_code)
    SELECT DISTINCT ON (request_key, slot, served_on, event)
           request_key, slot, served_on, event, campaign_id, adserver_clock(), error_code
    FROM beacon WHERE (SELECT count(*) FROM gone) >= 0
    ORDER BY request_key, slot, served_on, event, no
    ON CONFLICT DO NOTHING
    RETURNING event
), unheld AS MATERIALIZED (
    SELECT DISTINCT ON (request_key, slot, served_on) b.campaign_id, b.no
    FROM beacon b LEFT JOIN gone g USING (request_key, slot, served_on)
    WHERE b.event = 'impression' AND g.settles IS NOT TRUE
    ORDER BY request_key, slot, served_on, b.no
)
SELECT (SELECT count(*) FROM first) AS first,
       (SELECT count(*) FROM gone WHERE settles) AS settled,
       (SELECT count(*) FROM gone WHERE NOT settles) AS released,
       (SELECT array_agg(u.no ORDER BY u.no) FROM unheld u JOIN campaigns c ON c.id = u.campaign_id
        WHERE c.late_impressions = 'charge') AS may_be_late,
       {MOVED_AMOUNTS}
"""
"""Records a group of beacons, each serve and event once; an impression settles its hold, an error releases it.

Of an impression and an error for one serve in one group, the first counts. Asking for the count of `gone` makes the
holds' locks come before the inserts. Returns how many were the first of their kind, and how many holds were settled and
released; which impressions found no hold and may be charged late; and the money of the ended holds."""

RELEASE_EXPIRED_HOLDS = f"""
WITH ending AS MATERIALIZED (
    SELECT ctid AS place, false AS settles, 'expiry' AS cause
    FROM holds WHERE expires_at <= adserver_clock() AND ($2::varchar IS NULL OR campaign_id = $2)
    ORDER BY expires_at LIMIT $1
    FOR UPDATE SKIP LOCKED
), {HOLD_ENDING_STEPS}
SELECT (SELECT count(*) FROM gone) AS holds, {MOVED_AMOUNTS}
"""
"""The sweeper: releases holds whose impression never came, of one campaign or for NULL of all, oldest first. Any number
may run at once, because a hold that somebody else is ending is passed over, not waited for."""

FIND_CAMPAIGNS_WITH_EXPIRED_HOLDS = (
    "SELECT DISTINCT campaign_id FROM holds WHERE expires_at <= adserver_clock() ORDER BY 1"
)
"""Whose holds the sweeper has to release."""

LOCK_LATE_IMPRESSIONS = """
WITH beacon AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::date[]) WITH ORDINALITY AS b (request_key, slot, served_on, no)
), late AS MATERIALIZED (
    SELECT r.request_key, r.slot, r.served_on, r.campaign_id, r.price, r.currency, b.no,
           window_start('hour', adserver_clock(), c.timezone) AS hour_start,
           window_start('day', adserver_clock(), c.timezone) AS day_start
    FROM hold_releases r JOIN beacon b USING (request_key, slot, served_on)
    JOIN campaigns c ON c.id = r.campaign_id
    WHERE r.cause = 'expiry' AND c.late_impressions = 'charge'
    ORDER BY r.request_key, r.slot
    FOR UPDATE OF r
), writing AS (
    UPDATE budget_tracking SET spent = spent WHERE false
)
SELECT json_agg(late)::text FROM late
"""
"""Locks the releases of impressions that may be charged late, and says what each would be charged in the current
periods: what `LOCK_BUDGETS` and `CHARGE_LATE` are given, or NULL for none.

`writing` is as in `budgets.LOCK`."""

CHARGE_LATE_IMPRESSIONS = f"""
WITH late AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1::text::json) AS l (
        request_key uuid, slot smallint, served_on date, campaign_id varchar, price numeric, currency varchar,
        no bigint, hour_start timestamptz, day_start timestamptz)
), budget AS MATERIALIZED (
    SELECT t.ctid AS place, t.campaign_id, t.period, t."limit", t.spent + t.held AS used,
           t.impressions_limit, t.impressions
    FROM budget_tracking t WHERE t.ctid = ANY ($2::tid[])
), room AS (
    SELECT b.campaign_id, bool_or(t.place IS NULL) AS unopened, min(allowed."limit" - t.used) AS amount,
           min(allowed.impressions - t.impressions) AS ads
    FROM (SELECT DISTINCT campaign_id FROM late) AS c JOIN campaign_budgets b USING (campaign_id)
    LEFT JOIN budget t USING (campaign_id, period)
    {ALLOWED_BY_BUDGET}
    GROUP BY b.campaign_id
), wanted AS (
    SELECT late.*, sum(price) OVER ordered AS running, row_number() OVER ordered AS nth
    FROM late WINDOW ordered AS (PARTITION BY campaign_id ORDER BY no)
), paid AS MATERIALIZED (
    SELECT w.* FROM wanted w LEFT JOIN room r USING (campaign_id)
    WHERE r.unopened IS NOT TRUE AND (w.running <= r.amount AND w.nth <= r.ads) IS NOT FALSE
), counted AS (
    UPDATE budget_tracking t
    SET spent = t.spent + p.amount, impressions = t.impressions + p.ads,
        generation = t.generation + (random() < 0.03)::integer
    FROM (SELECT campaign_id, sum(price) AS amount, count(*) AS ads FROM paid GROUP BY campaign_id) AS p
    JOIN budget USING (campaign_id)
    WHERE t.ctid = budget.place
), taken AS (
    DELETE FROM hold_releases r USING paid p
    WHERE r.request_key = p.request_key AND r.slot = p.slot AND r.served_on = p.served_on
    RETURNING p.*
), booked AS (
    INSERT INTO spend_ledger (booked_at, kind, campaign_id, request_key, slot, amount, currency, hour_start, day_start)
    SELECT adserver_clock(), 'settle', campaign_id, request_key, slot, price, currency, hour_start, day_start
    FROM taken ORDER BY no
)
SELECT count(*) FROM taken
"""
"""Charges locked impressions as far as the locked budgets have room, first come first served, and returns how many. A
lowered limit is the one that counts, as in `budgets.SPEND`. Taking the release away is what makes it happen once."""


class Beacon(NamedTuple):
    """One beacon as its token and its URL say; `event` in the words of `domain.Event`."""

    request_key: UUID
    slot: int
    served_on: date
    campaign_id: str
    event: str
    error_code: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedBeacons:
    """What became of a group of beacons."""

    first: int
    """The first of their serve and event; all others were repeats."""
    settled: int
    released: int
    may_be_late: tuple[int, ...]
    """Impressions that found no hold, of campaigns that charge late ones: positions in the group, from 0."""


async def record_beacons(connection: "Connection[Record]", beacons: Sequence[Beacon]) -> RecordedBeacons:
    """Records the group, and settles and releases its holds, in one transaction."""
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
        await _move_held_to_spent(connection, row["money"])
    return RecordedBeacons(
        first=row["first"],
        settled=row["settled"],
        released=row["released"],
        may_be_late=tuple(number - 1 for number in row["may_be_late"] or ()),
    )


async def charge_late_impressions(connection: "Connection[Record]", beacons: Sequence[Beacon]) -> int:
    """Charges what may be charged of these late impressions, in one transaction; returns how many were.

    The same transaction opens the periods, because in the next one they may be over.
    """
    async with connection.transaction():
        await open_periods(connection, sorted({beacon.campaign_id for beacon in beacons}))
        late = await connection.fetchval(
            LOCK_LATE_IMPRESSIONS,
            [beacon.request_key for beacon in beacons],
            [beacon.slot for beacon in beacons],
            [beacon.served_on for beacon in beacons],
        )
        if late is None:
            return 0
        charged: int = await connection.fetchval(CHARGE_LATE_IMPRESSIONS, late, await _lock_budgets(connection, late))
    return charged


async def release_expired_holds(connection: "Connection[Record]", limit: int, campaign_id: str | None = None) -> int:
    """Releases at most `limit` expired holds, of this campaign or of all; returns how many.

    Raises CheckViolationError, with nothing released, if a budget holds less than what is to be released of it.
    """
    async with connection.transaction():
        (row,) = await connection.fetch(RELEASE_EXPIRED_HOLDS, limit, campaign_id)
        await _move_held_to_spent(connection, row["money"])
    holds: int = row["holds"]
    return holds


async def find_campaigns_with_expired_holds(connection: "Connection[Record]") -> list[str]:
    """The campaigns that have expired holds."""
    return [row["campaign_id"] for row in await connection.fetch(FIND_CAMPAIGNS_WITH_EXPIRED_HOLDS)]


async def _move_held_to_spent(connection: "Connection[Record]", money: str | None) -> None:
    """Has the budgets follow the holds that ended, if any did."""
    if money is None:
        return
    await connection.execute(MOVE_HELD_TO_SPENT, money, await _lock_budgets(connection, money))


async def _lock_budgets(connection: "Connection[Record]", money: str) -> list[object]:
    """Where the rows lie that money goes to or comes from."""
    return [row["place"] for row in await connection.fetch(LOCK_BUDGETS_FOR_SETTLEMENT, money)]
