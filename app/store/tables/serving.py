"""The tables that serving and beacons write: caps, budgets, serves, holds, sessions, rate limits."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Date,
    Index,
    Integer,
    LargeBinary,
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

from app.store.tables.columns import (
    Identifier,
    Money,
    Timestamp,
    allowed_values,
    key_column,
    metadata,
    optional,
    optional_reference,
    required,
    time_index,
)

sessions = Table(
    "sessions",
    metadata,
    key_column("id", Uuid, "Session id"),
    optional("user_key", Uuid, "Keyed hash of the viewer's id; NULL if unknown"),
    optional("publisher_id", Identifier, "Publisher"),
    required("correlator", Text, "Value of the macro [CORRELATOR], the same for all ads of the session"),
    required("played", ARRAY(Identifier), "Ids of the creatives that were served in it", server_default=text("'{}'")),
    required(
        "last_campaigns",
        ARRAY(Identifier),
        "Ids of the campaigns with categories that its last answer had ads of",
        server_default=text("'{}'"),
    ),
    required("created_at", Timestamp, "When the session was created"),
    required("expires_at", Timestamp, "When the session expires", index=True),
    optional("ended_at", Timestamp, "When the session was ended; NULL while it is open"),
    comment="Viewing sessions",
)

frequency_caps = Table(
    "frequency_caps",
    metadata,
    key_column("user_key", Uuid, "Keyed hash of the viewer's id; in a session window, the session's id"),
    key_column(
        "campaign_id",
        Identifier,
        "Campaign, or another key: ' creative ', ' order ' or ' advertiser ' and an id",
    ),
    key_column("window", Text, "minute, hour, day, week, month, lifetime, session, or a length such as 90 minutes"),
    key_column("window_start", Timestamp, "Start of the window; 1970 for lifetime and session"),
    required("count", Integer, "Number of ads counted in this window"),
    required("cap", Integer, "The cap that applied when the row was last counted"),
    optional("expires_at", Timestamp, "When maintenance may delete the row; NULL for never"),
    CheckConstraint("count BETWEEN 0 AND cap", name="count_within_cap"),
    comment="The number of ads that each user was served of each campaign: one row for each window",
)

budget_tracking = Table(
    "budget_tracking",
    metadata,
    key_column("budget_id", Identifier, "The campaign's id, or ' order ' and the order's id, set by a trigger"),
    key_column("period", Text, "hour, day or lifetime"),
    key_column("period_start", Timestamp, "Start of the period; 1970 for lifetime"),
    optional_reference("campaign_id", "campaigns.id", "Campaign; NULL for the budget of an order"),
    optional_reference("order_id", "orders.id", "Order; NULL for the budget of a campaign"),
    optional(
        "limit", Money, "Amount that may be spent in this period, in the currency of its owner; NULL for no limit"
    ),
    required("spent", Money, "Amount charged so far", server_default=text("0")),
    required("held", Money, "Amount held for ads that were served and not yet billed", server_default=text("0")),
    required("impressions", BigInteger, "Number of ads charged or held", server_default=text("0")),
    key_column("generation", Integer, "Increases with about every thirtieth update", server_default=text("0")),
    optional("impressions_limit", BigInteger, "Number of ads that may be served in this period; NULL for no limit"),
    CheckConstraint("(campaign_id IS NULL) <> (order_id IS NULL)", name="budget_period_has_one_owner"),
    CheckConstraint('spent + held <= "limit"', name="spend_within_budget"),
    CheckConstraint("impressions <= impressions_limit", name="impressions_within_budget"),
    CheckConstraint("spent >= 0 AND held >= 0 AND impressions >= 0", name="spend_is_not_negative"),
    Index(
        "budget_tracking_by_generation",
        text("((budget_id::text || '/'::text) || period)"),
        text("GREATEST(period_start, to_timestamp(0::double precision))"),
        text("generation DESC"),
    ),
    comment="Every budget period of every campaign and order: limit, spent and held, in its owner's currency",
)

budget_periods = Table(
    "budget_periods",
    metadata,
    key_column("budget_id", Identifier, "The campaign's id, or ' order ' and the order's id"),
    key_column("period", Text, "hour, day or lifetime"),
    key_column("period_start", Timestamp, "Start of the period"),
    comment="Every period that budget_tracking has a row for; the trigger budget_period_has_one_row locks its row here",
)

ad_serves = Table(
    "ad_serves",
    metadata,
    required("request_key", Uuid, "The request: its id if that is a UUID, otherwise a keyed hash of the id"),
    required("slot", SmallInteger, "Position in the pod; 0 for a single ad"),
    required("served_on", Date, "UTC day of served_at; the partition key"),
    required("served_at", Timestamp, "When the ad was served"),
    required("campaign_id", Identifier, "Campaign"),
    optional("creative_id", Identifier, "The campaign's own creative; NULL for an upstream's ad"),
    optional("upstream_id", Identifier, "Upstream; NULL for a creative of the campaign"),
    optional("placement_id", Identifier, "Placement; NULL if the request named the campaign"),
    optional("publisher_id", Identifier, "Publisher of the placement"),
    optional("user_key", Uuid, "Keyed hash of the viewer's id; NULL if unknown"),
    optional("session_id", Uuid, "Viewing session"),
    optional("country", Text, "Country of the viewer, an ISO 3166-1 alpha-2 code; NULL if unknown"),
    optional("region", Text, "Region of the viewer, an ISO 3166-2 code; NULL if unknown"),
    optional("device_type", Text, "Device type of the viewer; NULL if unknown"),
    required("price", Money, "Price of the ad"),
    required("currency", String(3), "Currency of the price"),
    required("billing", Text, "Event that charges for the ad: serve, impression, click or complete"),
    required(
        "fingerprint", BigInteger, "Hash of the request's parameters; the same request id with another is a conflict"
    ),
    optional("entry_id", BigInteger, "Ledger entry of the charge; NULL if the ad is billed by a later event"),
    PrimaryKeyConstraint("request_key", "slot", "served_on"),
    time_index("ad_serves_by_time", "served_at"),
    comment="One row for every ad served; append-only, partitioned by UTC day",
    postgresql_partition_by="RANGE (served_on)",
)

served_documents = Table(
    "served_documents",
    metadata,
    required("request_key", Uuid, "The request"),
    required("slot", SmallInteger, "Position in the pod"),
    required("served_on", Date, "UTC day of the serve; the partition key"),
    required("document", LargeBinary, "The upstream's VAST document, as received"),
    PrimaryKeyConstraint("request_key", "slot", "served_on"),
    comment="Upstream documents of requests that may be repeated; partitioned by UTC day",
    postgresql_partition_by="RANGE (served_on)",
)

midnight_requests = Table(
    "midnight_requests",
    metadata,
    key_column("request_key", Uuid, "The request"),
    required("claimed_at", Timestamp, "When the request was claimed"),
    comment="Requests within a minute of midnight UTC; this key spans both days, the key of a partitioned table cannot",
)

holds = Table(
    "holds",
    metadata,
    key_column("request_key", Uuid, "Request of the serve"),
    key_column("slot", SmallInteger, "Slot of the serve"),
    key_column("served_on", Date, "UTC day of the serve"),
    required("booked_on", Date, "Day in the campaign's time zone to which it will be booked"),
    optional("order_id", Identifier, "Order; NULL for none"),
    required("advertiser_id", Identifier, "Advertiser, who pays"),
    required("advertiser_name", Text, "Name of the advertiser at the time of the serve"),
    required("campaign_id", Identifier, "Campaign"),
    optional("creative_id", Identifier, "The campaign's own creative; NULL for an upstream's ad"),
    optional("upstream_id", Identifier, "Upstream; NULL for a creative of the campaign"),
    optional("publisher_id", Identifier, "Publisher of the placement"),
    optional("publisher_name", Text, "Name of the publisher at the time of the serve"),
    optional("placement_id", Identifier, "Placement; NULL if the request named the campaign"),
    required("price", Money, "Amount held"),
    required("publisher_amount", Money, "The publisher's part of the price"),
    required("currency", String(3), "Currency of the price"),
    required("billing", Text, "Event that settles the hold: impression, click or complete"),
    required("hour_start", Timestamp, "Start of the budget hour in which it is held"),
    required("day_start", Timestamp, "Start of the budget day in which it is held"),
    required("expires_at", Timestamp, "When maintenance releases the hold", index=True),
    CheckConstraint("price >= 0", name="hold_is_not_negative"),
    comment="Open holds; the transaction that deletes the row settles or releases it, so that this happens once",
)

hold_releases = Table(
    "hold_releases",
    metadata,
    required("request_key", Uuid, "Request of the serve"),
    required("slot", SmallInteger, "Slot of the serve"),
    required("served_on", Date, "UTC day of the serve; the partition key"),
    required("booked_on", Date, "Day in the campaign's time zone to which it will be booked"),
    optional("order_id", Identifier, "Order; NULL for none"),
    required("advertiser_id", Identifier, "Advertiser, who pays"),
    required("advertiser_name", Text, "Name of the advertiser at the time of the serve"),
    required("campaign_id", Identifier, "Campaign"),
    optional("creative_id", Identifier, "The campaign's own creative; NULL for an upstream's ad"),
    optional("upstream_id", Identifier, "Upstream; NULL for a creative of the campaign"),
    optional("publisher_id", Identifier, "Publisher of the placement"),
    optional("publisher_name", Text, "Name of the publisher at the time of the serve"),
    optional("placement_id", Identifier, "Placement; NULL if the request named the campaign"),
    required("price", Money, "Amount that was held"),
    required("publisher_amount", Money, "The publisher's part of the price"),
    required("currency", String(3), "Currency of the price"),
    required("billing", Text, "Event that would have settled the hold: impression, click or complete"),
    required("released_at", Timestamp, "When the hold was released"),
    required(
        "cause",
        Text,
        "error: the player reported that the ad failed; expiry: the event that was sold did not come in time",
    ),
    optional("entry_id", BigInteger, "Ledger entry of a late event that was charged; NULL for none"),
    PrimaryKeyConstraint("request_key", "slot", "served_on"),
    allowed_values("release_cause_is_known", "cause", "error expiry"),
    time_index("hold_releases_by_time", "released_at"),
    comment="Holds that were released; the event that was sold may come later and still be charged",
    postgresql_partition_by="RANGE (served_on)",
)

ad_events = Table(
    "ad_events",
    metadata,
    required("request_key", Uuid, "Request of the serve"),
    required("slot", SmallInteger, "Slot of the serve"),
    required("served_on", Date, "UTC day of the serve; the partition key"),
    required("event", Text, "impression, start, firstQuartile, ..."),
    required("campaign_id", Identifier, "Campaign"),
    required("received_at", Timestamp, "When the first beacon of this event arrived", server_default=func.now()),
    optional("error_code", SmallInteger, "VAST error code of an error beacon"),
    optional("entry_id", BigInteger, "Ledger entry of the hold that the event settled; NULL for none"),
    PrimaryKeyConstraint("request_key", "slot", "served_on", "event"),
    time_index("ad_events_by_time", "received_at"),
    comment="One row for each event of a serve, no matter how often its beacon is sent; partitioned by UTC day",
    postgresql_partition_by="RANGE (served_on)",
)

quotas = Table(
    "quotas",
    metadata,
    key_column("name", Identifier, "upstream:ID or publisher:ID"),
    required("tokens", Numeric(18, 6), "Tokens left in the bucket"),
    required("refilled_at", Timestamp, "Moment up to which the bucket was refilled"),
    comment="Rate limits of all servers together: token buckets that servers lease parts of",
)

requests_daily = Table(
    "requests_daily",
    metadata,
    required("requested_on", Date, "UTC day"),
    required("outcome", Text, "served, repeat, error, or the reason why there was no ad"),
    required("requests", BigInteger, "Number of requests"),
    PrimaryKeyConstraint("requested_on", "outcome"),
    comment="Ad requests by outcome; each server adds its counts every few seconds: a statistic, not part of the books",
)
