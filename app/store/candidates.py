"""What the database says of campaigns before anything is counted: which may serve whom, now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Connection, Record

from app.store.budget_fragments import ALLOWED_BY_BUDGET, NEWEST_BUDGET_ROW, ROOM_BY_PACING, ROOM_IN_BUDGET

CHECK_CANDIDATES = f"""
WITH asked AS (
    SELECT * FROM unnest($1::varchar[], $2::uuid[], $3::uuid[])
        WITH ORDINALITY AS a (campaign_id, user_key, session_id, no)
), campaign AS MATERIALIZED (
    SELECT c.id, c.timezone, CASE
        WHEN c.status <> 'active' THEN 'paused'
        WHEN adserver_clock() < c.starts_at OR adserver_clock() >= c.ends_at THEN 'flight'
        ELSE (
            SELECT CASE
                WHEN bool_or(t.campaign_id IS NULL) THEN 'unopened'
                WHEN min({ROOM_IN_BUDGET}) < 1 THEN 'budget'
                WHEN min({ROOM_BY_PACING}) < 1 THEN 'pacing'
            END
            FROM campaign_budgets b
            CROSS JOIN LATERAL (
                SELECT b.campaign_id, b.period, window_start(b.period, adserver_clock(), c.timezone) AS period_start
            ) AS due
            LEFT JOIN LATERAL (
                SELECT t.*, t.spent + t.held AS used FROM budget_tracking t {NEWEST_BUDGET_ROW}
            ) AS t ON true
            {ALLOWED_BY_BUDGET}
            WHERE b.campaign_id = c.id
        )
    END AS refusal
    FROM campaigns c
    WHERE c.id = ANY ($1)
), refused AS (
    SELECT a.no, coalesce(c.refusal, 'frequency_cap') AS reason
    FROM asked a
    JOIN campaign c ON c.id = a.campaign_id
    WHERE c.refusal IS NOT NULL OR EXISTS (
        SELECT FROM campaign_caps w
        JOIN frequency_caps f ON f.campaign_id = w.campaign_id AND f."window" = w."window"
            AND f.user_key = CASE w."window" WHEN 'session' THEN a.session_id ELSE a.user_key END
            AND f.window_start = window_start(w."window", adserver_clock(), c.timezone)
        WHERE w.campaign_id = a.campaign_id AND f.count >= w.impressions
    )
)
SELECT catalog.revision, adserver_clock() AS at, refused.no, refused.reason
FROM catalog LEFT JOIN refused ON true
"""
"""Reads, without a lock, which of the candidates are paused, out of flight, capped, spent or ahead of their pace.

Only refusals come back, and in every row the catalog's revision and the database's clock. `unopened` means
that a budget period has begun for which there is no row yet."""


@dataclass(frozen=True, slots=True)
class CandidateCheck:
    """The database's answer: `refusals` by position in what was asked, from 0."""

    revision: int
    at: datetime
    refusals: dict[int, str]


async def check_candidates(
    connection: "Connection[Record]",
    campaign_ids: Sequence[str],
    user_keys: Sequence[UUID | None],
    session_ids: Sequence[UUID | None],
) -> CandidateCheck:
    """Asks for parallel sequences of campaign, user and session."""
    rows = await connection.fetch(CHECK_CANDIDATES, campaign_ids, user_keys, session_ids)
    return CandidateCheck(
        revision=rows[0]["revision"],
        at=rows[0]["at"],
        refusals={row["no"] - 1: row["reason"] for row in rows if row["no"] is not None},
    )
