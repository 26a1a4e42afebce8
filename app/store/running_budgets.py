"""budget_tracking under a change of budgets: what runs on, what begins late, and what no longer limits.

A counter equals the sum of its ledger rows at every moment, so a budget that begins in the middle of its period
begins with what was spent in it already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from asyncpg import Connection, Record

from app.domain import BudgetPeriod

FENCE = "LOCK TABLE budget_tracking IN SHARE MODE"
"""Waits for the serving transactions under way, and has new ones wait until this transaction ends.

A statement takes its table locks before its snapshot, so whatever is spent afterwards goes by the new definitions."""

HAS_SERVED = """
SELECT c.id FROM unnest($1::varchar[]) AS c (id)
WHERE EXISTS (SELECT FROM spend_ledger l WHERE l.campaign_id = c.id)
    OR EXISTS (SELECT FROM holds h WHERE h.campaign_id = c.id)
    OR EXISTS (SELECT FROM hold_releases r WHERE r.campaign_id = c.id)
"""
"""The campaigns that have ever served an ad or been booked on. Reads whole tables for those that have not."""

DROP_PERIODS = """
WITH removed AS MATERIALIZED (
    SELECT t.campaign_id, t.period, t.period_start
    FROM budget_tracking t JOIN campaigns c ON c.id = t.campaign_id
    WHERE t.campaign_id = ANY ($1) AND t.period_start = window_start(t.period, adserver_clock(), c.timezone)
        AND NOT EXISTS (SELECT FROM campaign_budgets b WHERE b.campaign_id = t.campaign_id AND b.period = t.period)
    ORDER BY t.campaign_id, t.period
    FOR UPDATE OF t
)
DELETE FROM budget_tracking t USING removed r
WHERE t.campaign_id = r.campaign_id AND t.period = r.period AND t.period_start = r.period_start
"""
"""Takes away the running periods of budgets that are no more. What is spent from now on would be missing in them;
periods that are over are complete and stay."""

FOLLOW = """
WITH running AS MATERIALIZED (
    SELECT t.campaign_id, t.period, t.period_start, b."limit" AS wanted, greatest(b."limit", t.spent + t.held) AS least
    FROM budget_tracking t
    JOIN campaigns c ON c.id = t.campaign_id
    JOIN campaign_budgets b ON b.campaign_id = t.campaign_id AND b.period = t.period
    WHERE t.campaign_id = ANY ($1) AND t.period_start = window_start(t.period, adserver_clock(), c.timezone)
    ORDER BY t.campaign_id, t.period
    FOR UPDATE OF t
)
UPDATE budget_tracking t SET "limit" = r.least
FROM running r
WHERE t.campaign_id = r.campaign_id AND t.period = r.period AND t.period_start = r.period_start
RETURNING t.campaign_id, t.period, r.wanted, t."limit"
"""
"""Gives the running periods their new limits, none below what is spent and held already."""

BEGIN_LATE = """
WITH added AS MATERIALIZED (
    SELECT c.id AS campaign_id, b.period, b."limit",
           window_start(b.period, adserver_clock(), c.timezone) AS period_start
    FROM unnest($1::varchar[], $2::text[]) AS a (campaign_id, period)
    JOIN campaigns c ON c.id = a.campaign_id
    JOIN campaign_budgets b ON b.campaign_id = a.campaign_id AND b.period = a.period
), spent AS (
    SELECT a.campaign_id, a.period, sum(l.amount) AS amount,
           count(*) FILTER (WHERE l.kind IN ('charge', 'settle')) AS ads
    FROM added a JOIN spend_ledger l ON l.campaign_id = a.campaign_id AND l.booked_at >= a.period_start
        AND a.period_start = CASE a.period
            WHEN 'hour' THEN l.hour_start WHEN 'day' THEN l.day_start ELSE to_timestamp(0) END
    GROUP BY a.campaign_id, a.period
), held AS (
    SELECT a.campaign_id, a.period, sum(h.price) AS amount, count(*) AS ads
    FROM added a JOIN holds h ON h.campaign_id = a.campaign_id
        AND a.period_start = CASE a.period
            WHEN 'hour' THEN h.hour_start WHEN 'day' THEN h.day_start ELSE to_timestamp(0) END
    GROUP BY a.campaign_id, a.period
)
INSERT INTO budget_tracking (campaign_id, period, period_start, "limit", spent, held, impressions)
SELECT a.campaign_id, a.period, a.period_start,
       greatest(a."limit", coalesce(s.amount, 0) + coalesce(h.amount, 0)),
       coalesce(s.amount, 0), coalesce(h.amount, 0), coalesce(s.ads, 0) + coalesce(h.ads, 0)
FROM added a LEFT JOIN spent s USING (campaign_id, period) LEFT JOIN held h USING (campaign_id, period)
ORDER BY a.campaign_id, a.period
"""
"""Makes the running periods of budgets that campaigns which serve already did not have, with what was spent in them."""


@dataclass(frozen=True, slots=True)
class Overdrawn:
    """A running budget period whose new limit is below what is spent and held in it."""

    campaign_id: str
    period: BudgetPeriod
    wanted: Decimal
    used: Decimal


async def fence(connection: "Connection[Record]") -> None:
    """From here to the end of the transaction nothing is spent, and everything that was spent can be seen."""
    await connection.execute(FENCE)


async def has_served(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> set[str]:
    """Those of the campaigns that the books know."""
    return {row["id"] for row in await connection.fetch(HAS_SERVED, campaign_ids)}


async def begin_late(connection: "Connection[Record]", added: Sequence[tuple[str, BudgetPeriod]]) -> None:
    """Begins budgets of campaigns that exist, behind a fence."""
    await connection.execute(BEGIN_LATE, [campaign_id for campaign_id, _ in added], [period for _, period in added])


async def follow(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> list[Overdrawn]:
    """Has the running periods follow the campaigns' budgets; returns those that cannot go as low as wanted."""
    await connection.execute(DROP_PERIODS, campaign_ids)
    rows = await connection.fetch(FOLLOW, campaign_ids)
    return [
        Overdrawn(row["campaign_id"], BudgetPeriod(row["period"]), row["wanted"], row["limit"])
        for row in rows
        if row["limit"] > row["wanted"]
    ]
