"""Write the catalog, from publishers to webhooks, and record each change."""

from collections.abc import Collection, Sequence

import orjson
from asyncpg import Connection, Record

from app.domain import (
    TARGETED,
    Advertiser,
    Campaign,
    CatalogItem,
    Creative,
    Order,
    Placement,
    Publisher,
    Upstream,
    Webhook,
    counter,
)
from app.store.creatives import upsert_creatives
from app.store.sql_fragments import ORDER_LIMIT

LOCK_CATALOG = "SELECT revision FROM catalog FOR UPDATE"
"""Lock the catalog, so that one transaction at a time changes it; serving reads the row without a lock."""

BUMP_CATALOG_REVISION = "UPDATE catalog SET revision = revision + 1 RETURNING revision"
"""Raise the revision, by which every server notices that its copy of the catalog is old."""

RECORD_CATALOG_CHANGE = """
INSERT INTO catalog_changes (revision, publishers, advertisers, orders, upstreams, campaigns, creatives, placements,
                             webhooks)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
"""Record the items that a revision changed, so that servers reload only those."""

DELETE_CATALOG_CHANGES = "DELETE FROM catalog_changes WHERE revision <= $1 OR revision >= $2"
"""Delete change records up to $1, because servers that far behind reload everything, and those from $2 on, which are
left over from before someone set the revision back."""

REVISIONS_KEPT = 1000
"""Revisions whose changes are recorded."""

ITEMS_MAX = 1000
"""Items in a recorded change. A larger change is not recorded: reloading everything costs little more."""

FIND_TIMEZONES = "SELECT name FROM pg_timezone_names WHERE name = ANY ($1)"
"""Find the time zones that the database knows among these."""

UPSERT_PUBLISHER = """
INSERT INTO publishers (id, name, revenue_share, requests_per_s, burst, invalid_traffic)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, revenue_share = excluded.revenue_share, requests_per_s = excluded.requests_per_s,
    burst = excluded.burst, invalid_traffic = excluded.invalid_traffic
"""
"""Create or replace a publisher."""

UPSERT_ADVERTISER = """
INSERT INTO advertisers (id, name, billing_details) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, billing_details = excluded.billing_details
"""
"""Create or replace an advertiser."""

UPSERT_ORDER = """
INSERT INTO orders (id, advertiser_id, currency, starts_at, ends_at, budget, impressions, prepaid, purchase_order)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (id) DO UPDATE SET
    advertiser_id = excluded.advertiser_id, currency = excluded.currency, starts_at = excluded.starts_at,
    ends_at = excluded.ends_at, budget = excluded.budget, impressions = excluded.impressions,
    prepaid = excluded.prepaid, purchase_order = excluded.purchase_order
"""
"""Create or replace an order, without its budget."""

DELETE_ORDER_BUDGETS = "DELETE FROM configured_budgets WHERE order_id = ANY ($1)"
"""Delete the budgets of these orders before the new ones are inserted."""

INSERT_ORDER_BUDGETS = f"""
INSERT INTO configured_budgets (order_id, period, "limit", impressions_limit)
SELECT o.id, 'lifetime', {ORDER_LIMIT}, o.impressions
FROM orders o WHERE o.id = ANY ($1) AND (o.prepaid OR num_nonnulls(o.budget, o.impressions) > 0)
"""
"""Insert the budgets of these orders, as far as they have a limit; that of a prepaid order is what was credited."""

UPSERT_UPSTREAM = """
INSERT INTO upstreams (id, tag_url, timeout_ms, max_body_bytes, max_redirects, cache_ttl_s, stale_while_revalidate_s,
                       stale_if_error_s, max_qps, max_in_flight, breaker_failures, breaker_reset_s, hedge)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (id) DO UPDATE SET
    tag_url = excluded.tag_url, timeout_ms = excluded.timeout_ms, max_body_bytes = excluded.max_body_bytes,
    max_redirects = excluded.max_redirects, cache_ttl_s = excluded.cache_ttl_s,
    stale_while_revalidate_s = excluded.stale_while_revalidate_s, stale_if_error_s = excluded.stale_if_error_s,
    max_qps = excluded.max_qps, max_in_flight = excluded.max_in_flight, breaker_failures = excluded.breaker_failures,
    breaker_reset_s = excluded.breaker_reset_s, hedge = excluded.hedge
"""
"""Create or replace an upstream."""

UPSERT_CAMPAIGN = """
INSERT INTO campaigns (id, advertiser_id, advertiser, status, currency, timezone, starts_at, ends_at, price_model,
                       price, billing, pacing, front_percent, without_user, late_impressions, hold_ttl_s, direct,
                       targeting, order_id, priority, weight, categories, ads_per_pod)
VALUES ($1, $2::varchar, (SELECT name FROM advertisers WHERE id = $2), $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
        $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT (id) DO UPDATE SET
    advertiser_id = excluded.advertiser_id, advertiser = excluded.advertiser, status = excluded.status,
    currency = excluded.currency, timezone = excluded.timezone, starts_at = excluded.starts_at,
    ends_at = excluded.ends_at, price_model = excluded.price_model, price = excluded.price, billing = excluded.billing,
    pacing = excluded.pacing, front_percent = excluded.front_percent, without_user = excluded.without_user,
    late_impressions = excluded.late_impressions, hold_ttl_s = excluded.hold_ttl_s, direct = excluded.direct,
    targeting = excluded.targeting, order_id = excluded.order_id, priority = excluded.priority,
    weight = excluded.weight, categories = excluded.categories, ads_per_pod = excluded.ads_per_pod
"""
"""Create or replace a campaign, without its budgets, caps and upstreams."""

DELETE_REMOVED_BUDGETS = """
DELETE FROM configured_budgets b WHERE b.budget_id = ANY ($1) AND NOT EXISTS (
    SELECT FROM unnest($2::varchar[], $3::text[]) AS kept (campaign_id, period)
    WHERE kept.campaign_id = b.campaign_id AND kept.period = b.period)
"""
"""Delete the budgets of these campaigns except the ones given."""

UPSERT_CAMPAIGN_BUDGETS = """
INSERT INTO configured_budgets AS b (campaign_id, period, "limit", impressions_limit)
SELECT * FROM unnest($1::varchar[], $2::text[], $3::numeric[], $4::bigint[])
ON CONFLICT (budget_id, period) DO UPDATE SET "limit" = excluded."limit", impressions_limit = excluded.impressions_limit
WHERE (b."limit", b.impressions_limit) IS DISTINCT FROM (excluded."limit", excluded.impressions_limit)
"""
"""Create or change budgets of campaigns."""

DELETE_REMOVED_CAPS = """
DELETE FROM campaign_caps c WHERE c.campaign_id = ANY ($1) AND NOT EXISTS (
    SELECT FROM unnest($2::varchar[], $3::text[], $4::text[]) AS kept (campaign_id, level, "window")
    WHERE kept.campaign_id = c.campaign_id AND kept.level = c.level AND kept."window" = c."window")
"""
"""Delete the caps of these campaigns except the ones given. The counts stay, and apply again if a cap comes back."""

UPSERT_CAPS = """
INSERT INTO campaign_caps AS c (campaign_id, level, "window", counter, impressions)
SELECT * FROM unnest($1::varchar[], $2::text[], $3::text[], $4::varchar[], $5::integer[])
ON CONFLICT (campaign_id, level, "window") DO UPDATE SET impressions = excluded.impressions, counter = excluded.counter
WHERE c.impressions <> excluded.impressions OR c.counter <> excluded.counter
"""
"""Create or change caps of campaigns. A count above a lowered cap stays unchanged until its window ends."""

RESET_SHARED_CAPS = """
UPDATE campaign_caps k SET counts_from = adserver_clock()
FROM unnest($1::varchar[], $2::varchar[], $3::varchar[]) AS n (id, advertiser_id, order_id)
JOIN campaigns c ON c.id = n.id
WHERE (c.order_id IS DISTINCT FROM n.order_id AND k.counter IN (' order ' || c.order_id, ' order ' || n.order_id))
    OR (c.advertiser_id <> n.advertiser_id
        AND k.counter IN (' advertiser ' || c.advertiser_id, ' advertiser ' || n.advertiser_id))
"""
"""Let the caps of an order or an advertiser count from now on if a campaign joins or leaves it.

What the campaign served before was counted elsewhere, so `FIND_WRONG_CAP_COUNTS` must not expect it."""

DELETE_REMOVED_UPSTREAMS = """
DELETE FROM campaign_upstreams u WHERE u.campaign_id = ANY ($1) AND NOT EXISTS (
    SELECT FROM unnest($2::varchar[], $3::smallint[]) AS kept (campaign_id, position)
    WHERE kept.campaign_id = u.campaign_id AND kept.position = u.position)
"""
"""Delete the upstreams of these campaigns except at the positions given."""

UPSERT_CAMPAIGN_UPSTREAMS = """
INSERT INTO campaign_upstreams AS u (campaign_id, position, upstream_id)
SELECT * FROM unnest($1::varchar[], $2::smallint[], $3::varchar[])
ON CONFLICT (campaign_id, position) DO UPDATE SET upstream_id = excluded.upstream_id
WHERE u.upstream_id <> excluded.upstream_id
"""
"""Create or change upstreams of campaigns."""

UPSERT_PLACEMENT = """
INSERT INTO placements (id, publisher_id, ad_breaks, targeted, blocked_advertisers, blocked_categories)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET
    publisher_id = excluded.publisher_id, ad_breaks = excluded.ad_breaks, targeted = excluded.targeted,
    blocked_advertisers = excluded.blocked_advertisers, blocked_categories = excluded.blocked_categories
"""
"""Create or replace a placement, without its campaigns."""

DELETE_REMOVED_PLACEMENT_CAMPAIGNS = """
DELETE FROM placement_campaigns c WHERE c.placement_id = ANY ($1) AND NOT EXISTS (
    SELECT FROM unnest($2::varchar[], $3::smallint[]) AS kept (placement_id, position)
    WHERE kept.placement_id = c.placement_id AND kept.position = c.position)
"""
"""Delete the campaigns of these placements except at the positions given."""

UPSERT_PLACEMENT_CAMPAIGNS = """
INSERT INTO placement_campaigns AS c (placement_id, position, campaign_id)
SELECT * FROM unnest($1::varchar[], $2::smallint[], $3::varchar[])
ON CONFLICT (placement_id, position) DO UPDATE SET campaign_id = excluded.campaign_id
WHERE c.campaign_id <> excluded.campaign_id
"""
"""Create or change campaigns of placements."""


UPSERT_WEBHOOK = """
INSERT INTO webhooks (id, url, secret, events, status) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET
    url = excluded.url, secret = excluded.secret, events = excluded.events, status = excluded.status
"""
"""Create or replace a webhook."""

RETRY_DELIVERIES_NOW = """
UPDATE webhook_deliveries SET attempts = 0, failing_since = NULL, next_attempt_at = clock_timestamp()
WHERE webhook_id = ANY ($1) AND failing_since IS NOT NULL
"""
"""Retry the failed deliveries of these webhooks without further delay: what made them fail may have been mended."""


async def lock_catalog(connection: "Connection[Record]") -> None:
    """Lock the catalog against other changes until the transaction ends."""
    await connection.execute(LOCK_CATALOG)


def ids_by_kind(items: Sequence[CatalogItem]) -> list[list[str]]:
    """Return the ids of each kind, in the order of the columns of catalog_changes."""
    kinds = (Publisher, Advertiser, Order, Upstream, Campaign, Creative, Placement, Webhook)
    return [[item.id for item in items if isinstance(item, kind)] for kind in kinds]


async def bump_revision(connection: "Connection[Record]", changed: Sequence[CatalogItem]) -> int:
    """Raise the revision of the catalog, record that it changed these items, and return it."""
    revision: int = await connection.fetchval(BUMP_CATALOG_REVISION)
    await connection.execute(DELETE_CATALOG_CHANGES, revision - REVISIONS_KEPT, revision)
    if len(changed) <= ITEMS_MAX:
        await connection.execute(RECORD_CATALOG_CHANGE, revision, *ids_by_kind(changed))
    return revision


async def find_unknown_timezones(connection: "Connection[Record]", timezones: Collection[str]) -> set[str]:
    """Return the time zones that the database does not know."""
    return set(timezones) - {row["name"] for row in await connection.fetch(FIND_TIMEZONES, list(timezones))}


async def upsert(connection: "Connection[Record]", items: Sequence[CatalogItem]) -> None:
    """Create or replace whole items; the items they refer to must be among them or exist already."""
    publishers = [item for item in items if isinstance(item, Publisher)]
    advertisers = [item for item in items if isinstance(item, Advertiser)]
    orders = [item for item in items if isinstance(item, Order)]
    upstreams = [item for item in items if isinstance(item, Upstream)]
    campaigns = [item for item in items if isinstance(item, Campaign)]
    creatives = [item for item in items if isinstance(item, Creative)]
    placements = [item for item in items if isinstance(item, Placement)]
    webhooks = [item for item in items if isinstance(item, Webhook)]
    await connection.executemany(UPSERT_PUBLISHER, [_publisher_values(item) for item in publishers])
    await connection.executemany(
        UPSERT_ADVERTISER, [(item.id, item.name, item.billing_details) for item in advertisers]
    )
    await _upsert_orders(connection, orders)
    await connection.executemany(UPSERT_UPSTREAM, [_upstream_values(item) for item in upstreams])
    await _upsert_campaigns(connection, campaigns)
    await upsert_creatives(connection, creatives)
    await _upsert_placements(connection, placements)
    await connection.executemany(
        UPSERT_WEBHOOK, [(item.id, item.url, item.secret, list(item.events), item.status) for item in webhooks]
    )
    await connection.execute(RETRY_DELIVERIES_NOW, [item.id for item in webhooks])


def _publisher_values(publisher: Publisher) -> tuple[object, ...]:
    return (
        publisher.id,
        publisher.name,
        publisher.revenue_share,
        publisher.requests_per_s,
        publisher.burst,
        publisher.invalid_traffic,
    )


async def _upsert_orders(connection: "Connection[Record]", orders: Sequence[Order]) -> None:
    await connection.executemany(UPSERT_ORDER, [_order_values(order) for order in orders])
    ids = [order.id for order in orders]
    await connection.execute(DELETE_ORDER_BUDGETS, ids)
    await connection.execute(INSERT_ORDER_BUDGETS, ids)


def _order_values(order: Order) -> tuple[object, ...]:
    return (
        order.id,
        order.advertiser,
        order.currency,
        order.starts_at,
        order.ends_at,
        order.budget,
        order.impressions,
        order.prepaid,
        order.purchase_order,
    )


def _upstream_values(upstream: Upstream) -> tuple[object, ...]:
    return (
        upstream.id,
        upstream.tag_url,
        upstream.timeout_ms,
        upstream.max_body_bytes,
        upstream.max_redirects,
        upstream.cache_ttl_s,
        upstream.stale_while_revalidate_s,
        upstream.stale_if_error_s,
        upstream.max_qps,
        upstream.max_in_flight,
        upstream.breaker_failures,
        upstream.breaker_reset_s,
        upstream.hedge,
    )


async def _upsert_campaigns(connection: "Connection[Record]", campaigns: Sequence[Campaign]) -> None:
    ids = [campaign.id for campaign in campaigns]
    owners = [campaign.advertiser for campaign in campaigns], [campaign.order for campaign in campaigns]
    await connection.execute(RESET_SHARED_CAPS, ids, *owners)
    await connection.executemany(UPSERT_CAMPAIGN, [_campaign_values(campaign) for campaign in campaigns])
    budgets = [
        (campaign.id, period, budget.amount, budget.impressions)
        for campaign in campaigns
        for period, budget in campaign.budgets.items()
    ]
    caps = [
        (campaign.id, cap.level, cap.window, counter(campaign, cap.level), cap.impressions)
        for campaign in campaigns
        for cap in campaign.frequency_caps
    ]
    chains = [
        (campaign.id, position, upstream_id)
        for campaign in campaigns
        for position, upstream_id in enumerate(campaign.upstreams)
    ]
    await _replace(connection, DELETE_REMOVED_BUDGETS, UPSERT_CAMPAIGN_BUDGETS, ids, budgets, columns=4)
    await _replace(connection, DELETE_REMOVED_CAPS, UPSERT_CAPS, ids, caps, columns=5, keys=3)
    await _replace(connection, DELETE_REMOVED_UPSTREAMS, UPSERT_CAMPAIGN_UPSTREAMS, ids, chains, columns=3)


async def _replace(
    connection: "Connection[Record]",
    delete: str,
    upsert: str,
    owner_ids: Sequence[str],
    rows: Sequence[tuple[object, ...]],
    *,
    columns: int,
    keys: int = 2,
) -> None:
    """Write the rows that these items own, and only those that differ; the first columns are their key."""
    values = list(zip(*rows, strict=True)) or [()] * columns
    await connection.execute(delete, owner_ids, *values[:keys])
    await connection.execute(upsert, *values)


def _campaign_values(campaign: Campaign) -> tuple[object, ...]:
    return (
        campaign.id,
        campaign.advertiser,
        campaign.status,
        campaign.currency,
        campaign.timezone,
        campaign.starts_at,
        campaign.ends_at,
        campaign.price.model,
        campaign.price.amount,
        campaign.billing,
        campaign.pacing,
        campaign.front_percent,
        campaign.without_user,
        campaign.late_impressions,
        campaign.hold_ttl_s,
        campaign.direct,
        orjson.dumps(campaign.targeting.to_table()).decode(),
        campaign.order,
        campaign.priority,
        campaign.weight,
        list(campaign.categories),
        campaign.ads_per_pod,
    )


async def _upsert_placements(connection: "Connection[Record]", placements: Sequence[Placement]) -> None:
    await connection.executemany(UPSERT_PLACEMENT, [_placement_values(placement) for placement in placements])
    orders = [
        (placement.id, position, campaign_id)
        for placement in placements
        for position, campaign_id in enumerate(placement.listed_campaigns)
    ]
    ids = [placement.id for placement in placements]
    await _replace(connection, DELETE_REMOVED_PLACEMENT_CAMPAIGNS, UPSERT_PLACEMENT_CAMPAIGNS, ids, orders, columns=3)


def _placement_values(placement: Placement) -> tuple[object, ...]:
    return (
        placement.id,
        placement.publisher_id,
        orjson.dumps(placement.ad_breaks).decode(),
        placement.campaigns == TARGETED,
        list(placement.blocked_advertisers),
        list(placement.blocked_categories),
    )
