"""outbox and webhook_deliveries: record events, queue them for each webhook, and keep track of the attempts.

The transaction that causes an event records it. The trigger `threshold_is_recorded` records those of budgets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from asyncpg import Connection, Record

from app.store.connections import rows_affected

RECORD_ENDED_FLIGHTS = """
INSERT INTO outbox (event, subject, payload, once_key)
SELECT 'campaign.over', 'campaign ' || c.id,
       jsonb_build_object('campaign_id', c.id, 'reason', 'flight',
                          'ends_at', to_char(c.ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
       concat_ws(' ', 'campaign over', c.id, extract(epoch FROM c.ends_at))
FROM campaigns c
WHERE c.status <> 'ended' AND c.ends_at <= adserver_clock() AND c.ends_at > adserver_clock() - make_interval(days => $1)
ORDER BY c.ends_at, c.id
ON CONFLICT (once_key) DO NOTHING
"""
"""Record the flights that ended in the last $1 days. The key contains the end, so an extended flight ends again."""

RECORD_ENDED_CAMPAIGNS = """
INSERT INTO outbox (event, subject, payload, once_key)
SELECT 'campaign.over', 'campaign ' || c.id, jsonb_build_object('campaign_id', c.id, 'reason', 'ended'),
       concat_ws(' ', 'campaign over', c.id, 'ended')
FROM campaigns c WHERE c.id = ANY ($1) AND c.ends_at > adserver_clock()
ORDER BY c.id
ON CONFLICT (once_key) DO NOTHING
"""
"""Record that an operator ended these campaigns, except those whose flight is over: that was an event already."""

RECORD_CLOSED_MONTH = """
INSERT INTO outbox (event, subject, payload, once_key)
VALUES ('month.closed', 'month ' || $1::text, jsonb_build_object('month', $1::text), 'month closed ' || $1::text)
ON CONFLICT (once_key) DO NOTHING
"""
"""Record that the books of a month were closed."""

RECORD_BOOKS_STATE = """
INSERT INTO outbox (event, subject, payload, once_key)
SELECT CASE WHEN $1::bigint > 0 THEN 'books.disagree' ELSE 'books.agree' END, 'books',
       jsonb_build_object('disagreements', $1::bigint), 'books after ' || coalesce(latest.id, 0)
FROM (VALUES (1)) AS only_row LEFT JOIN (
    SELECT id, event FROM outbox WHERE event IN ('books.disagree', 'books.agree') ORDER BY id DESC LIMIT 1
) AS latest ON true
WHERE ($1::bigint > 0) = (coalesce(latest.event, 'books.agree') = 'books.agree')
ON CONFLICT (once_key) DO NOTHING
"""
"""Record the number of disagreements if the books began or ceased to disagree since the latest such event.

The key names that event, so of several servers that notice the change only one records it."""

TAKE_PUBLICATION_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('publish events', 0))"
"""Lock the publication of events, so that deliveries get their positions in the order in which they are committed."""

PUBLISH_EVENTS = """
WITH unpublished AS MATERIALIZED (
    SELECT id, event FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT $1
), delivery AS (
    INSERT INTO webhook_deliveries (webhook_id, event_id)
    SELECT w.id, u.id FROM unpublished u JOIN webhooks w ON w.events = '{}' OR u.event = ANY (w.events)
    ORDER BY u.id, w.id
)
UPDATE outbox o SET published_at = clock_timestamp() FROM unpublished u WHERE o.id = u.id
"""
"""Create a delivery of each unpublished event for each webhook that receives it, oldest event first."""

CLAIM_DELIVERIES = """
WITH head AS (
    SELECT w.id AS webhook_id, w.url, w.secret, d.position
    FROM webhooks w CROSS JOIN LATERAL (
        SELECT * FROM webhook_deliveries d WHERE d.webhook_id = w.id ORDER BY d.position LIMIT 1
    ) AS d
    WHERE w.status = 'active' AND ($1::varchar IS NULL OR w.id = $1) AND d.next_attempt_at <= clock_timestamp()
    ORDER BY d.next_attempt_at LIMIT $2
)
UPDATE webhook_deliveries d SET next_attempt_at = clock_timestamp() + make_interval(secs => $3)
FROM head h JOIN outbox o ON true
WHERE d.webhook_id = h.webhook_id AND d.position = h.position AND o.id = d.event_id
    AND d.next_attempt_at <= clock_timestamp()
RETURNING d.webhook_id, d.position, d.attempts, h.url, h.secret, o.id AS event_id, o.event, o.created_at, o.payload
"""
"""Claim the first delivery of a webhook, or of at most $2 webhooks for NULL, if it is due.

It is due again in $3 seconds. A delivery is never claimed before the previous one of its webhook was acknowledged and
deleted. If two senders compete, the second waits for the first and then sees that nothing is due."""

DELETE_DELIVERY = "DELETE FROM webhook_deliveries WHERE webhook_id = $1 AND position = $2"
"""Delete a delivery that was acknowledged."""

RECORD_FAILED_ATTEMPT = """
UPDATE webhook_deliveries
SET attempts = attempts + 1, failing_since = coalesce(failing_since, clock_timestamp()), last_error = $3,
    next_attempt_at = clock_timestamp() + make_interval(secs => $4)
WHERE webhook_id = $1 AND position = $2
RETURNING attempts, failing_since, clock_timestamp() - failing_since > make_interval(secs => $5) AS is_failing
"""
"""Record that an attempt failed; the next one is due in $4 seconds."""

READ_WEBHOOK_BACKLOG = """
SELECT w.id AS webhook_id,
       CASE WHEN w.status = 'active' THEN coalesce(extract(epoch FROM clock_timestamp() - o.created_at), 0) ELSE 0 END
           ::float8 AS oldest_s,
       w.status = 'active' AND coalesce(clock_timestamp() - d.failing_since > make_interval(secs => $1), false)
           AS is_failing
FROM webhooks w LEFT JOIN LATERAL (
    SELECT * FROM webhook_deliveries d WHERE d.webhook_id = w.id ORDER BY d.position LIMIT 1
) AS d ON true LEFT JOIN outbox o ON o.id = d.event_id
ORDER BY w.id LIMIT $2
"""
"""Read the age of the oldest pending event of each webhook, and whether its attempts have failed for $1 seconds."""

DELETE_OLD_DELIVERIES = """
DELETE FROM webhook_deliveries d USING (
    SELECT d.webhook_id, d.position FROM webhook_deliveries d JOIN outbox o ON o.id = d.event_id
    WHERE o.created_at < adserver_clock() - make_interval(days => $1)
    ORDER BY d.webhook_id, d.position LIMIT $2
) AS old WHERE d.webhook_id = old.webhook_id AND d.position = old.position
"""
"""Delete at most $2 deliveries of events that are older than $1 days."""

DELETE_OLD_EVENTS = """
DELETE FROM outbox WHERE id IN (
    SELECT o.id FROM outbox o
    WHERE o.created_at < adserver_clock() - make_interval(days => $1) AND o.published_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.event_id = o.id)
    ORDER BY o.id LIMIT $2
)
"""
"""Delete at most $2 events that are older than $1 days and have no pending delivery."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook."""

    webhook_id: str
    position: int
    attempts: int
    """Attempts that failed."""
    url: str
    secret: str
    event_id: int
    event: str
    created_at: datetime
    payload: Any


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """The state of a delivery after a failed attempt."""

    attempts: int
    failing_since: datetime
    is_failing: bool
    """Whether its attempts have failed for long."""


@dataclass(frozen=True, slots=True)
class WebhookBacklog:
    """The age of a webhook's oldest pending event, and whether its deliveries have failed for long."""

    webhook_id: str
    oldest_s: float
    is_failing: bool


async def record_ended_flights(connection: "Connection[Record]", days: int) -> int:
    """Record an event for each flight that ended in these days and has none yet; return the number."""
    return rows_affected(await connection.execute(RECORD_ENDED_FLIGHTS, days))


async def record_ended_campaigns(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> None:
    """Record an event for each of these campaigns, which an operator has ended."""
    await connection.execute(RECORD_ENDED_CAMPAIGNS, list(campaign_ids))


async def record_closed_month(connection: "Connection[Record]", month: date) -> None:
    """Record that the month was closed."""
    await connection.execute(RECORD_CLOSED_MONTH, f"{month:%Y-%m}")


async def record_books_state(connection: "Connection[Record]", disagreements: int) -> bool:
    """Record an event if the books have begun or ceased to disagree; return whether they have."""
    return rows_affected(await connection.execute(RECORD_BOOKS_STATE, disagreements)) > 0


async def publish_events(connection: "Connection[Record]", limit: int) -> int:
    """Queue the oldest unpublished events for the webhooks that receive them; return the number of events.

    Call it in a transaction. It does nothing while another server publishes.
    """
    if not await connection.fetchval(TAKE_PUBLICATION_LOCK):
        return 0
    return rows_affected(await connection.execute(PUBLISH_EVENTS, limit))


async def claim_deliveries(
    connection: "Connection[Record]", limit: int, lease_s: float, webhook_id: str | None = None
) -> list[Delivery]:
    """Return the due deliveries of this webhook, or of at most `limit` webhooks; nobody else gets them for a while."""
    return [Delivery(**row) for row in await connection.fetch(CLAIM_DELIVERIES, webhook_id, limit, lease_s)]


async def acknowledge(connection: "Connection[Record]", delivery: Delivery) -> None:
    """Remove a delivery that the receiver accepted."""
    await connection.execute(DELETE_DELIVERY, delivery.webhook_id, delivery.position)


async def record_failed_attempt(
    connection: "Connection[Record]", delivery: Delivery, error: str, *, retry_s: float, failing_after_s: float
) -> FailedDelivery | None:
    """Record a failed attempt; return None if the delivery was acknowledged by another attempt."""
    row = await connection.fetchrow(
        RECORD_FAILED_ATTEMPT, delivery.webhook_id, delivery.position, error, retry_s, failing_after_s
    )
    return None if row is None else FailedDelivery(**row)


async def read_backlog(connection: "Connection[Record]", failing_after_s: float, limit: int) -> list[WebhookBacklog]:
    """Return the backlog of at most `limit` webhooks."""
    return [WebhookBacklog(**row) for row in await connection.fetch(READ_WEBHOOK_BACKLOG, failing_after_s, limit)]


async def delete_old_deliveries(connection: "Connection[Record]", days: int, limit: int) -> int:
    """Delete deliveries that are still pending after these days; return the number."""
    return rows_affected(await connection.execute(DELETE_OLD_DELIVERIES, days, limit))


async def delete_old_events(connection: "Connection[Record]", days: int, limit: int) -> int:
    """Delete events older than these days that nobody waits for; return the number."""
    return rows_affected(await connection.execute(DELETE_OLD_EVENTS, days, limit))
