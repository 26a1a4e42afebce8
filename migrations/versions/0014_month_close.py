"""Closing a month: its figures, the proof of its entries, and repairs of the books.

Revision ID: 0014
Revises: 0013
"""

from alembic import op
from sqlalchemy import BigInteger, Column, Date, Identity, PrimaryKeyConstraint, String, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB

from migrations.columns import Identifier, Money, Timestamp, optional, required

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

HELD = "Part of charged and released, and of what is still open, that was held when the month ended: neither seen nor released"

# Entries of the month by the daily sums and the ledger's newest entries; amounts that left a hold by the hold's day. A
# settled hold keeps its day, so an entry of the month that was booked after the month's end was held at that end. A late
# impression, which is charged after its hold was released, is an entry of the day on which it came. A plan
# made before the times are known would read all of the month's entries; bitmap scans are left, for which a BRIN index is.
COMPUTE_MONTH_END = """
CREATE FUNCTION compute_month_end(month date)
RETURNS TABLE (advertiser_id varchar, advertiser_name text, order_id varchar, publisher_id varchar, publisher_name text,
               currency varchar, charged numeric, corrected numeric, publisher_amount numeric, released numeric,
               held numeric, publisher_held numeric)
LANGUAGE sql STABLE SET search_path = public, pg_temp SET enable_seqscan = off SET enable_indexscan = off
BEGIN ATOMIC
    WITH span AS (
        SELECT date_trunc('month', month::timestamp)::date AS starts,
               (date_trunc('month', month::timestamp) + interval '1 month')::date AS ends
    ), part AS (
        SELECT d.advertiser_id, d.advertiser_name, d.order_id, d.publisher_id, d.publisher_name, d.currency,
               d.recorded_on AS named_on,
               CASE WHEN d.kind IN ('charge', 'settle', 'flat') THEN d.amount ELSE 0 END AS charged,
               CASE WHEN d.kind IN ('charge', 'settle', 'flat') THEN 0 ELSE d.amount END AS corrected,
               d.publisher_amount, 0 AS released, 0 AS held, 0 AS publisher_held
        FROM span JOIN spend_daily d ON d.booked_on >= span.starts AND d.booked_on < span.ends
        UNION ALL
        SELECT l.advertiser_id, l.advertiser_name, l.order_id, l.publisher_id, l.publisher_name, l.currency,
               (l.booked_at AT TIME ZONE 'UTC')::date,
               CASE WHEN l.kind IN ('charge', 'settle', 'flat') THEN l.amount ELSE 0 END,
               CASE WHEN l.kind IN ('charge', 'settle', 'flat') THEN 0 ELSE l.amount END, l.publisher_amount, 0, 0, 0
        FROM span JOIN spend_ledger l ON l.booked_on >= span.starts AND l.booked_on < span.ends
        WHERE l.booked_at >= (SELECT rolled_up_to FROM books_state)
        UNION ALL
        SELECT l.advertiser_id, l.advertiser_name, l.order_id, l.publisher_id, l.publisher_name, l.currency,
               l.booked_on, 0, 0, 0, 0, l.amount, l.publisher_amount
        FROM span JOIN spend_ledger l ON l.booked_on >= span.starts AND l.booked_on < span.ends
            AND l.booked_at >= span.ends::timestamp AT TIME ZONE 'UTC' - interval '14 hours'
        JOIN campaigns c ON c.id = l.campaign_id
        WHERE l.kind = 'settle' AND l.late_from IS NULL AND l.booked_at >= span.ends::timestamp AT TIME ZONE c.timezone
        UNION ALL
        SELECT h.advertiser_id, h.advertiser_name, h.order_id, h.publisher_id, h.publisher_name, h.currency,
               h.booked_on, 0, 0, 0, 0, h.price, h.publisher_amount
        FROM span JOIN holds h ON h.booked_on >= span.starts AND h.booked_on < span.ends
        UNION ALL
        SELECT r.advertiser_id, r.advertiser_name, r.order_id, r.publisher_id, r.publisher_name, r.currency,
               r.booked_on, 0, 0, 0, r.price, CASE WHEN at_end.was_held THEN r.price ELSE 0 END,
               CASE WHEN at_end.was_held THEN r.publisher_amount ELSE 0 END
        FROM span JOIN hold_releases r ON r.booked_on >= span.starts AND r.booked_on < span.ends
            AND r.served_on >= span.starts - 1 AND r.served_on <= span.ends AND r.entry_id IS NULL
        JOIN campaigns c ON c.id = r.campaign_id
        CROSS JOIN LATERAL (
            SELECT r.released_at >= span.ends::timestamp AT TIME ZONE c.timezone AS was_held
        ) AS at_end
    )
    SELECT p.advertiser_id, (array_agg(p.advertiser_name ORDER BY p.named_on DESC, p.advertiser_name))[1], p.order_id,
           p.publisher_id, (array_agg(p.publisher_name ORDER BY p.named_on DESC, p.publisher_name))[1], p.currency,
           sum(p.charged), sum(p.corrected), sum(p.publisher_amount), sum(p.released), sum(p.held),
           sum(p.publisher_held)
    FROM part p GROUP BY p.advertiser_id, p.order_id, p.publisher_id, p.currency;
END
"""

MONTH_END = """
CREATE FUNCTION finance.month_end(month date)
RETURNS TABLE (month date, closed boolean, advertiser_id text, advertiser text, order_id text, publisher_id text,
               publisher text, currency text, charged numeric(18,6), corrected numeric(18,6), spent numeric(18,6),
               publisher_amount numeric(18,6), released numeric(18,6), held numeric(18,6), publisher_held numeric(18,6))
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT span.starts, f.closed, f.advertiser_id, f.advertiser_name, f.order_id, f.publisher_id, f.publisher_name,
           f.currency, f.charged, f.corrected, f.charged + f.corrected, f.publisher_amount, f.released, f.held,
           f.publisher_held
    FROM (SELECT date_trunc('month', $1::timestamp)::date AS starts) AS span
    CROSS JOIN LATERAL (
        SELECT true AS closed, k.advertiser_id, k.advertiser_name, k.order_id, k.publisher_id, k.publisher_name,
               k.currency, k.charged, k.corrected, k.publisher_amount, k.released, k.held, k.publisher_held
        FROM month_ends k WHERE k.month = span.starts
        UNION ALL
        SELECT false, o.advertiser_id, o.advertiser_name, o.order_id, o.publisher_id, o.publisher_name, o.currency,
               o.charged, o.corrected, o.publisher_amount, o.released, o.held, o.publisher_held
        FROM compute_month_end(span.starts) o
        WHERE span.starts > coalesce((SELECT max(c.month) FROM closed_months c), '-infinity')
    ) AS f
    ORDER BY f.advertiser_id, f.order_id, f.publisher_id, f.currency;
END
"""

BOOK_REPAIRS = """
SELECT repair_id, repaired_at, repaired_by, reason, table_name, operation, old_row, new_row FROM public.book_repairs
"""
BOOK_REPAIRS_COLUMNS = {
    "repair_id": "Number of the repair",
    "repaired_at": "When the row was changed",
    "repaired_by": "Database role that changed it",
    "reason": "Reason that it gave",
    "table_name": "Table, or partition of the ledger",
    "operation": "INSERT, UPDATE or DELETE",
    "old_row": "The row before; NULL for an INSERT",
    "new_row": "The row after; NULL for a DELETE",
}

FUNCTIONS = {
    "compute_month_end(date)": (
        COMPUTE_MONTH_END,
        "The figures of a month as the books have them now; closing the month keeps them in month_ends",
    ),
    "finance.month_end(date)": (
        MONTH_END,
        "What a month came to, by advertiser, order, publisher and currency: as kept when it was closed, or as it is now. "
        "charged: for ads. corrected: adjustments and reversals. spent: charged + corrected, as in campaign_spend_daily. "
        "publisher_amount: the publishers'' part of spent. released: held for ads of the month and given back, never charged. "
        "held: the accrual, which is the part of charged, of released and of what is still open that was held at the "
        "month''s last midnight in the campaign''s time zone. publisher_held: the publishers'' part of it",
    ),
}

TRIGGERS = {
    ("payouts_are_kept", "payouts"): (
        "BEFORE UPDATE OR DELETE ON payouts FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "Keeps payouts as they were recorded",
    ),
    ("payouts_are_not_truncated", "payouts"): (
        "BEFORE TRUNCATE ON payouts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        "Keeps payouts from being truncated",
    ),
    ("author_is_stamped", "payouts"): (
        "BEFORE INSERT ON payouts FOR EACH ROW EXECUTE FUNCTION stamp_author()",
        "Records the role of the session as the author",
    ),
    ("month_is_closed", "month_ends"): (
        "BEFORE INSERT ON month_ends FOR EACH ROW EXECUTE FUNCTION refuse_closed_month('month')",
        "Rejects figures of a month that is closed already",
    ),
    ("figures_are_kept", "month_ends"): (
        "BEFORE UPDATE OR DELETE ON month_ends FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "Keeps figures as they were when the month was closed",
    ),
    ("figures_are_not_truncated", "month_ends"): (
        "BEFORE TRUNCATE ON month_ends FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        "Keeps figures from being truncated",
    ),
    ("repairs_are_kept", "book_repairs"): (
        "BEFORE UPDATE OR DELETE ON book_repairs FOR EACH ROW EXECUTE FUNCTION refuse_change('always')",
        "Keeps the record of repairs, which nobody can repair",
    ),
    ("repairs_are_not_truncated", "book_repairs"): (
        "BEFORE TRUNCATE ON book_repairs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('always')",
        "Keeps the record of repairs from being truncated",
    ),
}


def upgrade() -> None:
    create_month_ends()
    create_book_repairs()
    for function, (statement, comment) in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION finance.month_end(date) TO adserver_finance, adserver_app")
    for (trigger, table), (definition, comment) in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {trigger} {definition}")
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
        op.execute(f"COMMENT ON TRIGGER {trigger} ON {table} IS '{comment}'")
    op.execute(f"CREATE VIEW finance.book_repairs AS {BOOK_REPAIRS}")
    op.execute("COMMENT ON VIEW finance.book_repairs IS 'Every row of the books that was changed by a repair'")
    for column, comment in BOOK_REPAIRS_COLUMNS.items():
        op.execute(f"COMMENT ON COLUMN finance.book_repairs.{column} IS '{comment}'")
    op.execute("GRANT SELECT ON finance.book_repairs TO adserver_finance, adserver_app")
    # Finance checks the books by itself, and the command requires a schema that it knows.
    op.execute("GRANT SELECT ON alembic_version TO adserver_finance")


def downgrade() -> None:
    op.execute("REVOKE SELECT ON alembic_version FROM adserver_finance")
    for trigger, table in TRIGGERS:
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    op.execute("DROP VIEW finance.book_repairs")
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("book_repairs")
    op.drop_table("month_ends")


def create_month_ends() -> None:
    op.create_table(
        "month_ends",
        required("month", Date, "First day of the month"),
        required("advertiser_id", Identifier, "Advertiser, who pays"),
        required("advertiser_name", Text, "Name of the advertiser at its last entry or hold of the month"),
        optional("order_id", Identifier, "Order; NULL for none"),
        optional("publisher_id", Identifier, "Publisher of the placement"),
        optional("publisher_name", Text, "Name of the publisher at its last entry or hold of the month"),
        required("currency", String(3), "Currency of the amounts"),
        required("charged", Money, "Charged for ads: entries of the month of the kinds charge, settle and flat"),
        required("corrected", Money, "Entries of the month of the kinds adjustment and reversal"),
        required("publisher_amount", Money, "The publisher's part of charged and corrected"),
        required(
            "released",
            Money,
            "Held for ads of the month and given back by the time of closing; what was charged late is not in it",
        ),
        required("held", Money, HELD),
        required("publisher_held", Money, "The publisher's part of held"),
        UniqueConstraint(
            *("month", "advertiser_id", "order_id", "publisher_id", "currency"),
            name="one_row_for_each_party",
            postgresql_nulls_not_distinct=True,
        ),
        comment="What each closed month came to, as kept with its closing; append-only",
    )
    op.execute("GRANT SELECT ON month_ends TO adserver_app")


def create_book_repairs() -> None:
    op.create_table(
        "book_repairs",
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
    op.execute("GRANT SELECT ON book_repairs TO adserver_app")
