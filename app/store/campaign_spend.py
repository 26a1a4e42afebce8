"""What each campaign has spent, for the graphs of those who watch the server."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from asyncpg import Connection, Record

SPEND = "SELECT campaign_id, currency, spent, held FROM finance.campaign_spend ORDER BY campaign_id LIMIT $1"
"""Charged and held so far, by campaign."""


@dataclass(frozen=True, slots=True)
class CampaignSpend:
    """A campaign's money, in its currency."""

    campaign_id: str
    currency: str
    spent: Decimal
    held: Decimal


async def campaign_spend(connection: "Connection[Record]", limit: int) -> Sequence[CampaignSpend]:
    """At most so many campaigns, in the order of their ids."""
    return [CampaignSpend(*row) for row in await connection.fetch(SPEND, limit)]
