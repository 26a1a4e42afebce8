"""The tables of the catalog: publishers, advertisers, orders, upstreams, campaigns, creatives, placements.

Revision ID: 0003
Revises: 0002
"""

from alembic import op
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Constraint,
    ForeignKeyConstraint,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from migrations.columns import (
    Identifier,
    Money,
    Timestamp,
    allowed_values,
    budget_id_column,
    key_column,
    optional,
    optional_reference,
    reference,
    required,
)
from migrations.prices import price_columns, price_constraints

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Privileges of the server's role. Campaigns are ended, never deleted: what was booked refers to them.
CAP_WINDOW = (
    "\"window\" IN ('minute', 'hour', 'day', 'week', 'month', 'lifetime', 'session')"
    " OR \"window\" ~ '^(1 (minute|hour|day)|([2-9]|[1-9][0-9]{1,4}) (minutes|hours|days))$'"
)
CAP_COUNTER = "(level IN ('campaign', 'creative')) = (counter = campaign_id)"

GRANTS = {
    "catalog": "SELECT, UPDATE",
    "catalog_changes": "SELECT, INSERT, DELETE",
    "publishers": "SELECT, INSERT, UPDATE",
    "advertisers": "SELECT, INSERT, UPDATE",
    "orders": "SELECT, INSERT, UPDATE",
    "upstreams": "SELECT, INSERT, UPDATE",
    "campaigns": "SELECT, INSERT, UPDATE",
    "configured_budgets": "SELECT, INSERT, UPDATE, DELETE",
    "campaign_caps": "SELECT, INSERT, UPDATE, DELETE",
    "campaign_upstreams": "SELECT, INSERT, UPDATE, DELETE",
    "creatives": "SELECT, INSERT, UPDATE",
    "placements": "SELECT, INSERT, UPDATE",
    "placement_campaigns": "SELECT, INSERT, UPDATE, DELETE",
}


def upgrade() -> None:
    create_catalog()
    create_catalog_changes()
    create_publishers()
    create_advertisers()
    create_orders()
    create_upstreams()
    create_campaigns()
    create_configured_budgets()
    create_campaign_caps()
    create_campaign_upstreams()
    create_creatives()
    create_placements()
    create_placement_campaigns()
    for table, privileges in GRANTS.items():
        op.execute(f"GRANT {privileges} ON {table} TO adserver_app")


def downgrade() -> None:
    for table in reversed(GRANTS):
        op.drop_table(table)


def create_catalog() -> None:
    op.create_table(
        "catalog",
        Column("only_row", Integer, primary_key=True, server_default=text("1"), comment="Always 1"),
        required("revision", BigInteger, "Increases with every change of the catalog", server_default=text("0")),
        CheckConstraint("only_row = 1", name="catalog_has_one_row"),
        comment="The revision of the catalog; servers compare it in the serving transaction and reload when it has changed",
    )
    op.execute("INSERT INTO catalog DEFAULT VALUES")


def create_catalog_changes() -> None:
    op.create_table(
        "catalog_changes",
        key_column("revision", BigInteger, "Revision of the catalog"),
        required("made_at", Timestamp, "When the revision was created", server_default=text("clock_timestamp()")),
        required("advertisers", ARRAY(Identifier), "Ids of the advertisers that were created or replaced"),
        required("orders", ARRAY(Identifier), "Ids of the orders that were created or replaced"),
        required("publishers", ARRAY(Identifier), "Ids of the publishers that were created or replaced"),
        required("upstreams", ARRAY(Identifier), "Ids of the upstreams that were created or replaced"),
        required("campaigns", ARRAY(Identifier), "Ids of the campaigns that were created or replaced"),
        required("creatives", ARRAY(Identifier), "Ids of the creatives that were created or replaced"),
        required("placements", ARRAY(Identifier), "Ids of the placements that were created or replaced"),
        required("webhooks", ARRAY(Identifier), "Ids of the webhooks that were created or replaced"),
        comment="The changes of the latest revisions of the catalog, so that servers reload only those",
    )


def create_publishers() -> None:
    op.create_table(
        "publishers",
        key_column("id", Identifier, "Publisher id"),
        required("name", Text, "Name of the company"),
        required(
            "revenue_share",
            Numeric(5, 4),
            "Part of the price of each ad that the publisher earns, from 0 to 1",
            server_default=text("0"),
        ),
        optional("requests_per_s", Integer, "Limit of ad requests per second; NULL for no limit"),
        optional("burst", Integer, "Requests above the rate that are accepted together; NULL for one second's worth"),
        required("invalid_traffic", Text, "serve or refuse requests of no viewer", server_default=text("'serve'")),
        CheckConstraint("revenue_share BETWEEN 0 AND 1", name="revenue_share_is_a_part"),
        CheckConstraint("requests_per_s > 0", name="publisher_rate_is_positive"),
        CheckConstraint("burst > 0", name="publisher_burst_is_positive"),
        allowed_values("publisher_invalid_traffic_is_known", "invalid_traffic", "serve refuse"),
        comment="Owners of placements",
    )


def create_advertisers() -> None:
    op.create_table(
        "advertisers",
        key_column("id", Identifier, "Advertiser id"),
        required("name", Text, "Name of the company"),
        optional("billing_details", Text, "Free text for invoices, such as an address"),
        # For campaigns, which have a copy of the name, because serving reads it with every ad.
        UniqueConstraint("id", "name", name="advertiser_has_one_name"),
        comment="Companies that pay for campaigns",
    )


def create_orders() -> None:
    op.create_table(
        "orders",
        key_column("id", Identifier, "Order id"),
        reference("advertiser_id", "advertisers.id", "Advertiser, who pays for the order"),
        required("currency", String(3), "ISO 4217 code of every amount of this order"),
        optional("starts_at", Timestamp, "Earliest start of its campaigns; NULL for any"),
        optional("ends_at", Timestamp, "Latest end of its campaigns, exclusive; NULL for any"),
        optional("budget", Money, "Amount that its campaigns may spend together; NULL for no limit"),
        optional("impressions", BigInteger, "Number of ads that its campaigns may serve together; NULL for no limit"),
        required("prepaid", Boolean, "Whether only credited money may be spent", server_default=text("false")),
        optional("purchase_order", Text, "The advertiser's purchase order number"),
        # Campaigns refer to all three, so that none can be in another currency or of another advertiser than its order.
        UniqueConstraint("id", "advertiser_id", "currency", name="order_has_one_advertiser_and_currency"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="order_currency_is_a_code"),
        CheckConstraint("ends_at > starts_at", name="order_ends_after_it_starts"),
        CheckConstraint("budget >= 0 AND impressions >= 0", name="order_budget_is_not_negative"),
        comment="Orders of advertisers; the campaigns of an order share its budget",
    )


def create_upstreams() -> None:
    op.create_table(
        "upstreams",
        key_column("id", Identifier, "Upstream id"),
        required("tag_url", Text, "VAST tag URL with macros"),
        required("timeout_ms", Integer, "Timeout of one attempt in milliseconds"),
        required("max_body_bytes", Integer, "Largest decompressed body that is accepted"),
        required("max_redirects", Integer, "Number of redirects that are followed"),
        required("cache_ttl_s", Integer, "Seconds for which a cached body is fresh; 0 turns the cache off"),
        required(
            "stale_while_revalidate_s", Integer, "Seconds for which a stale body is served while it is fetched again"
        ),
        required("stale_if_error_s", Integer, "Seconds for which a stale body is served while the upstream fails"),
        optional("max_qps", Integer, "Limit of requests per second from all servers; NULL for no limit"),
        required("max_in_flight", Integer, "Limit of concurrent requests of each server process"),
        required("breaker_failures", Integer, "Consecutive failures that open the circuit breaker"),
        required("breaker_reset_s", Integer, "Seconds for which the breaker stays open before one trial request"),
        required(
            "hedge", Boolean, "Whether the next upstream is also requested once this one takes longer than its p95"
        ),
        CheckConstraint(
            "timeout_ms > 0 AND max_body_bytes > 0 AND max_in_flight > 0 AND breaker_failures > 0 AND breaker_reset_s > 0",
            name="upstream_limits_are_positive",
        ),
        comment="Other ad servers that ads are fetched from",
    )


def create_campaigns() -> None:
    op.create_table(
        "campaigns",
        key_column("id", Identifier, "Campaign id"),
        required("advertiser_id", Identifier, "Advertiser, who pays for the campaign"),
        required("advertiser", Text, "Name of the advertiser, which follows that of advertisers"),
        optional("order_id", Identifier, "Order whose budget the campaign shares; NULL for none"),
        required("status", Text, "active, paused or ended; only an active campaign serves"),
        required("currency", String(3), "ISO 4217 code of every amount of this campaign"),
        required("timezone", Text, "IANA time zone in which its days, weeks and months begin"),
        required("starts_at", Timestamp, "Start of the flight"),
        required("ends_at", Timestamp, "End of the flight, exclusive"),
        *price_columns(),
        required("billing", Text, "Event that charges for an ad: serve, impression, click or complete"),
        required("pacing", Text, "asap; even: spend may grow linearly with time; or front: ahead of that"),
        optional(
            "front_percent", SmallInteger, "Percent by which spend may be ahead of even pacing; NULL unless front"
        ),
        required("without_user", Text, "skip or serve a request without a user to count, if the campaign has caps"),
        required("late_impressions", Text, "ignore or charge an event that was sold and whose hold was released"),
        required("hold_ttl_s", Integer, "Seconds for which a hold waits for the event that was sold"),
        required(
            "direct",
            Boolean,
            "Whether requests may name the campaign by campaign_id; if not, only placements sell it",
            server_default=text("false"),
        ),
        required(
            "targeting", JSONB, "Countries, device types and genres that it may serve", server_default=text("'{}'")
        ),
        required("priority", SmallInteger, "1, which is served first, to 10", server_default=text("5")),
        required("weight", Integer, "Its share of the ads of its priority", server_default=text("1")),
        required("ads_per_pod", SmallInteger, "Maximum number of its creatives in a pod", server_default=text("1")),
        required(
            "categories", ARRAY(Text), "IAB content taxonomy ids: what is advertised", server_default=text("'{}'")
        ),
        *campaign_constraints(),
        comment="Campaigns that advertisers bought",
    )


def campaign_constraints() -> tuple[Constraint, ...]:
    return (
        ForeignKeyConstraint(
            ["advertiser_id", "advertiser"],
            ["advertisers.id", "advertisers.name"],
            name="campaign_has_an_advertiser",
            onupdate="CASCADE",
        ),
        ForeignKeyConstraint(
            ["order_id", "advertiser_id", "currency"],
            ["orders.id", "orders.advertiser_id", "orders.currency"],
            name="campaign_fits_its_order",
            # An order and its campaigns may change together.
            deferrable=True,
            initially="DEFERRED",
        ),
        allowed_values("campaign_status_is_known", "status", "active paused ended"),
        allowed_values("campaign_billing_is_known", "billing", "serve impression click complete"),
        allowed_values("campaign_pacing_is_known", "pacing", "asap even front"),
        allowed_values("campaign_without_user_is_known", "without_user", "skip serve"),
        allowed_values("campaign_late_impressions_is_known", "late_impressions", "ignore charge"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="campaign_currency_is_a_code"),
        CheckConstraint("ends_at > starts_at", name="flight_ends_after_it_starts"),
        *price_constraints(),
        CheckConstraint("hold_ttl_s > 0", name="hold_ttl_is_positive"),
        CheckConstraint("priority BETWEEN 1 AND 10", name="campaign_priority_is_from_1_to_10"),
        CheckConstraint("weight > 0", name="campaign_weight_is_positive"),
        CheckConstraint("ads_per_pod > 0", name="campaign_ads_per_pod_is_positive"),
    )


def create_configured_budgets() -> None:
    op.create_table(
        "configured_budgets",
        budget_id_column(),
        key_column("period", Text, "hour, day or lifetime; always lifetime for an order"),
        optional_reference("campaign_id", "campaigns.id", "Campaign; NULL for the budget of an order"),
        optional_reference("order_id", "orders.id", "Order; NULL for the budget of a campaign"),
        optional(
            "limit",
            Money,
            "Amount that may be spent in each period; of a prepaid order, at most what was credited; NULL for no limit",
        ),
        optional("impressions_limit", BigInteger, "Number of ads that may be served in each period; NULL for no limit"),
        allowed_values("budget_period_is_known", "period", "hour day lifetime"),
        CheckConstraint("(campaign_id IS NULL) <> (order_id IS NULL)", name="budget_has_one_owner"),
        CheckConstraint("campaign_id IS NOT NULL OR period = 'lifetime'", name="order_budget_is_for_its_lifetime"),
        CheckConstraint('"limit" >= 0', name="budget_is_not_negative"),
        CheckConstraint("impressions_limit >= 0", name="budgeted_impressions_are_not_negative"),
        CheckConstraint('num_nonnulls("limit", impressions_limit) > 0', name="budget_has_a_limit"),
        comment="The configured budgets of campaigns and orders; budget_tracking has what was spent of them",
    )


def create_campaign_caps() -> None:
    op.create_table(
        "campaign_caps",
        reference("campaign_id", "campaigns.id", "Campaign", primary_key=True),
        key_column("level", Text, "What it counts: ads of each creative, the campaign, its order or its advertiser"),
        key_column("window", Text, "minute, hour, day, week, month, lifetime, session, or a length such as 90 minutes"),
        required(
            "counter", Identifier, "The campaign's id, or ' order ' or ' advertiser ' and an id: whose ads it counts"
        ),
        required("impressions", Integer, "Number of ads that one user may be served in each window"),
        required(
            "counts_from",
            Timestamp,
            "When this cap began to count; earlier serves are not counted",
            server_default=text("adserver_clock()"),
        ),
        allowed_values("cap_level_is_known", "level", "creative campaign order advertiser"),
        CheckConstraint(CAP_WINDOW, name="cap_window_is_known"),
        CheckConstraint(CAP_COUNTER, name="cap_counter_is_of_level"),
        CheckConstraint("impressions > 0", name="cap_is_positive"),
        comment="The configured frequency caps of campaigns; frequency_caps has the counts",
    )
    op.create_index("campaign_caps_by_counter", "campaign_caps", ["counter"])


def create_campaign_upstreams() -> None:
    op.create_table(
        "campaign_upstreams",
        reference("campaign_id", "campaigns.id", "Campaign", primary_key=True),
        key_column("position", SmallInteger, "0 is tried first"),
        reference("upstream_id", "upstreams.id", "Upstream"),
        comment="The upstreams that a campaign's ads are fetched from, in order",
    )


def create_creatives() -> None:
    op.create_table(
        "creatives",
        key_column("id", Identifier, "Creative id"),
        reference("campaign_id", "campaigns.id", "Campaign"),
        required("title", Text, "AdTitle"),
        required("duration_s", Numeric, "Duration in seconds, exact to milliseconds"),
        required("media_files", JSONB, "MediaFiles: url, type, width, height, bitrate_kbps, ..."),
        optional("vast_tag_url", Text, "VASTAdTagURI, for an ad that another server has; NULL for media files"),
        optional("follow_additional_wrappers", Boolean, "followAdditionalWrappers; NULL for its default"),
        optional("fallback_on_no_ad", Boolean, "fallbackOnNoAd; NULL for its default"),
        optional("click_through", Text, "URL that a click leads to"),
        optional("skip_offset_s", Integer, "Seconds after which the ad can be skipped; NULL for never"),
        optional("universal_ad_id", Text, "UniversalAdId; NULL for the creative's own id"),
        required("universal_ad_id_registry", Text, "idRegistry of the UniversalAdId"),
        optional("mezzanine_url", Text, "Mezzanine file for stitchers"),
        optional("description", Text, "Description"),
        required(
            "vast_elements",
            JSONB,
            "VAST elements besides the media files: impression_urls, tracking, ad_verifications, ...",
            server_default=text("'{}'"),
        ),
        required("status", Text, "active, paused or archived; only an active creative is served"),
        optional("starts_at", Timestamp, "When it begins to be served; NULL for no limit"),
        optional("ends_at", Timestamp, "When it is not served any more; NULL for no limit"),
        required("weight", Integer, "Its share of the ads of its campaign, in comparison with the other weights"),
        optional("sequence", Integer, "Position in a viewing session; NULL for after all that have one"),
        required("position", Text, "Position in a pod: first, last or any", server_default=text("'any'")),
        required("bumper", Boolean, "Whether it opens a pod, in front of other ads", server_default=text("false")),
        CheckConstraint("duration_s > 0", name="duration_is_positive"),
        CheckConstraint("scale(trim_scale(duration_s)) <= 3", name="duration_is_in_milliseconds"),
        CheckConstraint("(vast_tag_url IS NULL) = (media_files <> '[]'::jsonb)", name="creative_has_files_or_a_tag"),
        CheckConstraint("weight > 0", name="weight_is_positive"),
        CheckConstraint("ends_at > starts_at", name="creative_ends_after_it_starts"),
        allowed_values("creative_status_is_known", "status", "active paused archived"),
        allowed_values("creative_position_is_known", "position", "first last any"),
        comment="Linear video and audio ads of the campaigns themselves",
    )
    op.create_index("creatives_campaign_id_idx", "creatives", ["campaign_id"])


def create_placements() -> None:
    op.create_table(
        "placements",
        key_column("id", Identifier, "Placement id"),
        reference("publisher_id", "publishers.id", "Publisher"),
        required("ad_breaks", JSONB, "Ad breaks for VMAP", server_default=text("'[]'")),
        required(
            "targeted",
            Boolean,
            "Whether every campaign may serve whose targeting matches, instead of a list",
            server_default=text("false"),
        ),
        required("blocked_advertisers", ARRAY(Identifier), "Ids of advertisers", server_default=text("'{}'")),
        required("blocked_categories", ARRAY(Text), "IAB content taxonomy ids", server_default=text("'{}'")),
        comment="Places of publishers where ads are shown",
    )


def create_placement_campaigns() -> None:
    op.create_table(
        "placement_campaigns",
        reference("placement_id", "placements.id", "Placement", primary_key=True),
        key_column("position", SmallInteger, "0 is tried first"),
        reference("campaign_id", "campaigns.id", "Campaign"),
        comment="The campaigns that may serve in a placement, in order of priority",
    )
