"""What loading the demo content must know of a database."""

from asyncpg import Connection, Record

IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM campaigns) AND NOT EXISTS (SELECT FROM placements)"
"""Whether nobody has set anything up."""

TAG_URL = "SELECT tag_url FROM upstreams WHERE id = $1"
"""The tag URL of one upstream."""


async def is_empty(connection: "Connection[Record]") -> bool:
    """Whether there are neither campaigns nor placements."""
    empty: bool = await connection.fetchval(IS_EMPTY)
    return empty


async def tag_url(connection: "Connection[Record]", upstream_id: str) -> str | None:
    """The tag URL of an upstream; None if there is no such upstream."""
    url: str | None = await connection.fetchval(TAG_URL, upstream_id)
    return url
