"""Reading the finance schema for reports."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from asyncpg import Connection, Record

REPORT_SPEND = """
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

READ_CAMPAIGN_SPEND = (
    "SELECT campaign_id, currency, spent, held FROM finance.campaign_spend ORDER BY campaign_id LIMIT $1"
)
"""Charged and held so far, by campaign."""

READ_BALANCES_AS_OF = """
SELECT s.campaign_id, s.currency, coalesce(b.spent, 0) AS spent
FROM finance.campaign_spend s
LEFT JOIN finance.balance_as_of(coalesce($1, adserver_clock())) b USING (campaign_id, currency)
WHERE $2::text IS NULL OR s.campaign_id = $2
ORDER BY s.campaign_id
"""
"""What every campaign, or one, had spent at a moment; finance's role may ask it too."""

FETCH_ROWS = 1000


@dataclass(frozen=True, slots=True)
class SpendLine:
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


@dataclass(frozen=True, slots=True)
class CampaignSpend:
    """A campaign's money, in its currency."""

    campaign_id: str
    currency: str
    spent: Decimal
    held: Decimal


@dataclass(frozen=True, slots=True)
class Balance:
    """What a campaign had spent; amounts of different currencies are never added."""

    campaign_id: str
    currency: str
    spent: Decimal


async def report_spend(
    connection: "Connection[Record]", first: date, last: date, by: Collection[str]
) -> AsyncIterator[SpendLine]:
    """The lines, as they are read; to be used in a transaction."""
    async for row in connection.cursor(REPORT_SPEND, first, last, list(by), prefetch=FETCH_ROWS):
        yield SpendLine(**row)


async def read_campaign_spend(connection: "Connection[Record]", limit: int) -> Sequence[CampaignSpend]:
    """At most so many campaigns, in the order of their ids."""
    return [CampaignSpend(*row) for row in await connection.fetch(READ_CAMPAIGN_SPEND, limit)]


async def read_balances(
    connection: "Connection[Record]", at: datetime | None, campaign_id: str | None = None
) -> Sequence[Balance]:
    """What every campaign, or one, had spent at that moment, or by now, by the dates that the entries carry."""
    return [Balance(**row) for row in await connection.fetch(READ_BALANCES_AS_OF, at, campaign_id)]
