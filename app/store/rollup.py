"""spend_daily and books_state: roll up the ledger's new entries into daily sums."""

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
"""Lock the mark of the rollup and return the next span: at most a day, and up to two minutes ago.

A transaction books with the time at which it began, and no transaction of the server lasts longer than a minute. There
is no row if nothing is left to roll up, or if another server is rolling up."""

ROLL_UP_ENTRIES = """
INSERT INTO spend_daily AS d (booked_on, recorded_on, order_id, advertiser_id, advertiser_name, campaign_id,
                              publisher_id, publisher_name, currency, kind, amount, publisher_amount, entries, ads)
SELECT booked_on, (booked_at AT TIME ZONE 'UTC')::date, order_id, advertiser_id, advertiser_name, campaign_id,
       publisher_id, publisher_name, currency, kind, sum(amount), sum(publisher_amount), count(*), count(request_key)
FROM spend_ledger
WHERE booked_at >= $1 AND booked_at < $2
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
ON CONFLICT ON CONSTRAINT one_sum_for_each_day DO UPDATE
    SET amount = d.amount + excluded.amount, publisher_amount = d.publisher_amount + excluded.publisher_amount,
        entries = d.entries + excluded.entries, ads = d.ads + excluded.ads
"""
"""Add the entries of a span of time to their daily sums."""

MOVE_ROLLUP_MARK = "UPDATE books_state SET rolled_up_to = $1"
"""Move the mark, from which on readers use the ledger itself."""

STATEMENT_TIMEOUT_S = 900.0
"""Maximum time for one statement of the rollup: a day can have many millions of entries."""


async def roll_up(connection: "Connection[Record]") -> bool | None:
    """Roll up one span of at most a day; return whether there is more, or None if there was nothing to do.

    Call it in a transaction without timeouts.
    """
    span = await connection.fetchrow(LOCK_ROLLUP_SPAN, timeout=STATEMENT_TIMEOUT_S)
    if span is None:
        return None
    await connection.execute(ROLL_UP_ENTRIES, span["since"], span["until"], timeout=STATEMENT_TIMEOUT_S)
    await connection.execute(MOVE_ROLLUP_MARK, span["until"])
    more: bool = span["more"]
    return more
