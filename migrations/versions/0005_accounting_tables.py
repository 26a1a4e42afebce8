"""The tables of the books: the ledger, its daily sums, closed months; and the records of maintenance.

Revision ID: 0005
Revises: 0004
"""

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    Identity,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from migrations.columns import Identifier, Money, Timestamp, allowed_values, key_column, optional, reference, required

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Privileges of the server's role. It books and cannot change or delete an entry; a month is closed by the owner.
GRANTS = {
    "spend_ledger": "SELECT, INSERT",
    "ledger_corrections": "SELECT, INSERT",
    "order_credits": "SELECT, INSERT",
    "closed_months": "SELECT",
    "spend_daily": "SELECT, INSERT, UPDATE",
    "books_state": "SELECT, UPDATE",
    "retention": "SELECT",
    "maintenance": "SELECT, INSERT, UPDATE",
    "budget_archive": "SELECT",
    "archived_months": "SELECT",
    "opening_balances": "SELECT",
    "archived_charges": "SELECT",
    "flat_days": "SELECT, INSERT",
}

# Entries are appended in the order of time, so the smallest kind of index finds those since a moment.
ENTRIES_SINCE = """
CREATE INDEX spend_ledger_by_time ON spend_ledger
USING brin (booked_at, booked_on) WITH (pages_per_range = 32, autosummarize = on)
"""


def upgrade() -> None:
    create_spend_ledger()
    create_ledger_corrections()
    create_order_credits()
    create_closed_months()
    create_spend_daily()
    create_books_state()
    create_retention()
    create_maintenance()
    create_budget_archive()
    create_archived_months()
    create_opening_balances()
    create_archived_charges()
    create_flat_days()
    for table, privileges in GRANTS.items():
        op.execute(f"GRANT {privileges} ON {table} TO adserver_app")
    # Serving takes the number of an entry before it inserts it, for the row of the serve.
    op.execute("GRANT USAGE ON SEQUENCE spend_ledger_entry_id_seq TO adserver_app")
    op.execute("GRANT SELECT ON spend_ledger TO adserver_finance")


def downgrade() -> None:
    for table in reversed(GRANTS):
        op.drop_table(table)


def create_spend_ledger() -> None:
    op.create_table(
        "spend_ledger",
        Column("entry_id", BigInteger, Identity(always=True, cache=256), nullable=False, comment="Number of the entry"),
        required("booked_at", Timestamp, "When it was booked"),
        required("booked_on", Date, "Day in the campaign's time zone; the table is partitioned by its month"),
        optional("late_from", Date, "Day to which it belongs, if it was booked to a later one"),
        required("kind", Text, "charge, settle, flat, adjustment or reversal"),
        optional("order_id", Identifier, "Order; NULL for none"),
        required("advertiser_id", Identifier, "Advertiser, who pays"),
        required("advertiser_name", Text, "Name of the advertiser when it was booked"),
        required("campaign_id", Identifier, "Campaign"),
        optional("creative_id", Identifier, "The campaign's own creative; NULL for an upstream's ad"),
        optional("upstream_id", Identifier, "Upstream; NULL for a creative of the campaign"),
        optional("publisher_id", Identifier, "Publisher of the placement"),
        optional("publisher_name", Text, "Name of the publisher when it was booked"),
        optional(
            "placement_id", Identifier, "Placement; NULL if the request named the campaign, and for an adjustment"
        ),
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
        allowed_values("ledger_kind_is_known", "kind", "charge settle flat adjustment reversal"),
        CheckConstraint(
            "kind IN ('adjustment', 'reversal') OR (amount >= 0 AND (request_key IS NULL) = (kind = 'flat'))",
            name="only_corrections_are_manual",
        ),
        comment="Every amount ever charged; append-only, partitioned by month",
        postgresql_partition_by="RANGE (booked_on)",
    )
    op.execute("CREATE TABLE spend_ledger_default PARTITION OF spend_ledger DEFAULT")
    op.execute(ENTRIES_SINCE)


def create_ledger_corrections() -> None:
    op.create_table(
        "ledger_corrections",
        required("idempotency_key", Identifier, "Chosen by the caller; repeating it books nothing more"),
        required("kind", Text, "adjustment or reversal"),
        required("campaign_id", Identifier, "Campaign"),
        required("amount", Money, "Amount added to what is spent"),
        required("currency", String(3), "Currency of the amount"),
        required("reason", Text, "Reason of the correction"),
        optional("reverses", BigInteger, "The entry that a reversal takes back"),
        optional("reverses_booked_on", Date, "Day of that entry"),
        key_column("entry_id", BigInteger, "The entry that was booked"),
        required("booked_on", Date, "Day of the entry"),
        required("recorded_at", Timestamp, "When the correction was made"),
        required("recorded_by", Text, "Database role that made the correction"),
        optional("set_entry", BigInteger, "In a set of corrections, the same as `reverses`; otherwise NULL"),
        UniqueConstraint("idempotency_key", "set_entry", name="a_key_books_once", postgresql_nulls_not_distinct=True),
        UniqueConstraint("reverses", name="an_entry_is_reversed_once"),
        allowed_values("correction_kind_is_known", "kind", "adjustment reversal"),
        CheckConstraint(
            "num_nonnulls(reverses, reverses_booked_on) = CASE kind WHEN 'reversal' THEN 2 ELSE 0 END",
            name="only_a_reversal_names_what_it_reverses",
        ),
        CheckConstraint(
            "set_entry IS NULL OR set_entry IS NOT DISTINCT FROM reverses", name="a_set_reverses_its_entries"
        ),
        comment="Manual entries of the ledger; the key of each ensures that it is booked once",
    )


def create_order_credits() -> None:
    op.create_table(
        "order_credits",
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


def create_closed_months() -> None:
    op.create_table(
        "closed_months",
        required("month", Date, "First day of the month"),
        required("closed_at", Timestamp, "When the month was closed"),
        required("closed_by", Text, "Database role that closed the month"),
        required("entries", BigInteger, "Number of entries in the month"),
        required("previous_hash", LargeBinary, "Hash of the month closed before this one"),
        required("hash", LargeBinary, "SHA-256, chained over the entries; docs/finance.md describes it"),
        PrimaryKeyConstraint("month"),
        comment="Months that accept no more entries, and the hashes that prove what their entries were",
    )


def create_spend_daily() -> None:
    op.create_table(
        "spend_daily",
        required("booked_on", Date, "Day in the campaign's time zone"),
        required("recorded_on", Date, "UTC day of booked_at"),
        optional("order_id", Identifier, "Order; NULL for none"),
        required("advertiser_id", Identifier, "Advertiser, who pays"),
        required("advertiser_name", Text, "Name of the advertiser when it was booked"),
        required("campaign_id", Identifier, "Campaign"),
        optional("publisher_id", Identifier, "Publisher of the placement"),
        optional("publisher_name", Text, "Name of the publisher when it was booked"),
        required("currency", String(3), "Currency of the amounts"),
        required("kind", Text, "charge, settle, flat, adjustment or reversal"),
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


def create_books_state() -> None:
    op.create_table(
        "books_state",
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
    op.execute("INSERT INTO books_state DEFAULT VALUES")


def create_retention() -> None:
    op.create_table(
        "retention",
        required("parent", Text, "Partitioned table"),
        required("dropped_before", Date, "Partitions of earlier days have been dropped"),
        PrimaryKeyConstraint("parent"),
        comment="The partitions that maintenance has dropped, so that reconciliation does not miss their rows",
    )


def create_maintenance() -> None:
    op.create_table(
        "maintenance",
        required("task", Text, "Name of the task"),
        required("begun_at", Timestamp, "When a server last began it; the others wait until it is due again"),
        PrimaryKeyConstraint("task"),
        comment="When each maintenance task was last begun by any server",
    )


def create_budget_archive() -> None:
    op.create_table(
        "budget_archive",
        key_column("campaign_id", Identifier, "Campaign"),
        key_column("period", Text, "hour or day"),
        key_column("period_start", Timestamp, "Start of the period"),
        optional("limit", Money, "Amount that could be spent in the period; NULL for no limit"),
        optional(
            "impressions_limit", BigInteger, "Number of ads that could be served in the period; NULL for no limit"
        ),
        required("spent", Money, "Amount charged"),
        required("impressions", BigInteger, "Number of ads charged"),
        CheckConstraint(
            'spent >= 0 AND impressions >= 0 AND (spent <= "limit" AND impressions <= impressions_limit) IS NOT FALSE',
            name="archived_spend_within_budget",
        ),
        comment="Budget periods that ended long ago, which maintenance moves here from budget_tracking",
    )


def create_archived_months() -> None:
    op.create_table(
        "archived_months",
        key_column("month", Date, "First day of the month"),
        required("archived_at", Timestamp, "When the month was archived"),
        required("archived_by", Text, "Database role that archived the month"),
        required("entries", BigInteger, "Number of entries in the archive"),
        required("manifest_hash", LargeBinary, "SHA-256 of the manifest of the archive"),
        required("daily_hash", LargeBinary, "SHA-256 of the rows of spend_daily of the month"),
        comment="Closed months whose entries are in an archive outside of the database",
    )


def create_opening_balances() -> None:
    op.create_table(
        "opening_balances",
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


def create_archived_charges() -> None:
    op.create_table(
        "archived_charges",
        key_column("request_key", Uuid, "Request of the serve"),
        key_column("slot", SmallInteger, "Slot of the serve"),
        required("campaign_id", Identifier, "Campaign"),
        required("currency", String(3), "Currency of the amount"),
        required("amount", Money, "Amount charged"),
        required("kind", Text, "charge or settle"),
        required("booked_at", Timestamp, "When it was booked"),
        comment="Charges in archived months whose serves are still kept",
    )


def create_flat_days() -> None:
    op.create_table(
        "flat_days",
        reference("campaign_id", "campaigns.id", "Campaign with a flat price", primary_key=True),
        key_column("day", Date, "Day in the campaign's time zone"),
        required("part", Money, "The day's part of the flat price"),
        required("amount", Money, "Amount booked: the part, or 0 if the campaign was active at no time of the day"),
        required("booked_on", Date, "Day to which it was booked"),
        required("booked_at", Timestamp, "When it was booked"),
        CheckConstraint("part >= 0 AND amount IN (0, part)", name="flat_day_is_booked_whole"),
        comment="The days of flat prices that were booked; append-only, so that each is booked once",
    )
