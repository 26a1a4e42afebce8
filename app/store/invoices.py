"""invoices: read what the entries of a closed month sum up to, and store and read invoices and credit notes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from asyncpg import Connection, Record

LOCK_INVOICE_NUMBERS = "SELECT lock_invoice_numbers()"
"""Block others that make invoices until the transaction ends."""

READ_INVOICING_STATUS = """
SELECT (SELECT max(month) FROM closed_months) AS last_closed,
       $1::text IS NULL OR EXISTS (SELECT FROM orders WHERE id = $1) AS order_exists
"""
"""Read the last closed month, and whether an order exists."""

READ_INVOICED_PARTIES = """
SELECT DISTINCT advertiser_id, order_id, currency FROM invoices WHERE month = $1 AND ($2::text IS NULL OR order_id = $2)
"""
"""Read for whom a month was already invoiced."""

SUM_UP_MONTH = """
WITH entries AS NOT MATERIALIZED (
    SELECT * FROM spend_ledger
    WHERE booked_on >= $1 AND booked_on < ($1::date + interval '1 month')::date AND ($2::text IS NULL OR order_id = $2)
), reversals AS MATERIALIZED (
    SELECT r.*, nullif(date_trunc('month', k.reverses_booked_on::timestamp)::date, $1) AS corrected_month
    FROM entries r JOIN ledger_corrections k ON k.entry_id = r.entry_id AND k.booked_on = r.booked_on
    WHERE r.kind = 'reversal'
)
SELECT s.*, CASE WHEN s.cpm IS NULL THEN 'days' WHEN c.price_model = 'cpc' THEN 'clicks'
                 WHEN c.price_model = 'cpcv' THEN 'completions' ELSE 'ads' END AS kind
FROM (
    SELECT advertiser_id, order_id, currency, NULL::date AS corrected_month, advertiser_name,
           max(booked_at) AS named_at, campaign_id, amount * 1000 AS cpm, count(*) AS impressions,
           0::bigint AS reversed, sum(amount) AS amount, NULL::bigint AS entry_id, NULL AS reason
    FROM entries WHERE kind IN ('charge', 'settle')
    GROUP BY advertiser_id, order_id, currency, advertiser_name, campaign_id, amount
    UNION ALL
    SELECT advertiser_id, order_id, currency, corrected_month, advertiser_name, max(booked_at),
           campaign_id, amount * -1000, 0, count(*), sum(amount), NULL, NULL
    FROM reversals WHERE request_key IS NOT NULL
    GROUP BY advertiser_id, order_id, currency, corrected_month, advertiser_name, campaign_id, amount
    UNION ALL
    SELECT advertiser_id, order_id, currency, NULL, advertiser_name, max(booked_at), campaign_id, NULL,
           count(DISTINCT coalesce(late_from, booked_on)), 0, sum(amount), NULL, NULL
    FROM entries WHERE kind = 'flat'
    GROUP BY advertiser_id, order_id, currency, advertiser_name, campaign_id
) AS s JOIN campaigns c ON c.id = s.campaign_id
UNION ALL
SELECT advertiser_id, order_id, currency, NULL, advertiser_name, booked_at,
       campaign_id, NULL, NULL, NULL, amount, entry_id, reason, 'adjustment'
FROM entries WHERE kind = 'adjustment'
UNION ALL
SELECT advertiser_id, order_id, currency, corrected_month, advertiser_name, booked_at,
       campaign_id, NULL, NULL, NULL, amount, entry_id, reason, 'adjustment'
FROM reversals WHERE request_key IS NULL
LIMIT $3
"""
"""Sum up the entries of a month by who pays, campaign and price, and days of a flat price; adjustments stay single.

`corrected_month` is the earlier month of the entries that were reversed."""

FIND_CORRECTED_INVOICE = """
SELECT number FROM invoices
WHERE month = $1 AND advertiser_id = $2 AND order_id IS NOT DISTINCT FROM $3 AND currency = $4 AND corrects IS NULL
"""
"""Find the invoice of an earlier month."""

INSERT_INVOICE = """
INSERT INTO invoices (kind, month, corrects, advertiser_id, advertiser_name, billing_details, order_id, purchase_order,
                      currency, minor_units, total_exact, total)
VALUES ($1, $2, $3, $4, $5, (SELECT billing_details FROM advertisers WHERE id = $4::varchar), $6,
        (SELECT purchase_order FROM orders WHERE id = $6::varchar), $7, $8, $9, $10)
RETURNING number
"""
"""Store an invoice, with the billing details and the purchase order of this moment; a trigger numbers it."""

INSERT_INVOICE_DETAIL = """
INSERT INTO invoice_details (number, position, kind, campaign_id, cpm, impressions, reversed, amount, entry_id, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
"""Store a line of an invoice."""

READ_INVOICES = """
SELECT number, kind, month, corrects, advertiser_id, advertiser, billing_details, order_id, purchase_order, currency,
       total_exact, rounding, total, made_at, made_by
FROM finance.invoices
WHERE ($1::date IS NULL OR month = $1) AND ($2::bigint IS NULL OR number = $2)
ORDER BY number LIMIT $3
"""
"""Read invoices; the finance role may read them too."""

READ_INVOICE_DETAILS = """
SELECT position, kind, campaign_id, (unit_price * 1000)::numeric(18,3) AS cpm, impressions, reversed, billable, amount,
       entry_id, reason
FROM finance.invoice_details WHERE number = $1 ORDER BY position
"""
"""Read the lines of an invoice."""


@dataclass(frozen=True, slots=True)
class InvoicingStatus:
    """The facts that decide whether a month may be invoiced."""

    last_closed: date | None
    order_exists: bool


@dataclass(frozen=True, slots=True)
class InvoiceParty:
    """The payer of an invoice: an advertiser, for one order or for the campaigns without one, in one currency."""

    advertiser_id: str
    order_id: str | None
    currency: str


@dataclass(frozen=True, slots=True)
class MonthSum:
    """The entries of a month with one payer, campaign and price, or one adjustment."""

    party: InvoiceParty
    corrected_month: date | None
    """The month of the entries that were reversed, if it is an earlier one."""
    advertiser_name: str
    named_at: datetime
    campaign_id: str
    cpm: Decimal | None
    impressions: int | None
    reversed: int | None
    amount: Decimal
    entry_id: int | None
    reason: str | None
    kind: str


@dataclass(frozen=True, slots=True)
class InvoiceDetail:
    """A line of an invoice."""

    position: int
    kind: str
    campaign_id: str
    cpm: Decimal | None
    impressions: int | None
    reversed: int | None
    billable: int | None
    amount: Decimal
    entry_id: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class NewInvoice:
    """An invoice that has no number yet."""

    kind: str
    month: date
    corrects: int | None
    party: InvoiceParty
    advertiser_name: str
    minor_units: int
    total_exact: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice or credit note."""

    number: int
    kind: str
    month: date
    corrects: int | None
    advertiser_id: str
    advertiser: str
    billing_details: str | None
    order_id: str | None
    purchase_order: str | None
    currency: str
    total_exact: Decimal
    rounding: Decimal
    total: Decimal
    """Has the decimals of the currency's minor unit."""
    made_at: datetime
    made_by: str


async def lock_numbers(connection: "Connection[Record]") -> None:
    """Block others that make invoices until the transaction ends."""
    await connection.execute(LOCK_INVOICE_NUMBERS)


async def read_status(connection: "Connection[Record]", order_id: str | None) -> InvoicingStatus:
    """Return the facts that decide whether a month may be invoiced."""
    row = await connection.fetchrow(READ_INVOICING_STATUS, order_id)
    if row is None:
        raise AssertionError("the query returns one row")
    return InvoicingStatus(**row)


async def read_invoiced_parties(
    connection: "Connection[Record]", month: date, order_id: str | None
) -> set[InvoiceParty]:
    """Return the payers for whom the month was already invoiced."""
    return {InvoiceParty(*row) for row in await connection.fetch(READ_INVOICED_PARTIES, month, order_id)}


async def sum_up_month(
    connection: "Connection[Record]", month: date, order_id: str | None, limit: int
) -> list[MonthSum]:
    """Return at most `limit` sums of the entries of a month, of one order or of all."""
    rows = await connection.fetch(SUM_UP_MONTH, month, order_id, limit)
    return [MonthSum(InvoiceParty(*row[:3]), *row[3:]) for row in map(tuple, rows)]


async def find_corrected_invoice(connection: "Connection[Record]", month: date, party: InvoiceParty) -> int | None:
    """Return the number of the payer's invoice of an earlier month, or None."""
    number: int | None = await connection.fetchval(
        FIND_CORRECTED_INVOICE, month, party.advertiser_id, party.order_id, party.currency
    )
    return number


async def insert_invoice(
    connection: "Connection[Record]", invoice: NewInvoice, details: Sequence[InvoiceDetail]
) -> int:
    """Store an invoice with its lines, and return its number."""
    party = invoice.party
    number: int = await connection.fetchval(
        INSERT_INVOICE,
        invoice.kind,
        invoice.month,
        invoice.corrects,
        party.advertiser_id,
        invoice.advertiser_name,
        party.order_id,
        party.currency,
        invoice.minor_units,
        invoice.total_exact,
        invoice.total,
    )
    await connection.executemany(
        INSERT_INVOICE_DETAIL,
        [
            (
                number,
                detail.position,
                detail.kind,
                detail.campaign_id,
                detail.cpm,
                detail.impressions,
                detail.reversed,
                detail.amount,
                detail.entry_id,
                detail.reason,
            )
            for detail in details
        ],
    )
    return number


async def read_invoices(
    connection: "Connection[Record]", *, month: date | None = None, number: int | None = None, limit: int
) -> list[Invoice]:
    """Return at most `limit` invoices in the order of their numbers, of one month or of all, or the one of a number."""
    return [Invoice(**row) for row in await connection.fetch(READ_INVOICES, month, number, limit)]


async def read_details(connection: "Connection[Record]", number: int) -> list[InvoiceDetail]:
    """Return the lines of an invoice."""
    return [InvoiceDetail(**row) for row in await connection.fetch(READ_INVOICE_DETAILS, number)]
