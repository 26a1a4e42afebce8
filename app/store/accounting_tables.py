"""The tables of the books as SQLAlchemy knows them, beside those of `schema`; Alembic owns them as well."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from app.store.tables import Identifier, Moment, Money, metadata, spend_ledger


def _must(name: str, type_: object, comment: str, default: str | None = None) -> Column[object]:
    server_default = None if default is None else text(default)
    return Column(name, type_, nullable=False, comment=comment, server_default=server_default)  # type: ignore[arg-type]


# Entries come in the order of time, so the smallest of indexes finds those since a moment.
Index(
    "spend_ledger_booked_at_idx",
    spend_ledger.c.booked_at,
    postgresql_using="brin",
    postgresql_with={"pages_per_range": 32, "autosummarize": True},
)

ledger_corrections = Table(
    "ledger_corrections",
    metadata,
    _must("idempotency_key", Identifier, "Chosen by whoever corrects; the same key again books nothing"),
    _must("kind", Text, "adjustment or reversal"),
    _must("campaign_id", Identifier, "Campaign"),
    _must("amount", Money, "Added to what is spent"),
    _must("currency", String(3), "Currency of the amount"),
    _must("reason", Text, "Why"),
    Column("reverses", BigInteger, nullable=True, comment="The entry that a reversal takes back"),
    _must("entry_id", BigInteger, "The entry that was booked"),
    _must("booked_at", Moment, "The date that the entry carries"),
    _must("recorded_at", Moment, "When it was really booked"),
    _must("recorded_by", Text, "The database role that booked it"),
    PrimaryKeyConstraint("idempotency_key"),
    UniqueConstraint("reverses", name="an_entry_is_reversed_once"),
    CheckConstraint("kind IN ('adjustment', 'reversal')", name="correction_kind_is_known"),
    CheckConstraint("(kind = 'reversal') = (reverses IS NOT NULL)", name="only_a_reversal_names_what_it_reverses"),
    comment="Manual entries of the ledger, by the key that makes each happen once",
)

closed_months = Table(
    "closed_months",
    metadata,
    _must("month", Date, "First day of the UTC month"),
    _must("closed_at", Moment, "When it was closed"),
    _must("closed_by", Text, "The database role that closed it"),
    _must("entries", BigInteger, "How many entries it has"),
    _must("previous_hash", LargeBinary, "Hash of the month closed before"),
    _must("hash", LargeBinary, "SHA-256 chained over its entries, see docs"),
    PrimaryKeyConstraint("month"),
    comment="Months that no entry can be booked into any more, and the hash that proves what they were",
)

spend_daily = Table(
    "spend_daily",
    metadata,
    _must("day", Date, "Day in the campaign's timezone: of the serve, or of the booking for a correction"),
    _must("campaign_id", Identifier, "Campaign"),
    _must("currency", String(3), "Currency of the amount"),
    _must("kind", Text, "charge, settle, adjustment or reversal"),
    _must("booked_on", Date, "UTC day of booked_at"),
    _must("amount", Money, "Sum of the entries"),
    _must("entries", BigInteger, "How many entries"),
    PrimaryKeyConstraint("day", "campaign_id", "currency", "kind", "booked_on"),
    comment="Sums of the ledger's entries that were booked before books_state.rolled_up_to",
)

books_state = Table(
    "books_state",
    metadata,
    Column("only_row", Integer, primary_key=True, server_default=text("1"), comment="Always 1"),
    _must(
        "rolled_up_to",
        Moment,
        "spend_daily has every entry booked before this moment, and none from it on",
        default="'-infinity'",
    ),
    CheckConstraint("only_row = 1", name="books_state_has_one_row"),
    comment="How far the rollups are",
)

retention = Table(
    "retention",
    metadata,
    _must("parent", Text, "Partitioned table"),
    _must("dropped_before", Date, "Partitions of days before this are gone"),
    PrimaryKeyConstraint("parent"),
    comment="What maintenance has dropped, so that reconciliation does not miss it",
)

maintenance = Table(
    "maintenance",
    metadata,
    _must("task", Text, "What is done"),
    _must("begun_at", Moment, "When a server last began with it; the others leave it until its time comes again"),
    PrimaryKeyConstraint("task"),
    comment="When each task of maintenance was last begun, over all servers",
)

requests_daily = Table(
    "requests_daily",
    metadata,
    _must("requested_on", Date, "UTC day"),
    _must("outcome", Text, "served, repeat, error, or why there was no ad"),
    _must("requests", BigInteger, "How many"),
    PrimaryKeyConstraint("requested_on", "outcome"),
    comment="Ad requests by outcome, which each server adds to every few seconds: a statistic, not a book",
)
