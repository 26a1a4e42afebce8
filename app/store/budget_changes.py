"""budget_tracking under a change of campaign budgets: apply the new limits and rebuild the counters."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from asyncpg import Connection, Record

from app.domain import Budget, BudgetPeriod

LOCK_OUT_SPENDING = "LOCK TABLE budget_tracking IN SHARE MODE"
"""Wait for the running serving transactions, and block new ones until this transaction ends.

A statement takes its table locks before its snapshot, so all later spending uses the new definitions."""

FIND_SERVED_CAMPAIGNS = """
SELECT c.id FROM unnest($1::varchar[]) AS c (id)
WHERE EXISTS (SELECT FROM spend_ledger l WHERE l.campaign_id = c.id)
    OR EXISTS (SELECT FROM holds h WHERE h.campaign_id = c.id)
    OR EXISTS (SELECT FROM hold_releases r WHERE r.campaign_id = c.id)
"""
"""Find the campaigns with any serve or ledger entry; reads whole tables for a campaign without one."""

FIND_USED_ORDERS = """
SELECT o.id FROM unnest($1::varchar[]) AS o (id)
WHERE EXISTS (SELECT FROM spend_ledger l WHERE l.order_id = o.id)
    OR EXISTS (SELECT FROM holds h WHERE h.order_id = o.id)
    OR EXISTS (SELECT FROM order_credits k WHERE k.order_id = o.id)
"""
"""Find the orders that were credited, or that any ad was charged to; reads whole tables for an order without one."""

APPLY_NEW_LIMITS = """
WITH running AS MATERIALIZED (
    SELECT t.budget_id, t.period, t.period_start, b."limit" AS amount, b.impressions_limit AS impressions,
           budget_limit(b."limit", t.spent + t.held) AS "limit",
           budget_limit(b.impressions_limit, t.impressions)::bigint AS impressions_limit
    FROM budget_tracking t JOIN configured_budgets b ON b.budget_id = t.budget_id AND b.period = t.period
    LEFT JOIN campaigns c ON c.id = t.campaign_id
    WHERE t.budget_id = ANY ($1)
        AND t.period_start = window_start(t.period, adserver_clock(), coalesce(c.timezone, 'UTC'))
    ORDER BY t.budget_id, t.period
    FOR UPDATE OF t
)
UPDATE budget_tracking t SET "limit" = r."limit", impressions_limit = r.impressions_limit
FROM running r
WHERE t.budget_id = r.budget_id AND t.period = r.period AND t.period_start = r.period_start
RETURNING t.campaign_id, t.order_id, t.period, r.amount, r.impressions, t."limit", t.impressions_limit
"""
"""Give the running periods their new limits, but none below the amount already used."""

SUM_CAMPAIGN_SPEND = """
SELECT (SELECT coalesce(sum(d.amount), 0) FROM spend_daily d WHERE d.campaign_id = $1)
     + (SELECT coalesce(sum(l.amount), 0) FROM spend_ledger l CROSS JOIN books_state s
        WHERE l.campaign_id = $1 AND l.booked_at >= s.rolled_up_to) AS spent,
       (SELECT coalesce(sum(h.price), 0) FROM holds h WHERE h.campaign_id = $1) AS held
"""
"""Sum the amounts that a campaign without counters has spent and holds, from daily sums and newer ledger entries."""

REBUILD_COUNTERS = "SELECT recount_budgets($1)"
"""Create the missing rows of running periods from the ledger and the open holds, and delete the rows of removed
budgets. It waits for transactions that are booking, and blocks new ones until this transaction ends."""


@dataclass(frozen=True, slots=True)
class CampaignTotal:
    """The amount that a campaign has ever spent, and the amount it holds now."""

    spent: Decimal
    held: Decimal


@dataclass(frozen=True, slots=True)
class OverspentLimit:
    """A running budget period that has used more than its new limit; a limit that is not set is None."""

    campaign_id: str | None
    order_id: str | None
    """The owner of the budget is either a campaign or an order."""
    period: BudgetPeriod
    wanted: Budget
    used: Budget


def order_budget_id(order_id: str) -> str:
    """Return the `budget_id` of an order's budget; that of a campaign's budgets is the campaign's id."""
    return f" order {order_id}"


async def lock_out_spending(connection: "Connection[Record]") -> None:
    """Block all spending until the transaction ends; earlier spending is then visible to it."""
    await connection.execute(LOCK_OUT_SPENDING)


async def find_served_campaigns(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> set[str]:
    """Return the campaigns that have any serve or ledger entry."""
    return {row["id"] for row in await connection.fetch(FIND_SERVED_CAMPAIGNS, campaign_ids)}


async def find_used_orders(connection: "Connection[Record]", order_ids: Sequence[str]) -> set[str]:
    """Return the orders that were credited or charged."""
    return {row["id"] for row in await connection.fetch(FIND_USED_ORDERS, order_ids)}


async def apply_new_limits(connection: "Connection[Record]", budget_ids: Sequence[str]) -> list[OverspentLimit]:
    """Apply the configured budgets to their running periods; return the periods of which more is already used."""
    return [
        OverspentLimit(
            campaign_id=row["campaign_id"],
            order_id=row["order_id"],
            period=BudgetPeriod(row["period"]),
            wanted=Budget(row["amount"], row["impressions"]),
            used=Budget(row["limit"], row["impressions_limit"]),
        )
        for row in await connection.fetch(APPLY_NEW_LIMITS, budget_ids)
        if (row["limit"], row["impressions_limit"]) != (row["amount"], row["impressions"])
    ]


async def read_campaign_total(connection: "Connection[Record]", campaign_id: str) -> CampaignTotal:
    """Return the total of a campaign without budgets; reads all its ledger entries that are not rolled up yet."""
    row = await connection.fetchrow(SUM_CAMPAIGN_SPEND, campaign_id)
    if row is None:
        raise AssertionError("an aggregate returns one row")
    return CampaignTotal(row["spent"], row["held"])


async def rebuild_counters(connection: "Connection[Record]", budget_ids: Sequence[str]) -> None:
    """Make the counters match the owners' sets of budgets.

    Call it after writing configured_budgets and before this transaction locks a row of budget_tracking. A new row
    begins with the amounts already spent and held in its period, and with a limit that is not below their sum.
    """
    await connection.execute(REBUILD_COUNTERS, budget_ids)
