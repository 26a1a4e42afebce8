"""delivery_hourly and requests_hourly: roll up what was delivered, count requests, and delete old hours."""

from collections.abc import Mapping
from typing import NamedTuple

from asyncpg import Connection, Record

from app.store.connections import rows_affected

LOCK_DELIVERY_SPAN = """
SELECT s.since, least(s.next_hour, b.rolled_up_to) AS until, s.next_hour < b.rolled_up_to AS more
FROM (
    SELECT first.since, date_trunc('hour', first.since, 'UTC') + interval '1 hour' AS next_hour
    FROM (SELECT rolled_up_to FROM delivery_state FOR UPDATE SKIP LOCKED) AS mark
    CROSS JOIN LATERAL (
        SELECT CASE mark.rolled_up_to WHEN '-infinity' THEN greatest(
            least((SELECT min(served_at) FROM ad_serves), (SELECT min(booked_at) FROM spend_ledger)),
            (SELECT dropped_before::timestamp AT TIME ZONE 'UTC' FROM retention WHERE parent = 'ad_serves')
        ) ELSE mark.rolled_up_to END AS since
    ) AS first
) AS s, books_state b
WHERE s.since < b.rolled_up_to
"""
"""Lock the mark of the rollup and return the next span, which lies within an hour and ends at the mark of the books.

Nothing is booked, served or received before that mark any more. There is no row if nothing is left to roll up, or if
another server is rolling up."""

ROLL_UP_DELIVERY = """
INSERT INTO delivery_hourly AS d (hour, campaign_id, creative_id, placement_id, publisher_id, country, device_type,
                                  serves, seen, first_quartile, midpoint, third_quartile, completed, clicks, errors,
                                  late, expired, reversed, charged, corrected)
SELECT hour, campaign_id, creative_id, placement_id, publisher_id, country, device_type, serves, seen, first_quartile,
       midpoint, third_quartile, completed, clicks, errors, late, expired, reversed, charged, corrected
FROM finance.compute_delivery($1, $2)
ON CONFLICT ON CONSTRAINT one_row_for_each_hour DO UPDATE
    SET serves = d.serves + excluded.serves, seen = d.seen + excluded.seen,
        first_quartile = d.first_quartile + excluded.first_quartile, midpoint = d.midpoint + excluded.midpoint,
        third_quartile = d.third_quartile + excluded.third_quartile, completed = d.completed + excluded.completed,
        clicks = d.clicks + excluded.clicks, errors = d.errors + excluded.errors, late = d.late + excluded.late,
        expired = d.expired + excluded.expired, reversed = d.reversed + excluded.reversed,
        charged = d.charged + excluded.charged, corrected = d.corrected + excluded.corrected
"""
"""Add what happened in a span of time to the sums of its hour."""

MOVE_DELIVERY_MARK = "UPDATE delivery_state SET rolled_up_to = $1"
"""Move the mark, from which on readers use the serves, events and entries themselves."""

ADD_HOURLY_REQUESTS = """
INSERT INTO requests_hourly AS r (hour, placement_id, publisher_id, country, device_type, requests)
SELECT date_trunc('hour', adserver_clock(), 'UTC'), p.id, p.publisher_id, c.country, c.device_type, sum(c.requests)
FROM unnest($1::varchar[], $2::text[], $3::text[], $4::bigint[]) AS c (placement_id, country, device_type, requests)
LEFT JOIN placements p ON p.id = c.placement_id
GROUP BY p.id, c.country, c.device_type
ORDER BY p.id, c.country, c.device_type
ON CONFLICT ON CONSTRAINT one_number_for_each_hour DO UPDATE SET requests = r.requests + excluded.requests
"""
"""Add to the numbers of the current hour, in one order, so that servers do not deadlock.

A placement that nobody set up counts as none, so that requests cannot make up rows."""

DELETE_OLD_DELIVERY = """
DELETE FROM delivery_hourly WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM delivery_hourly
    WHERE hour < (SELECT dropped_before::timestamp AT TIME ZONE 'UTC' FROM retention WHERE parent = 'ad_serves')
    ORDER BY hour LIMIT $1))
"""
"""Delete the sums of hours whose serves were dropped, oldest first."""

DELETE_OLD_REQUESTS = """
DELETE FROM requests_hourly WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM requests_hourly
    WHERE hour < (SELECT dropped_before::timestamp AT TIME ZONE 'UTC' FROM retention WHERE parent = 'ad_serves')
    ORDER BY hour LIMIT $1))
"""
"""Delete the requests of hours whose serves were dropped, oldest first."""

STATEMENT_TIMEOUT_S = 900.0
"""Maximum time for one statement of the rollup."""


class RequestPlace(NamedTuple):
    """The place that a request came from."""

    placement_id: str | None
    country: str | None
    device_type: str | None


async def roll_up_delivery(connection: "Connection[Record]") -> bool | None:
    """Roll up one span of at most an hour; return whether there is more, or None if there was nothing to do.

    Call it in a transaction without timeouts: the sums and the mark are committed together.
    """
    span = await connection.fetchrow(LOCK_DELIVERY_SPAN, timeout=STATEMENT_TIMEOUT_S)
    if span is None:
        return None
    await connection.execute(ROLL_UP_DELIVERY, span["since"], span["until"], timeout=STATEMENT_TIMEOUT_S)
    await connection.execute(MOVE_DELIVERY_MARK, span["until"])
    more: bool = span["more"]
    return more


async def add_requests(connection: "Connection[Record]", counts: Mapping[RequestPlace, int]) -> None:
    """Add these numbers of requests by place to those of the current hour."""
    if counts:
        columns = zip(*((*place, requests) for place, requests in counts.items()), strict=True)
        await connection.execute(ADD_HOURLY_REQUESTS, *columns)


async def delete_old_delivery(connection: "Connection[Record]", limit: int) -> int:
    """Delete at most `limit` sums whose serves were dropped; return their number."""
    return rows_affected(await connection.execute(DELETE_OLD_DELIVERY, limit))


async def delete_old_requests(connection: "Connection[Record]", limit: int) -> int:
    """Delete at most `limit` numbers of requests of hours whose serves were dropped; return their number."""
    return rows_affected(await connection.execute(DELETE_OLD_REQUESTS, limit))
