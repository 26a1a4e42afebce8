"""budget_tracking under a change of budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from asyncpg import Connection, Record

from app.domain import Budget, BudgetPeriod

LOCK_OUT_SPENDING = "LOCK TABLE budget_tracking IN SHARE MODE"
"""Waits for the serving transactions under way, and has new ones wait until this transaction ends.

A statement takes its table locks before its snapshot, so whatever is spent afterwards goes by the new definitions."""

FIND_SERVED_CAMPAIGNS = """
SELECT c.id FROM unnest($1::varchar[]) AS c (id)
WHERE EXISTS (SELECT FROM spend_ledger l WHERE l.campaign_id = c.id)
    OR EXISTS (SELECT FROM holds h WHERE h.campaign_id = c.id)
    OR EXISTS (SELECT FROM hold_releases r WHERE r.campaign_id = c.id)
"""
"""The campaigns that have ever served an ad or been booked on. Reads whole tables for those that have not."""

APPLY_NEW_LIMITS = """
WITH running AS MATERIALIZED (
    SELECT t.campaign_id, t.period, t.period_start, b."limit" AS amount, b.impressions_limit AS impressions,
           budget_limit(b."limit", t.spent + t.held) AS "limit",
           budget_limit(b.impressions_limit, t.impressions)::bigint AS impressions_limit
    FROM budget_tracking t
    JOIN campaigns c ON c.id = t.campaign_id
    JOIN campaign_budgets b ON b.campaign_id = t.campaign_id AND b.period = t.period
    WHERE t.campaign_id = ANY ($1) AND t.period_start = window_start(t.period, adserver_clock(), c.timezone)
    ORDER BY t.campaign_id, t.period
    FOR UPDATE OF t
)
UPDATE budget_tracking t SET "limit" = r."limit", impressions_limit = r.impressions_limit
FROM running r
WHERE t.campaign_id = r.campaign_id AND t.period = r.period AND t.period_start = r.period_start
RETURNING t.campaign_id, t.period, r.amount, r.impressions, t."limit", t.impressions_limit
"""
"""Gives the running periods their new limits, none below what is used already."""

SUM_CAMPAIGN_SPEND = """
SELECT (SELECT coalesce(sum(d.amount), 0) FROM spend_daily d WHERE d.campaign_id = $1)
     + (SELECT coalesce(sum(l.amount), 0) FROM spend_ledger l CROSS JOIN books_state s
        WHERE l.campaign_id = $1 AND l.booked_at >= s.rolled_up_to) AS spent,
       (SELECT coalesce(sum(h.price), 0) FROM holds h WHERE h.campaign_id = $1) AS held
"""
"""All that a campaign has spent and holds, from the daily sums and what the ledger has since; for want of a counter."""

REBUILD_COUNTERS = "SELECT recount_budgets($1)"
"""Makes the running periods' rows that are missing, from the ledger and the open holds, and removes those of budgets
that are gone. It waits for the transactions that are booking, and holds up the next ones meanwhile."""


@dataclass(frozen=True, slots=True)
class CampaignTotal:
    """What a campaign has ever spent, and what it holds now."""

    spent: Decimal
    held: Decimal


@dataclass(frozen=True, slots=True)
class OverspentLimit:
    """A running budget period with a new limit below what is used of it; a kind of limit that is not is None."""

    campaign_id: str
    period: BudgetPeriod
    wanted: Budget
    used: Budget


async def lock_out_spending(connection: "Connection[Record]") -> None:
    """From here to the end of the transaction nothing is spent, and everything that was spent can be seen."""
    await connection.execute(LOCK_OUT_SPENDING)


async def find_served_campaigns(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> set[str]:
    """Those of the campaigns that the books know."""
    return {row["id"] for row in await connection.fetch(FIND_SERVED_CAMPAIGNS, campaign_ids)}


async def apply_new_limits(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> list[OverspentLimit]:
    """Has the running periods follow the campaigns' budgets; returns those that cannot go as low as wanted."""
    return [
        OverspentLimit(campaign_id, BudgetPeriod(period), Budget(amount, impressions), Budget(limit, impressions_limit))
        for campaign_id, period, amount, impressions, limit, impressions_limit in await connection.fetch(
            APPLY_NEW_LIMITS, campaign_ids
        )
        if (limit, impressions_limit) != (amount, impressions)
    ]


async def read_campaign_total(connection: "Connection[Record]", campaign_id: str) -> CampaignTotal:
    """What a campaign without budgets has spent; reads every entry of the ledger that is not summed up yet."""
    row = await connection.fetchrow(SUM_CAMPAIGN_SPEND, campaign_id)
    if row is None:
        raise AssertionError("a SELECT of aggregates has a row")
    return CampaignTotal(row["spent"], row["held"])


async def rebuild_counters(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> None:
    """To be called when campaign_budgets is written, and before this transaction locks any row of budget_tracking.

    A period's row begins with what was spent and held in it before, and with a limit that is not below that.
    """
    await connection.execute(REBUILD_COUNTERS, campaign_ids)
