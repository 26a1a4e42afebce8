"""Read the counts, serves and beacons of one viewer, which the demo page shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from asyncpg import Connection, Record

READ_VIEWER_COUNTS = """
SELECT f.campaign_id, f."window", f.count, w.impressions AS cap, f.expires_at
FROM frequency_caps f JOIN campaign_caps w
    ON w.campaign_id = f.campaign_id AND w."window" = f."window" AND w.level = 'campaign'
WHERE f.user_key = $1 AND f.campaign_id = ANY($2) AND (f.expires_at IS NULL OR f.expires_at > adserver_clock())
ORDER BY f.campaign_id, f.expires_at LIMIT 100
"""
"""Read the current cap windows of a viewer in which ads were counted."""

READ_VIEWER_SERVES = """
SELECT slot, campaign_id, creative_id, upstream_id, price, currency, billing FROM ad_serves
WHERE request_key = $1 AND user_key = $2 AND campaign_id = ANY($3)
    AND served_on >= (adserver_clock() AT TIME ZONE 'UTC')::date - 1
ORDER BY slot
"""
"""Read the serves of a viewer's request of today or yesterday."""

READ_VIEWER_BEACONS = """
SELECT slot, e.event, e.received_at, e.error_code
FROM ad_events e JOIN ad_serves s USING (request_key, slot, served_on)
WHERE request_key = $1 AND s.user_key = $2 AND s.campaign_id = ANY($3)
    AND served_on >= (adserver_clock() AT TIME ZONE 'UTC')::date - 1
ORDER BY e.received_at, slot, e.event
"""
"""Read the recorded beacons of such a request, in the order of arrival."""


@dataclass(frozen=True, slots=True)
class CapCount:
    """The count of a viewer in one cap window; `resets_at` is None for a window that never ends."""

    campaign_id: str
    window: str
    count: int
    cap: int
    resets_at: datetime | None


@dataclass(frozen=True, slots=True)
class ServedSlot:
    """One ad of a response and its price."""

    slot: int
    campaign_id: str
    creative_id: str | None
    upstream_id: str | None
    price: Decimal
    currency: str
    billing: str


@dataclass(frozen=True, slots=True)
class RecordedBeacon:
    """A beacon that was recorded."""

    slot: int
    event: str
    received_at: datetime
    error_code: int | None


async def read_cap_counts(connection: "Connection[Record]", user_key: UUID, campaigns: Sequence[str]) -> list[CapCount]:
    """Return the viewer's current cap windows of these campaigns."""
    rows = await connection.fetch(READ_VIEWER_COUNTS, user_key, campaigns)
    return [CapCount(row["campaign_id"], row["window"], row["count"], row["cap"], row["expires_at"]) for row in rows]


async def read_serves(
    connection: "Connection[Record]", request_key: UUID, user_key: UUID, campaigns: Sequence[str]
) -> list[ServedSlot]:
    """Return these campaigns' ads in a request of the viewer, by slot; empty if another viewer made the request."""
    rows = await connection.fetch(READ_VIEWER_SERVES, request_key, user_key, campaigns)
    return [ServedSlot(**row) for row in rows]


async def read_beacons(
    connection: "Connection[Record]", request_key: UUID, user_key: UUID, campaigns: Sequence[str]
) -> list[RecordedBeacon]:
    """Return the beacons of such ads; empty if another viewer made the request."""
    rows = await connection.fetch(READ_VIEWER_BEACONS, request_key, user_key, campaigns)
    return [RecordedBeacon(**row) for row in rows]
