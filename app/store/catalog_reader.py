"""Read the catalog as of one revision: all of it, or the items that have changed since a known revision."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

from asyncpg import Connection, Record

from app.countries import to_alpha_2
from app.domain import (
    TARGETED,
    AdBreak,
    Advertiser,
    Billing,
    BreakType,
    Budget,
    BudgetPeriod,
    Campaign,
    CampaignStatus,
    CapLevel,
    CapWindow,
    Catalog,
    Competitors,
    Creative,
    FrequencyCap,
    InvalidTraffic,
    LateImpressions,
    Order,
    OutboxEvent,
    Pacing,
    Placement,
    Price,
    PriceModel,
    Publisher,
    Targeting,
    Upstream,
    Webhook,
    WebhookStatus,
    WithoutUser,
)
from app.store.creatives import READ_CREATIVES, to_creative

ROWS_PER_FETCH = 500
"""Rows per fetch, so that loading a large catalog does not block the event loop."""

READ_CATALOG_REVISION = "SELECT revision FROM catalog"
"""Read the catalog's revision."""

READ_CATALOG_HEAD = "SELECT revision, made_at FROM catalog LEFT JOIN catalog_changes USING (revision)"
"""Read the catalog's revision, and the time of its change if that is recorded."""

READ_CATALOG_CHANGES = """
SELECT made_at, publishers, advertisers, orders, upstreams, campaigns, creatives, placements, webhooks
FROM catalog_changes WHERE revision BETWEEN $1 AND $2 ORDER BY revision
"""
"""Read the recorded changes of a range of revisions, including both ends."""

READ_CAMPAIGNS = "SELECT * FROM campaigns WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""Read these campaigns; like the statements below, it reads all rows for NULL."""

READ_CAMPAIGN_BUDGETS = """
SELECT campaign_id, period, "limit", impressions_limit FROM configured_budgets
WHERE campaign_id IS NOT NULL AND ($1::varchar[] IS NULL OR campaign_id = ANY ($1)) ORDER BY campaign_id, period
"""
"""Read the budgets of these campaigns."""

READ_CAMPAIGN_CAPS = """
SELECT campaign_id, level, "window", impressions FROM campaign_caps
WHERE $1::varchar[] IS NULL OR campaign_id = ANY ($1) ORDER BY campaign_id, level, "window"
"""
"""Read the frequency caps of these campaigns."""

READ_CAMPAIGN_UPSTREAMS = """
SELECT campaign_id, upstream_id FROM campaign_upstreams
WHERE $1::varchar[] IS NULL OR campaign_id = ANY ($1) ORDER BY campaign_id, position
"""
"""Read the upstreams of these campaigns, in the order in which they are tried."""

READ_UPSTREAMS = "SELECT * FROM upstreams WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""Read these upstreams."""

READ_PUBLISHERS = "SELECT * FROM publishers WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""Read these publishers."""

READ_ADVERTISERS = "SELECT * FROM advertisers WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""Read these advertisers."""

READ_ORDERS = """
SELECT id, advertiser_id AS advertiser, currency, starts_at, ends_at, budget, impressions, prepaid, purchase_order
FROM orders WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id
"""
"""Read these orders."""

READ_PLACEMENTS = "SELECT * FROM placements WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""Read these placements."""

READ_PLACEMENT_CAMPAIGNS = """
SELECT placement_id, campaign_id FROM placement_campaigns
WHERE $1::varchar[] IS NULL OR placement_id = ANY ($1) ORDER BY placement_id, position
"""
"""Read the campaigns of these placements, in the order of priority."""

READ_WEBHOOKS = """
SELECT id, url, secret, events, status FROM webhooks WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id
"""
"""Read these webhooks."""

Ids = list[str] | None
"""Ids of one kind of item; None means all items."""


class _Change(NamedTuple):
    """The items to read, in the order of the columns of catalog_changes."""

    publishers: Ids = None
    advertisers: Ids = None
    orders: Ids = None
    upstreams: Ids = None
    campaigns: Ids = None
    creatives: Ids = None
    placements: Ids = None
    webhooks: Ids = None


EVERYTHING = _Change()
NO_IDS: Sequence[Sequence[str]] = ((),) * len(_Change._fields)
EMPTY_CATALOG = Catalog(-1, None, {}, {}, {}, {}, {})


async def read_revision(connection: "Connection[Record]") -> int:
    """Return the catalog's revision in the database."""
    value: int = await connection.fetchval(READ_CATALOG_REVISION)
    return value


async def load(connection: "Connection[Record]", known: Catalog | None = None) -> Catalog:
    """Return the whole catalog as `read` does, in a snapshot of its own."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await read(connection, known)


async def read(
    connection: "Connection[Record]", known: Catalog | None = None, reread_ids: Sequence[Sequence[str]] = NO_IDS
) -> Catalog:
    """Return the whole catalog; call it in a transaction in which the catalog cannot change.

    Items of `known` that have not changed since are not read again and stay the same objects. Changes by SQL that did
    not raise the revision are only noticed for `reread_ids`, which has the ids of each kind like `_Change`.
    """
    head = await connection.fetchrow(READ_CATALOG_HEAD)
    if head is None:
        raise LookupError("the catalog has no revision")
    change = None if known is None else await _change_since(connection, known, head["revision"], reread_ids)
    base, change = (EMPTY_CATALOG, EVERYTHING) if known is None or change is None else (known, change)
    campaigns = await _read_campaigns(connection, change.campaigns)
    creatives = [to_creative(row) async for row in _stream_rows(connection, READ_CREATIVES, change.creatives)]
    placements = await _read_placements(connection, change.placements)
    upstreams = [Upstream(**dict(row)) async for row in _stream_rows(connection, READ_UPSTREAMS, change.upstreams)]
    publishers = [_to_publisher(row) async for row in _stream_rows(connection, READ_PUBLISHERS, change.publishers)]
    advertisers = [
        Advertiser(**dict(row)) async for row in _stream_rows(connection, READ_ADVERTISERS, change.advertisers)
    ]
    orders = [Order(**dict(row)) async for row in _stream_rows(connection, READ_ORDERS, change.orders)]
    webhooks = [_to_webhook(row) async for row in _stream_rows(connection, READ_WEBHOOKS, change.webhooks)]
    return Catalog(
        revision=head["revision"],
        created_at=head["made_at"],
        campaigns={**base.campaigns, **{campaign.id: campaign for campaign in campaigns}},
        creatives=_merge_creatives(base.creatives, creatives),
        upstreams={**base.upstreams, **{upstream.id: upstream for upstream in upstreams}},
        placements={**base.placements, **{placement.id: placement for placement in placements}},
        publishers={**base.publishers, **{publisher.id: publisher for publisher in publishers}},
        advertisers={**base.advertisers, **{advertiser.id: advertiser for advertiser in advertisers}},
        orders={**base.orders, **{order.id: order for order in orders}},
        webhooks={**base.webhooks, **{webhook.id: webhook for webhook in webhooks}},
    )


async def _change_since(
    connection: "Connection[Record]", known: Catalog, current_revision: int, reread_ids: Sequence[Sequence[str]]
) -> _Change | None:
    """Return the items that changed since `known`, and these ids.

    Return None if a change is not recorded, or if the database is not the one from which `known` was read.
    """
    rows = await connection.fetch(READ_CATALOG_CHANGES, known.revision, current_revision)
    if not rows or len(rows) != current_revision - known.revision + 1 or rows[0]["made_at"] != known.created_at:
        return None
    changed = ([item_id for row in rows[1:] for item_id in row[kind]] for kind in _Change._fields)
    return _Change(*(sorted({*ids, *reread}) for ids, reread in zip(changed, reread_ids, strict=True)))


async def _stream_rows(connection: "Connection[Record]", query: str, ids: Ids) -> AsyncIterator[Record]:
    if ids is None or ids:
        async for row in connection.cursor(query, ids, prefetch=ROWS_PER_FETCH):
            yield row


async def _group_rows(
    connection: "Connection[Record]", query: str, ids: Ids
) -> defaultdict[str, list[tuple[Any, ...]]]:
    """Return the rows of the query by their first column."""
    rows: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    async for row in _stream_rows(connection, query, ids):
        owner, *rest = row.values()
        rows[owner].append(tuple(rest))
    return rows


async def _read_campaigns(connection: "Connection[Record]", ids: Ids) -> list[Campaign]:
    budgets = await _group_rows(connection, READ_CAMPAIGN_BUDGETS, ids)
    caps = await _group_rows(connection, READ_CAMPAIGN_CAPS, ids)
    chains = await _group_rows(connection, READ_CAMPAIGN_UPSTREAMS, ids)
    return [
        _to_campaign(row, budgets[row["id"]], caps[row["id"]], chains[row["id"]])
        async for row in _stream_rows(connection, READ_CAMPAIGNS, ids)
    ]


async def _read_placements(connection: "Connection[Record]", ids: Ids) -> list[Placement]:
    orders = await _group_rows(connection, READ_PLACEMENT_CAMPAIGNS, ids)
    return [_to_placement(row, orders[row["id"]]) async for row in _stream_rows(connection, READ_PLACEMENTS, ids)]


def _merge_creatives(
    before: Mapping[str, tuple[Creative, ...]], creatives: Sequence[Creative]
) -> Mapping[str, tuple[Creative, ...]]:
    """Return the creatives by campaign in the order of their ids, after these were added or changed.

    A creative never changes its campaign.
    """
    changed: defaultdict[str, dict[str, Creative]] = defaultdict(dict)
    for creative in creatives:
        changed[creative.campaign_id][creative.id] = creative
    after: dict[str, tuple[Creative, ...]] = {}
    for campaign_id, new in changed.items():
        merged = {creative.id: creative for creative in before.get(campaign_id, ())} | new
        after[campaign_id] = tuple(sorted(merged.values(), key=attrgetter("id")))
    return {**before, **after}


def _to_campaign(
    row: Record, budgets: list[tuple[Any, ...]], caps: list[tuple[Any, ...]], chain: list[tuple[Any, ...]]
) -> Campaign:
    starts_at: datetime = row["starts_at"]
    ends_at: datetime = row["ends_at"]
    amount: Decimal = row["price"]
    return Campaign(
        id=row["id"],
        advertiser=row["advertiser_id"],
        status=CampaignStatus(row["status"]),
        currency=row["currency"],
        timezone=row["timezone"],
        starts_at=starts_at,
        ends_at=ends_at,
        price=Price(PriceModel(row["price_model"]), amount),
        billing=Billing(row["billing"]),
        pacing=Pacing(row["pacing"]),
        front_percent=row["front_percent"],
        budgets={BudgetPeriod(period): Budget(*limits) for period, *limits in budgets},
        frequency_caps=tuple(_to_cap(*cap) for cap in caps),
        upstreams=tuple(upstream_id for (upstream_id,) in chain),
        without_user=WithoutUser(row["without_user"]),
        late_impressions=LateImpressions(row["late_impressions"]),
        hold_ttl_s=row["hold_ttl_s"],
        direct=row["direct"],
        targeting=_to_targeting(row["targeting"]),
        order=row["order_id"],
        priority=row["priority"],
        weight=row["weight"],
        categories=tuple(row["categories"]),
        ads_per_pod=row["ads_per_pod"],
    )


def _to_cap(level: str, window: str, impressions: int) -> FrequencyCap:
    if window[0].isdigit():
        return FrequencyCap(impressions, every=window, level=CapLevel(level))
    return FrequencyCap(impressions, CapWindow(window), level=CapLevel(level))


def _to_targeting(table: Mapping[str, Any]) -> Targeting:
    """Return the targeting with countries as alpha-2 codes, as in requests; the catalog may have alpha-3 codes."""
    countries = dict.fromkeys(to_alpha_2(code).lower() for code in table.get("countries", ()))
    return Targeting.from_table({**table, "countries": [*countries]})


def _to_publisher(row: "Record") -> Publisher:
    return Publisher(**dict(row) | {"invalid_traffic": InvalidTraffic(row["invalid_traffic"])})


def _to_webhook(row: Record) -> Webhook:
    return Webhook(
        id=row["id"],
        url=row["url"],
        secret=row["secret"],
        events=tuple(OutboxEvent(event) for event in row["events"]),
        status=WebhookStatus(row["status"]),
    )


def _to_ad_break(table: Mapping[str, Any]) -> AdBreak:
    ad_break = AdBreak(**table)
    return replace(
        ad_break,
        competitors=Competitors(ad_break.competitors),
        break_type=BreakType(ad_break.break_type),
    )


def _to_placement(row: Record, campaigns: list[tuple[Any, ...]]) -> Placement:
    return Placement(
        id=row["id"],
        publisher_id=row["publisher_id"],
        campaigns=TARGETED if row["targeted"] else tuple(campaign_id for (campaign_id,) in campaigns),
        ad_breaks=tuple(map(_to_ad_break, row["ad_breaks"])),
        blocked_advertisers=tuple(row["blocked_advertisers"]),
        blocked_categories=tuple(row["blocked_categories"]),
    )
