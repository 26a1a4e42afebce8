"""Pay for ads: charge or hold their price in every budget, and write their serves and ledger entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from app.store.sql_fragments import (
    ALLOWED_LIMITS,
    BOOKS_CALENDAR,
    CHARGED_BUDGETS,
    LOCK_NEWEST_ROW,
    NEW_ENTRY_ID,
    NEXT_GENERATION,
    ROOM_IN_BUDGET,
    SERVE_COLUMNS,
    STATUS_REFUSALS,
    TABLE_WRITE_LOCK,
    book_entries,
    room_by_pacing,
)


def lock_budgets(condition: str, distinct: str = "") -> str:
    """Return a statement that locks the budgets `b` of campaigns `c` for which the condition holds."""
    return f"""
WITH budget_period AS MATERIALIZED (
    SELECT {distinct} b.budget_id, b.period, window_start(b.period, adserver_clock(), c.timezone) AS period_start
    FROM campaigns c JOIN configured_budgets b ON {condition}
    WHERE c.id = ANY ($1)
    ORDER BY b.budget_id, b.period
), {TABLE_WRITE_LOCK}
SELECT newest.row_ctid FROM budget_period LEFT JOIN LATERAL ({LOCK_NEWEST_ROW}) AS newest ON true
"""


LOCK_OWN_BUDGETS = lock_budgets("b.budget_id = c.id")
"""Lock the current budgets of these campaigns, ordered by budget and period, and return the ctids of their rows.

A period without a row has a ctid of NULL."""

LOCK_SHARED_BUDGETS = lock_budgets(CHARGED_BUDGETS, "DISTINCT")
"""Do the same for campaigns of which any shares the budget of an order: lock the budgets of their orders too."""

BUDGET_ROOM = f"""budget AS MATERIALIZED (
    SELECT t.ctid AS row_ctid, t.budget_id, t.period, t.period_start, t."limit", t.spent + t.held AS used,
           t.impressions_limit, t.impressions
    FROM budget_tracking t WHERE t.ctid = ANY ($17::tid[])
), room AS (
    SELECT c.id AS campaign_id, c.order_id, c.advertiser_id, c.advertiser AS advertiser_name, max(w.ads) AS wanted,
           c.unit_price AS price, c.currency, c.billing, c.hold_ttl_s,
           window_start('hour', adserver_clock(), c.timezone) AS hour_start,
           window_start('day', adserver_clock(), c.timezone) AS day_start,
           (adserver_clock() AT TIME ZONE c.timezone)::date AS day,
           CASE {STATUS_REFUSALS} END AS refusal,
           bool_or(b.period IS NOT NULL AND t.row_ctid IS NULL) AS missing_period, count(t.row_ctid) AS budgets,
           min({ROOM_IN_BUDGET}) AS ads,
           min({room_by_pacing()}) AS ads_by_now
    FROM unnest($15::varchar[], $16::bigint[]) AS w (campaign_id, ads) JOIN campaigns c ON c.id = w.campaign_id
    LEFT JOIN configured_budgets b ON b.campaign_id = c.id
    LEFT JOIN budget t ON t.budget_id = b.campaign_id AND t.period = b.period
    {ALLOWED_LIMITS}
    GROUP BY c.id
)"""
"""CTEs that find, for each campaign, the number of ads wanted and the room in its locked budgets."""

GRANTED_UNITS = """(CASE
        WHEN r.refusal IS NOT NULL OR r.missing_period OR r.ads_by_now < 0 THEN 0
        ELSE least(r.wanted, r.ads_by_now)
    END)::bigint"""
"""The number of ads that a campaign's own budgets have room for."""

BOOKING_DAY = """greatest(r.day, books.first_open_day) AS booked_on,
           CASE WHEN r.day < books.first_open_day THEN r.day END AS late_from"""
"""The day to which the ads of a campaign are booked, and the day to which they belong if that is earlier."""

CAMPAIGN_CHARGES = """campaign_id AS budget_id, units, units * price AS amount,
           CASE billing WHEN 'serve' THEN units * price ELSE 0 END AS spent
    FROM granted WHERE units > 0"""
"""The rest of a SELECT of the charge of each campaign in its own budgets."""

OWN_GRANTS = f"""granted AS MATERIALIZED (
    SELECT r.*, {BOOKING_DAY}, {GRANTED_UNITS} AS units
    FROM room r {BOOKS_CALENDAR}
),
-- Charge the budgets for the granted ads.
charge AS NOT MATERIALIZED (
    SELECT {CAMPAIGN_CHARGES}
), chargeable AS (
    SELECT coalesce(sum(budgets), 0) AS rows FROM granted WHERE units > 0
)"""
"""CTEs that grant ads and sum up their charges if no campaign shares the budget of an order."""

SHARED_GRANTS = f"""by_campaign AS MATERIALIZED (
    SELECT r.*, {GRANTED_UNITS} AS units FROM room r
),
-- The campaigns of an order get its room one after another, cheapest first: what one leaves is too little for the next.
by_order AS (
    SELECT r.campaign_id, t.row_ctid IS NULL AS missing_period, least(
        div(allowed."limit" - t.used - coalesce(sum(r.units * r.price) OVER earlier, 0), greatest(r.price, 1e-15)),
        allowed.impressions - t.impressions - coalesce(sum(r.units) OVER earlier, 0)) AS ads
    FROM by_campaign r JOIN configured_budgets b ON b.budget_id = ' order ' || r.order_id
    LEFT JOIN budget t ON t.budget_id = b.budget_id
    {ALLOWED_LIMITS}
    WINDOW earlier AS (
        PARTITION BY r.order_id ORDER BY r.price, r.campaign_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), granted AS MATERIALIZED (
    SELECT r.campaign_id, r.order_id, r.advertiser_id, r.advertiser_name, r.price, r.currency, r.billing, r.hold_ttl_s,
           r.hour_start, r.day_start, {BOOKING_DAY}, r.refusal,
           r.missing_period OR o.missing_period IS TRUE AS missing_period, least(r.ads, o.ads) AS ads,
           (CASE WHEN o.missing_period THEN 0 WHEN o.ads < r.units THEN greatest(o.ads, 0) ELSE r.units END)::bigint
               AS units
    FROM by_campaign r LEFT JOIN by_order o USING (campaign_id) {BOOKS_CALENDAR}
),
-- Charge the budgets for the granted ads, an order's once for all of its campaigns.
charge AS (
    SELECT {CAMPAIGN_CHARGES}
    UNION ALL
    SELECT ' order ' || order_id, sum(units)::bigint, sum(units * price),
           sum(CASE billing WHEN 'serve' THEN units * price ELSE 0 END)
    FROM granted WHERE units > 0 AND order_id IS NOT NULL GROUP BY order_id
), chargeable AS (
    SELECT count(*) AS rows FROM budget JOIN charge USING (budget_id)
)"""
"""The same CTEs if a campaign shares the budget of an order."""

PAID_SERVES = f"""charged AS (
    UPDATE budget_tracking t
    SET spent = t.spent + c.spent, held = t.held + c.amount - c.spent, impressions = t.impressions + c.units,
        generation = {NEXT_GENERATION}
    FROM budget b JOIN charge c USING (budget_id)
    WHERE t.ctid = b.row_ctid AND (
        t.spent + t.held + c.amount <= t."limit" AND t.impressions + c.units <= t.impressions_limit
    ) IS NOT FALSE
    RETURNING t.budget_id
),
-- The first ads of each campaign are the granted ones. Book those.
requested AS (
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::varchar[], $4::varchar[], $5::varchar[], $6::varchar[],
                         $7::uuid[], $8::uuid[], $9::bigint[], $10::boolean[], $11::text[], $12::text[], $13::text[],
                         $14::bigint[])
        WITH ORDINALITY AS a (request_key, slot, campaign_id, creative_id, upstream_id, placement_id,
                              user_key, session_id, fingerprint, long_hold, country, region, device_type, nth, ordinal)
), decided AS MATERIALIZED (
    SELECT a.request_key, (row_number() OVER in_request - 1)::smallint AS slot, campaign_id, a.creative_id,
           a.upstream_id, a.placement_id, a.user_key, a.session_id, a.fingerprint, a.long_hold, a.country,
           a.region, a.device_type, a.ordinal, a.nth, d.paid, g.order_id, g.advertiser_id, g.advertiser_name,
           u.id AS publisher_id, u.name AS publisher_name, g.price,
           coalesce(publisher_part(g.price, u.revenue_share), 0) AS publisher_amount, g.currency, g.billing,
           g.hold_ttl_s, g.hour_start, g.day_start, g.booked_on, g.late_from, g.refusal, g.missing_period, g.ads,
           CASE WHEN d.paid AND g.billing = 'serve' THEN {NEW_ENTRY_ID} END AS entry_id
    FROM requested a LEFT JOIN granted g USING (campaign_id)
    LEFT JOIN placements p ON p.id = a.placement_id LEFT JOIN publishers u ON u.id = p.publisher_id
    CROSS JOIN LATERAL (SELECT coalesce(a.nth <= g.units, false) AS paid) AS d
    WINDOW in_request AS (PARTITION BY a.request_key, d.paid ORDER BY a.slot)
    ORDER BY a.request_key, d.paid, a.slot
), served AS (
    INSERT INTO ad_serves (request_key, slot, served_on, served_at, campaign_id, creative_id, upstream_id,
                           placement_id, publisher_id, user_key, session_id, country, region, device_type, price,
                           currency, billing, fingerprint, entry_id)
    SELECT request_key, slot, (adserver_clock() AT TIME ZONE 'UTC')::date, adserver_clock(), campaign_id, creative_id,
           upstream_id, placement_id, publisher_id, user_key, session_id, country, region, device_type, price,
           currency, billing, fingerprint, entry_id
    FROM decided WHERE paid
), held AS (
    INSERT INTO holds ({SERVE_COLUMNS}, served_on, booked_on, price, publisher_amount, currency, billing, hour_start,
                       day_start, expires_at)
    SELECT {SERVE_COLUMNS}, (adserver_clock() AT TIME ZONE 'UTC')::date, coalesce(late_from, booked_on), price,
           publisher_amount, currency, billing, hour_start, day_start,
           adserver_clock() + make_interval(secs => CASE WHEN long_hold
               THEN greatest(hold_ttl_s, 21600) ELSE hold_ttl_s END)
    FROM decided WHERE paid AND billing <> 'serve'
), booked AS (
    {book_entries("charge")}
    FROM decided WHERE entry_id IS NOT NULL
),
-- The refusals of the other ads, and the number of budgets that were not charged although their ads were granted.
shortfall AS (
    SELECT chargeable.rows - (SELECT count(*) FROM charged) AS rows FROM chargeable
)
SELECT catalog.revision, adserver_clock() AS database_time, shortfall.rows AS uncharged, d.ordinal, CASE
    WHEN d.refusal IS NOT NULL THEN d.refusal
    WHEN d.missing_period THEN 'missing_period'
    WHEN d.nth > d.ads THEN 'budget'
    ELSE 'pacing' END AS reason
FROM shortfall CROSS JOIN catalog LEFT JOIN decided d ON NOT d.paid
"""
"""The rest of the statement: charge the budgets, and book the first ads of each campaign, which are granted."""

SPEND_OWN_BUDGETS = f"""
WITH {BUDGET_ROOM}, {OWN_GRANTS}, {PAID_SERVES}"""
"""Grant each campaign as many ads as all of its locked budgets have room for, first come first served; charge or hold
their price, split it between publisher and house, and write their serves and ledger entries. Return the ads that were
not paid for; every row has the catalog's revision and the database's clock. The reason `missing_period` is the one of
`CHECK_CANDIDATES`.

Every transaction inserts its serves and holds in the order of request and slot, which is the order of `decided`. Two
transactions that serve the same request therefore wait in the same order and cannot deadlock.

Each CTE is read once and kept narrow: plan start-up dominates small groups, and copying tuples dominates large ones."""

SPEND_SHARED_BUDGETS = f"""
WITH {BUDGET_ROOM}, {SHARED_GRANTS}, {PAID_SERVES}"""
"""Do the same for campaigns of which any shares the budget of an order; an order's room goes to its campaigns one after
another. This is a second statement because the steps for orders would cost every group a tenth of its time."""


class Payment(NamedTuple):
    """One ad that must be paid for, with the contents of its serve row, in the order of the statement's parameters."""

    request_key: UUID
    slot: int
    campaign_id: str
    creative_id: str | None
    upstream_id: str | None
    placement_id: str | None
    user_key: UUID | None
    session_id: UUID | None
    fingerprint: int
    long_hold: bool = False
    """Whether a hold lasts six hours or longer, because the ad may play late: in a pod, or through a stitcher."""
    country: str | None = None
    """Country of the viewer, as an ISO 3166-1 alpha-2 code."""
    region: str | None = None
    """Its region, as an ISO 3166-2 code."""
    device_type: str | None = None


@dataclass(frozen=True, slots=True)
class SpendResult:
    """The outcome of a group's payments: those whose position from 0 is not in `refusals` are paid."""

    revision: int
    database_time: datetime
    refusals: dict[int, str]


class UnchargedError(Exception):
    """Ads were granted but a budget was not charged for them: the transaction must not commit."""


async def spend(
    connection: "Connection[Record]", payments: Sequence[Payment], *, has_orders: bool = True
) -> SpendResult:
    """Pay for as many ads as the budgets allow, and return the reasons for refusing the others.

    `has_orders` may be False if none of the campaigns has an order at the catalog revision that is returned. Raises
    UnchargedError if the charge's own predicate refuses a granted ad, which would be a bug.
    """
    wanted: dict[str, int] = {}
    nth: list[int] = []
    for payment in payments:
        wanted[payment.campaign_id] = ads = wanted.get(payment.campaign_id, 0) + 1
        nth.append(ads)
    campaign_ids = list(wanted)
    lock, pay = (LOCK_SHARED_BUDGETS, SPEND_SHARED_BUDGETS) if has_orders else (LOCK_OWN_BUDGETS, SPEND_OWN_BUDGETS)
    ctids = [row_ctid for (row_ctid,) in await connection.fetch(lock, campaign_ids) if row_ctid]
    rows = await connection.fetch(pay, *zip(*payments, strict=True), nth, campaign_ids, list(wanted.values()), ctids)
    if rows[0]["uncharged"]:
        raise UnchargedError(f"{rows[0]['uncharged']} budget rows were not charged")
    refusals = {row["ordinal"] - 1: row["reason"] for row in rows if row["ordinal"] is not None}
    return SpendResult(rows[0]["revision"], rows[0]["database_time"], refusals)
