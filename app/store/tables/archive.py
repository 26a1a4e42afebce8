"""Tables of what was archived: budget periods that ended long ago, and months of the ledger."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from app.store.tables.columns import Identifier, Money, Timestamp, key_column, metadata, optional, required

budget_archive = Table(
    "budget_archive",
    metadata,
    key_column("campaign_id", Identifier, "Campaign"),
    key_column("period", Text, "hour or day"),
    key_column("period_start", Timestamp, "Start of the period"),
    optional("limit", Money, "Amount that could be spent in the period; NULL for no limit"),
    optional("impressions_limit", BigInteger, "Number of ads that could be served in the period; NULL for no limit"),
    required("spent", Money, "Amount charged"),
    required("impressions", BigInteger, "Number of ads charged"),
    CheckConstraint(
        'spent >= 0 AND impressions >= 0 AND (spent <= "limit" AND impressions <= impressions_limit) IS NOT FALSE',
        name="archived_spend_within_budget",
    ),
    comment="Budget periods that ended long ago, which maintenance moves here from budget_tracking",
)

archived_months = Table(
    "archived_months",
    metadata,
    key_column("month", Date, "First day of the month"),
    required("archived_at", Timestamp, "When the month was archived"),
    required("archived_by", Text, "Database role that archived the month"),
    required("entries", BigInteger, "Number of entries in the archive"),
    required("manifest_hash", LargeBinary, "SHA-256 of the manifest of the archive"),
    required("daily_hash", LargeBinary, "SHA-256 of the rows of spend_daily of the month"),
    comment="Closed months whose entries are in an archive outside of the database",
)

opening_balances = Table(
    "opening_balances",
    metadata,
    required("month", Date, "First day of the archived month"),
    optional("campaign_id", Identifier, "Campaign; NULL for the budget of an order"),
    optional("order_id", Identifier, "Order; NULL for the budget of a campaign"),
    required("period", Text, "hour, day or lifetime"),
    required("period_start", Timestamp, "Start of the period; 1970 for lifetime"),
    required("amount", Money, "Sum of the archived entries that count in the period"),
    required("ads", BigInteger, "Number of ads that these entries charge"),
    UniqueConstraint(
        "month",
        "campaign_id",
        "order_id",
        "period",
        "period_start",
        name="one_opening_balance_for_each_period",
        postgresql_nulls_not_distinct=True,
    ),
    CheckConstraint("num_nonnulls(campaign_id, order_id) = 1", name="opening_balance_has_one_owner"),
    comment="What the entries of archived months add to the counters of budgets",
)

archived_charges = Table(
    "archived_charges",
    metadata,
    key_column("request_key", Uuid, "Request of the serve"),
    key_column("slot", SmallInteger, "Slot of the serve"),
    required("campaign_id", Identifier, "Campaign"),
    required("currency", String(3), "Currency of the amount"),
    required("amount", Money, "Amount charged"),
    required("kind", Text, "charge or settle"),
    required("booked_at", Timestamp, "When it was booked"),
    comment="Charges in archived months whose serves are still kept",
)
