"""Demo content: check whether it may be loaded, and find the loaded campaigns."""

from asyncpg import Connection, Record

PUBLISHER_ID = "demo-tv"
"""The publisher of the demo's placements; the campaigns in these placements are the demo campaigns."""

CHECK_CATALOG_EMPTY = "SELECT NOT EXISTS (SELECT FROM campaigns) AND NOT EXISTS (SELECT FROM placements)"
"""Check whether the catalog has no campaigns and no placements."""

READ_TAG_URL = "SELECT tag_url FROM upstreams WHERE id = $1"
"""Read the tag URL of one upstream."""

FIND_DEMO_CAMPAIGNS = """
SELECT DISTINCT c.campaign_id FROM placements p JOIN placement_campaigns c ON c.placement_id = p.id
WHERE p.publisher_id = $1
"""
"""Find the campaigns in a publisher's placements."""


async def is_empty(connection: "Connection[Record]") -> bool:
    """Return whether there are neither campaigns nor placements."""
    empty: bool = await connection.fetchval(CHECK_CATALOG_EMPTY)
    return empty


async def read_tag_url(connection: "Connection[Record]", upstream_id: str) -> str | None:
    """Return the tag URL of an upstream; None if the upstream does not exist."""
    url: str | None = await connection.fetchval(READ_TAG_URL, upstream_id)
    return url


async def find_demo_campaigns(connection: "Connection[Record]") -> list[str]:
    """Return the ids of the demo campaigns; the list is empty if the demo content is not loaded."""
    return [row["campaign_id"] for row in await connection.fetch(FIND_DEMO_CAMPAIGNS, PUBLISHER_ID)]
