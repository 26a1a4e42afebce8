"""Reading the catalog, everything that ad operations set up, as of one revision: all of it, or what has changed."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

from asyncpg import Connection, Record

from app.countries import to_alpha_2
from app.domain import (
    AdBreak,
    Billing,
    Budget,
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

ROWS_AT_ONCE = 500
"""However many rows there are, the event loop has other turns between so many."""

READ_CATALOG_REVISION = "SELECT revision FROM catalog"
"""The catalog's revision, to see whether it moved."""

READ_CATALOG_HEAD = "SELECT revision, made_at FROM catalog LEFT JOIN catalog_changes USING (revision)"
"""The catalog's revision, and when it came about, if that was written down."""

READ_CATALOG_CHANGES = """
SELECT made_at, publishers, upstreams, campaigns, creatives, placements
FROM catalog_changes WHERE revision BETWEEN $1 AND $2 ORDER BY revision
"""
"""What changed from one revision to another, beginning with what the first one changed."""

READ_CAMPAIGNS = "SELECT * FROM campaigns WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""These campaigns, or for NULL, as in all that follow, every one."""

READ_CAMPAIGN_BUDGETS = """
SELECT campaign_id, period, "limit", impressions_limit FROM campaign_budgets
WHERE $1::varchar[] IS NULL OR campaign_id = ANY ($1) ORDER BY campaign_id, period
"""
"""These campaigns' budgets."""

READ_CAMPAIGN_CAPS = """
SELECT campaign_id, "window", impressions FROM campaign_caps
WHERE $1::varchar[] IS NULL OR campaign_id = ANY ($1) ORDER BY campaign_id, "window"
"""
"""These campaigns' frequency caps."""

READ_CAMPAIGN_UPSTREAMS = """
SELECT campaign_id, upstream_id FROM campaign_upstreams
WHERE $1::varchar[] IS NULL OR campaign_id = ANY ($1) ORDER BY campaign_id, position
"""
"""These campaigns' upstreams, in the order in which they are tried."""

READ_CREATIVES = "SELECT * FROM creatives WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""These creatives."""

READ_UPSTREAMS = "SELECT * FROM upstreams WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""These upstreams."""

READ_PUBLISHERS = "SELECT * FROM publishers WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""These publishers."""

READ_PLACEMENTS = "SELECT * FROM placements WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""These placements."""

READ_PLACEMENT_CAMPAIGNS = """
SELECT placement_id, campaign_id FROM placement_campaigns
WHERE $1::varchar[] IS NULL OR placement_id = ANY ($1) ORDER BY placement_id, position
"""
"""These placements' campaigns, in priority order."""

Ids = list[str] | None
"""Which of a kind; None for all of them."""


class _Change(NamedTuple):
    """What is to be read, in the order of the columns of catalog_changes."""

    publishers: Ids = None
    upstreams: Ids = None
    campaigns: Ids = None
    creatives: Ids = None
    placements: Ids = None


EVERYTHING = _Change()
NONE_OF_ANY_KIND: Sequence[Sequence[str]] = ((),) * len(_Change._fields)
NOTHING = Catalog(-1, None, {}, {}, {}, {}, {})


async def read_revision(connection: "Connection[Record]") -> int:
    """The revision that the database is at."""
    value: int = await connection.fetchval(READ_CATALOG_REVISION)
    return value


async def load(connection: "Connection[Record]", known: Catalog | None = None) -> Catalog:
    """As `read`, in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await read(connection, known)


async def read(
    connection: "Connection[Record]", known: Catalog | None = None, anew: Sequence[Sequence[str]] = NONE_OF_ANY_KIND
) -> Catalog:
    """The whole catalog, in a transaction in which it cannot change.

    What is `known` already is not read again, and stays the same object, unless it has changed since. What somebody
    has changed by SQL, without raising the revision, is seen of the ids in `anew` only, which are as in `_Change`.
    """
    head = await connection.fetchrow(READ_CATALOG_HEAD)
    if head is None:
        raise LookupError("the catalog has no revision")
    change = None if known is None else await _change_since(connection, known, head["revision"], anew)
    base, change = (NOTHING, EVERYTHING) if known is None or change is None else (known, change)
    campaigns = await _campaigns(connection, change.campaigns)
    creatives = [_creative(row) async for row in _rows(connection, READ_CREATIVES, change.creatives)]
    placements = await _placements(connection, change.placements)
    upstreams = [Upstream(**dict(row)) async for row in _rows(connection, READ_UPSTREAMS, change.upstreams)]
    publishers = [Publisher(**dict(row)) async for row in _rows(connection, READ_PUBLISHERS, change.publishers)]
    return Catalog(
        revision=head["revision"],
        created_at=head["made_at"],
        campaigns={**base.campaigns, **{campaign.id: campaign for campaign in campaigns}},
        creatives=_with_creatives(base.creatives, creatives),
        upstreams={**base.upstreams, **{upstream.id: upstream for upstream in upstreams}},
        placements={**base.placements, **{placement.id: placement for placement in placements}},
        publishers={**base.publishers, **{publisher.id: publisher for publisher in publishers}},
    )


async def _change_since(
    connection: "Connection[Record]", known: Catalog, at: int, anew: Sequence[Sequence[str]]
) -> _Change | None:
    """What has changed since, and these; None if it was not written down, or if the database has become another one."""
    rows = await connection.fetch(READ_CATALOG_CHANGES, known.revision, at)
    if not rows or len(rows) != at - known.revision + 1 or rows[0]["made_at"] != known.created_at:
        return None
    changed = ([thing_id for row in rows[1:] for thing_id in row[kind]] for kind in _Change._fields)
    return _Change(*(sorted({*ids, *these}) for ids, these in zip(changed, anew, strict=True)))


async def _rows(connection: "Connection[Record]", query: str, ids: Ids) -> AsyncIterator[Record]:
    if ids is None or ids:
        async for row in connection.cursor(query, ids, prefetch=ROWS_AT_ONCE):
            yield row


async def _grouped(connection: "Connection[Record]", query: str, ids: Ids) -> defaultdict[str, list[tuple[Any, ...]]]:
    """The query's rows by their first column."""
    rows: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    async for row in _rows(connection, query, ids):
        owner, *rest = row.values()
        rows[owner].append(tuple(rest))
    return rows


async def _campaigns(connection: "Connection[Record]", ids: Ids) -> list[Campaign]:
    budgets = await _grouped(connection, READ_CAMPAIGN_BUDGETS, ids)
    caps = await _grouped(connection, READ_CAMPAIGN_CAPS, ids)
    chains = await _grouped(connection, READ_CAMPAIGN_UPSTREAMS, ids)
    return [
        _campaign(row, budgets[row["id"]], caps[row["id"]], chains[row["id"]])
        async for row in _rows(connection, READ_CAMPAIGNS, ids)
    ]


async def _placements(connection: "Connection[Record]", ids: Ids) -> list[Placement]:
    orders = await _grouped(connection, READ_PLACEMENT_CAMPAIGNS, ids)
    return [_placement(row, orders[row["id"]]) async for row in _rows(connection, READ_PLACEMENTS, ids)]


def _with_creatives(
    before: Mapping[str, tuple[Creative, ...]], creatives: Sequence[Creative]
) -> Mapping[str, tuple[Creative, ...]]:
    """The creatives by campaign, in id order, when these are new or have changed; none ever changes its campaign."""
    changed: defaultdict[str, dict[str, Creative]] = defaultdict(dict)
    for creative in creatives:
        changed[creative.campaign_id][creative.id] = creative
    after: dict[str, tuple[Creative, ...]] = {}
    for campaign_id, new in changed.items():
        all_of_it = {creative.id: creative for creative in before.get(campaign_id, ())} | new
        after[campaign_id] = tuple(sorted(all_of_it.values(), key=attrgetter("id")))
    return {**before, **after}


def _campaign(
    row: Record, budgets: list[tuple[Any, ...]], caps: list[tuple[Any, ...]], chain: list[tuple[Any, ...]]
) -> Campaign:
    starts_at: datetime = row["starts_at"]
    ends_at: datetime = row["ends_at"]
    cpm: Decimal = row["cpm"]
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
        budgets={BudgetPeriod(period): Budget(*limits) for period, *limits in budgets},
        frequency_caps=tuple(FrequencyCap(impressions, CapWindow(window)) for window, impressions in caps),
        upstreams=tuple(upstream_id for (upstream_id,) in chain),
        without_user=WithoutUser(row["without_user"]),
        late_impressions=LateImpressions(row["late_impressions"]),
        hold_ttl_s=row["hold_ttl_s"],
        direct=row["direct"],
        targeting=_targeting(row["targeting"]),
    )


def _targeting(lists: Mapping[str, list[str]]) -> Targeting:
    """The targeting; countries may be set up as alpha-3 codes, and requests are read as alpha-2."""
    values = {key: tuple(words) for key, words in lists.items()}
    countries = dict.fromkeys(to_alpha_2(code).lower() for code in values.get("countries", ()))
    return Targeting(**values | {"countries": tuple(countries)})


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
