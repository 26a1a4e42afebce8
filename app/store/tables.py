"""The tables as SQLAlchemy knows them. Alembic owns the schema; a test holds the two against each other.

The rules that make overspend impossible are CHECK constraints here, named after what they forbid.
Rows of the hot path carry no foreign keys: campaigns are never deleted, and a key check would lock the
campaign's row once for every ad.
"""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(constraint_name)s",
    }
)

Identifier = String(collation="C")
"""Ids compare by bytes: quick, and in the same order on every machine, which the lock order rests on."""
Money = Numeric(18, 6)
Moment = DateTime(timezone=True)


def is_managed(_object: SchemaItem, name: str | None, kind: str, reflected: bool, _other: SchemaItem | None) -> bool:
    """Whether `alembic check` compares this object: partitions are made by maintenance, not by revisions."""
    return not (kind == "table" and reflected and name is not None and name not in metadata.tables)


def _must(name: str, type_: Any, comment: str, **options: Any) -> Column[Any]:
    return Column(name, type_, nullable=False, comment=comment, **options)


def _may(name: str, type_: Any, comment: str) -> Column[Any]:
    return Column(name, type_, nullable=True, comment=comment)


def _key(name: str, type_: Any, comment: str, **options: Any) -> Column[Any]:
    return Column(name, type_, primary_key=True, comment=comment, autoincrement=False, **options)


def _one_of(name: str, column: str, words: str) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words.split())
    return CheckConstraint(f"{column} IN ({listed})", name=name)


# What ad operations set up.

catalog = Table(
    "catalog",
    metadata,
    Column("only_row", Integer, primary_key=True, server_default=text("1"), comment="Always 1"),
    _must("revision", BigInteger, "Goes up with every change to what ad operations set up", server_default=text("0")),
    CheckConstraint("only_row = 1", name="catalog_has_one_row"),
    comment="The revision of the catalog; servers read it in the serving transaction and reload when it moved",
)

catalog_changes = Table(
    "catalog_changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False, comment="Revision of the catalog"),
    _must("made_at", Moment, "When it came about", server_default=text("clock_timestamp()")),
    _must("publishers", ARRAY(Identifier), "Ids of those that were created or replaced"),
    _must("upstreams", ARRAY(Identifier), "Ids of those that were created or replaced"),
    _must("campaigns", ARRAY(Identifier), "Ids of those that were created or replaced"),
    _must("creatives", ARRAY(Identifier), "Ids of those that were created or replaced"),
    _must("placements", ARRAY(Identifier), "Ids of those that were created or replaced"),
    comment="What the last revisions of the catalog changed, so that servers read just that, and not everything again",
)

publishers = Table(
    "publishers",
    metadata,
    _key("id", Identifier, "Publisher id"),
    _may("requests_per_s", Integer, "Inbound limit in requests a second; NULL for none"),
    _may("burst", Integer, "Requests above the rate that are let through at once; NULL for one second's worth"),
    CheckConstraint("requests_per_s > 0", name="publisher_rate_is_positive"),
    CheckConstraint("burst > 0", name="publisher_burst_is_positive"),
    comment="Who owns placements",
)

upstreams = Table(
    "upstreams",
    metadata,
    _key("id", Identifier, "Upstream id"),
    _must("tag_url", Text, "VAST tag URL with macros"),
    _must("timeout_ms", Integer, "How long one attempt may take"),
    _must("max_body_bytes", Integer, "Largest decompressed body accepted"),
    _must("max_redirects", Integer, "Redirects followed"),
    _must("cache_ttl_s", Integer, "How long a body is fresh; 0 turns the cache off"),
    _must("stale_while_revalidate_s", Integer, "How long a stale body serves while it is renewed"),
    _must("stale_if_error_s", Integer, "How long a stale body serves while the upstream fails"),
    _may("max_qps", Integer, "Requests a second over all servers; NULL for no limit"),
    _must("max_in_flight", Integer, "Requests in flight for each server process"),
    _must("breaker_failures", Integer, "Failures in a row that open the breaker"),
    _must("breaker_reset_s", Integer, "How long the breaker stays open before one trial"),
    _must("hedge", Boolean, "Whether the next upstream is asked too after this one's p95"),
    CheckConstraint(
        "timeout_ms > 0 AND max_body_bytes > 0 AND max_in_flight > 0 AND breaker_failures > 0 AND breaker_reset_s > 0",
        name="upstream_limits_are_positive",
    ),
    comment="Other ad servers that ads are fetched from",
)

campaigns = Table(
    "campaigns",
    metadata,
    _key("id", Identifier, "Campaign id"),
    _must("advertiser", Text, "Who pays"),
    _must("status", Text, "active, paused or ended; only an active campaign serves"),
    _must("currency", String(3), "ISO 4217 code of every amount of this campaign"),
    _must("timezone", Text, "IANA zone in which its days, weeks and months begin"),
    _must("starts_at", Moment, "Start of the flight"),
    _must("ends_at", Moment, "End of the flight, exclusive"),
    _must("cpm", Numeric(15, 3), "Price of a thousand ads; three decimals make one ad's price exact"),
    _must("billing", Text, "serve: charged when served; impression: held, and charged when seen"),
    _must("pacing", Text, "asap, or even: spend may grow linearly with time"),
    _must("without_user", Text, "skip or serve, when there are caps and nobody to count"),
    _must("late_impressions", Text, "ignore or charge an impression whose hold was released"),
    _must("hold_ttl_s", Integer, "How long a hold waits for its impression"),
    _must(
        "direct",
        Boolean,
        "Whether requests may name it by campaign_id; else only its placements sell it",
        server_default=text("false"),
    ),
    _must("targeting", JSONB, "Countries, device types and genres it may be shown to", server_default=text("'{}'")),
    _one_of("campaign_status_is_known", "status", "active paused ended"),
    _one_of("campaign_billing_is_known", "billing", "serve impression"),
    _one_of("campaign_pacing_is_known", "pacing", "asap even"),
    _one_of("campaign_without_user_is_known", "without_user", "skip serve"),
    _one_of("campaign_late_impressions_is_known", "late_impressions", "ignore charge"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="campaign_currency_is_a_code"),
    CheckConstraint("ends_at > starts_at", name="flight_ends_after_it_starts"),
    CheckConstraint("cpm >= 0", name="cpm_is_not_negative"),
    CheckConstraint("hold_ttl_s > 0", name="hold_ttl_is_positive"),
    comment="What advertisers bought",
)

campaign_budgets = Table(
    "campaign_budgets",
    metadata,
    Column("campaign_id", Identifier, ForeignKey("campaigns.id"), primary_key=True, comment="Campaign"),
    _key("period", Text, "hour, day or lifetime"),
    _may("limit", Money, "What may be spent in each such period, in the campaign's currency; NULL for no limit"),
    _may("impressions_limit", BigInteger, "How many ads may be served in each such period; NULL for no limit"),
    _one_of("budget_period_is_known", "period", "hour day lifetime"),
    CheckConstraint('"limit" >= 0', name="budget_is_not_negative"),
    CheckConstraint("impressions_limit >= 0", name="budgeted_impressions_are_not_negative"),
    CheckConstraint('num_nonnulls("limit", impressions_limit) > 0', name="budget_has_a_limit"),
    comment="The budgets of campaigns, as set up; budget_tracking has what became of them",
)

campaign_caps = Table(
    "campaign_caps",
    metadata,
    Column("campaign_id", Identifier, ForeignKey("campaigns.id"), primary_key=True, comment="Campaign"),
    _key("window", Text, "minute, hour, day, week, month, lifetime or session"),
    _must("impressions", Integer, "Ads for one user in each such window"),
    _must(
        "counts_from",
        Moment,
        "Since when this cap has counted; serves before that are not in its counts",
        server_default=text("adserver_clock()"),
    ),
    _one_of("cap_window_is_known", '"window"', "minute hour day week month lifetime session"),
    CheckConstraint("impressions > 0", name="cap_is_positive"),
    comment="The frequency caps of campaigns, as set up; frequency_caps has the counts",
)

campaign_upstreams = Table(
    "campaign_upstreams",
    metadata,
    Column("campaign_id", Identifier, ForeignKey("campaigns.id"), primary_key=True, comment="Campaign"),
    _key("position", SmallInteger, "0 is tried first"),
    Column("upstream_id", Identifier, ForeignKey("upstreams.id"), nullable=False, comment="Upstream"),
    comment="Where a campaign's ads are fetched from, in order",
)

creatives = Table(
    "creatives",
    metadata,
    _key("id", Identifier, "Creative id"),
    Column("campaign_id", Identifier, ForeignKey("campaigns.id"), nullable=False, index=True, comment="Campaign"),
    _must("title", Text, "AdTitle"),
    _must("duration_s", Integer, "Duration in seconds"),
    _must("media_files", JSONB, "MediaFiles: url, type, width, height, bitrate_kbps, ..."),
    _may("click_through", Text, "Where a click leads"),
    _may("skip_offset_s", Integer, "Seconds after which the ad can be skipped; NULL for never"),
    _may("universal_ad_id", Text, "UniversalAdId; NULL for the creative's own id"),
    _must("universal_ad_id_registry", Text, "idRegistry of the UniversalAdId"),
    _may("mezzanine_url", Text, "Mezzanine file for stitchers"),
    _may("description", Text, "Description"),
    CheckConstraint("duration_s > 0", name="duration_is_positive"),
    comment="Campaigns' own linear video ads",
)

placements = Table(
    "placements",
    metadata,
    _key("id", Identifier, "Placement id"),
    Column("publisher_id", Identifier, ForeignKey("publishers.id"), nullable=False, comment="Publisher"),
    _must("ad_breaks", JSONB, "Ad breaks for VMAP", server_default=text("'[]'")),
    comment="Places where ads are shown",
)

placement_campaigns = Table(
    "placement_campaigns",
    metadata,
    Column("placement_id", Identifier, ForeignKey("placements.id"), primary_key=True, comment="Placement"),
    _key("position", SmallInteger, "0 is tried first"),
    Column("campaign_id", Identifier, ForeignKey("campaigns.id"), nullable=False, comment="Campaign"),
    comment="The campaigns that may serve in a placement, in priority order",
)

# What the serving transaction writes.

sessions = Table(
    "sessions",
    metadata,
    _key("id", Uuid, "Session id"),
    _may("user_key", Uuid, "Keyed hash of the viewer's id; NULL when unknown"),
    _may("publisher_id", Identifier, "Publisher"),
    _must("correlator", Text, "The same for all ads of the session"),
    _must("played", ARRAY(Identifier), "Ids of the creatives served in it", server_default=text("'{}'")),
    _must("created_at", Moment, "When it was created"),
    Column("expires_at", Moment, nullable=False, index=True, comment="When it ends by itself"),
    _may("ended_at", Moment, "When it was ended; NULL while it runs"),
    comment="Viewing sessions",
    postgresql_with={"fillfactor": "80"},
)

frequency_caps = Table(
    "frequency_caps",
    metadata,
    _key("user_key", Uuid, "Keyed hash of the viewer's id; for a session window, the session's id"),
    _key("campaign_id", Identifier, "Campaign"),
    _key("window", Text, "minute, hour, day, week, month, lifetime or session"),
    _key("window_start", Moment, "Start of the window; 1970 for lifetime and session"),
    _must("count", Integer, "Ads counted in this window"),
    _must("cap", Integer, "The most that were allowed when it was last counted"),
    _may("expires_at", Moment, "When the row may be swept; NULL for never"),
    CheckConstraint("count BETWEEN 0 AND cap", name="count_within_cap"),
    comment="How often each user saw each campaign, a row for each window",
    postgresql_with={"fillfactor": "80"},
)

budget_tracking = Table(
    "budget_tracking",
    metadata,
    Column("campaign_id", Identifier, ForeignKey("campaigns.id"), primary_key=True, comment="Campaign"),
    _key("period", Text, "hour, day or lifetime"),
    _key("period_start", Moment, "Start of the period; 1970 for lifetime"),
    _may("limit", Money, "What may be spent in this period, in the campaign's currency; NULL for no limit"),
    _must("spent", Money, "Charged so far", server_default=text("0")),
    _must("held", Money, "Held for ads that were served and not yet seen", server_default=text("0")),
    _must("impressions", BigInteger, "Ads charged or held", server_default=text("0")),
    _key("generation", Integer, "Grows with every thirtieth change or so", server_default=text("0")),
    _may("impressions_limit", BigInteger, "How many ads may be served in this period; NULL for no limit"),
    CheckConstraint('spent + held <= "limit"', name="spend_within_budget"),
    CheckConstraint("impressions <= impressions_limit", name="impressions_within_budget"),
    CheckConstraint("spent >= 0 AND held >= 0 AND impressions >= 0", name="spend_is_not_negative"),
    Index(
        "budget_tracking_by_generation",
        text("((campaign_id::text || '/'::text) || period)"),
        text("GREATEST(period_start, to_timestamp(0::double precision))"),
        text("generation DESC"),
    ),
    comment="Every budget period of every campaign: limit, spent and held, in the campaign's currency",
    postgresql_with={"fillfactor": "10"},
)

budget_periods = Table(
    "budget_periods",
    metadata,
    _key("campaign_id", Identifier, "Campaign"),
    _key("period", Text, "hour, day or lifetime"),
    _key("period_start", Moment, "Start of the period"),
    comment="Every period that a row of budget_tracking was opened for, so that it is opened once",
)

ad_serves = Table(
    "ad_serves",
    metadata,
    _must("request_key", Uuid, "The request: its id if that is a UUID, else a keyed hash of it"),
    _must("slot", SmallInteger, "Position in the pod; 0 for a single ad"),
    _must("served_on", Date, "UTC day of served_at, by which the table is partitioned"),
    _must("served_at", Moment, "When the ad was served"),
    _must("campaign_id", Identifier, "Campaign"),
    _may("creative_id", Identifier, "Own creative; NULL for an upstream's ad"),
    _may("upstream_id", Identifier, "Upstream; NULL for an own creative"),
    _may("placement_id", Identifier, "Placement; NULL when the campaign was asked for by id"),
    _may("user_key", Uuid, "Keyed hash of the viewer's id; NULL when unknown"),
    _may("session_id", Uuid, "Viewing session"),
    _must("price", Money, "What the ad cost"),
    _must("currency", String(3), "Currency of the price"),
    _must("billing", Text, "serve: charged at once; impression: held"),
    _must("fingerprint", BigInteger, "Hash of the request's parameters: the same id with others is a conflict"),
    PrimaryKeyConstraint("request_key", "slot", "served_on"),
    comment="One row for every ad served; append-only, partitioned by UTC day",
    postgresql_partition_by="RANGE (served_on)",
)

served_documents = Table(
    "served_documents",
    metadata,
    _must("request_key", Uuid, "The request"),
    _must("slot", SmallInteger, "Position in the pod"),
    _must("served_on", Date, "UTC day, by which the table is partitioned"),
    _must("document", LargeBinary, "The upstream's VAST document, as it came"),
    PrimaryKeyConstraint("request_key", "slot", "served_on"),
    comment="Upstream documents of requests that may be asked again; partitioned by UTC day",
    postgresql_partition_by="RANGE (served_on)",
)

midnight_requests = Table(
    "midnight_requests",
    metadata,
    _key("request_key", Uuid, "The request"),
    _must("claimed_at", Moment, "When it was claimed"),
    comment="Requests within a minute of midnight UTC: a partitioned unique key cannot span two days, this one does",
)

holds = Table(
    "holds",
    metadata,
    _key("request_key", Uuid, "The serve's request"),
    _key("slot", SmallInteger, "The serve's slot"),
    _key("served_on", Date, "The serve's day"),
    _must("campaign_id", Identifier, "Campaign"),
    _must("price", Money, "What is held"),
    _must("currency", String(3), "Currency of the price"),
    _must("hour_start", Moment, "Start of the budget hour that it is held in"),
    _must("day_start", Moment, "Start of the budget day that it is held in"),
    Column("expires_at", Moment, nullable=False, index=True, comment="When the sweeper releases it"),
    CheckConstraint("price >= 0", name="hold_is_not_negative"),
    comment="Open holds; whoever deletes the row settles or releases it, so that it happens once",
)

hold_releases = Table(
    "hold_releases",
    metadata,
    _must("request_key", Uuid, "The serve's request"),
    _must("slot", SmallInteger, "The serve's slot"),
    _must("served_on", Date, "The serve's day, by which the table is partitioned"),
    _must("campaign_id", Identifier, "Campaign"),
    _must("price", Money, "What was held"),
    _must("currency", String(3), "Currency of the price"),
    _must("released_at", Moment, "When it was released"),
    _must("cause", Text, "error: the player said that the ad failed; expiry: no impression came in time"),
    PrimaryKeyConstraint("request_key", "slot", "served_on"),
    _one_of("release_cause_is_known", "cause", "error expiry"),
    comment="Holds that were released and not charged; a late impression that is charged takes its row away",
    postgresql_partition_by="RANGE (served_on)",
)

spend_ledger = Table(
    "spend_ledger",
    metadata,
    Column("entry_id", BigInteger, Identity(always=True, cache=256), nullable=False, comment="Entry"),
    _must("booked_at", Moment, "When it was booked; the table is partitioned by its UTC month"),
    _must("kind", Text, "charge, settle, adjustment or reversal"),
    _must("campaign_id", Identifier, "Campaign"),
    _may("request_key", Uuid, "The serve's request; NULL for an adjustment"),
    _may("slot", SmallInteger, "The serve's slot; NULL for an adjustment"),
    _must("amount", Money, "Added to what is spent; negative in a correction"),
    _must("currency", String(3), "Currency of the amount"),
    _must("hour_start", Moment, "Start of the budget hour that it counts in"),
    _must("day_start", Moment, "Start of the budget day, in the campaign's timezone, that it counts in"),
    _may("reason", Text, "Why, for manual entries"),
    PrimaryKeyConstraint("entry_id", "booked_at"),
    _one_of("ledger_kind_is_known", "kind", "charge settle adjustment reversal"),
    CheckConstraint(
        "kind IN ('adjustment', 'reversal') OR (amount >= 0 AND request_key IS NOT NULL)",
        name="only_corrections_are_manual",
    ),
    comment="Every amount ever spent; append-only, partitioned by UTC month",
    postgresql_partition_by="RANGE (booked_at)",
)

ad_events = Table(
    "ad_events",
    metadata,
    _must("request_key", Uuid, "The serve's request"),
    _must("slot", SmallInteger, "The serve's slot"),
    _must("served_on", Date, "The serve's day, by which the table is partitioned"),
    _must("event", Text, "impression, start, firstQuartile, ..."),
    _must("campaign_id", Identifier, "Campaign"),
    _must("received_at", Moment, "When the first such beacon came", server_default=func.now()),
    _may("error_code", SmallInteger, "VAST error code of an error beacon"),
    PrimaryKeyConstraint("request_key", "slot", "served_on", "event"),
    comment="One row for each serve and event, however often the beacon was sent; partitioned by the serve's UTC day",
    postgresql_partition_by="RANGE (served_on)",
)

quotas = Table(
    "quotas",
    metadata,
    _key("name", Identifier, "upstream:ID or publisher:ID"),
    _must("tokens", Numeric(18, 6), "What is left in the bucket"),
    _must("refilled_at", Moment, "Up to when the bucket was filled"),
    comment="Rate limits over all servers: token buckets that servers lease slices of",
    postgresql_with={"fillfactor": "20"},
)
