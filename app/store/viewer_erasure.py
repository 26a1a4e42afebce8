"""Erase a viewer's data: serves are anonymized, because they were paid for, and all other rows are deleted."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from asyncpg import Connection, Record

from app.store.connections import rows_affected

PIN_PARTITIONS = "LOCK TABLE ad_serves, served_documents IN ROW EXCLUSIVE MODE"
"""Lock the partitions before the snapshot is taken, because it would not see rows that move to another one later."""

FIND_WATCHED_SESSIONS = "SELECT DISTINCT session_id FROM ad_serves WHERE user_key = ANY ($1) AND session_id IS NOT NULL"
"""Find the viewing sessions in which the viewer was served ads, including sessions that began without a user and
sessions that are deleted."""

LOCK_VIEWER_SESSIONS = "SELECT id FROM sessions WHERE user_key = ANY ($1) OR id = ANY ($2) ORDER BY id FOR UPDATE"
"""Lock these sessions and those of the viewer in the order of their ids and before counts, as serving does."""

FIND_SERVED_DAYS = "SELECT DISTINCT served_on FROM ad_serves WHERE user_key = ANY ($1) OR session_id = ANY ($2)"
"""Find the days on which the viewer was served ads."""

ANONYMIZE_SERVES = """
UPDATE ad_serves SET user_key = CASE WHEN user_key = ANY ($1) THEN NULL ELSE user_key END,
                     session_id = CASE WHEN session_id = ANY ($2) THEN NULL ELSE session_id END
WHERE served_on = $3 AND (user_key = ANY ($1) OR session_id = ANY ($2))
"""
"""Remove the viewer's keys from the serves of one day. Another user's key in the same session stays, because their
count depends on it."""

DELETE_VIEWER_DOCUMENTS = """
DELETE FROM served_documents d USING ad_serves s
WHERE s.served_on = $3 AND (s.user_key = ANY ($1) OR s.user_key IS NULL AND s.session_id = ANY ($2))
    AND d.served_on = $3 AND (d.request_key, d.slot) = (s.request_key, s.slot)
"""
"""Delete the upstream documents of those serves: an upstream may have written the viewer's id into them."""

DELETE_VIEWER_COUNTS = """
DELETE FROM frequency_caps WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM frequency_caps WHERE user_key = ANY ($1) OR user_key = ANY ($2)
    ORDER BY user_key, campaign_id, "window" FOR UPDATE))
"""
"""Delete the counts of the viewer and of their sessions; it locks them in the same order as serving."""

DELETE_VIEWER_SESSIONS = "DELETE FROM sessions WHERE user_key = ANY ($1)"
"""Delete the viewer's sessions; a session that began without the user stays."""


async def pin_partitions(connection: "Connection[Record]") -> None:
    """Keep every serve and document in its partition until the transaction ends."""
    await connection.execute(PIN_PARTITIONS)


async def find_watched_sessions(connection: "Connection[Record]", user_keys: Sequence[UUID]) -> list[UUID]:
    """Return the ids of viewing sessions in which these keys were served ads; reads all serves."""
    return [row["session_id"] for row in await connection.fetch(FIND_WATCHED_SESSIONS, user_keys)]


async def lock_sessions(
    connection: "Connection[Record]", user_keys: Sequence[UUID], watched: Sequence[UUID]
) -> list[UUID]:
    """Lock the viewing sessions until the transaction ends; return the ids, including those of deleted sessions."""
    locked = await connection.fetch(LOCK_VIEWER_SESSIONS, user_keys, watched)
    return list({*watched, *(row["id"] for row in locked)})


async def find_served_days(
    connection: "Connection[Record]", user_keys: Sequence[UUID], session_ids: Sequence[UUID]
) -> list[date]:
    """Return the UTC days on which these keys and sessions were served ads; reads all serves."""
    return [row["served_on"] for row in await connection.fetch(FIND_SERVED_DAYS, user_keys, session_ids)]


async def anonymize_serves(
    connection: "Connection[Record]", user_keys: Sequence[UUID], session_ids: Sequence[UUID], day: date
) -> int:
    """Remove the keys from the serves of one day; return the number of serves. Needs the owner of the tables."""
    return rows_affected(await connection.execute(ANONYMIZE_SERVES, user_keys, session_ids, day))


async def delete_documents(
    connection: "Connection[Record]", user_keys: Sequence[UUID], session_ids: Sequence[UUID], day: date
) -> int:
    """Delete the stored documents of the serves of one day, before those are anonymized; return their number."""
    return rows_affected(await connection.execute(DELETE_VIEWER_DOCUMENTS, user_keys, session_ids, day))


async def delete_counts_and_sessions(
    connection: "Connection[Record]", user_keys: Sequence[UUID], session_ids: Sequence[UUID]
) -> tuple[int, int]:
    """Delete the counts and sessions; return the number of each."""
    counts = rows_affected(await connection.execute(DELETE_VIEWER_COUNTS, user_keys, session_ids))
    return counts, rows_affected(await connection.execute(DELETE_VIEWER_SESSIONS, user_keys))
