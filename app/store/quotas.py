"""quotas: rate limits across all servers, as token buckets from which each server leases tokens."""

from asyncpg import Connection, Record

from app.store.connections import Store

CREATE_QUOTA = "INSERT INTO quotas (name, tokens, refilled_at) VALUES ($1, $2, now()) ON CONFLICT DO NOTHING"
"""Create a full bucket."""

LEASE_TOKENS = """
WITH filled AS MATERIALIZED (
    SELECT name, least($3, tokens + $2 * extract(epoch FROM greatest(now() - refilled_at, interval '0'))) - $5 AS tokens
    FROM quotas WHERE name = $1 FOR UPDATE
)
UPDATE quotas q
SET tokens = f.tokens - least($4, greatest(0, floor(f.tokens))), refilled_at = greatest(q.refilled_at, now())
FROM filled f WHERE q.name = f.name
RETURNING (f.tokens - q.tokens)::int AS granted, q.tokens::float8 AS level,
    set_config('synchronous_commit', 'off', true)
"""
"""Refill the bucket up to now, deduct the debt, and grant the wanted tokens as far as the bucket has them.

The commit does not wait for the disk: losing a lease in a crash does no harm."""


async def lease(
    connection: "Connection[Record]", name: str, rate_per_s: int, capacity: int, want: int, owed: int
) -> tuple[int, float]:
    """Return the granted tokens and the level of the bucket, which is below 0 while the debt exceeds its contents.

    `owed` tokens were used before without a lease; a negative number returns tokens.
    """
    while True:
        row = await connection.fetchrow(LEASE_TOKENS, name, rate_per_s, capacity, want, owed)
        if row is not None:
            return row["granted"], row["level"]
        await connection.execute(CREATE_QUOTA, name, capacity)


class Quotas:
    """Leases of tokens on connections of the general pool."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def lease(self, name: str, rate_per_s: int, capacity: int, want: int, owed: int) -> tuple[int, float]:
        """Call the function `lease`; raises StoreUnavailable."""
        async with self._store.connection() as connection:
            return await lease(connection, name, rate_per_s, capacity, want, owed)
