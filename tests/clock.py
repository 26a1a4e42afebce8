"""The database's clock, which every rule asks, set by hand in a test's own database."""

from tests.players import connected


async def set_clock(url: str, at: str) -> None:
    """It stands still at that moment, such as "2026-03-29 00:59:59+00"; `url` is the owner's."""
    async with connected(url) as connection:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION adserver_clock() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE "
            f"RETURN timestamptz '{at}'"
        )
