"""ad_serves, served_documents and midnight_requests: find earlier serves of a request, and store what repeats need."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Connection, Record, UniqueViolationError

from app.store.connections import rows_affected

FIND_SERVES = """
SELECT s.request_key, s.slot, s.served_at, s.campaign_id, s.creative_id, s.upstream_id, s.fingerprint, d.document
FROM ad_serves s LEFT JOIN served_documents d USING (request_key, slot, served_on)
WHERE s.request_key = ANY ($1)
    AND s.served_on >= (adserver_clock() AT TIME ZONE 'UTC' - interval '1 day')::date
    AND s.served_at > adserver_clock() - interval '1 day'
ORDER BY s.request_key, s.slot
"""
"""Find the serves of these requests in the last 24 hours: a repeated request gets its first response again."""

STORE_DOCUMENTS = """
INSERT INTO served_documents (request_key, slot, served_on, document)
SELECT request_key, slot, (adserver_clock() AT TIME ZONE 'UTC')::date, document
FROM unnest($1::uuid[], $2::smallint[], $3::bytea[]) AS d (request_key, slot, document)
ORDER BY request_key, slot
"""
"""Store the upstream documents of requests that may be repeated."""

CLAIM_MIDNIGHT_REQUESTS = """
INSERT INTO midnight_requests (request_key, claimed_at)
SELECT request_key, adserver_clock() FROM unnest($1::uuid[]) AS r (request_key) ORDER BY request_key
ON CONFLICT (request_key) DO UPDATE SET claimed_at = excluded.claimed_at
    WHERE midnight_requests.claimed_at <= adserver_clock() - interval '1 day'
RETURNING request_key
"""
"""Claim requests near midnight UTC and return the claimed ones, so that a request is served on one side only.

The key of ad_serves cannot ensure that, because it includes the day of the partition. A claim is valid for one day, as
long as a request may be repeated."""

DELETE_MIDNIGHT_REQUESTS = """
DELETE FROM midnight_requests WHERE request_key IN (
    SELECT request_key FROM midnight_requests WHERE claimed_at < adserver_clock() - interval '2 days'
    ORDER BY request_key LIMIT $1)
"""
"""Delete the claims of requests that can no longer be repeated."""


@dataclass(frozen=True, slots=True)
class EarlierServe:
    """An earlier serve of a request as the database stores it."""

    slot: int
    served_at: datetime
    campaign_id: str
    creative_id: str | None
    upstream_id: str | None
    fingerprint: int
    document: bytes | None


async def find_serves(connection: "Connection[Record]", request_keys: Sequence[UUID]) -> dict[UUID, list[EarlierServe]]:
    """Return the serves of the last 24 hours by request key, in the order of their slots."""
    found: dict[UUID, list[EarlierServe]] = {}
    for row in await connection.fetch(FIND_SERVES, request_keys):
        key, *rest = row.values()
        slot, served_at, campaign_id, creative_id, upstream_id, fingerprint, document = rest
        serve = EarlierServe(slot, served_at, campaign_id, creative_id, upstream_id, fingerprint, document)
        found.setdefault(key, []).append(serve)
    return found


async def store_documents(connection: "Connection[Record]", documents: Sequence[tuple[UUID, int, bytes]]) -> None:
    """Store each (request key, slot, document)."""
    keys, slots, bodies = zip(*documents, strict=True)
    await connection.execute(STORE_DOCUMENTS, keys, slots, bodies)


async def claim_midnight_requests(connection: "Connection[Record]", request_keys: Sequence[UUID]) -> None:
    """Claim these requests; raises asyncpg's UniqueViolationError if one is already claimed."""
    if len(await connection.fetch(CLAIM_MIDNIGHT_REQUESTS, request_keys)) < len(request_keys):
        raise UniqueViolationError("a request is already claimed on the other side of midnight")


async def delete_midnight_requests(connection: "Connection[Record]", limit: int) -> int:
    """Delete at most `limit` old claims; return their number."""
    return rows_affected(await connection.execute(DELETE_MIDNIGHT_REQUESTS, limit))
