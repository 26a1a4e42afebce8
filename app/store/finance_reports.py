"""Read the finance views: spend reports, totals by campaign, and balances as of a time."""

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
"""Sum spend between two days, inclusive, by any of advertiser, campaign, and day or month; currencies are separate."""

READ_CAMPAIGN_SPEND = (
    "SELECT campaign_id, currency, spent, held FROM finance.campaign_spend ORDER BY campaign_id LIMIT $1"
)
"""Read the amounts that campaigns have spent and hold."""

READ_ORDER_BALANCES = "SELECT order_id, currency, booked, held, remaining FROM finance.orders ORDER BY order_id"
"""Read the money of every order."""

READ_BALANCES_AS_OF = """
SELECT s.campaign_id, s.currency, coalesce(b.spent, 0) AS spent
FROM finance.campaign_spend s
LEFT JOIN finance.balance_as_of(coalesce($1, adserver_clock())) b USING (campaign_id, currency)
WHERE $2::text IS NULL OR s.campaign_id = $2
ORDER BY s.campaign_id
"""
"""Read the amount that every campaign, or one, had spent at a time; the finance role may run it too."""

FETCH_ROWS = 1000
"""Rows of a report per round trip."""


@dataclass(frozen=True, slots=True)
class SpendLine:
    """A line of a spend report; None for the columns by which it is not grouped."""

    advertiser: str | None
    campaign_id: str | None
    day: date | None
    """The first day of the month in a report by month."""
    currency: str
    delivered: Decimal
    corrected: Decimal
    spent: Decimal
    impressions: int


@dataclass(frozen=True, slots=True)
class CampaignSpend:
    """The amounts that a campaign has spent and holds, in its currency."""

    campaign_id: str
    currency: str
    spent: Decimal
    held: Decimal


@dataclass(frozen=True, slots=True)
class OrderMoney:
    """The amounts that an order has spent and holds, and may still spend; `remaining` is None without a limit."""

    order_id: str
    currency: str
    booked: Decimal
    held: Decimal
    remaining: Decimal | None


@dataclass(frozen=True, slots=True)
class Balance:
    """The amount that a campaign had spent; amounts in different currencies are never added up."""

    campaign_id: str
    currency: str
    spent: Decimal


async def report_spend(
    connection: "Connection[Record]", first: date, last: date, by: Collection[str]
) -> AsyncIterator[SpendLine]:
    """Yield the lines while reading them; needs an open transaction."""
    async for row in connection.cursor(REPORT_SPEND, first, last, list(by), prefetch=FETCH_ROWS):
        yield SpendLine(**row)


async def read_campaign_spend(connection: "Connection[Record]", limit: int) -> Sequence[CampaignSpend]:
    """Return the amounts of at most `limit` campaigns, ordered by id."""
    return [CampaignSpend(*row) for row in await connection.fetch(READ_CAMPAIGN_SPEND, limit)]


async def read_orders(connection: "Connection[Record]") -> Sequence[OrderMoney]:
    """Return the money of every order, ordered by id."""
    return [OrderMoney(**row) for row in await connection.fetch(READ_ORDER_BALANCES)]


async def read_balances(
    connection: "Connection[Record]", at: datetime | None, campaign_id: str | None = None
) -> Sequence[Balance]:
    """Return the amount that every campaign, or one, had spent at a time, or has spent by now.

    The times of the entries decide, not the times at which they were recorded.
    """
    return [Balance(**row) for row in await connection.fetch(READ_BALANCES_AS_OF, at, campaign_id)]
