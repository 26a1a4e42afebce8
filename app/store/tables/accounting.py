"""The tables of the books: the ledger, its daily sums, closed months; and the records of maintenance."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.store.tables.columns import (
    Identifier,
    Money,
    Timestamp,
    allowed_values,
    metadata,
    optional,
    reference,
    required,
)

spend_ledger = Table(
    "spend_ledger",
    metadata,
    Column("entry_id", BigInteger, Identity(always=True, cache=256), nullable=False, comment="Number of the entry"),
    required("booked_at", Timestamp, "When it was booked"),
    required("booked_on", Date, "Day in the campaign's time zone; the table is partitioned by its month"),
    optional("late_from", Date, "Day to which it belongs, if it was booked to a later one"),
    required("kind", Text, "charge, settle, adjustment or reversal"),
    optional("order_id", Identifier, "Order; NULL for none"),
    required("advertiser_id", Identifier, "Advertiser, who pays"),
    required("advertiser_name", Text, "Name of the advertiser when it was booked"),
    required("campaign_id", Identifier, "Campaign"),
    optional("creative_id", Identifier, "The campaign's own creative; NULL for an upstream's ad"),
    optional("upstream_id", Identifier, "Upstream; NULL for a creative of the campaign"),
    optional("publisher_id", Identifier, "Publisher of the placement"),
    optional("publisher_name", Text, "Name of the publisher when it was booked"),
    optional("placement_id", Identifier, "Placement; NULL if the request named the campaign, and for an adjustment"),
    optional("request_key", Uuid, "Request of the serve; NULL for an adjustment"),
    optional("slot", SmallInteger, "Slot of the serve; NULL for an adjustment"),
    required("amount", Money, "Amount added to what is spent; may be negative in a correction"),
    required("publisher_amount", Money, "The publisher's part of the amount"),
    required("house_amount", Money, "The rest of the amount, which the house keeps"),
    required("currency", String(3), "Currency of the amount"),
    required("hour_start", Timestamp, "Start of the budget hour in which it counts"),
    required("day_start", Timestamp, "Start of the budget day, in the campaign's time zone, in which it counts"),
    optional("reason", Text, "Reason of a manual entry"),
    PrimaryKeyConstraint("entry_id", "booked_on"),
    CheckConstraint("amount = publisher_amount + house_amount", name="amount_is_split"),
    allowed_values("ledger_kind_is_known", "kind", "charge settle adjustment reversal"),
    CheckConstraint(
        "kind IN ('adjustment', 'reversal') OR (amount >= 0 AND request_key IS NOT NULL)",
        name="only_corrections_are_manual",
    ),
    # Entries are appended in the order of time, so the smallest kind of index finds those since a moment.
    Index(
        "spend_ledger_by_time",
        "booked_at",
        "booked_on",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    ),
    comment="Every amount ever charged; append-only, partitioned by month",
    postgresql_partition_by="RANGE (booked_on)",
)

ledger_corrections = Table(
    "ledger_corrections",
    metadata,
    required("idempotency_key", Identifier, "Chosen by the caller; repeating it books nothing more"),
    required("kind", Text, "adjustment or reversal"),
    required("campaign_id", Identifier, "Campaign"),
    required("amount", Money, "Amount added to what is spent"),
    required("currency", String(3), "Currency of the amount"),
    required("reason", Text, "Reason of the correction"),
    optional("reverses", BigInteger, "The entry that a reversal takes back"),
    optional("reverses_booked_on", Date, "Day of that entry"),
    required("entry_id", BigInteger, "The entry that was booked"),
    required("booked_on", Date, "Day of the entry"),
    required("recorded_at", Timestamp, "When the correction was made"),
    required("recorded_by", Text, "Database role that made the correction"),
    PrimaryKeyConstraint("idempotency_key"),
    UniqueConstraint("reverses", name="an_entry_is_reversed_once"),
    allowed_values("correction_kind_is_known", "kind", "adjustment reversal"),
    CheckConstraint(
        "num_nonnulls(reverses, reverses_booked_on) = CASE kind WHEN 'reversal' THEN 2 ELSE 0 END",
        name="only_a_reversal_names_what_it_reverses",
    ),
    comment="Manual entries of the ledger; the key of each ensures that it is booked once",
)

order_credits = Table(
    "order_credits",
    metadata,
    required("idempotency_key", Identifier, "Chosen by the caller; repeating it credits nothing more"),
    required("order_id", Identifier, "Prepaid order"),
    required("amount", Money, "Amount that may be spent in addition; negative to take money back"),
    required("reason", Text, "Reason, such as the number of the payment"),
    required("recorded_at", Timestamp, "When the credit was recorded"),
    required("recorded_by", Text, "Database role that recorded the credit"),
    PrimaryKeyConstraint("idempotency_key"),
    CheckConstraint("amount <> 0", name="credit_is_not_zero"),
    comment="Money that advertisers paid for prepaid orders; append-only",
)

payouts = Table(
    "payouts",
    metadata,
    required("idempotency_key", Identifier, "Chosen by the caller; repeating it records nothing more"),
    reference("publisher_id", "publishers.id", "Publisher that was paid"),
    required("publisher_name", Text, "Name of the publisher when it was recorded"),
    required("currency", String(3), "Currency of the amount"),
    required("amount", Money, "Amount that was paid; negative if the publisher paid it back"),
    required("recorded_at", Timestamp, "When the payout was recorded"),
    required("recorded_by", Text, "Database role that recorded the payout"),
    PrimaryKeyConstraint("idempotency_key"),
    CheckConstraint("amount <> 0", name="payout_is_not_zero"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="payout_currency_is_a_code"),
    comment="Money that was paid to publishers; append-only",
)

closed_months = Table(
    "closed_months",
    metadata,
    required("month", Date, "First day of the month"),
    required("closed_at", Timestamp, "When the month was closed"),
    required("closed_by", Text, "Database role that closed the month"),
    required("entries", BigInteger, "Number of entries in the month"),
    required("previous_hash", LargeBinary, "Hash of the month closed before this one"),
    required("hash", LargeBinary, "SHA-256, chained over the entries; docs/finance.md describes it"),
    PrimaryKeyConstraint("month"),
    comment="Months that accept no more entries, and the hashes that prove what their entries were",
)

month_ends = Table(
    "month_ends",
    metadata,
    required("month", Date, "First day of the month"),
    required("advertiser_id", Identifier, "Advertiser, who pays"),
    required("advertiser_name", Text, "Name of the advertiser at its last entry or hold of the month"),
    optional("order_id", Identifier, "Order; NULL for none"),
    optional("publisher_id", Identifier, "Publisher of the placement"),
    optional("publisher_name", Text, "Name of the publisher at its last entry or hold of the month"),
    required("currency", String(3), "Currency of the amounts"),
    required("charged", Money, "Charged for ads: entries of the month of the kinds charge and settle"),
    required("corrected", Money, "Entries of the month of the kinds adjustment and reversal"),
    required("publisher_amount", Money, "The publisher's part of charged and corrected"),
    required(
        "released",
        Money,
        "Held for ads of the month and given back by the time of closing; what was charged late is not in it",
    ),
    required(
        "held",
        Money,
        "Part of charged and released, and of what is still open, that was held when the month ended: neither seen nor"
        " released",
    ),
    required("publisher_held", Money, "The publisher's part of held"),
    UniqueConstraint(
        *("month", "advertiser_id", "order_id", "publisher_id", "currency"),
        name="one_row_for_each_party",
        postgresql_nulls_not_distinct=True,
    ),
    comment="What each closed month came to, as kept with its closing; append-only",
)

book_repairs = Table(
    "book_repairs",
    metadata,
    Column("repair_id", BigInteger, Identity(always=True), nullable=False, comment="Number of the repair"),
    required("repaired_at", Timestamp, "When the row was changed"),
    required("repaired_by", Text, "Database role that changed it"),
    required("reason", Text, "Reason given in adserver.repair"),
    required("table_name", Text, "Table, or partition of the ledger"),
    required("operation", Text, "INSERT, UPDATE or DELETE"),
    optional("old_row", JSONB, "The row before; NULL for an INSERT"),
    optional("new_row", JSONB, "The row after; NULL for a DELETE"),
    PrimaryKeyConstraint("repair_id"),
    comment="Every row of the books that was changed by a repair; written by triggers, never changed",
)

spend_daily = Table(
    "spend_daily",
    metadata,
    required("booked_on", Date, "Day in the campaign's time zone"),
    required("recorded_on", Date, "UTC day of booked_at"),
    optional("order_id", Identifier, "Order; NULL for none"),
    required("advertiser_id", Identifier, "Advertiser, who pays"),
    required("advertiser_name", Text, "Name of the advertiser when it was booked"),
    required("campaign_id", Identifier, "Campaign"),
    optional("publisher_id", Identifier, "Publisher of the placement"),
    optional("publisher_name", Text, "Name of the publisher when it was booked"),
    required("currency", String(3), "Currency of the amounts"),
    required("kind", Text, "charge, settle, adjustment or reversal"),
    required("amount", Money, "Sum of the entries"),
    required("publisher_amount", Money, "Sum of the publisher's parts"),
    required("entries", BigInteger, "Number of entries"),
    required("ads", BigInteger, "Number of entries that charge an ad or take its charge back"),
    UniqueConstraint(
        "booked_on",
        "campaign_id",
        "kind",
        "recorded_on",
        "order_id",
        "advertiser_id",
        "advertiser_name",
        "publisher_id",
        "publisher_name",
        "currency",
        name="one_sum_for_each_day",
        postgresql_nulls_not_distinct=True,
    ),
    comment="Daily sums of the ledger entries that were booked before books_state.rolled_up_to",
)

books_state = Table(
    "books_state",
    metadata,
    Column("only_row", Integer, primary_key=True, server_default=text("1"), comment="Always 1"),
    required(
        "rolled_up_to",
        Timestamp,
        "spend_daily includes every entry booked before this moment and no later one",
        server_default=text("'-infinity'"),
    ),
    CheckConstraint("only_row = 1", name="books_state_has_one_row"),
    comment="The moment up to which the ledger is summed up in spend_daily",
)

retention = Table(
    "retention",
    metadata,
    required("parent", Text, "Partitioned table"),
    required("dropped_before", Date, "Partitions of earlier days have been dropped"),
    PrimaryKeyConstraint("parent"),
    comment="The partitions that maintenance has dropped, so that reconciliation does not miss their rows",
)

maintenance = Table(
    "maintenance",
    metadata,
    required("task", Text, "Name of the task"),
    required("begun_at", Timestamp, "When a server last began it; the others wait until it is due again"),
    PrimaryKeyConstraint("task"),
    comment="When each maintenance task was last begun by any server",
)
