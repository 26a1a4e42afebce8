"""Removing what there is of a viewer: serves stay, because they were paid for, and are nobody's any more."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from asyncpg import Connection, Record

from app.store.connections import rows_affected

PIN_PARTITIONS = "LOCK TABLE ad_serves, served_documents IN ROW EXCLUSIVE MODE"
"""Comes before the snapshot, which would not see the rows that moved to a partition of their own after it."""

FIND_WATCHED_SESSIONS = "SELECT DISTINCT session_id FROM ad_serves WHERE user_key = ANY ($1) AND session_id IS NOT NULL"
"""The viewing sessions in which they were served ads: some began without a user, and some are over and removed."""

LOCK_VIEWER_SESSIONS = "SELECT id FROM sessions WHERE user_key = ANY ($1) OR id = ANY ($2) ORDER BY id FOR UPDATE"
"""Locks those that are there and the sessions of these keys, in id order and before counts, as serving does."""

FIND_SERVED_DAYS = "SELECT DISTINCT served_on FROM ad_serves WHERE user_key = ANY ($1) OR session_id = ANY ($2)"
"""The days on which ads were served to them."""

ANONYMIZE_SERVES = """
UPDATE ad_serves SET user_key = CASE WHEN user_key = ANY ($1) THEN NULL ELSE user_key END,
                     session_id = CASE WHEN session_id = ANY ($2) THEN NULL ELSE session_id END
WHERE served_on = $3 AND (user_key = ANY ($1) OR session_id = ANY ($2))
"""
"""Makes the serves of one day nobody's. Who else was served in their sessions keeps the serve, because of the count."""

DELETE_VIEWER_DOCUMENTS = """
DELETE FROM served_documents d USING ad_serves s
WHERE s.served_on = $3 AND (s.user_key = ANY ($1) OR s.user_key IS NULL AND s.session_id = ANY ($2))
    AND d.served_on = $3 AND (d.request_key, d.slot) = (s.request_key, s.slot)
"""
"""Removes the upstreams' documents of those serves, in which an upstream may have written the viewer's id."""

DELETE_VIEWER_COUNTS = """
DELETE FROM frequency_caps WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM frequency_caps WHERE user_key = ANY ($1) OR user_key = ANY ($2)
    ORDER BY user_key, campaign_id, "window" FOR UPDATE))
"""
"""Removes their counts, those of their sessions too; locks them in the order of serving."""

DELETE_VIEWER_SESSIONS = "DELETE FROM sessions WHERE user_key = ANY ($1)"
"""Removes their sessions; one that began without them goes on."""


async def pin_partitions(connection: "Connection[Record]") -> None:
    """Keeps every serve and document in its partition until the transaction ends."""
    await connection.execute(PIN_PARTITIONS)


async def find_watched_sessions(connection: "Connection[Record]", user_keys: Sequence[UUID]) -> list[UUID]:
    """Ids of the viewing sessions in which these keys were served ads; reads every serve that is kept."""
    return [row["session_id"] for row in await connection.fetch(FIND_WATCHED_SESSIONS, user_keys)]


async def lock_sessions(
    connection: "Connection[Record]", user_keys: Sequence[UUID], watched: Sequence[UUID]
) -> list[UUID]:
    """Locks their viewing sessions until the transaction ends; returns the ids, also of those that are not there."""
    locked = await connection.fetch(LOCK_VIEWER_SESSIONS, user_keys, watched)
    return list({*watched, *(row["id"] for row in locked)})


async def find_served_days(
    connection: "Connection[Record]", user_keys: Sequence[UUID], session_ids: Sequence[UUID]
) -> list[date]:
    """The UTC days on which they were served ads; reads every serve that is kept."""
    return [row["served_on"] for row in await connection.fetch(FIND_SERVED_DAYS, user_keys, session_ids)]


async def anonymize_serves(
    connection: "Connection[Record]", user_keys: Sequence[UUID], session_ids: Sequence[UUID], day: date
) -> int:
    """Takes their keys off the serves of a day; returns of how many. Only the owner may."""
    return rows_affected(await connection.execute(ANONYMIZE_SERVES, user_keys, session_ids, day))


async def delete_documents(
    connection: "Connection[Record]", user_keys: Sequence[UUID], session_ids: Sequence[UUID], day: date
) -> int:
    """Removes the stored documents of their serves of a day, before those are nobody's; returns how many."""
    return rows_affected(await connection.execute(DELETE_VIEWER_DOCUMENTS, user_keys, session_ids, day))


async def delete_counts_and_sessions(
    connection: "Connection[Record]", user_keys: Sequence[UUID], session_ids: Sequence[UUID]
) -> tuple[int, int]:
    """Removes their counts and sessions; returns how many of each."""
    counts = rows_affected(await connection.execute(DELETE_VIEWER_COUNTS, user_keys, session_ids))
    return counts, rows_affected(await connection.execute(DELETE_VIEWER_SESSIONS, user_keys))
