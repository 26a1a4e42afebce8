"""The books: corrections, closed months, daily rollups, and what tells when a count began.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(precision=18, scale=6)
MOMENT = sa.DateTime(timezone=True)
IDENTIFIER = sa.String(collation="C")

APP_GRANTS = {
    "SELECT, INSERT": "ledger_corrections",
    "SELECT": "closed_months, retention",
    "SELECT, INSERT, UPDATE": "spend_daily",
    "SELECT, UPDATE": "books_state",
}

# The clock is STABLE: the default is computed once, and no row is rewritten.
CAPS_COUNT_FROM = """
-- squawk-ignore adding-field-with-default
ALTER TABLE campaign_caps ADD COLUMN counts_from timestamptz DEFAULT adserver_clock() NOT NULL
"""

# Entries come in the order of time, so the smallest of indexes finds those since a moment. No partition can be
# indexed CONCURRENTLY through its parent; of an index this small, ten million rows are read in about a second.
FIND_ENTRIES_SINCE = """
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX spend_ledger_booked_at_idx ON spend_ledger
USING brin (booked_at) WITH (pages_per_range = 32, autosummarize = on)
"""

# A budget period that is added to a running campaign starts with what was spent before; one that is taken away loses
# its running row, so that every row that stays has counted all of its period. SHARE waits for the transactions that
# are booking now, and holds up the next ones for as long as the counting takes.
RECOUNT_BUDGETS = """
CREATE FUNCTION recount_budgets(campaign_ids text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    LOCK TABLE budget_tracking IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM budget_tracking t USING campaigns c
    WHERE c.id = ANY (campaign_ids) AND t.campaign_id = c.id
        AND t.period_start = window_start(t.period, adserver_clock(), c.timezone)
        AND NOT EXISTS (SELECT FROM campaign_budgets b WHERE b.campaign_id = t.campaign_id AND b.period = t.period);
    WITH missing AS MATERIALIZED (
        SELECT b.campaign_id, b.period, b."limit", window_start(b.period, adserver_clock(), c.timezone) AS period_start
        FROM campaign_budgets b JOIN campaigns c ON c.id = b.campaign_id
        WHERE c.id = ANY (campaign_ids) AND NOT EXISTS (
            SELECT FROM budget_tracking t WHERE t.campaign_id = b.campaign_id AND t.period = b.period
                AND t.period_start = window_start(b.period, adserver_clock(), c.timezone))
    ), counted AS (
        SELECT m.*, booked.spent, open.held, booked.ads + open.ads AS ads
        FROM missing m
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(l.amount), 0) AS spent,
                   count(*) FILTER (WHERE l.kind IN ('charge', 'settle')) AS ads
            FROM spend_ledger l
            WHERE l.campaign_id = m.campaign_id AND l.booked_at >= m.period_start
                AND m.period_start = CASE m.period WHEN 'hour' THEN l.hour_start WHEN 'day' THEN l.day_start
                                                   ELSE to_timestamp(0) END
        ) AS booked
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(h.price), 0) AS held, count(*) AS ads
            FROM holds h
            WHERE h.campaign_id = m.campaign_id
                AND m.period_start = CASE m.period WHEN 'hour' THEN h.hour_start WHEN 'day' THEN h.day_start
                                                   ELSE to_timestamp(0) END
        ) AS open
    )
    INSERT INTO budget_tracking (campaign_id, period, period_start, "limit", spent, held, impressions)
    SELECT campaign_id, period, period_start, greatest("limit", spent + held), spent, held, ads
    FROM counted ORDER BY campaign_id, period
    ON CONFLICT DO NOTHING;
END
$$
"""


def upgrade() -> None:
    op.execute(CAPS_COUNT_FROM)
    op.execute(
        "COMMENT ON COLUMN campaign_caps.counts_from IS "
        "'Since when this cap has counted; serves before that are not in its counts'"
    )
    op.create_table(
        "ledger_corrections",
        sa.Column(
            "idempotency_key",
            IDENTIFIER,
            nullable=False,
            comment="Chosen by whoever corrects; the same key again books nothing",
        ),
        sa.Column("kind", sa.Text(), nullable=False, comment="adjustment or reversal"),
        sa.Column("campaign_id", IDENTIFIER, nullable=False, comment="Campaign"),
        sa.Column("amount", MONEY, nullable=False, comment="Added to what is spent"),
        sa.Column("currency", sa.String(length=3), nullable=False, comment="Currency of the amount"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why"),
        sa.Column("reverses", sa.BigInteger(), nullable=True, comment="The entry that a reversal takes back"),
        sa.Column("entry_id", sa.BigInteger(), nullable=False, comment="The entry that was booked"),
        sa.Column("booked_at", MOMENT, nullable=False, comment="The date that the entry carries"),
        sa.Column("recorded_at", MOMENT, nullable=False, comment="When it was really booked"),
        sa.Column("recorded_by", sa.Text(), nullable=False, comment="The database role that booked it"),
        sa.CheckConstraint("kind IN ('adjustment', 'reversal')", name=op.f("correction_kind_is_known")),
        sa.CheckConstraint(
            "(kind = 'reversal') = (reverses IS NOT NULL)", name=op.f("only_a_reversal_names_what_it_reverses")
        ),
        sa.PrimaryKeyConstraint("idempotency_key", name=op.f("ledger_corrections_pkey")),
        sa.UniqueConstraint("reverses", name=op.f("an_entry_is_reversed_once")),
        comment="Manual entries of the ledger, by the key that makes each happen once",
    )
    op.create_table(
        "closed_months",
        sa.Column("month", sa.Date(), nullable=False, comment="First day of the UTC month"),
        sa.Column("closed_at", MOMENT, nullable=False, comment="When it was closed"),
        sa.Column("closed_by", sa.Text(), nullable=False, comment="The database role that closed it"),
        sa.Column("entries", sa.BigInteger(), nullable=False, comment="How many entries it has"),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False, comment="Hash of the month closed before"),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 chained over its entries, see docs"),
        sa.PrimaryKeyConstraint("month", name=op.f("closed_months_pkey")),
        comment="Months that no entry can be booked into any more, and the hash that proves what they were",
    )
    op.create_table(
        "spend_daily",
        sa.Column(
            "day",
            sa.Date(),
            nullable=False,
            comment="Day in the campaign's timezone: of the serve, or of the booking for a correction",
        ),
        sa.Column("campaign_id", IDENTIFIER, nullable=False, comment="Campaign"),
        sa.Column("currency", sa.String(length=3), nullable=False, comment="Currency of the amount"),
        sa.Column("kind", sa.Text(), nullable=False, comment="charge, settle, adjustment or reversal"),
        sa.Column("booked_on", sa.Date(), nullable=False, comment="UTC day of booked_at"),
        sa.Column("amount", MONEY, nullable=False, comment="Sum of the entries"),
        sa.Column("entries", sa.BigInteger(), nullable=False, comment="How many entries"),
        sa.PrimaryKeyConstraint("day", "campaign_id", "currency", "kind", "booked_on", name=op.f("spend_daily_pkey")),
        comment="Sums of the ledger's entries that were booked before books_state.rolled_up_to",
    )
    op.create_table(
        "books_state",
        sa.Column("only_row", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="Always 1"),
        sa.Column(
            "rolled_up_to",
            MOMENT,
            server_default=sa.text("'-infinity'"),
            nullable=False,
            comment="spend_daily has every entry booked before this moment, and none from it on",
        ),
        sa.CheckConstraint("only_row = 1", name=op.f("books_state_has_one_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("books_state_pkey")),
        comment="How far the rollups are",
    )
    op.execute("INSERT INTO books_state DEFAULT VALUES")
    op.create_table(
        "retention",
        sa.Column("parent", sa.Text(), nullable=False, comment="Partitioned table"),
        sa.Column("dropped_before", sa.Date(), nullable=False, comment="Partitions of days before this are gone"),
        sa.PrimaryKeyConstraint("parent", name=op.f("retention_pkey")),
        comment="What maintenance has dropped, so that reconciliation does not miss it",
    )
    op.execute(FIND_ENTRIES_SINCE)
    op.execute(RECOUNT_BUDGETS)
    op.execute(
        "COMMENT ON FUNCTION recount_budgets(text[]) IS "
        "'Makes and removes the running budget periods of campaigns whose set of budgets has changed'"
    )
    op.execute("REVOKE EXECUTE ON FUNCTION recount_budgets(text[]) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION recount_budgets(text[]) TO adserver_app")
    for verbs, tables in APP_GRANTS.items():
        op.execute(f"GRANT {verbs} ON {tables} TO adserver_app")
    op.execute("SELECT make_partitions(7)")


def downgrade() -> None:
    op.execute("DROP FUNCTION recount_budgets(text[])")
    op.drop_index(op.f("spend_ledger_booked_at_idx"), table_name="spend_ledger")
    for table in ("retention", "books_state", "spend_daily", "closed_months", "ledger_corrections"):
        op.drop_table(table)
    op.drop_column("campaign_caps", "counts_from")
