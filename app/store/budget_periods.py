"""budget_tracking: open the budget periods that have begun, and read their status."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from asyncpg import Connection, Record

from app.store.budget_fragments import NEWEST_BUDGET_ROW

FIND_CAMPAIGNS_IN_FLIGHT = """
SELECT id FROM campaigns
WHERE status = 'active' AND adserver_clock() >= starts_at AND adserver_clock() < ends_at ORDER BY id
"""
"""The campaigns that may serve now: the others need no rows of the periods that begin while they do not."""

FIND_MISSING_PERIODS = f"""
SELECT due.campaign_id, due.period, due.period_start, b."limit", b.impressions_limit
FROM campaigns c JOIN campaign_budgets b ON b.campaign_id = c.id
CROSS JOIN LATERAL (
    SELECT c.id AS campaign_id, b.period, window_start(b.period, adserver_clock(), c.timezone) AS period_start
) AS due
WHERE c.id = ANY ($1) AND NOT EXISTS (SELECT FROM budget_tracking t {NEWEST_BUDGET_ROW})
ORDER BY 1, 2
"""
"""The budget periods of these campaigns that have begun and have no row yet."""

OPEN_PERIODS = """
INSERT INTO budget_tracking (campaign_id, period, period_start, "limit", impressions_limit)
SELECT * FROM unnest($1::varchar[], $2::text[], $3::timestamptz[], $4::numeric[], $5::bigint[])
ON CONFLICT DO NOTHING
"""
"""Makes the rows of these budget periods. Who makes the same ones waits until this transaction ends.

The looking is a statement of its own: in one, each look could read all that was inserted so far."""

READ_CURRENT_BUDGETS = """
SELECT b.campaign_id, b.period, p.period_start, coalesce(f.spent, 0) AS spent, coalesce(f.held, 0) AS held,
       coalesce(f."limit", b."limit") AS "limit", coalesce(f.remaining, b."limit") AS remaining,
       coalesce(f.percentage_spent, percentage_spent(0, b."limit")) AS percentage_spent, c.currency,
       coalesce(f.impressions, 0) AS impressions,
       coalesce(f.impressions_limit, b.impressions_limit) AS impressions_limit,
       coalesce(f.impressions_remaining, b.impressions_limit) AS impressions_remaining
FROM campaign_budgets b JOIN campaigns c ON c.id = b.campaign_id
CROSS JOIN LATERAL (SELECT window_start(b.period, adserver_clock(), c.timezone) AS period_start) AS p
LEFT JOIN finance.budgets f ON f.campaign_id = b.campaign_id AND f.period = b.period
    AND f.period_start = p.period_start
WHERE b.campaign_id = $1
ORDER BY array_position(ARRAY['lifetime', 'day', 'hour'], b.period)
"""
"""The current budget periods of one campaign as finance sees them, also those in which nothing was served yet."""


async def find_campaigns_in_flight(connection: "Connection[Record]") -> list[str]:
    """Ids of the active campaigns whose flight has begun and is not over."""
    return [row["id"] for row in await connection.fetch(FIND_CAMPAIGNS_IN_FLIGHT)]


async def open_periods(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> None:
    """Makes the rows of the campaigns' current budget periods."""
    unopened = await connection.fetch(FIND_MISSING_PERIODS, campaign_ids)
    if unopened:
        await connection.execute(OPEN_PERIODS, *zip(*unopened, strict=True))


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """One budget period as finance sees it; amounts in `currency`, None where there is no such limit."""

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
    """The campaign's budget periods that are running now, the longest first."""
    return [BudgetStatus(**row) for row in await connection.fetch(READ_CURRENT_BUDGETS, campaign_id)]
