"""requests_daily: how many ad requests there were, and how they ended."""

from collections.abc import Mapping

from asyncpg import Connection, Record

ADD_REQUEST_COUNTS = """
INSERT INTO requests_daily AS r (requested_on, outcome, requests)
SELECT (adserver_clock() AT TIME ZONE 'UTC')::date, outcome, requests
FROM unnest($1::text[], $2::bigint[]) AS counted (outcome, requests)
ON CONFLICT (requested_on, outcome) DO UPDATE SET requests = r.requests + excluded.requests
"""
"""Adds to today's numbers; outcomes come sorted, so that servers do not lock each other out."""


async def add(connection: "Connection[Record]", counts: Mapping[str, int]) -> None:
    """Adds so many requests to each outcome: `served`, `repeat`, `error`, or a no-fill reason."""
    outcomes = sorted(counts)
    await connection.execute(ADD_REQUEST_COUNTS, outcomes, [counts[outcome] for outcome in outcomes])
