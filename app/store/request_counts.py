"""requests_daily: daily numbers of ad requests by outcome."""

from collections.abc import Mapping

from asyncpg import Connection, Record

ADD_REQUEST_COUNTS = """
INSERT INTO requests_daily AS r (requested_on, outcome, requests)
SELECT (adserver_clock() AT TIME ZONE 'UTC')::date, outcome, requests
FROM unnest($1::text[], $2::bigint[]) AS counted (outcome, requests)
ON CONFLICT (requested_on, outcome) DO UPDATE SET requests = r.requests + excluded.requests
"""
"""Add to today's numbers; the outcomes are sorted, so that servers do not deadlock."""


async def add(connection: "Connection[Record]", counts: Mapping[str, int]) -> None:
    """Add these numbers of requests by outcome: `served`, `repeat`, `error`, or a no-fill reason."""
    outcomes = sorted(counts)
    await connection.execute(ADD_REQUEST_COUNTS, outcomes, [counts[outcome] for outcome in outcomes])
