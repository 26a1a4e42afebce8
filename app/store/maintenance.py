"""maintenance: claim a maintenance task, so that one server runs it in each interval."""

from asyncpg import Connection, Record

CLAIM_TASK = """
INSERT INTO maintenance AS m (task, begun_at) VALUES ($1, clock_timestamp())
ON CONFLICT (task) DO UPDATE SET begun_at = excluded.begun_at
    WHERE abs(extract(epoch FROM excluded.begun_at - m.begun_at)) >= $2::float8
RETURNING task
"""
"""Claim a task, unless a server has claimed it in the last $2 seconds.

A claim in the future was made while a clock was wrong, and is compared by its distance from now."""


async def claim_task(connection: "Connection[Record]", task: str, every_s: float) -> bool:
    """Claim the task for this server; return False if a server has claimed it in the last `every_s` seconds."""
    return await connection.fetchval(CLAIM_TASK, task, every_s) is not None
