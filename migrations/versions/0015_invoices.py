"""Invoices and credit notes: numbered without holes, and never changed.

Revision ID: 0015
Revises: 0014
"""

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)

from migrations.columns import Identifier, Money, Timestamp, allowed_values, key_column, optional, required

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# The counter changes through the trigger of invoices alone.
GRANTS = {
    "invoice_counter": "SELECT",
    "invoices": "SELECT, INSERT",
    "invoice_details": "SELECT, INSERT",
}

# The lock makes invoicing serial, and so a number is taken only by a transaction that commits its invoice.
LOCK_INVOICE_NUMBERS = """
CREATE FUNCTION lock_invoice_numbers() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT last_number FROM invoice_counter FOR UPDATE;
END
"""

ISSUE_INVOICE = """
CREATE FUNCTION issue_invoice() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    IF NEW.month > coalesce((SELECT max(month) FROM closed_months), '-infinity') THEN
        RAISE EXCEPTION 'the books of % are not closed', to_char(NEW.month, 'YYYY-MM')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'invoiced_month_is_closed';
    END IF;
    UPDATE invoice_counter SET last_number = last_number + 1 RETURNING last_number INTO NEW.number;
    NEW.made_at := adserver_clock();
    NEW.made_by := session_user;
    RETURN NEW;
END
$$
"""

# xmin is the transaction that inserted the invoice: nobody adds a line to an invoice of another transaction.
REFUSE_LATER_DETAIL = """
CREATE FUNCTION refuse_later_invoice_detail() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM invoices i WHERE i.number = NEW.number AND i.xmin = pg_current_xact_id()::xid
    ) THEN
        RAISE EXCEPTION 'invoice % was already made: its lines are never changed', NEW.number
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$
"""

REFUSE_INVOICE_CHANGE = """
CREATE FUNCTION refuse_invoice_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'invoices are never changed or removed: book a correction, and make a credit note'
        USING ERRCODE = 'insufficient_privilege';
END
$$
"""

FUNCTIONS = {
    "lock_invoice_numbers()": (
        LOCK_INVOICE_NUMBERS,
        "Blocks others that make invoices until the transaction ends; returns the last number",
    ),
    "issue_invoice()": (
        ISSUE_INVOICE,
        "Gives an invoice of a closed month the next number, the time, and the role that made it",
    ),
    "refuse_later_invoice_detail()": (
        REFUSE_LATER_DETAIL,
        "Rejects a line of an invoice that another transaction made",
    ),
    "refuse_invoice_change()": (REFUSE_INVOICE_CHANGE, "Rejects every change of an invoice, even by a superuser"),
}

# ALWAYS: session_replication_role, which a superuser may set, does not disable them.
TRIGGERS = {
    ("invoice_is_issued", "invoices"): (
        "BEFORE INSERT ON invoices FOR EACH ROW EXECUTE FUNCTION issue_invoice()",
        "Numbers invoices without holes",
    ),
    ("invoices_are_kept", "invoices"): (
        "BEFORE UPDATE OR DELETE ON invoices FOR EACH ROW EXECUTE FUNCTION refuse_invoice_change()",
        "Keeps invoices as they were made",
    ),
    ("invoices_are_not_truncated", "invoices"): (
        "BEFORE TRUNCATE ON invoices FOR EACH STATEMENT EXECUTE FUNCTION refuse_invoice_change()",
        "Keeps invoices from being truncated",
    ),
    ("details_are_complete", "invoice_details"): (
        "BEFORE INSERT ON invoice_details FOR EACH ROW EXECUTE FUNCTION refuse_later_invoice_detail()",
        "Accepts lines only in the transaction that makes their invoice",
    ),
    ("details_are_kept", "invoice_details"): (
        "BEFORE UPDATE OR DELETE ON invoice_details FOR EACH ROW EXECUTE FUNCTION refuse_invoice_change()",
        "Keeps lines of invoices as they were made",
    ),
    ("details_are_not_truncated", "invoice_details"): (
        "BEFORE TRUNCATE ON invoice_details FOR EACH STATEMENT EXECUTE FUNCTION refuse_invoice_change()",
        "Keeps lines of invoices from being truncated",
    ),
}

INVOICES = """
SELECT number, kind, month, corrects, advertiser_id, advertiser_name AS advertiser, billing_details, order_id,
       purchase_order, currency, total_exact, total - total_exact AS rounding, round(total, minor_units) AS total,
       made_at, made_by
FROM public.invoices
"""

INVOICE_DETAILS = """
SELECT d.number, d.position, i.month, d.kind, d.campaign_id, (CASE d.kind WHEN 'ads' THEN d.cpm END)::numeric(18,3) AS cpm,
       (d.cpm / 1000)::numeric(18,6) AS unit_price, d.impressions, d.reversed,
       d.impressions - d.reversed AS billable, d.amount, i.currency, d.entry_id, d.reason
FROM public.invoice_details d JOIN public.invoices i USING (number)
"""

VIEWS = {
    "invoices": (
        INVOICES,
        "Invoices and credit notes, which are never changed; without tax",
        {
            "number": "Number, without holes; credit notes are in the same series",
            "kind": "invoice, or credit_note if the total is negative",
            "month": "First day of the closed month in which the entries are booked",
            "corrects": "Invoice of an earlier month whose entries were reversed; NULL for the entries of the month",
            "advertiser_id": "Advertiser, who pays",
            "advertiser": "Name of the advertiser at its last entry of the month",
            "billing_details": "Billing details of the advertiser when the invoice was made",
            "order_id": "Order; NULL for the campaigns without an order",
            "purchase_order": "The advertiser''s purchase order number when the invoice was made",
            "currency": "Currency of every amount",
            "total_exact": "Sum of the lines",
            "rounding": "total - total_exact",
            "total": "Amount to be paid: total_exact, rounded half away from zero to the currency''s minor unit",
            "made_at": "When the invoice was made",
            "made_by": "Database role that made the invoice",
        },
    ),
    "invoice_details": (
        INVOICE_DETAILS,
        "Lines of invoices and credit notes: one for each campaign and price, and one for each adjustment",
        {
            "number": "Invoice",
            "position": "Position of the line, from 1",
            "month": "First day of the month of the invoice",
            "kind": "ads, clicks, completions, days of a flat price, or adjustment",
            "campaign_id": "Campaign",
            "cpm": "Price of a thousand ads; NULL for the other kinds",
            "unit_price": "Price of one ad, click or completed view; NULL for days and for an adjustment",
            "impressions": "Number of them charged; NULL for an adjustment",
            "reversed": "Number of them whose charge was taken back; NULL for an adjustment",
            "billable": "impressions - reversed",
            "amount": "Exact amount of the line",
            "currency": "Currency of the amount",
            "entry_id": "Ledger entry of an adjustment or of its reversal; NULL for the others",
            "reason": "Reason of the adjustment; NULL for the others",
        },
    ),
}


def upgrade() -> None:
    create_invoice_counter()
    create_invoices()
    create_invoice_details()
    for table, privileges in GRANTS.items():
        op.execute(f"GRANT {privileges} ON {table} TO adserver_app")
    for function, (statement, comment) in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION lock_invoice_numbers() TO adserver_app")
    for (trigger, table), (timing, comment) in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {trigger} {timing}")
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
        op.execute(f"COMMENT ON TRIGGER {trigger} ON {table} IS '{comment}'")
    for name, (query, comment, columns) in VIEWS.items():
        op.execute(f"CREATE VIEW finance.{name} AS {query}")
        op.execute(f"COMMENT ON VIEW finance.{name} IS '{comment}'")
        for column, column_comment in columns.items():
            op.execute(f"COMMENT ON COLUMN finance.{name}.{column} IS '{column_comment}'")
        op.execute(f"GRANT SELECT ON finance.{name} TO adserver_finance, adserver_app")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW finance.{name}")
    op.execute("DROP FUNCTION lock_invoice_numbers()")
    for table in reversed(GRANTS):
        op.drop_table(table)
    for function in ("refuse_invoice_change()", "refuse_later_invoice_detail()", "issue_invoice()"):
        op.execute(f"DROP FUNCTION {function}")


def create_invoice_counter() -> None:
    op.create_table(
        "invoice_counter",
        Column("only_row", Integer, primary_key=True, server_default=text("1"), comment="Always 1"),
        required("last_number", BigInteger, "Number of the last invoice or credit note", server_default=text("0")),
        CheckConstraint("only_row = 1", name="invoice_counter_has_one_row"),
        comment="The number of the last invoice; not a sequence, which would leave holes",
    )
    op.execute("INSERT INTO invoice_counter DEFAULT VALUES")


def create_invoices() -> None:
    op.create_table(
        "invoices",
        key_column("number", BigInteger, "Number, without holes; credit notes are in the same series"),
        required("kind", Text, "invoice, or credit_note if the total is negative"),
        required("month", Date, "First day of the closed month in which its entries are booked"),
        Column(
            "corrects",
            BigInteger,
            ForeignKey("invoices.number"),
            nullable=True,
            comment="Invoice of an earlier month whose entries were reversed; NULL for the entries of the month",
        ),
        required("advertiser_id", Identifier, "Advertiser, who pays"),
        required("advertiser_name", Text, "Name of the advertiser at its last entry of the month"),
        optional("billing_details", Text, "Billing details of the advertiser when the invoice was made"),
        optional("order_id", Identifier, "Order; NULL for the campaigns without an order"),
        optional("purchase_order", Text, "The advertiser's purchase order number when the invoice was made"),
        required("currency", String(3), "Currency of every amount"),
        required("minor_units", SmallInteger, "Decimals of the currency, as in ISO 4217; 6 if it has no minor unit"),
        required("total_exact", Money, "Sum of the lines"),
        required("total", Money, "Amount to be paid: rounded half away from zero to the currency's minor unit"),
        required("made_at", Timestamp, "When the invoice was made"),
        required("made_by", Text, "Database role that made the invoice"),
        UniqueConstraint(
            "month",
            "advertiser_id",
            "order_id",
            "currency",
            "corrects",
            name="a_month_is_invoiced_once",
            postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("(kind = 'credit_note') = (total_exact < 0)", name="a_credit_note_is_negative"),
        CheckConstraint("total = round(total_exact, minor_units)", name="total_is_rounded_once"),
        CheckConstraint("date_trunc('month', month::timestamp) = month", name="invoice_is_for_a_month"),
        CheckConstraint("corrects < number", name="a_correction_follows_its_invoice"),
        allowed_values("invoice_kind_is_known", "kind", "invoice credit_note"),
        comment="Invoices and credit notes of closed months; never changed",
    )


def create_invoice_details() -> None:
    op.create_table(
        "invoice_details",
        key_column("number", BigInteger, "Invoice"),
        key_column("position", Integer, "Position of the line, from 1"),
        required("kind", Text, "ads, clicks, completions, days of a flat price, or adjustment"),
        required("campaign_id", Identifier, "Campaign"),
        optional("cpm", Numeric(18, 3), "Price of a thousand of them; NULL for days and for an adjustment"),
        optional("impressions", BigInteger, "Number of them charged; NULL for an adjustment"),
        optional("reversed", BigInteger, "Number of them whose charge was taken back; NULL for an adjustment"),
        required("amount", Money, "Exact amount of the line"),
        optional("entry_id", BigInteger, "Ledger entry of an adjustment or of its reversal; NULL for the others"),
        optional("reason", Text, "Reason of the adjustment; NULL for the others"),
        ForeignKeyConstraint(["number"], ["invoices.number"]),
        CheckConstraint(
            "CASE kind WHEN 'adjustment' THEN num_nonnulls(cpm, impressions, reversed) = 0 AND num_nulls(entry_id, reason) = 0"
            " WHEN 'days' THEN num_nulls(impressions, reversed) = 0 AND num_nonnulls(cpm, entry_id, reason) = 0"
            " ELSE num_nulls(cpm, impressions, reversed) = 0 AND num_nonnulls(entry_id, reason) = 0 END",
            name="detail_is_complete",
        ),
        CheckConstraint("amount = (impressions - reversed) * cpm / 1000", name="ads_have_their_price"),
        allowed_values("detail_kind_is_known", "kind", "ads clicks completions days adjustment"),
        comment="Lines of invoices and credit notes; never changed",
    )
