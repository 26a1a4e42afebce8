"""maintenance: claim a maintenance task, so that one server at a time runs it."""

from asyncpg import Connection, Record

CLAIM_TASK = """
INSERT INTO maintenance AS m (task, begun_at) VALUES ($1, clock_timestamp())
ON CONFLICT (task) DO UPDATE SET begun_at = excluded.begun_at
    WHERE abs(extract(epoch FROM excluded.begun_at - m.begun_at)) >= $2::float8
RETURNING task
"""
"""Takes a task on, unless another server did within so many seconds; one that was begun later than now was begun while
the clock was wrong."""


async def claim_task(connection: "Connection[Record]", task: str, every_s: float) -> bool:
    """Whether the task is this server's to do now."""
    return await connection.fetchval(CLAIM_TASK, task, every_s) is not None
