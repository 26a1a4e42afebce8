"""sessions: create, find, lock, end and delete viewing sessions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from app.store.connections import rows_affected

CREATE_SESSION = """
INSERT INTO sessions (id, user_key, publisher_id, correlator, created_at, expires_at)
SELECT $1, $2, $3, $4, adserver_clock(), adserver_clock() + make_interval(secs => $5)
WHERE pg_stat_get_live_tuples('sessions'::regclass) < $6
RETURNING *
"""
"""Create a session that lasts $5 seconds, unless there are $6 sessions or more.

Postgres' statistics have the number of rows about a second later without counting them; see "The Cumulative Statistics
System" in its manual."""

FIND_SESSION = "SELECT *, expires_at <= adserver_clock() AS expired FROM sessions WHERE id = $1"
"""Find one session, running or over."""

END_SESSION = """
UPDATE sessions SET ended_at = adserver_clock()
WHERE id = $1 AND ended_at IS NULL AND expires_at > adserver_clock() RETURNING *
"""
"""End a running session."""

LOCK_SESSIONS = """
SELECT *, ended_at IS NOT NULL OR expires_at <= adserver_clock() AS is_over
FROM sessions WHERE id = ANY ($1) ORDER BY id FOR UPDATE
"""
"""Lock the sessions of a group in the order of their ids; these are the first locks of a serving transaction."""

RECORD_ANSWERS = """
UPDATE sessions s SET
    played = s.played || ARRAY(
        SELECT creative_id FROM unnest(a.creative_ids) AS creative_id WHERE creative_id <> ALL (s.played)),
    last_campaigns = a.campaign_ids
FROM (SELECT session_id,
             array_remove(array_agg(creative_id), NULL) AS creative_ids,
             array_remove(array_agg(DISTINCT campaign_id), NULL) AS campaign_ids
      FROM unnest($1::uuid[], $2::varchar[], $3::varchar[]) AS ad (session_id, creative_id, campaign_id)
      GROUP BY session_id) AS a
WHERE s.id = a.session_id AND (NOT s.played @> a.creative_ids OR s.last_campaigns <> a.campaign_ids)
"""
"""Add served creatives to the ones that their sessions have played, each once, and replace the last campaigns.

If repeated creatives were added again, the list would grow all day."""

DELETE_EXPIRED_SESSIONS = """
DELETE FROM sessions WHERE id IN (
    SELECT id FROM sessions WHERE expires_at < adserver_clock() - interval '1 hour'
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)
"""
"""Delete sessions an hour after their expiry; until then, requests for them are answered with 410 instead of 404."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as the database stores it; `over` if it was ended or has expired."""

    id: UUID
    user_key: UUID | None
    publisher_id: str | None
    correlator: str
    played: tuple[str, ...]
    last_campaigns: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    over: bool


class SessionAd(NamedTuple):
    """An ad for a session: its creative, unless it is an upstream's, and its campaign, if that has categories."""

    session_id: UUID
    creative_id: str | None
    campaign_id: str | None


def _to_session(row: Record, *, over: bool) -> SessionRow:
    return SessionRow(
        id=row["id"],
        user_key=row["user_key"],
        publisher_id=row["publisher_id"],
        correlator=row["correlator"],
        played=tuple(row["played"]),
        last_campaigns=tuple(row["last_campaigns"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        over=over,
    )


async def create(
    connection: "Connection[Record]",
    session_id: UUID,
    user_key: UUID | None,
    publisher_id: str | None,
    correlator: str,
    ttl_s: int,
    sessions_max: int,
) -> SessionRow | None:
    """Create the session and return it; None if there are already `sessions_max` sessions."""
    row = await connection.fetchrow(CREATE_SESSION, session_id, user_key, publisher_id, correlator, ttl_s, sessions_max)
    return None if row is None else _to_session(row, over=False)


async def find(connection: "Connection[Record]", session_id: UUID) -> SessionRow | None:
    """Return the session, running or over; None if it does not exist."""
    row = await connection.fetchrow(FIND_SESSION, session_id)
    return None if row is None else _to_session(row, over=row["expired"] or row["ended_at"] is not None)


async def end(connection: "Connection[Record]", session_id: UUID) -> SessionRow | None:
    """End the session and return it; None if no session with this id was running."""
    row = await connection.fetchrow(END_SESSION, session_id)
    return None if row is None else _to_session(row, over=True)


async def lock(connection: "Connection[Record]", session_ids: Sequence[UUID]) -> dict[UUID, SessionRow]:
    """Lock these sessions until the transaction ends; the result omits ids that do not exist."""
    rows = await connection.fetch(LOCK_SESSIONS, session_ids)
    return {row["id"]: _to_session(row, over=row["is_over"]) for row in rows}


async def record_answers(connection: "Connection[Record]", ads: Sequence[SessionAd]) -> None:
    """Record all ads that one answer of each session has."""
    await connection.execute(RECORD_ANSWERS, *zip(*ads, strict=True))


async def delete_expired(connection: "Connection[Record]", limit: int) -> int:
    """Delete at most `limit` old sessions; return their number."""
    return rows_affected(await connection.execute(DELETE_EXPIRED_SESSIONS, limit))
