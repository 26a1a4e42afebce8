"""spend_daily and books_state: add the ledger's newest entries to the daily sums."""

from asyncpg import Connection, Record

LOCK_ROLLUP_SPAN = """
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

ROLL_UP_ENTRIES = """
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

MOVE_ROLLUP_MARK = "UPDATE books_state SET rolled_up_to = $1"
"""Moves the mark: from it on, entries are read from the ledger."""

ROLL_UP_S = 900.0
"""How long a statement of the roll-up may take: a day can have many millions of entries."""


async def roll_up(connection: "Connection[Record]") -> bool | None:
    """Rolls up one step, at most a day; returns whether there is more, None when there was nothing to do.

    To be called in a transaction that has time.
    """
    span = await connection.fetchrow(LOCK_ROLLUP_SPAN, timeout=ROLL_UP_S)
    if span is None:
        return None
    await connection.execute(ROLL_UP_ENTRIES, span["since"], span["until"], timeout=ROLL_UP_S)
    await connection.execute(MOVE_ROLLUP_MARK, span["until"])
    more: bool = span["more"]
    return more
