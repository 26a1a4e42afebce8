"""third_party_counts and repeated_impressions: what others counted, and what explains why we counted less."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from asyncpg import Connection, Record

LOCK_THIRD_PARTY_SOURCE = "SELECT pg_advisory_xact_lock(hashtextextended('third party ' || $1, 0))"
"""Lock a source, so that one transaction at a time imports its counts."""

FIND_UNKNOWN_CAMPAIGNS = """
SELECT n.campaign_id FROM unnest($1::varchar[]) AS n (campaign_id)
WHERE NOT EXISTS (SELECT FROM campaigns c WHERE c.id = n.campaign_id)
"""
"""Find the ids that are no campaign's."""

INSERT_CHANGED_COUNTS = """
INSERT INTO third_party_counts (source, day, campaign_id, version, impressions, recorded_at, recorded_by)
SELECT $1::varchar, n.day, n.campaign_id, coalesce(o.version, 0) + 1, n.impressions, adserver_clock(), session_user
FROM unnest($2::date[], $3::varchar[], $4::bigint[]) AS n (day, campaign_id, impressions)
LEFT JOIN LATERAL (
    SELECT t.version, t.impressions FROM third_party_counts t
    WHERE t.source = $1 AND t.day = n.day AND t.campaign_id = n.campaign_id ORDER BY t.version DESC LIMIT 1
) AS o ON true
WHERE o.impressions IS DISTINCT FROM n.impressions
RETURNING version
"""
"""Insert those counts of a source that are new or differ from its newest ones, each as the next version."""

READ_DISCREPANCIES = """
SELECT day, source, campaign_id, ours, theirs, difference, difference_percentage, late, error, expired, repeat, reversed
FROM finance.discrepancies
WHERE day BETWEEN $1 AND $2 AND ($3::text IS NULL OR source = $3) AND ($4::text IS NULL OR campaign_id = $4)
ORDER BY day, source, campaign_id LIMIT $5
"""
"""Read how counts of some days differ from ours, of one source and campaign or of all."""

ADD_REPEATED_IMPRESSIONS = """
INSERT INTO repeated_impressions AS r (day, campaign_id, impressions)
SELECT (adserver_clock() AT TIME ZONE c.timezone)::date, c.id, n.impressions
FROM unnest($1::varchar[], $2::bigint[]) AS n (campaign_id, impressions) JOIN campaigns c ON c.id = n.campaign_id
ORDER BY c.id
ON CONFLICT (day, campaign_id) DO UPDATE SET impressions = r.impressions + excluded.impressions
"""
"""Add to the numbers of the campaigns' current days; they are sorted, so that servers do not deadlock."""


@dataclass(frozen=True, slots=True)
class Count:
    """The impressions that a third party counted for a campaign on a day."""

    day: date
    campaign_id: str
    impressions: int


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A count beside ours; None for what is unknown: a count that was not reported, or a day that was dropped."""

    day: date
    source: str
    campaign_id: str
    ours: int
    theirs: int | None
    difference: int | None
    difference_percentage: Decimal | None
    late: int | None
    error: int | None
    expired: int | None
    repeat: int
    reversed: int


async def find_unknown_campaigns(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> set[str]:
    """Return those of the ids that are no campaign's."""
    return {row[0] for row in await connection.fetch(FIND_UNKNOWN_CAMPAIGNS, campaign_ids)}


async def insert_changed(connection: "Connection[Record]", source: str, counts: Sequence[Count]) -> tuple[int, int]:
    """Insert the counts that differ from the newest ones of the source; return the numbers of new and replacing ones.

    No other transaction imports counts of the source until this one ends.
    """
    await connection.execute(LOCK_THIRD_PARTY_SOURCE, source)
    versions = await connection.fetch(
        INSERT_CHANGED_COUNTS,
        source,
        [count.day for count in counts],
        [count.campaign_id for count in counts],
        [count.impressions for count in counts],
    )
    new = sum(row["version"] == 1 for row in versions)
    return new, len(versions) - new


async def read_discrepancies(
    connection: "Connection[Record]", first: date, last: date, source: str | None, campaign_id: str | None, limit: int
) -> list[Discrepancy]:
    """Return at most `limit` discrepancies of the days, both included."""
    rows = await connection.fetch(READ_DISCREPANCIES, first, last, source, campaign_id, limit)
    return [Discrepancy(**row) for row in rows]


async def add_repeated_impressions(connection: "Connection[Record]", repeated: Mapping[str, int]) -> None:
    """Add these numbers of repeated impressions by campaign."""
    await connection.execute(ADD_REPEATED_IMPRESSIONS, list(repeated), list(repeated.values()))
