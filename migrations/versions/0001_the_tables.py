"""The tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A row that no partition was made for goes to the default one: a late maintenance job never fails a serve.
PARTITIONED = ("ad_serves", "served_documents", "ad_events", "spend_ledger")


def upgrade() -> None:
    op.create_table(
        "ad_events",
        sa.Column("request_key", sa.Uuid(), nullable=False, comment="The serve's request"),
        sa.Column("slot", sa.SmallInteger(), nullable=False, comment="The serve's slot"),
        sa.Column("served_on", sa.Date(), nullable=False, comment="The serve's day, by which the table is partitioned"),
        sa.Column("event", sa.Text(), nullable=False, comment="impression, start, firstQuartile, ..."),
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the first such beacon came",
        ),
        sa.Column("error_code", sa.SmallInteger(), nullable=True, comment="VAST error code of an error beacon"),
        sa.PrimaryKeyConstraint("request_key", "slot", "served_on", "event", name=op.f("ad_events_pkey")),
        comment="One row for each serve and event, however often the beacon was sent; partitioned by the serve's UTC day",
        postgresql_partition_by="RANGE (served_on)",
    )
    op.create_table(
        "ad_serves",
        sa.Column(
            "request_key",
            sa.Uuid(),
            nullable=False,
            comment="The request: its id if that is a UUID, else a keyed hash of it",
        ),
        sa.Column("slot", sa.SmallInteger(), nullable=False, comment="Position in the pod; 0 for a single ad"),
        sa.Column(
            "served_on", sa.Date(), nullable=False, comment="UTC day of served_at, by which the table is partitioned"
        ),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False, comment="When the ad was served"),
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column(
            "creative_id", sa.String(collation="C"), nullable=True, comment="Own creative; NULL for an upstream's ad"
        ),
        sa.Column("upstream_id", sa.String(collation="C"), nullable=True, comment="Upstream; NULL for an own creative"),
        sa.Column(
            "placement_id",
            sa.String(collation="C"),
            nullable=True,
            comment="Placement; NULL when the campaign was asked for by id",
        ),
        sa.Column("user_key", sa.Uuid(), nullable=True, comment="Keyed hash of the viewer's id; NULL when unknown"),
        sa.Column("session_id", sa.Uuid(), nullable=True, comment="Viewing session"),
        sa.Column("price", sa.Numeric(precision=18, scale=6), nullable=False, comment="What the ad cost"),
        sa.Column("currency", sa.String(length=3), nullable=False, comment="Currency of the price"),
        sa.Column("billing", sa.Text(), nullable=False, comment="serve: charged at once; impression: held"),
        sa.Column(
            "fingerprint",
            sa.BigInteger(),
            nullable=False,
            comment="Hash of the request's parameters: the same id with others is a conflict",
        ),
        sa.PrimaryKeyConstraint("request_key", "slot", "served_on", name=op.f("ad_serves_pkey")),
        comment="One row for every ad served; append-only, partitioned by UTC day",
        postgresql_partition_by="RANGE (served_on)",
    )
    op.create_table(
        "campaigns",
        sa.Column("id", sa.String(collation="C"), autoincrement=False, nullable=False, comment="Campaign id"),
        sa.Column("advertiser", sa.Text(), nullable=False, comment="Who pays"),
        sa.Column(
            "status", sa.Text(), nullable=False, comment="active, paused or ended; only an active campaign serves"
        ),
        sa.Column(
            "currency", sa.String(length=3), nullable=False, comment="ISO 4217 code of every amount of this campaign"
        ),
        sa.Column("timezone", sa.Text(), nullable=False, comment="IANA zone in which its days, weeks and months begin"),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False, comment="Start of the flight"),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False, comment="End of the flight, exclusive"),
        sa.Column(
            "cpm",
            sa.Numeric(precision=15, scale=3),
            nullable=False,
            comment="Price of a thousand ads; three decimals make one ad's price exact",
        ),
        sa.Column(
            "billing",
            sa.Text(),
            nullable=False,
            comment="serve: charged when served; impression: held, and charged when seen",
        ),
        sa.Column("pacing", sa.Text(), nullable=False, comment="asap, or even: spend may grow linearly with time"),
        sa.Column(
            "without_user", sa.Text(), nullable=False, comment="skip or serve, when there are caps and nobody to count"
        ),
        sa.Column(
            "late_impressions",
            sa.Text(),
            nullable=False,
            comment="ignore or charge an impression whose hold was released",
        ),
        sa.Column("hold_ttl_s", sa.Integer(), nullable=False, comment="How long a hold waits for its impression"),
        sa.Column(
            "targeting",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Countries, device types and genres it may be shown to",
        ),
        sa.CheckConstraint("billing IN ('serve', 'impression')", name=op.f("campaign_billing_is_known")),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("campaign_currency_is_a_code")),
        sa.CheckConstraint("late_impressions IN ('ignore', 'charge')", name=op.f("campaign_late_impressions_is_known")),
        sa.CheckConstraint("pacing IN ('asap', 'even')", name=op.f("campaign_pacing_is_known")),
        sa.CheckConstraint("status IN ('active', 'paused', 'ended')", name=op.f("campaign_status_is_known")),
        sa.CheckConstraint("without_user IN ('skip', 'serve')", name=op.f("campaign_without_user_is_known")),
        sa.CheckConstraint("cpm >= 0", name=op.f("cpm_is_not_negative")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("flight_ends_after_it_starts")),
        sa.CheckConstraint("hold_ttl_s > 0", name=op.f("hold_ttl_is_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("campaigns_pkey")),
        comment="What advertisers bought",
    )
    op.create_table(
        "catalog",
        sa.Column("only_row", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="Always 1"),
        sa.Column(
            "revision",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Goes up with every change to what ad operations set up",
        ),
        sa.CheckConstraint("only_row = 1", name=op.f("catalog_has_one_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("catalog_pkey")),
        comment="The revision of the catalog; servers read it in the serving transaction and reload when it moved",
    )
    op.create_table(
        "frequency_caps",
        sa.Column(
            "user_key",
            sa.Uuid(),
            autoincrement=False,
            nullable=False,
            comment="Keyed hash of the viewer's id; for a session window, the session's id",
        ),
        sa.Column("campaign_id", sa.String(collation="C"), autoincrement=False, nullable=False, comment="Campaign"),
        sa.Column(
            "window",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="minute, hour, day, week, month, lifetime or session",
        ),
        sa.Column(
            "window_start",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="Start of the window; 1970 for lifetime and session",
        ),
        sa.Column("count", sa.Integer(), nullable=False, comment="Ads counted in this window"),
        sa.Column("cap", sa.Integer(), nullable=False, comment="The most that were allowed when it was last counted"),
        sa.Column(
            "expires_at", sa.DateTime(timezone=True), nullable=True, comment="When the row may be swept; NULL for never"
        ),
        sa.CheckConstraint("count BETWEEN 0 AND cap", name=op.f("count_within_cap")),
        sa.PrimaryKeyConstraint("user_key", "campaign_id", "window", "window_start", name=op.f("frequency_caps_pkey")),
        comment="How often each user saw each campaign, a row for each window",
        postgresql_with={"fillfactor": "80"},
    )
    op.create_table(
        "holds",
        sa.Column("request_key", sa.Uuid(), autoincrement=False, nullable=False, comment="The serve's request"),
        sa.Column("slot", sa.SmallInteger(), autoincrement=False, nullable=False, comment="The serve's slot"),
        sa.Column("served_on", sa.Date(), autoincrement=False, nullable=False, comment="The serve's day"),
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column("price", sa.Numeric(precision=18, scale=6), nullable=False, comment="What is held"),
        sa.Column("currency", sa.String(length=3), nullable=False, comment="Currency of the price"),
        sa.Column(
            "hour_start",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Start of the budget hour that it is held in",
        ),
        sa.Column(
            "day_start",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Start of the budget day that it is held in",
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="When the sweeper releases it"),
        sa.CheckConstraint("price >= 0", name=op.f("hold_is_not_negative")),
        sa.PrimaryKeyConstraint("request_key", "slot", "served_on", name=op.f("holds_pkey")),
        comment="Open holds; whoever deletes the row settles or releases it, so that it happens once",
    )
    op.create_index(op.f("holds_expires_at_idx"), "holds", ["expires_at"], unique=False)
    op.create_table(
        "midnight_requests",
        sa.Column("request_key", sa.Uuid(), autoincrement=False, nullable=False, comment="The request"),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False, comment="When it was claimed"),
        sa.PrimaryKeyConstraint("request_key", name=op.f("midnight_requests_pkey")),
        comment="Requests within a minute of midnight UTC: a partitioned unique key cannot span two days, this one does",
    )
    op.create_table(
        "publishers",
        sa.Column("id", sa.String(collation="C"), autoincrement=False, nullable=False, comment="Publisher id"),
        sa.Column(
            "requests_per_s", sa.Integer(), nullable=True, comment="Inbound limit in requests a second; NULL for none"
        ),
        sa.Column(
            "burst",
            sa.Integer(),
            nullable=True,
            comment="Requests above the rate that are let through at once; NULL for one second's worth",
        ),
        sa.CheckConstraint("burst > 0", name=op.f("publisher_burst_is_positive")),
        sa.CheckConstraint("requests_per_s > 0", name=op.f("publisher_rate_is_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("publishers_pkey")),
        comment="Who owns placements",
    )
    op.create_table(
        "quotas",
        sa.Column(
            "name", sa.String(collation="C"), autoincrement=False, nullable=False, comment="upstream:ID or publisher:ID"
        ),
        sa.Column("tokens", sa.Numeric(precision=18, scale=6), nullable=False, comment="What is left in the bucket"),
        sa.Column(
            "refilled_at", sa.DateTime(timezone=True), nullable=False, comment="Up to when the bucket was filled"
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("quotas_pkey")),
        comment="Rate limits over all servers: token buckets that servers lease slices of",
        postgresql_with={"fillfactor": "20"},
    )
    op.create_table(
        "served_documents",
        sa.Column("request_key", sa.Uuid(), nullable=False, comment="The request"),
        sa.Column("slot", sa.SmallInteger(), nullable=False, comment="Position in the pod"),
        sa.Column("served_on", sa.Date(), nullable=False, comment="UTC day, by which the table is partitioned"),
        sa.Column("document", sa.LargeBinary(), nullable=False, comment="The upstream's VAST document, as it came"),
        sa.PrimaryKeyConstraint("request_key", "slot", "served_on", name=op.f("served_documents_pkey")),
        comment="Upstream documents of requests that may be asked again; partitioned by UTC day",
        postgresql_partition_by="RANGE (served_on)",
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), autoincrement=False, nullable=False, comment="Session id"),
        sa.Column("user_key", sa.Uuid(), nullable=True, comment="Keyed hash of the viewer's id; NULL when unknown"),
        sa.Column("publisher_id", sa.String(collation="C"), nullable=True, comment="Publisher"),
        sa.Column("correlator", sa.Text(), nullable=False, comment="The same for all ads of the session"),
        sa.Column(
            "played",
            sa.ARRAY(sa.String(collation="C")),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Ids of the creatives served in it",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was created"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="When it ends by itself"),
        sa.Column(
            "ended_at", sa.DateTime(timezone=True), nullable=True, comment="When it was ended; NULL while it runs"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sessions_pkey")),
        comment="Viewing sessions",
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(op.f("sessions_expires_at_idx"), "sessions", ["expires_at"], unique=False)
    op.create_table(
        "spend_ledger",
        sa.Column("entry_id", sa.BigInteger(), sa.Identity(always=True, cache=256), nullable=False, comment="Entry"),
        sa.Column(
            "booked_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was booked; the table is partitioned by its UTC month",
        ),
        sa.Column("kind", sa.Text(), nullable=False, comment="charge, settle, adjustment or reversal"),
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column("request_key", sa.Uuid(), nullable=True, comment="The serve's request; NULL for an adjustment"),
        sa.Column("slot", sa.SmallInteger(), nullable=True, comment="The serve's slot; NULL for an adjustment"),
        sa.Column(
            "amount",
            sa.Numeric(precision=18, scale=6),
            nullable=False,
            comment="Added to what is spent; negative in a correction",
        ),
        sa.Column("currency", sa.String(length=3), nullable=False, comment="Currency of the amount"),
        sa.Column(
            "hour_start",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Start of the budget hour that it counts in",
        ),
        sa.Column(
            "day_start",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Start of the budget day, in the campaign's timezone, that it counts in",
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why, for manual entries"),
        sa.CheckConstraint(
            "kind IN ('adjustment', 'reversal') OR (amount >= 0 AND request_key IS NOT NULL)",
            name=op.f("only_corrections_are_manual"),
        ),
        sa.CheckConstraint("kind IN ('charge', 'settle', 'adjustment', 'reversal')", name=op.f("ledger_kind_is_known")),
        sa.PrimaryKeyConstraint("entry_id", "booked_at", name=op.f("spend_ledger_pkey")),
        comment="Every amount ever spent; append-only, partitioned by UTC month",
        postgresql_partition_by="RANGE (booked_at)",
    )
    op.create_table(
        "upstreams",
        sa.Column("id", sa.String(collation="C"), autoincrement=False, nullable=False, comment="Upstream id"),
        sa.Column("tag_url", sa.Text(), nullable=False, comment="VAST tag URL with macros"),
        sa.Column("timeout_ms", sa.Integer(), nullable=False, comment="How long one attempt may take"),
        sa.Column("max_body_bytes", sa.Integer(), nullable=False, comment="Largest decompressed body accepted"),
        sa.Column("max_redirects", sa.Integer(), nullable=False, comment="Redirects followed"),
        sa.Column(
            "cache_ttl_s", sa.Integer(), nullable=False, comment="How long a body is fresh; 0 turns the cache off"
        ),
        sa.Column(
            "stale_while_revalidate_s",
            sa.Integer(),
            nullable=False,
            comment="How long a stale body serves while it is renewed",
        ),
        sa.Column(
            "stale_if_error_s",
            sa.Integer(),
            nullable=False,
            comment="How long a stale body serves while the upstream fails",
        ),
        sa.Column(
            "max_qps", sa.Integer(), nullable=True, comment="Requests a second over all servers; NULL for no limit"
        ),
        sa.Column("max_in_flight", sa.Integer(), nullable=False, comment="Requests in flight for each server process"),
        sa.Column("breaker_failures", sa.Integer(), nullable=False, comment="Failures in a row that open the breaker"),
        sa.Column(
            "breaker_reset_s", sa.Integer(), nullable=False, comment="How long the breaker stays open before one trial"
        ),
        sa.Column(
            "hedge", sa.Boolean(), nullable=False, comment="Whether the next upstream is asked too after this one's p95"
        ),
        sa.CheckConstraint(
            "timeout_ms > 0 AND max_body_bytes > 0 AND max_in_flight > 0 AND breaker_failures > 0 AND breaker_reset_s > 0",
            name=op.f("upstream_limits_are_positive"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("upstreams_pkey")),
        comment="Other ad servers that ads are fetched from",
    )
    op.create_table(
        "budget_tracking",
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column("period", sa.Text(), autoincrement=False, nullable=False, comment="hour, day or lifetime"),
        sa.Column(
            "period_start",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="Start of the period; 1970 for lifetime",
        ),
        sa.Column(
            "limit", sa.Numeric(precision=18, scale=6), nullable=False, comment="What may be spent in this period"
        ),
        sa.Column(
            "spent",
            sa.Numeric(precision=18, scale=6),
            server_default=sa.text("0"),
            nullable=False,
            comment="Charged so far",
        ),
        sa.Column(
            "held",
            sa.Numeric(precision=18, scale=6),
            server_default=sa.text("0"),
            nullable=False,
            comment="Held for ads that were served and not yet seen",
        ),
        sa.Column(
            "impressions", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Ads charged or held"
        ),
        sa.CheckConstraint('spent + held <= "limit"', name=op.f("spend_within_budget")),
        sa.CheckConstraint("spent >= 0 AND held >= 0 AND impressions >= 0", name=op.f("spend_is_not_negative")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("budget_tracking_campaign_id_fkey")),
        sa.PrimaryKeyConstraint("campaign_id", "period", "period_start", name=op.f("budget_tracking_pkey")),
        comment="Every budget period of every campaign: limit, spent and held, in the campaign's currency",
        postgresql_with={"fillfactor": "20"},
    )
    op.create_table(
        "campaign_budgets",
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column("period", sa.Text(), autoincrement=False, nullable=False, comment="hour, day or lifetime"),
        sa.Column(
            "limit",
            sa.Numeric(precision=18, scale=6),
            nullable=False,
            comment="What may be spent in each such period, in the campaign's currency",
        ),
        sa.CheckConstraint("period IN ('hour', 'day', 'lifetime')", name=op.f("budget_period_is_known")),
        sa.CheckConstraint('"limit" >= 0', name=op.f("budget_is_not_negative")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("campaign_budgets_campaign_id_fkey")),
        sa.PrimaryKeyConstraint("campaign_id", "period", name=op.f("campaign_budgets_pkey")),
        comment="The budgets of campaigns, as set up; budget_tracking has what became of them",
    )
    op.create_table(
        "campaign_caps",
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column(
            "window",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="minute, hour, day, week, month, lifetime or session",
        ),
        sa.Column("impressions", sa.Integer(), nullable=False, comment="Ads for one user in each such window"),
        sa.CheckConstraint(
            "\"window\" IN ('minute', 'hour', 'day', 'week', 'month', 'lifetime', 'session')",
            name=op.f("cap_window_is_known"),
        ),
        sa.CheckConstraint("impressions > 0", name=op.f("cap_is_positive")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("campaign_caps_campaign_id_fkey")),
        sa.PrimaryKeyConstraint("campaign_id", "window", name=op.f("campaign_caps_pkey")),
        comment="The frequency caps of campaigns, as set up; frequency_caps has the counts",
    )
    op.create_table(
        "campaign_upstreams",
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column("position", sa.SmallInteger(), autoincrement=False, nullable=False, comment="0 is tried first"),
        sa.Column("upstream_id", sa.String(collation="C"), nullable=False, comment="Upstream"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("campaign_upstreams_campaign_id_fkey")),
        sa.ForeignKeyConstraint(["upstream_id"], ["upstreams.id"], name=op.f("campaign_upstreams_upstream_id_fkey")),
        sa.PrimaryKeyConstraint("campaign_id", "position", name=op.f("campaign_upstreams_pkey")),
        comment="Where a campaign's ads are fetched from, in order",
    )
    op.create_table(
        "creatives",
        sa.Column("id", sa.String(collation="C"), autoincrement=False, nullable=False, comment="Creative id"),
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column("title", sa.Text(), nullable=False, comment="AdTitle"),
        sa.Column("duration_s", sa.Integer(), nullable=False, comment="Duration in seconds"),
        sa.Column(
            "media_files",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="MediaFiles: url, type, width, height, bitrate_kbps, ...",
        ),
        sa.Column("click_through", sa.Text(), nullable=True, comment="Where a click leads"),
        sa.Column(
            "skip_offset_s",
            sa.Integer(),
            nullable=True,
            comment="Seconds after which the ad can be skipped; NULL for never",
        ),
        sa.Column("universal_ad_id", sa.Text(), nullable=True, comment="UniversalAdId; NULL for the creative's own id"),
        sa.Column("universal_ad_id_registry", sa.Text(), nullable=False, comment="idRegistry of the UniversalAdId"),
        sa.Column("mezzanine_url", sa.Text(), nullable=True, comment="Mezzanine file for stitchers"),
        sa.Column("description", sa.Text(), nullable=True, comment="Description"),
        sa.CheckConstraint("duration_s > 0", name=op.f("duration_is_positive")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("creatives_campaign_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("creatives_pkey")),
        comment="Campaigns' own linear video ads",
    )
    op.create_index(op.f("creatives_campaign_id_idx"), "creatives", ["campaign_id"], unique=False)
    op.create_table(
        "placements",
        sa.Column("id", sa.String(collation="C"), autoincrement=False, nullable=False, comment="Placement id"),
        sa.Column("publisher_id", sa.String(collation="C"), nullable=False, comment="Publisher"),
        sa.Column(
            "ad_breaks",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="Ad breaks for VMAP",
        ),
        sa.ForeignKeyConstraint(["publisher_id"], ["publishers.id"], name=op.f("placements_publisher_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("placements_pkey")),
        comment="Places where ads are shown",
    )
    op.create_table(
        "placement_campaigns",
        sa.Column("placement_id", sa.String(collation="C"), nullable=False, comment="Placement"),
        sa.Column("position", sa.SmallInteger(), autoincrement=False, nullable=False, comment="0 is tried first"),
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("placement_campaigns_campaign_id_fkey")),
        sa.ForeignKeyConstraint(
            ["placement_id"], ["placements.id"], name=op.f("placement_campaigns_placement_id_fkey")
        ),
        sa.PrimaryKeyConstraint("placement_id", "position", name=op.f("placement_campaigns_pkey")),
        comment="The campaigns that may serve in a placement, in priority order",
    )
    op.execute("INSERT INTO catalog DEFAULT VALUES")
    for table in PARTITIONED:
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")


def downgrade() -> None:
    op.drop_table("placement_campaigns")
    op.drop_table("placements")
    op.drop_index(op.f("creatives_campaign_id_idx"), table_name="creatives")
    op.drop_table("creatives")
    op.drop_table("campaign_upstreams")
    op.drop_table("campaign_caps")
    op.drop_table("campaign_budgets")
    op.drop_table("budget_tracking")
    op.drop_table("upstreams")
    op.drop_table("spend_ledger")
    op.drop_index(op.f("sessions_expires_at_idx"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_table("served_documents")
    op.drop_table("quotas")
    op.drop_table("publishers")
    op.drop_table("midnight_requests")
    op.drop_index(op.f("holds_expires_at_idx"), table_name="holds")
    op.drop_table("holds")
    op.drop_table("frequency_caps")
    op.drop_table("catalog")
    op.drop_table("campaigns")
    op.drop_table("ad_serves")
    op.drop_table("ad_events")
