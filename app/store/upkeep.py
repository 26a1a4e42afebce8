"""Upkeep: partitions ahead and behind, rollups, and rows whose time is over. Any number of servers may do it."""

from asyncpg import Connection, Record

CLAIM = """
INSERT INTO maintenance AS m (task, begun_at) VALUES ($1, clock_timestamp())
ON CONFLICT (task) DO UPDATE SET begun_at = excluded.begun_at
    WHERE abs(extract(epoch FROM excluded.begun_at - m.begun_at)) >= $2::float8
RETURNING task
"""
"""Takes a task on, unless another server did within so many seconds; one that was begun later than now was begun while
the clock was wrong."""

MAKE_PARTITIONS = "SELECT make_partitions($1)"
"""Makes the partitions from yesterday to so many days ahead."""

PARTITIONS_AHEAD = "SELECT partitions_ahead()"
"""How many days after today have all their partitions; -1 when today has not."""

MISPLACED_ROWS = "SELECT misplaced_rows()"
"""Whether rows went to a default partition because theirs was missing."""

DROP_PARTITION = "SELECT drop_partition($1, (adserver_clock() AT TIME ZONE 'UTC')::date - $2::int)"
"""Drops the oldest partition that is older than so many days; returns its name, or NULL when there is none."""

SWEEP_CAPS = """
DELETE FROM frequency_caps WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM frequency_caps
    WHERE ctid >= $1 AND ctid < $2 AND expires_at < adserver_clock() - interval '10 minutes'
    FOR UPDATE SKIP LOCKED))
"""
"""Removes the counts in a range of pages whose window is over, and was when any transaction that runs now began: to
one that is older than that, the count would seem never to have been. No index is kept for this, as each user's every
new window would pay for it."""

CAPS_PAGES = "SELECT pg_relation_size('frequency_caps') / current_setting('block_size')::int"
"""How many pages the counts fill."""

SWEEP_MIDNIGHT = """
DELETE FROM midnight_requests WHERE request_key IN (
    SELECT request_key FROM midnight_requests WHERE claimed_at < adserver_clock() - interval '2 days'
    ORDER BY request_key LIMIT $1)
"""
"""Removes the claims of requests that can no longer be asked again."""

ROLL_UP_FROM = """
SELECT s.rolled_up_to AS since, least(s.rolled_up_to + interval '1 day', n.safe) AS until,
       s.rolled_up_to + interval '1 day' < n.safe AS more
FROM (
    SELECT only_row, CASE rolled_up_to WHEN '-infinity' THEN (
        SELECT coalesce(min(booked_at), adserver_clock()) FROM spend_ledger) ELSE rolled_up_to END AS rolled_up_to
    FROM books_state FOR UPDATE SKIP LOCKED
) AS s, (SELECT adserver_clock() - interval '2 minutes' AS safe) AS n
WHERE s.rolled_up_to < n.safe
"""
"""What is to be rolled up next: at most a day, up to two minutes ago, because a transaction books with the clock of
its beginning and the server's role may not have one that lasts longer than a minute. No row: there is nothing, or
another server does it."""

ROLL_UP = """
INSERT INTO spend_daily AS d (day, campaign_id, currency, kind, booked_on, amount, entries)
SELECT (CASE WHEN l.kind IN ('charge', 'settle') THEN l.day_start ELSE l.booked_at END AT TIME ZONE c.timezone)::date,
       l.campaign_id, l.currency, l.kind, (l.booked_at AT TIME ZONE 'UTC')::date, sum(l.amount), count(*)
FROM spend_ledger l JOIN campaigns c ON c.id = l.campaign_id
WHERE l.booked_at >= $1 AND l.booked_at < $2
GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (day, campaign_id, currency, kind, booked_on) DO UPDATE
    SET amount = d.amount + excluded.amount, entries = d.entries + excluded.entries
"""
"""Adds the entries of a span of time to their days."""

ROLLED_UP = "UPDATE books_state SET rolled_up_to = $1"
"""Moves the mark: from it on, entries are read from the ledger."""

ROLL_UP_S = 900.0
"""How long a statement of the roll-up may take: a day can have many millions of entries."""


def affected(status: str) -> int:
    """The number of rows in the driver's word for what a statement did: `DELETE 5`."""
    return int(status.rpartition(" ")[2])


async def claim(connection: "Connection[Record]", task: str, every_s: float) -> bool:
    """Whether the task is this server's to do now."""
    return await connection.fetchval(CLAIM, task, every_s) is not None


async def make_partitions(connection: "Connection[Record]", ahead_days: int) -> int:
    """Makes what is missing; returns how many. Raises LockNotAvailableError if it has to wait for long."""
    made: int = await connection.fetchval(MAKE_PARTITIONS, ahead_days)
    return made


async def partitions_ahead(connection: "Connection[Record]") -> int:
    """Days after today that have all their partitions; below 0, rows of today go to the default ones."""
    days: int = await connection.fetchval(PARTITIONS_AHEAD)
    return days


async def has_misplaced_rows(connection: "Connection[Record]") -> bool:
    """Whether a partition was missing when it was needed."""
    misplaced: bool = await connection.fetchval(MISPLACED_ROWS)
    return misplaced


async def drop_partition(connection: "Connection[Record]", parent: str, older_than_days: int) -> str | None:
    """Drops one; returns its name. Raises LockNotAvailableError if it has to wait for long."""
    name: str | None = await connection.fetchval(DROP_PARTITION, parent, older_than_days)
    return name


async def caps_pages(connection: "Connection[Record]") -> int:
    """The size of the counts in pages."""
    pages: int = await connection.fetchval(CAPS_PAGES)
    return pages


async def sweep_caps(connection: "Connection[Record]", first_page: int, end_page: int) -> int:
    """Removes expired counts from a range of pages; returns how many."""
    return affected(await connection.execute(SWEEP_CAPS, (first_page, 0), (end_page, 0)))


async def sweep_midnight_requests(connection: "Connection[Record]", limit: int) -> int:
    """Removes at most so many old claims; returns how many."""
    return affected(await connection.execute(SWEEP_MIDNIGHT, limit))


async def roll_up(connection: "Connection[Record]") -> bool | None:
    """Rolls up one step, at most a day; returns whether there is more, None when there was nothing to do.

    To be called in a transaction that has time.
    """
    span = await connection.fetchrow(ROLL_UP_FROM, timeout=ROLL_UP_S)
    if span is None:
        return None
    await connection.execute(ROLL_UP, span["since"], span["until"], timeout=ROLL_UP_S)
    await connection.execute(ROLLED_UP, span["until"])
    more: bool = span["more"]
    return more
