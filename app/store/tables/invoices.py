"""Invoices: invoices and credit notes of closed months."""

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
    Table,
    Text,
    UniqueConstraint,
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
    required,
)

invoice_counter = Table(
    "invoice_counter",
    metadata,
    Column("only_row", Integer, primary_key=True, server_default=text("1"), comment="Always 1"),
    required("last_number", BigInteger, "Number of the last invoice or credit note", server_default=text("0")),
    CheckConstraint("only_row = 1", name="invoice_counter_has_one_row"),
    comment="The number of the last invoice; not a sequence, which would leave holes",
)

invoices = Table(
    "invoices",
    metadata,
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

invoice_details = Table(
    "invoice_details",
    metadata,
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
        "CASE kind WHEN 'adjustment' THEN num_nonnulls(cpm, impressions, reversed) = 0"
        " AND num_nulls(entry_id, reason) = 0"
        " WHEN 'days' THEN num_nulls(impressions, reversed) = 0 AND num_nonnulls(cpm, entry_id, reason) = 0"
        " ELSE num_nulls(cpm, impressions, reversed) = 0 AND num_nonnulls(entry_id, reason) = 0 END",
        name="detail_is_complete",
    ),
    CheckConstraint("amount = (impressions - reversed) * cpm / 1000", name="ads_have_their_price"),
    allowed_values("detail_kind_is_known", "kind", "ads clicks completions days adjustment"),
    comment="Lines of invoices and credit notes; never changed",
)
