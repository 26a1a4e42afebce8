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

from app.store.tables.columns import Identifier, Money, Timestamp, allowed_values, metadata, optional, required

spend_ledger = Table(
    "spend_ledger",
    metadata,
    Column("entry_id", BigInteger, Identity(always=True, cache=256), nullable=False, comment="Number of the entry"),
    required("booked_at", Timestamp, "When it was booked; the table is partitioned by its UTC month"),
    required("kind", Text, "charge, settle, adjustment or reversal"),
    required("campaign_id", Identifier, "Campaign"),
    optional("request_key", Uuid, "Request of the serve; NULL for an adjustment"),
    optional("slot", SmallInteger, "Slot of the serve; NULL for an adjustment"),
    required("amount", Money, "Amount added to what is spent; may be negative in a correction"),
    required("currency", String(3), "Currency of the amount"),
    required("hour_start", Timestamp, "Start of the budget hour in which it counts"),
    required("day_start", Timestamp, "Start of the budget day, in the campaign's time zone, in which it counts"),
    optional("reason", Text, "Reason of a manual entry"),
    PrimaryKeyConstraint("entry_id", "booked_at"),
    allowed_values("ledger_kind_is_known", "kind", "charge settle adjustment reversal"),
    CheckConstraint(
        "kind IN ('adjustment', 'reversal') OR (amount >= 0 AND request_key IS NOT NULL)",
        name="only_corrections_are_manual",
    ),
    # Entries are appended in the order of time, so the smallest kind of index finds those since a moment.
    Index(
        "spend_ledger_booked_at_idx",
        "booked_at",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    ),
    comment="Every amount ever charged; append-only, partitioned by UTC month",
    postgresql_partition_by="RANGE (booked_at)",
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
    required("entry_id", BigInteger, "The entry that was booked"),
    required("booked_at", Timestamp, "Date of the entry"),
    required("recorded_at", Timestamp, "When the correction was made"),
    required("recorded_by", Text, "Database role that made the correction"),
    PrimaryKeyConstraint("idempotency_key"),
    UniqueConstraint("reverses", name="an_entry_is_reversed_once"),
    allowed_values("correction_kind_is_known", "kind", "adjustment reversal"),
    CheckConstraint("(kind = 'reversal') = (reverses IS NOT NULL)", name="only_a_reversal_names_what_it_reverses"),
    comment="Manual entries of the ledger; the key of each ensures that it is booked once",
)

closed_months = Table(
    "closed_months",
    metadata,
    required("month", Date, "First day of the UTC month"),
    required("closed_at", Timestamp, "When the month was closed"),
    required("closed_by", Text, "Database role that closed the month"),
    required("entries", BigInteger, "Number of entries in the month"),
    required("previous_hash", LargeBinary, "Hash of the month closed before this one"),
    required("hash", LargeBinary, "SHA-256, chained over the entries; docs/finance.md describes it"),
    PrimaryKeyConstraint("month"),
    comment="Months that accept no more entries, and the hashes that prove what their entries were",
)

spend_daily = Table(
    "spend_daily",
    metadata,
    required(
        "day", Date, "Day in the campaign's time zone: of the serve or, for a correction, of the date of the entry"
    ),
    required("campaign_id", Identifier, "Campaign"),
    required("currency", String(3), "Currency of the amount"),
    required("kind", Text, "charge, settle, adjustment or reversal"),
    required("booked_on", Date, "UTC day of booked_at"),
    required("amount", Money, "Sum of the entries"),
    required("entries", BigInteger, "Number of entries"),
    PrimaryKeyConstraint("day", "campaign_id", "currency", "kind", "booked_on"),
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
