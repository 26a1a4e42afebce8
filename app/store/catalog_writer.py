"""Writing what ad operations set up; app/store/catalog_reader.py reads it."""

from collections.abc import Collection, Sequence

import orjson
from asyncpg import Connection, Record

from app.domain import Campaign, CatalogItem, Creative, Placement, Publisher, Upstream

LOCK_CATALOG = "SELECT revision FROM catalog FOR UPDATE"
"""Taken first, so that only one change of the catalog is under way; serving reads the row without a lock."""

BUMP_CATALOG_REVISION = "UPDATE catalog SET revision = revision + 1 RETURNING revision"
"""Tells every server that its copy of the catalog is old."""

RECORD_CATALOG_CHANGE = """
INSERT INTO catalog_changes (revision, publishers, upstreams, campaigns, creatives, placements)
VALUES ($1, $2, $3, $4, $5, $6)
"""
"""Writes down what a revision changed, so that servers read just that."""

DELETE_CATALOG_CHANGES = "DELETE FROM catalog_changes WHERE revision <= $1 OR revision >= $2"
"""Forgets what the revisions up to one changed: who is behind that far reads everything. Those from the other on are of
another history, in which somebody has set the revision back."""

REVISIONS_KEPT = 1000
ITEMS_MAX = 1000
"""Of a change of more than this nothing is written down: reading everything costs little more."""

FIND_TIMEZONES = "SELECT name FROM pg_timezone_names WHERE name = ANY ($1)"
"""Those of the zones that the database can reckon in."""

UPSERT_PUBLISHER = """
INSERT INTO publishers (id, requests_per_s, burst) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET requests_per_s = excluded.requests_per_s, burst = excluded.burst
"""
"""Creates or replaces a publisher."""

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
"""Creates or replaces an upstream."""

UPSERT_CAMPAIGN = """
INSERT INTO campaigns (id, advertiser, status, currency, timezone, starts_at, ends_at, cpm, billing, pacing,
                       without_user, late_impressions, hold_ttl_s, direct, targeting)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (id) DO UPDATE SET
    advertiser = excluded.advertiser, status = excluded.status, currency = excluded.currency,
    timezone = excluded.timezone, starts_at = excluded.starts_at, ends_at = excluded.ends_at, cpm = excluded.cpm,
    billing = excluded.billing, pacing = excluded.pacing, without_user = excluded.without_user,
    late_impressions = excluded.late_impressions, hold_ttl_s = excluded.hold_ttl_s, direct = excluded.direct,
    targeting = excluded.targeting
"""
"""Creates or replaces a campaign, without its budgets, caps and upstreams."""

DELETE_CAMPAIGN_BUDGETS = "DELETE FROM campaign_budgets WHERE campaign_id = ANY ($1)"
"""Makes room for the budgets of these campaigns."""

INSERT_CAMPAIGN_BUDGET = """
INSERT INTO campaign_budgets (campaign_id, period, "limit", impressions_limit) VALUES ($1, $2, $3, $4)
"""
"""One budget of a campaign."""

DELETE_REMOVED_CAPS = """
DELETE FROM campaign_caps c WHERE c.campaign_id = ANY ($1) AND NOT EXISTS (
    SELECT FROM unnest($2::varchar[], $3::text[]) AS stays (campaign_id, "window")
    WHERE stays.campaign_id = c.campaign_id AND stays."window" = c."window")
"""
"""Removes the caps of these campaigns but for those that stay. Their counts stay too, and go on if they come back."""

UPSERT_CAP = """
INSERT INTO campaign_caps (campaign_id, "window", impressions) VALUES ($1, $2, $3)
ON CONFLICT (campaign_id, "window") DO UPDATE SET impressions = excluded.impressions
"""
"""Creates or changes one cap of a campaign. A count above a lowered cap stays where it is until its window ends."""

DELETE_CAMPAIGN_UPSTREAMS = "DELETE FROM campaign_upstreams WHERE campaign_id = ANY ($1)"
"""Makes room for the upstreams of these campaigns."""

INSERT_CAMPAIGN_UPSTREAM = "INSERT INTO campaign_upstreams (campaign_id, position, upstream_id) VALUES ($1, $2, $3)"
"""One upstream of a campaign."""

UPSERT_CREATIVE = """
INSERT INTO creatives (id, campaign_id, title, duration_s, media_files, click_through, skip_offset_s, universal_ad_id,
                       universal_ad_id_registry, mezzanine_url, description)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (id) DO UPDATE SET
    campaign_id = excluded.campaign_id, title = excluded.title, duration_s = excluded.duration_s,
    media_files = excluded.media_files, click_through = excluded.click_through,
    skip_offset_s = excluded.skip_offset_s, universal_ad_id = excluded.universal_ad_id,
    universal_ad_id_registry = excluded.universal_ad_id_registry, mezzanine_url = excluded.mezzanine_url,
    description = excluded.description
"""
"""Creates or replaces a creative."""

UPSERT_PLACEMENT = """
INSERT INTO placements (id, publisher_id, ad_breaks) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET publisher_id = excluded.publisher_id, ad_breaks = excluded.ad_breaks
"""
"""Creates or replaces a placement, without its campaigns."""

DELETE_PLACEMENT_CAMPAIGNS = "DELETE FROM placement_campaigns WHERE placement_id = ANY ($1)"
"""Makes room for the campaigns of these placements."""

INSERT_PLACEMENT_CAMPAIGN = "INSERT INTO placement_campaigns (placement_id, position, campaign_id) VALUES ($1, $2, $3)"
"""One campaign of a placement."""


async def lock_catalog(connection: "Connection[Record]") -> None:
    """Waits until nobody else changes the catalog, and keeps it so until the transaction ends."""
    await connection.execute(LOCK_CATALOG)


def ids_by_kind(items: Sequence[CatalogItem]) -> list[list[str]]:
    """The ids of each kind, in the order of the columns of catalog_changes."""
    kinds = (Publisher, Upstream, Campaign, Creative, Placement)
    return [[item.id for item in items if isinstance(item, kind)] for kind in kinds]


async def bump_revision(connection: "Connection[Record]", changed: Sequence[CatalogItem]) -> int:
    """Gives the catalog its next revision, in which these items have changed, and returns it."""
    revision: int = await connection.fetchval(BUMP_CATALOG_REVISION)
    await connection.execute(DELETE_CATALOG_CHANGES, revision - REVISIONS_KEPT, revision)
    if len(changed) <= ITEMS_MAX:
        await connection.execute(RECORD_CATALOG_CHANGE, revision, *ids_by_kind(changed))
    return revision


async def find_unknown_timezones(connection: "Connection[Record]", timezones: Collection[str]) -> set[str]:
    """Those that the database does not know."""
    return set(timezones) - {row["name"] for row in await connection.fetch(FIND_TIMEZONES, list(timezones))}


async def upsert(connection: "Connection[Record]", items: Sequence[CatalogItem]) -> None:
    """Creates or replaces items as a whole; what they refer to must be among them or there already."""
    publishers = [item for item in items if isinstance(item, Publisher)]
    upstreams = [item for item in items if isinstance(item, Upstream)]
    campaigns = [item for item in items if isinstance(item, Campaign)]
    creatives = [item for item in items if isinstance(item, Creative)]
    placements = [item for item in items if isinstance(item, Placement)]
    await connection.executemany(UPSERT_PUBLISHER, [(item.id, item.requests_per_s, item.burst) for item in publishers])
    await connection.executemany(UPSERT_UPSTREAM, [_upstream(item) for item in upstreams])
    await _put_campaigns(connection, campaigns)
    await connection.executemany(UPSERT_CREATIVE, [_creative(item) for item in creatives])
    await _put_placements(connection, placements)


def _upstream(upstream: Upstream) -> tuple[object, ...]:
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


async def _put_campaigns(connection: "Connection[Record]", campaigns: Sequence[Campaign]) -> None:
    ids = [campaign.id for campaign in campaigns]
    await connection.executemany(UPSERT_CAMPAIGN, [_campaign(campaign) for campaign in campaigns])
    budgets = [
        (of.id, period, budget.amount, budget.impressions) for of in campaigns for period, budget in of.budgets.items()
    ]
    caps = [(of.id, cap.per, cap.impressions) for of in campaigns for cap in of.frequency_caps]
    chains = [(of.id, no, upstream_id) for of in campaigns for no, upstream_id in enumerate(of.upstreams)]
    await connection.execute(DELETE_CAMPAIGN_BUDGETS, ids)
    await connection.executemany(INSERT_CAMPAIGN_BUDGET, budgets)
    await connection.execute(DELETE_REMOVED_CAPS, ids, [cap[0] for cap in caps], [cap[1] for cap in caps])
    await connection.executemany(UPSERT_CAP, caps)
    await connection.execute(DELETE_CAMPAIGN_UPSTREAMS, ids)
    await connection.executemany(INSERT_CAMPAIGN_UPSTREAM, chains)


def _campaign(campaign: Campaign) -> tuple[object, ...]:
    return (
        campaign.id,
        campaign.advertiser,
        campaign.status,
        campaign.currency,
        campaign.timezone,
        campaign.starts_at,
        campaign.ends_at,
        campaign.cpm,
        campaign.billing,
        campaign.pacing,
        campaign.without_user,
        campaign.late_impressions,
        campaign.hold_ttl_s,
        campaign.direct,
        orjson.dumps(campaign.targeting).decode(),
    )


def _creative(creative: Creative) -> tuple[object, ...]:
    return (
        creative.id,
        creative.campaign_id,
        creative.title,
        creative.duration_s,
        orjson.dumps(creative.media_files).decode(),
        creative.click_through,
        creative.skip_offset_s,
        creative.universal_ad_id,
        creative.universal_ad_id_registry,
        creative.mezzanine_url,
        creative.description,
    )


async def _put_placements(connection: "Connection[Record]", placements: Sequence[Placement]) -> None:
    rows = [(item.id, item.publisher_id, orjson.dumps(item.ad_breaks).decode()) for item in placements]
    await connection.executemany(UPSERT_PLACEMENT, rows)
    await connection.execute(DELETE_PLACEMENT_CAMPAIGNS, [item.id for item in placements])
    orders = [(item.id, no, campaign_id) for item in placements for no, campaign_id in enumerate(item.campaigns)]
    await connection.executemany(INSERT_PLACEMENT_CAMPAIGN, orders)
