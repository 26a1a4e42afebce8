"""budget_tracking, ad_serves, holds and spend_ledger: paying for ads, all in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from app.store.budget_fragments import ALLOWED_BY_BUDGET, LOCK_DUE_BUDGETS, ROOM_BY_PACING, ROOM_IN_BUDGET

LOCK_BUDGETS_FOR_SPEND = f"""
WITH due AS MATERIALIZED (
    SELECT b.campaign_id, b.period, window_start(b.period, adserver_clock(), c.timezone) AS period_start
    FROM campaigns c JOIN campaign_budgets b ON b.campaign_id = c.id
    WHERE c.id = ANY ($1)
    ORDER BY b.campaign_id, b.period
), writing AS (
    UPDATE budget_tracking SET spent = spent WHERE false
)
{LOCK_DUE_BUDGETS}
"""
"""Locks the running budgets of these campaigns in the order of campaign and period, and says where the rows lie.

`writing` changes nothing; it takes the table's lock of those who write, so that no change of budgets comes between this
statement and the next."""

SPEND_BUDGETS = f"""
-- How many ads are wanted of each campaign, what room its locked budgets have, and how many of them are granted.
WITH budget AS MATERIALIZED (
    SELECT t.ctid AS place, t.campaign_id, t.period, t.period_start, t."limit", t.spent + t.held AS used,
           t.impressions_limit, t.impressions
    FROM budget_tracking t WHERE t.ctid = ANY ($11::tid[])
), wanted AS (
    SELECT campaign_id, count(*) AS ads FROM unnest($3::varchar[]) AS campaign_id GROUP BY campaign_id
), room AS (
    SELECT c.id AS campaign_id, max(w.ads) AS wanted, c.cpm / 1000 AS price, c.currency, c.billing, c.hold_ttl_s,
           window_start('hour', adserver_clock(), c.timezone) AS hour_start,
           window_start('day', adserver_clock(), c.timezone) AS day_start, CASE
               WHEN c.status <> 'active' THEN 'paused'
               WHEN adserver_clock() < c.starts_at OR adserver_clock() >= c.ends_at THEN 'flight'
           END AS refusal,
           count(b.period) AS periods, bool_or(b.period IS NOT NULL AND t.place IS NULL) AS unopened,
           min({ROOM_IN_BUDGET}) AS ads,
           min({ROOM_BY_PACING}) AS ads_by_now
    FROM wanted w JOIN campaigns c ON c.id = w.campaign_id
    LEFT JOIN campaign_budgets b ON b.campaign_id = c.id
    LEFT JOIN budget t ON t.campaign_id = b.campaign_id AND t.period = b.period
        AND t.period_start = window_start(b.period, adserver_clock(), c.timezone)
    {ALLOWED_BY_BUDGET}
    GROUP BY c.id
), granted AS MATERIALIZED (
    SELECT r.*, (CASE
        WHEN r.refusal IS NOT NULL OR r.unopened OR r.ads_by_now < 0 THEN 0
        ELSE least(r.wanted, r.ads_by_now)
    END)::bigint AS units
    FROM room r
),
-- The budgets are charged for what is granted.
charged AS (
    UPDATE budget_tracking t
    SET spent = t.spent + CASE g.billing WHEN 'serve' THEN g.units * g.price ELSE 0 END,
        held = t.held + CASE g.billing WHEN 'impression' THEN g.units * g.price ELSE 0 END,
        impressions = t.impressions + g.units,
        generation = t.generation + (random() < 0.03)::integer
    FROM budget b JOIN granted g USING (campaign_id)
    WHERE t.ctid = b.place AND g.units > 0 AND (
        t.spent + t.held + g.units * g.price <= t."limit" AND t.impressions + g.units <= t.impressions_limit
    ) IS NOT FALSE
    RETURNING t.campaign_id
),
-- Which ads that is: the first of each campaign. Those are booked.
asked AS (
    SELECT a.*, row_number() OVER (PARTITION BY a.campaign_id ORDER BY a.no) AS nth
    FROM unnest($1::uuid[], $2::smallint[], $3::varchar[], $4::varchar[], $5::varchar[], $6::varchar[],
                $7::uuid[], $8::uuid[], $9::bigint[], $10::boolean[]) WITH ORDINALITY
        AS a (request_key, slot, campaign_id, creative_id, upstream_id, placement_id,
              user_key, session_id, fingerprint, waits_long, no)
), decided AS MATERIALIZED (
    SELECT a.request_key, (row_number() OVER in_request - 1)::smallint AS slot, campaign_id, a.creative_id,
           a.upstream_id, a.placement_id, a.user_key, a.session_id, a.fingerprint, a.waits_long, a.no, a.nth, d.paid,
           g.price, g.currency, g.billing, g.hold_ttl_s, g.hour_start, g.day_start, g.refusal, g.unopened, g.ads
    FROM asked a LEFT JOIN granted g USING (campaign_id)
    CROSS JOIN LATERAL (SELECT coalesce(a.nth <= g.units, false) AS paid) AS d
    WINDOW in_request AS (PARTITION BY a.request_key, d.paid ORDER BY a.slot)
    ORDER BY a.request_key, d.paid, a.slot
), served AS (
    INSERT INTO ad_serves (request_key, slot, served_on, served_at, campaign_id, creative_id, upstream_id,
                           placement_id, user_key, session_id, price, currency, billing, fingerprint)
    SELECT request_key, slot, (adserver_clock() AT TIME ZONE 'UTC')::date, adserver_clock(), campaign_id, creative_id,
           upstream_id, placement_id, user_key, session_id, price, currency, billing, fingerprint
    FROM decided WHERE paid
), held AS (
    INSERT INTO holds (request_key, slot, served_on, campaign_id, price, currency, hour_start, day_start, expires_at)
    SELECT request_key, slot, (adserver_clock() AT TIME ZONE 'UTC')::date, campaign_id, price, currency, hour_start,
           day_start, adserver_clock() + make_interval(secs => CASE WHEN waits_long
               THEN greatest(hold_ttl_s, 21600) ELSE hold_ttl_s END)
    FROM decided WHERE paid AND billing = 'impression'
), booked AS (
    INSERT INTO spend_ledger (booked_at, kind, campaign_id, request_key, slot, amount, currency, hour_start, day_start)
    SELECT adserver_clock(), 'charge', campaign_id, request_key, slot, price, currency, hour_start, day_start
    FROM decided WHERE paid AND billing = 'serve' ORDER BY no
),
-- What is said of the others, and whether a budget was not charged although its ads were granted.
short AS (
    SELECT (SELECT coalesce(sum(periods), 0) FROM granted WHERE units > 0) - (SELECT count(*) FROM charged) AS rows
)
SELECT catalog.revision, adserver_clock() AS at, short.rows AS uncharged, d.no, CASE
    WHEN d.refusal IS NOT NULL THEN d.refusal
    WHEN d.unopened THEN 'unopened'
    WHEN d.nth > d.ads THEN 'budget'
    ELSE 'pacing' END AS reason
FROM short CROSS JOIN catalog LEFT JOIN decided d ON NOT d.paid
"""
"""Grants as many ads as all of their locked budgets have room for, first come first served, charges or holds those, and
writes their serve and ledger rows. Returns the ads not paid for, and in every row the catalog's revision and the
database's clock. `unopened` is as in `candidates.LOOK`.

Every transaction inserts its serves and holds in the order of request and slot, in which `decided` has them: so two
that serve one request wait for each other, and not both at once. Every part is read as seldom, and is as narrow, as
may be: with few ads, most of the time goes into setting up the plan, and with many, into copying rows."""


class Payment(NamedTuple):
    """One ad to be paid for, and what its serve row says, in the order of the statement's parameters."""

    request_key: UUID
    slot: int
    campaign_id: str
    creative_id: str | None
    upstream_id: str | None
    placement_id: str | None
    user_key: UUID | None
    session_id: UUID | None
    fingerprint: int
    waits_long: bool = False
    """Whether its impression may come late, six hours at the most: in a pod, or through a stitcher."""


@dataclass(frozen=True, slots=True)
class SpendResult:
    """What became of a group's payments: those that are not in `refusals`, by position from 0, are paid."""

    revision: int
    at: datetime
    refusals: dict[int, str]


class UnchargedError(Exception):
    """Ads were granted and a budget was not charged for them: the transaction must not commit."""


async def spend(connection: "Connection[Record]", payments: Sequence[Payment]) -> SpendResult:
    """Pays for as many as the budgets allow, and says why not for the others.

    Raises UnchargedError if what was granted and the guard of the charge disagree, which would be a bug.
    """
    locked = await connection.fetch(LOCK_BUDGETS_FOR_SPEND, list({payment.campaign_id for payment in payments}))
    rows = await connection.fetch(SPEND_BUDGETS, *zip(*payments, strict=True), [row["place"] for row in locked])
    if rows[0]["uncharged"]:
        raise UnchargedError(f"{rows[0]['uncharged']} budget rows were not charged")
    refusals = {row["no"] - 1: row["reason"] for row in rows if row["no"] is not None}
    return SpendResult(rows[0]["revision"], rows[0]["at"], refusals)
