"""The demo content: whether it may be loaded, and what of it is there."""

from asyncpg import Connection, Record

PUBLISHER_ID = "demo-tv"
"""Owns the demo's placements; a campaign that one of them shows is a demo campaign."""

CHECK_CATALOG_EMPTY = "SELECT NOT EXISTS (SELECT FROM campaigns) AND NOT EXISTS (SELECT FROM placements)"
"""Whether nobody has set anything up."""

READ_TAG_URL = "SELECT tag_url FROM upstreams WHERE id = $1"
"""The tag URL of one upstream."""

FIND_DEMO_CAMPAIGNS = """
SELECT DISTINCT c.campaign_id FROM placements p JOIN placement_campaigns c ON c.placement_id = p.id
WHERE p.publisher_id = $1
"""
"""The campaigns that a publisher's placements show."""


async def is_empty(connection: "Connection[Record]") -> bool:
    """Whether there are neither campaigns nor placements."""
    empty: bool = await connection.fetchval(CHECK_CATALOG_EMPTY)
    return empty


async def read_tag_url(connection: "Connection[Record]", upstream_id: str) -> str | None:
    """The tag URL of an upstream; None if there is no such upstream."""
    url: str | None = await connection.fetchval(READ_TAG_URL, upstream_id)
    return url


async def find_demo_campaigns(connection: "Connection[Record]") -> list[str]:
    """The ids of the demo campaigns; none where the demo content is not loaded."""
    return [row["campaign_id"] for row in await connection.fetch(FIND_DEMO_CAMPAIGNS, PUBLISHER_ID)]
