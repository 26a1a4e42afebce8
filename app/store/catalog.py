"""Reading the whole catalog, everything that ad operations set up, as of one revision."""

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from asyncpg import Connection, Record

from app.domain import (
    AdBreak,
    Billing,
    BudgetPeriod,
    Campaign,
    CampaignStatus,
    CapWindow,
    Catalog,
    Creative,
    FrequencyCap,
    LateImpressions,
    MediaFile,
    Pacing,
    Placement,
    Publisher,
    Targeting,
    Upstream,
    WithoutUser,
)

REVISION = "SELECT revision FROM catalog"
"""The catalog's revision, to see whether it moved."""

CAMPAIGNS = "SELECT * FROM campaigns ORDER BY id"
"""Every campaign."""

CAMPAIGN_BUDGETS = 'SELECT campaign_id, period, "limit" FROM campaign_budgets ORDER BY campaign_id, period'
"""Every campaign's budgets."""

CAMPAIGN_CAPS = 'SELECT campaign_id, "window", impressions FROM campaign_caps ORDER BY campaign_id, "window"'
"""Every campaign's frequency caps."""

CAMPAIGN_UPSTREAMS = "SELECT campaign_id, upstream_id FROM campaign_upstreams ORDER BY campaign_id, position"
"""Every campaign's upstreams, in the order in which they are tried."""

CREATIVES = "SELECT * FROM creatives ORDER BY id"
"""Every creative."""

UPSTREAMS = "SELECT * FROM upstreams ORDER BY id"
"""Every upstream."""

PUBLISHERS = "SELECT * FROM publishers ORDER BY id"
"""Every publisher."""

PLACEMENTS = "SELECT * FROM placements ORDER BY id"
"""Every placement."""

PLACEMENT_CAMPAIGNS = "SELECT placement_id, campaign_id FROM placement_campaigns ORDER BY placement_id, position"
"""Every placement's campaigns, in priority order."""


async def revision(connection: "Connection[Record]") -> int:
    """The revision that the database is at."""
    value: int = await connection.fetchval(REVISION)
    return value


async def load(connection: "Connection[Record]") -> Catalog:
    """Reads everything in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await read(connection)


async def read(connection: "Connection[Record]") -> Catalog:
    """Reads everything, in a transaction in which it cannot change."""
    at = await revision(connection)
    budgets = await _grouped(connection, CAMPAIGN_BUDGETS)
    caps = await _grouped(connection, CAMPAIGN_CAPS)
    chains = await _grouped(connection, CAMPAIGN_UPSTREAMS)
    orders = await _grouped(connection, PLACEMENT_CAMPAIGNS)
    creatives: defaultdict[str, list[Creative]] = defaultdict(list)
    for row in await connection.fetch(CREATIVES):
        creatives[row["campaign_id"]].append(_creative(row))
    campaigns = [
        _campaign(row, budgets[row["id"]], caps[row["id"]], chains[row["id"]])
        for row in await connection.fetch(CAMPAIGNS)
    ]
    placements = [_placement(row, orders[row["id"]]) for row in await connection.fetch(PLACEMENTS)]
    upstreams = [Upstream(**dict(row)) for row in await connection.fetch(UPSTREAMS)]
    publishers = [Publisher(**dict(row)) for row in await connection.fetch(PUBLISHERS)]
    return Catalog(
        revision=at,
        campaigns={campaign.id: campaign for campaign in campaigns},
        creatives={campaign_id: tuple(of_it) for campaign_id, of_it in creatives.items()},
        upstreams={upstream.id: upstream for upstream in upstreams},
        placements={placement.id: placement for placement in placements},
        publishers={publisher.id: publisher for publisher in publishers},
    )


async def _grouped(connection: "Connection[Record]", query: str) -> defaultdict[str, list[tuple[Any, ...]]]:
    """The query's rows by their first column."""
    rows: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in await connection.fetch(query):
        owner, *rest = row.values()
        rows[owner].append(tuple(rest))
    return rows


def _campaign(
    row: Record, budgets: list[tuple[Any, ...]], caps: list[tuple[Any, ...]], chain: list[tuple[Any, ...]]
) -> Campaign:
    starts_at: datetime = row["starts_at"]
    ends_at: datetime = row["ends_at"]
    cpm: Decimal = row["cpm"]
    targeting = row["targeting"]
    return Campaign(
        id=row["id"],
        advertiser=row["advertiser"],
        status=CampaignStatus(row["status"]),
        currency=row["currency"],
        timezone=row["timezone"],
        starts_at=starts_at,
        ends_at=ends_at,
        cpm=cpm,
        billing=Billing(row["billing"]),
        pacing=Pacing(row["pacing"]),
        budgets={BudgetPeriod(period): limit for period, limit in budgets},
        frequency_caps=tuple(FrequencyCap(impressions, CapWindow(window)) for window, impressions in caps),
        upstreams=tuple(upstream_id for (upstream_id,) in chain),
        without_user=WithoutUser(row["without_user"]),
        late_impressions=LateImpressions(row["late_impressions"]),
        hold_ttl_s=row["hold_ttl_s"],
        targeting=Targeting(**{key: tuple(values) for key, values in targeting.items()}),
    )


def _creative(row: Record) -> Creative:
    fields = dict(row)
    fields["media_files"] = tuple(MediaFile(**media) for media in row["media_files"])
    return Creative(**fields)


def _placement(row: Record, campaigns: list[tuple[Any, ...]]) -> Placement:
    return Placement(
        id=row["id"],
        publisher_id=row["publisher_id"],
        campaigns=tuple(campaign_id for (campaign_id,) in campaigns),
        ad_breaks=tuple(AdBreak(**ad_break) for ad_break in row["ad_breaks"]),
    )
