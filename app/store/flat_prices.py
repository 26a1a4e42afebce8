"""flat_days: book the part of a flat price that belongs to a day, once for each campaign and day that is over."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from asyncpg import Connection, Record

from app.store.budget_periods import open_periods
from app.store.spending import LOCK_SHARED_BUDGETS
from app.store.sql_fragments import (
    ALLOWED_LIMITS,
    BOOKS_CALENDAR,
    NEW_ENTRY_ID,
    NEXT_GENERATION,
    TABLE_WRITE_LOCK,
    book_entries,
)

LAST_DAY = "((c.ends_at - interval '1 microsecond') AT TIME ZONE c.timezone)::date"
"""The last day of the flight of campaign `c`."""

DUE_DAY = """CROSS JOIN LATERAL (
    SELECT greatest((c.starts_at AT TIME ZONE c.timezone)::date, max(f.day) + 1) AS day,
           coalesce(sum(f.part), 0) AS done
    FROM flat_days f WHERE f.campaign_id = c.id
) AS due"""
"""A join of the first day of campaign `c` that is not booked, and the sum of the parts of the days that are."""

DAY_IS_OVER = f"""c.price_model = 'flat' AND due.day <= {LAST_DAY}
    AND adserver_clock() >= (due.day + 1)::timestamp AT TIME ZONE c.timezone + interval '2 minutes'"""
"""Condition: the due day of campaign `c` has ended. A serve that began on it lasts less than two minutes."""

FIND_DUE_CAMPAIGNS = f"""
SELECT c.id FROM campaigns c {DUE_DAY} WHERE {DAY_IS_OVER} ORDER BY c.id
"""
"""Find the campaigns with a flat price that have a day to book."""

LOCK_DUE_CAMPAIGN = f"""
WITH {TABLE_WRITE_LOCK}
SELECT c.id FROM campaigns c WHERE c.id = $1 FOR NO KEY UPDATE
"""
"""Lock a campaign, so that one transaction at a time books its days and nobody changes its terms meanwhile."""

BOOK_DUE_DAY = f"""
WITH due_day AS MATERIALIZED (
    SELECT c.id AS campaign_id, c.order_id, c.advertiser_id, c.advertiser AS advertiser_name, c.currency, due.day,
           p.part, CASE WHEN EXISTS (
               SELECT FROM setup_history h LEFT JOIN setup_history n
                   ON n.kind = h.kind AND n.id = h.id AND n.version = h.version + 1
               WHERE h.kind = 'campaign' AND h.id = c.id AND h.new ->> 'status' = 'active'
                   AND h.changed_at < (due.day + 1)::timestamp AT TIME ZONE c.timezone
                   AND coalesce(n.changed_at, 'infinity') > due.day::timestamp AT TIME ZONE c.timezone
           ) THEN p.part ELSE 0 END AS amount,
           window_start('hour', adserver_clock(), c.timezone) AS hour_start,
           window_start('day', adserver_clock(), c.timezone) AS day_start,
           greatest(due.day, first_open_day) AS booked_on,
           CASE WHEN due.day < first_open_day THEN due.day END AS late_from
    FROM campaigns c {DUE_DAY}
    CROSS JOIN LATERAL (
        SELECT round(greatest(c.price - due.done, 0) / ({LAST_DAY} - due.day + 1), 6) AS part
    ) AS p
    {BOOKS_CALENDAR}
    WHERE c.id = $1 AND {DAY_IS_OVER}
), budget AS MATERIALIZED (
    SELECT t.ctid AS row_ctid, t.budget_id, t.period, t."limit", t.spent + t.held AS used, t.impressions_limit
    FROM budget_tracking t WHERE t.ctid = ANY ($2::tid[])
), payable AS MATERIALIZED (
    SELECT d.* FROM due_day d WHERE NOT EXISTS (
        SELECT FROM configured_budgets b LEFT JOIN budget t ON t.budget_id = b.budget_id AND t.period = b.period
        {ALLOWED_LIMITS}
        WHERE b.budget_id = ANY (ARRAY[d.campaign_id, ' order ' || d.order_id])
            AND (t.row_ctid IS NULL OR t.used + d.amount > allowed."limit"))
), served AS (
    SELECT publisher_id, sum(ads) AS ads
    FROM (
        SELECT s.publisher_id, s.ads FROM spend_daily s JOIN payable p ON s.campaign_id = p.campaign_id
            AND s.booked_on = p.day WHERE s.kind = 'charge'
        UNION ALL
        SELECT l.publisher_id, 1 FROM spend_ledger l JOIN payable p ON l.campaign_id = p.campaign_id
            AND l.booked_on = p.day WHERE l.kind = 'charge' AND l.booked_at >= (SELECT rolled_up_to FROM books_state)
    ) AS ads GROUP BY publisher_id
), weighed AS (
    SELECT publisher_id, ads FROM served UNION ALL SELECT NULL, 1 WHERE NOT EXISTS (SELECT FROM served)
), divided AS (
    -- In millionths: the whole ones of each share, and the remainders, the largest of which get what is left.
    SELECT w.publisher_id, div(m.amount * w.ads, m.ads) AS whole, m.amount,
           row_number() OVER (ORDER BY mod(m.amount * w.ads, m.ads) DESC, w.publisher_id) AS nth
    FROM weighed w CROSS JOIN payable p
    CROSS JOIN LATERAL (SELECT p.amount * 1000000 AS amount, (SELECT sum(ads) FROM weighed) AS ads) AS m
), portion AS (
    SELECT publisher_id, (whole + (nth <= amount - sum(whole) OVER ())::integer) / 1000000 AS price FROM divided
), booked AS (
    {book_entries("flat")}
    FROM (
        SELECT {NEW_ENTRY_ID} AS entry_id, p.*, s.publisher_id, u.name AS publisher_name,
               s.price::numeric(18,6) AS price,
               coalesce(publisher_part(s.price, u.revenue_share), 0) AS publisher_amount, NULL AS creative_id,
               NULL AS upstream_id, NULL AS placement_id, NULL::uuid AS request_key, NULL::smallint AS slot
        FROM payable p CROSS JOIN portion s LEFT JOIN publishers u ON u.id = s.publisher_id WHERE s.price > 0
    ) AS share
), charged AS (
    UPDATE budget_tracking t SET spent = t.spent + p.amount, generation = {NEXT_GENERATION}
    FROM payable p WHERE t.ctid = ANY ($2::tid[])
), recorded AS (
    INSERT INTO flat_days (campaign_id, day, part, amount, booked_on, booked_at)
    SELECT campaign_id, day, part, amount, booked_on, adserver_clock() FROM payable
    RETURNING campaign_id
)
SELECT d.day, d.amount, EXISTS (SELECT FROM recorded) AS is_booked FROM due_day d
"""
"""Book the due day of a locked campaign, if its budgets and its order's have room for it.

The part of a day is the rest of the price, divided by the days that remain: the parts of a whole flight add up
to the price, to the last millionth, even if the price or the flight changes. A day on which the campaign was active
at no time costs nothing, and its part is not made up for. The amount is divided among the publishers by the ads that
they showed on the day. Like a late event, it counts in the current periods."""


@dataclass(frozen=True, slots=True)
class FlatDay:
    """A day of a campaign with a flat price."""

    campaign_id: str
    day: date
    amount: Decimal
    is_booked: bool
    """False if a budget has no room for it, so that it is tried again."""


async def find_due_campaigns(connection: "Connection[Record]") -> list[str]:
    """Return the campaigns that have a day to book."""
    return [row["id"] for row in await connection.fetch(FIND_DUE_CAMPAIGNS)]


async def book_due_day(connection: "Connection[Record]", campaign_id: str) -> FlatDay | None:
    """Book the next day of the campaign in one transaction; return None if no day of it is over."""
    async with connection.transaction():
        await open_periods(connection, [campaign_id])
        await connection.execute(LOCK_DUE_CAMPAIGN, campaign_id)
        locked = await connection.fetch(LOCK_SHARED_BUDGETS, [campaign_id])
        row = await connection.fetchrow(BOOK_DUE_DAY, campaign_id, [budget["row_ctid"] for budget in locked])
    return None if row is None else FlatDay(campaign_id, **dict(row))
