"""budget_tracking: open budget periods that have begun, archive those that are over, and read the current ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from asyncpg import Connection, Record

from app.store.sql_fragments import CHARGED_BUDGETS, NEWEST_BUDGET_ROW

FIND_MISSING_PERIODS = f"""
SELECT DISTINCT b.campaign_id, b.order_id, b.period, budget_period.period_start, b."limit", b.impressions_limit
FROM campaigns c JOIN configured_budgets b ON {CHARGED_BUDGETS}
CROSS JOIN LATERAL (
    SELECT b.budget_id, b.period, window_start(b.period, adserver_clock(), c.timezone) AS period_start
) AS budget_period
WHERE c.id = ANY ($1) AND NOT EXISTS (SELECT FROM budget_tracking t {NEWEST_BUDGET_ROW})
    AND ($2 OR (c.status = 'active' AND adserver_clock() >= c.starts_at AND adserver_clock() < c.ends_at))
ORDER BY b.order_id NULLS LAST, b.campaign_id, b.period
"""
"""Find the budget periods of these campaigns and their orders that have begun and have no row yet; unless $2 is true,
only of campaigns that may serve now."""

OPEN_PERIODS = """
INSERT INTO budget_tracking (campaign_id, order_id, period, period_start, "limit", impressions_limit)
SELECT * FROM unnest($1::varchar[], $2::varchar[], $3::text[], $4::timestamptz[], $5::numeric[], $6::bigint[])
ON CONFLICT DO NOTHING
"""
"""Create the rows of these budget periods; another transaction that opens the same periods waits for this one.

It is a separate statement, because a statement that both searches and inserts would read the rows it has inserted so
far at every step of its search."""

OPEN_ORDER_BUDGETS = """
INSERT INTO budget_tracking (order_id, period, period_start, "limit", impressions_limit)
SELECT order_id, period, to_timestamp(0), "limit", impressions_limit FROM configured_budgets WHERE order_id = ANY ($1)
ORDER BY order_id
ON CONFLICT DO NOTHING
"""
"""Create the rows of the budgets of orders, as far as they have none."""

ARCHIVE_PERIODS = "SELECT archive_budget_periods($1, $2)"
"""Move at most $2 periods that ended more than $1 days ago to the archive, and return their number."""

READ_CURRENT_BUDGETS = """
SELECT b.campaign_id, b.period, p.period_start, coalesce(f.spent, 0) AS spent, coalesce(f.held, 0) AS held,
       coalesce(f."limit", b."limit") AS "limit", coalesce(f.remaining, b."limit") AS remaining,
       coalesce(f.percentage_spent, percentage_spent(0, b."limit")) AS percentage_spent, c.currency,
       coalesce(f.impressions, 0) AS impressions,
       coalesce(f.impressions_limit, b.impressions_limit) AS impressions_limit,
       coalesce(f.impressions_remaining, b.impressions_limit) AS impressions_remaining
FROM configured_budgets b JOIN campaigns c ON c.id = b.campaign_id
CROSS JOIN LATERAL (SELECT window_start(b.period, adserver_clock(), c.timezone) AS period_start) AS p
LEFT JOIN finance.budgets f ON f.campaign_id = b.campaign_id AND f.period = b.period
    AND f.period_start = p.period_start
WHERE b.campaign_id = $1
ORDER BY array_position(ARRAY['lifetime', 'day', 'hour'], b.period)
"""
"""Read the current budget periods of one campaign from the finance view, including those without any serve."""


async def open_periods(
    connection: "Connection[Record]", campaign_ids: Sequence[str], *, only_in_flight: bool = False
) -> None:
    """Create the missing rows of the current budget periods of the campaigns and their orders."""
    missing = await connection.fetch(FIND_MISSING_PERIODS, campaign_ids, not only_in_flight)
    if missing:
        await connection.execute(OPEN_PERIODS, *zip(*missing, strict=True))


async def open_order_budgets(connection: "Connection[Record]", order_ids: Sequence[str]) -> None:
    """Create the missing rows of the budgets of these orders."""
    await connection.execute(OPEN_ORDER_BUDGETS, order_ids)


async def archive_periods(connection: "Connection[Record]", after_days: int, limit: int) -> int:
    """Archive at most `limit` periods that ended so long ago; return their number.

    Raises LockNotAvailableError while a month is being closed.
    """
    moved: int = await connection.fetchval(ARCHIVE_PERIODS, after_days, limit)
    return moved


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """One budget period as the finance view shows it: amounts in `currency`, None for a limit that is not set."""

    campaign_id: str
    period: str
    period_start: datetime
    spent: Decimal
    held: Decimal
    limit: Decimal | None
    remaining: Decimal | None
    percentage_spent: Decimal | None
    currency: str
    impressions: int
    impressions_limit: int | None
    impressions_remaining: int | None


async def read_current_budgets(connection: "Connection[Record]", campaign_id: str) -> list[BudgetStatus]:
    """Return the campaign's current budget periods, the longest first."""
    return [BudgetStatus(**row) for row in await connection.fetch(READ_CURRENT_BUDGETS, campaign_id)]
