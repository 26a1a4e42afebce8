"""Check candidates before anything is counted: find the campaigns that may not serve a viewer now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Connection, Record

from app.store.sql_fragments import (
    ALLOWED_LIMITS,
    APPLIED_WINDOWS,
    BUDGET_PACING,
    CHARGED_BUDGETS,
    NEWEST_BUDGET_ROW,
    ROOM_IN_BUDGET,
    STATUS_REFUSALS,
    room_by_pacing,
)

FIND_PLAIN_CAP_REACHED = """SELECT FROM campaign_caps w
        JOIN frequency_caps f ON f.campaign_id = w.campaign_id AND f."window" = w."window"
            AND f.user_key = CASE w."window" WHEN 'session' THEN a.session_id ELSE a.user_key END
            AND f.window_start = window_start(w."window", adserver_clock(), c.timezone)
        WHERE w.campaign_id = a.campaign_id AND f.count >= w.impressions"""
"""Find the caps of candidate `a` of campaign `c` that its user has reached, if it has only caps of its own."""

FIND_CAP_REACHED = """SELECT FROM applied w
        JOIN frequency_caps f ON f.campaign_id = w.counter AND f."window" = w."window"
            AND f.user_key = CASE w."window" WHEN 'session' THEN a.session_id ELSE a.user_key END
            AND f.window_start = w.window_start
        WHERE w.campaign_id = a.campaign_id AND w.level <> 'creative' AND f.count >= w.cap"""
"""Find the caps of candidate `a` that its user has reached, except those on single creatives."""


def check_candidates_by(cap_reached: str, more: str = "") -> str:
    """Return the statement with this query for reached caps, and the CTEs that it reads."""
    return f"""
WITH {more}candidate AS (
    SELECT * FROM unnest($1::varchar[], $2::uuid[], $3::uuid[])
        WITH ORDINALITY AS a (campaign_id, user_key, session_id, ordinal)
), campaign AS MATERIALIZED (
    SELECT c.id, c.timezone, CASE
        {STATUS_REFUSALS}
        ELSE (
            SELECT CASE
                WHEN bool_or(t.budget_id IS NULL) THEN 'missing_period'
                WHEN min({ROOM_IN_BUDGET}) < 1 THEN 'budget'
                WHEN min({room_by_pacing(BUDGET_PACING)}) < 1 THEN 'pacing'
            END
            FROM configured_budgets b
            CROSS JOIN LATERAL (
                SELECT b.budget_id, b.period, window_start(b.period, adserver_clock(), c.timezone) AS period_start
            ) AS budget_period
            LEFT JOIN LATERAL (
                SELECT t.*, t.spent + t.held AS used FROM budget_tracking t {NEWEST_BUDGET_ROW}
            ) AS t ON true
            {ALLOWED_LIMITS}
            WHERE {CHARGED_BUDGETS}
        )
    END AS refusal
    FROM campaigns c
    WHERE c.id = ANY ($1)
), refused AS (
    SELECT a.ordinal, coalesce(c.refusal, 'frequency_cap') AS reason
    FROM candidate a
    JOIN campaign c ON c.id = a.campaign_id
    WHERE c.refusal IS NOT NULL OR EXISTS (
        {cap_reached}
    )
)
SELECT catalog.revision, adserver_clock() AS database_time, refused.ordinal, refused.reason
FROM catalog LEFT JOIN refused ON true
"""


CHECK_PLAIN_CANDIDATES = check_candidates_by(FIND_PLAIN_CAP_REACHED)
"""Find the candidates that are paused, out of flight, capped, spent or ahead of their pacing; takes no locks.

Only refusals are returned, and every row has the catalog's revision and the database's clock. The reason
`missing_period` means that a budget period has begun and has no row yet."""

CHECK_CANDIDATES = check_candidates_by(FIND_CAP_REACHED, f"{APPLIED_WINDOWS}, ")
"""Do the same for candidates of which any has caps of another level, or windows of any length."""


READ_CLOCK = "SELECT adserver_clock()"
"""Read the present moment by the clock that decides everything."""


@dataclass(frozen=True, slots=True)
class CandidateCheck:
    """The refused candidates: `refusals` has a reason by the candidate's position from 0."""

    revision: int
    database_time: datetime
    refusals: dict[int, str]


async def check_candidates(
    connection: "Connection[Record]",
    campaign_ids: Sequence[str],
    user_keys: Sequence[UUID | None],
    session_ids: Sequence[UUID | None],
    *,
    is_plain: bool = False,
) -> CandidateCheck:
    """Check candidates, which are given as parallel sequences of campaign, user and session.

    `is_plain` is that of `caps.take`.
    """
    statement = CHECK_PLAIN_CANDIDATES if is_plain else CHECK_CANDIDATES
    rows = await connection.fetch(statement, campaign_ids, user_keys, session_ids)
    return CandidateCheck(
        revision=rows[0]["revision"],
        database_time=rows[0]["database_time"],
        refusals={row["ordinal"] - 1: row["reason"] for row in rows if row["ordinal"] is not None},
    )


async def read_clock(connection: "Connection[Record]") -> datetime:
    """Return the present moment by the database's clock."""
    now: datetime = await connection.fetchval(READ_CLOCK)
    return now
