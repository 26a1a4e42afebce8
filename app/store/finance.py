"""Reading the finance schema for reports."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from asyncpg import Connection, Record

SPEND = """
SELECT CASE WHEN 'advertiser' = ANY ($3::text[]) THEN advertiser END AS advertiser,
       CASE WHEN 'campaign' = ANY ($3::text[]) THEN campaign_id END AS campaign_id,
       CASE WHEN 'day' = ANY ($3::text[]) THEN day
            WHEN 'month' = ANY ($3::text[]) THEN date_trunc('month', day)::date END AS day,
       currency, sum(delivered) AS delivered, sum(corrected) AS corrected, sum(spent) AS spent,
       sum(impressions)::bigint AS impressions
FROM finance.campaign_spend_daily WHERE day >= $1 AND day <= $2
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""
"""Spend between two days, both included, by any of advertiser, campaign, and day or month; currencies stay apart."""

FETCH_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Spend:
    """A line of the report; what it is not by is None."""

    advertiser: str | None
    campaign_id: str | None
    day: date | None
    """The first of the month in a report by month."""
    currency: str
    delivered: Decimal
    corrected: Decimal
    spent: Decimal
    impressions: int


async def spend(connection: "Connection[Record]", first: date, last: date, by: Collection[str]) -> AsyncIterator[Spend]:
    """The lines, as they are read; to be used in a transaction."""
    async for row in connection.cursor(SPEND, first, last, list(by), prefetch=FETCH_ROWS):
        yield Spend(**row)
