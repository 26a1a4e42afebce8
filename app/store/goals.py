"""Read how far campaigns are behind their goals."""

from dataclasses import dataclass
from datetime import datetime

from asyncpg import Connection, Record

from app.store.candidate_checks import read_clock
from app.store.sql_fragments import ALLOWED_LIMITS, NEWEST_BUDGET_ROW, paced_limit

GOAL_PACING = "CASE c.pacing WHEN 'asap' THEN 'even' ELSE c.pacing END"
"""The pacing by which goal of campaign `c` is measured; without any, its impressions are due evenly."""

READ_PACE = f"""
SELECT c.id, min(least(
    ({paced_limit('allowed."limit"', GOAL_PACING)} - t.used) / nullif(allowed."limit", 0),
    ({paced_limit("allowed.impressions", GOAL_PACING)} - t.impressions) / nullif(allowed.impressions, 0)
))::float8 AS behind
FROM campaigns c JOIN configured_budgets b ON b.campaign_id = c.id
CROSS JOIN LATERAL (
    SELECT b.budget_id, b.period, window_start(b.period, adserver_clock(), c.timezone) AS period_start
) AS budget_period
CROSS JOIN LATERAL (
    SELECT t.*, t.spent + t.held AS used FROM budget_tracking t {NEWEST_BUDGET_ROW}
) AS t
{ALLOWED_LIMITS}
WHERE c.status = 'active' AND adserver_clock() >= c.starts_at AND adserver_clock() < c.ends_at AND b.period <> 'hour'
    AND (c.pacing <> 'asap' OR (b.period = 'lifetime' AND b.impressions_limit IS NOT NULL))
GROUP BY c.id
"""
"""Read the part of its goal by which each campaign in flight is behind; of several budgets the one least behind."""


@dataclass(frozen=True, slots=True)
class GoalPace:
    """The part of its goal by which each campaign is behind, by id, at one moment of the database's clock."""

    database_time: datetime
    behind: dict[str, float]


async def read_pace(connection: "Connection[Record]") -> GoalPace:
    """Return the pace of all campaigns with a goal that are in flight."""
    rows = await connection.fetch(READ_PACE)
    return GoalPace(
        await read_clock(connection), {row["id"]: row["behind"] for row in rows if row["behind"] is not None}
    )
