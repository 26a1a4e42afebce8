"""Read the state of caps and budgets, which explains why a campaign may or may not serve a viewer now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from asyncpg import Connection, Record

from app.store.sql_fragments import ALLOWED_LIMITS, APPLIED_CAPS, BUDGET_PACING, CHARGED_BUDGETS, paced_limit

READ_CAP_STATUS = f"""
SELECT w.campaign_id, w.level, r.id AS creative_id, w."window", w.cap, k.user_key IS NOT NULL AS countable,
       coalesce(f.count, 0) AS count, cap_window_end(w."window", k.window_start, w.timezone) AS ends_at
FROM {APPLIED_CAPS} AS w
LEFT JOIN creatives r ON w.level = 'creative' AND r.campaign_id = w.campaign_id
CROSS JOIN LATERAL (
    SELECT CASE w."window" WHEN 'session' THEN $3::uuid ELSE $2::uuid END AS user_key,
           coalesce(' creative ' || r.id, w.counter) AS counter,
           cap_window_start(w."window", adserver_clock(), w.timezone) AS window_start
) AS k
LEFT JOIN frequency_caps f ON f.user_key = k.user_key AND f.campaign_id = k.counter AND f."window" = w."window"
    AND f.window_start = k.window_start
WHERE w.campaign_id = ANY ($1) AND (w.level <> 'creative' OR r.id IS NOT NULL)
ORDER BY w.campaign_id, w.level, r.id, w."window"
"""
"""Read the count of each cap of these campaigns for one user and session in its current window."""

READ_BUDGET_ROOM = f"""
SELECT c.id AS campaign_id, b.order_id, b.period, c.currency, c.unit_price AS price, c.price_model, t.spent, t.held,
       allowed."limit", {paced_limit('allowed."limit"', BUDGET_PACING)} AS allowed_by_now, t.impressions,
       allowed.impressions AS impressions_limit,
       floor({paced_limit("allowed.impressions", BUDGET_PACING)})::bigint AS impressions_allowed_by_now
FROM campaigns c JOIN configured_budgets b ON {CHARGED_BUDGETS}
JOIN budget_tracking t ON t.budget_id = b.budget_id AND t.period = b.period
    AND t.period_start = window_start(b.period, adserver_clock(), c.timezone)
{ALLOWED_LIMITS}
WHERE c.id = ANY ($1)
ORDER BY c.id, b.order_id NULLS FIRST, b.period
"""
"""Read the current budget periods of these campaigns and their orders, and what pacing allows by now of each limit."""


@dataclass(frozen=True, slots=True)
class CapStatus:
    """One cap for one user: `countable` if the request identifies a user, `ends_at` None if its window never ends."""

    campaign_id: str
    level: str
    creative_id: str | None
    """The creative that it counts, if its level is `creative`."""
    window: str
    cap: int
    countable: bool
    count: int
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class BudgetRoom:
    """One current budget period; `price` is what an ad may cost, and a limit that is not set is None."""

    campaign_id: str
    order_id: str | None
    """The order whose budget it is; None for the campaign's own."""
    period: str
    currency: str
    price: Decimal
    price_model: str
    spent: Decimal
    held: Decimal
    limit: Decimal | None
    allowed_by_now: Decimal | None
    """The part of `limit` that pacing allows by now."""
    impressions: int
    impressions_limit: int | None
    impressions_allowed_by_now: int | None


async def read_cap_status(
    connection: "Connection[Record]", campaign_ids: Sequence[str], user_key: UUID | None, session_id: UUID | None
) -> list[CapStatus]:
    """Return every cap of the campaigns."""
    return [
        CapStatus(**dict(row)) for row in await connection.fetch(READ_CAP_STATUS, campaign_ids, user_key, session_id)
    ]


async def read_budget_room(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> list[BudgetRoom]:
    """Return every current budget period of the campaigns and their orders that has a row."""
    return [BudgetRoom(**dict(row)) for row in await connection.fetch(READ_BUDGET_ROOM, campaign_ids)]
