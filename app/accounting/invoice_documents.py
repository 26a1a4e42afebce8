"""Invoices as documents: text for a terminal, CSV for spreadsheets, JSON for programs, and a page to print.

All of them show the same figures, as exact text.
"""

import csv
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

import orjson

from app.accounting.invoice_page import render_page
from app.accounting.reports import escape_formula
from app.store.invoices import Invoice, InvoiceDetail

NOTES = (
    "No tax is included.",
    "No exchange rate was applied: every amount is in the currency of the campaigns.",
    "The lines are exact to six decimals; only the total is rounded.",
)
"""Notes on every invoice."""

SOLD = {"ads": "Ads", "clicks": "Clicks", "completions": "Completed views", "days": "Days of the flat price"}
"""Descriptions of the kinds of lines, other than adjustments."""

TITLES = {"invoice": "Invoice", "credit_note": "Credit note"}

AMOUNTS = frozenset(("total_exact", "rounding", "total", "line_amount", "line_cpm"))
"""Columns of the CSV that are numbers; a negative one is not a formula."""

Value = str | int | None


class InvoiceFormat(StrEnum):
    """An output format."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"
    HTML = "html"


@dataclass(frozen=True, slots=True)
class Document:
    """An invoice with its lines."""

    invoice: Invoice
    details: Sequence[InvoiceDetail]


def render(document: Document, output_format: InvoiceFormat) -> str:
    """Return the document in a format."""
    match output_format:
        case InvoiceFormat.TEXT:
            return _text(document)
        case InvoiceFormat.CSV:
            return _csv(document)
        case InvoiceFormat.JSON:
            return _json(document)
        case InvoiceFormat.HTML:
            title = TITLES[document.invoice.kind]
            return render_page(title, header_fields(document), line_cells(document), total_fields(document), NOTES)


def list_lines(found: Sequence[Invoice]) -> list[str]:
    """Return a line of text for each invoice."""
    return [
        " ".join(
            [
                f"{TITLES[invoice.kind].lower()} {invoice.number}: {invoice.month:%Y-%m},",
                f"advertiser {invoice.advertiser_id},",
                *([f"order {invoice.order_id},"] if invoice.order_id else []),
                *([f"corrects {invoice.corrects},"] if invoice.corrects else []),
                f"{invoice.total:f} {invoice.currency}",
            ]
        )
        for invoice in found
    ]


def header_fields(document: Document) -> dict[str, str]:
    """Return the labeled fields of the head of a document, without those that do not apply."""
    invoice = document.invoice
    fields = {
        "Number": str(invoice.number),
        "Month": f"{invoice.month:%Y-%m}",
        "Made on": f"{invoice.made_at:%Y-%m-%d}",
        "Corrects invoice": None if invoice.corrects is None else str(invoice.corrects),
        "Advertiser": invoice.advertiser,
        "Advertiser ID": invoice.advertiser_id,
        "Billing details": invoice.billing_details,
        "Order": invoice.order_id,
        "Purchase order": invoice.purchase_order,
        "Currency": invoice.currency,
    }
    return {label: text for label, text in fields.items() if text is not None}


def line_cells(document: Document) -> tuple[list[str], list[list[str]]]:
    """Return the column names of the lines, and their cells."""
    columns = ["Campaign", "Description", "Price", "Quantity", "Reversed", "Billable", "Amount"]
    rows = [
        [
            detail.campaign_id,
            SOLD.get(detail.kind, f"Adjustment: {detail.reason}"),
            _price(detail),
            *(
                "" if value is None else str(_value(value))
                for value in (detail.impressions, detail.reversed, detail.billable, detail.amount)
            ),
        ]
        for detail in document.details
    ]
    return columns, rows


def _price(detail: InvoiceDetail) -> str:
    """Return the price of a line and the number of what is sold that it is for."""
    if detail.cpm is None:
        return ""
    return f"{detail.cpm:f} per 1,000" if detail.kind == "ads" else f"{detail.cpm / 1000:f} each"


def total_fields(document: Document) -> dict[str, str]:
    """Return the labeled totals."""
    invoice = document.invoice
    return {
        "Exact total": f"{invoice.total_exact:f} {invoice.currency}",
        "Rounding": f"{invoice.rounding:f} {invoice.currency}",
        "Total": f"{invoice.total:f} {invoice.currency}",
    }


def _text(document: Document) -> str:
    columns, rows = line_cells(document)
    table = [columns, *([_printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [TITLES[document.invoice.kind]]
    lines += [f"{label}: {_printable(text)}" for label, text in header_fields(document).items()]
    lines.append("")
    for row in table:
        cells = [
            text.ljust(width) if index < 2 else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.append("")
    lines += [f"{label}: {text}" for label, text in total_fields(document).items()]
    return "\n".join([*lines, "", *NOTES, ""])


def _printable(text: str) -> str:
    """Return the text on one line, without characters that control a terminal."""
    return "".join(
        ", " if char == "\n" else char if unicodedata.category(char)[0] != "C" else "\ufffd" for char in text
    )


def _csv(document: Document) -> str:
    """RFC 4180: a row for each line, which repeats the head and the totals of the document."""
    invoice = _values(asdict(document.invoice))
    details = [_values(asdict(detail)) for detail in document.details]
    columns = [*invoice, *(f"line_{name}" for name in details[0])]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for detail in details:
        writer.writerow(
            [_csv_cell(name, value) for name, value in zip(columns, (*invoice.values(), *detail.values()), strict=True)]
        )
    return out.getvalue()


def _csv_cell(name: str, value: Value) -> Value:
    """Return a cell that spreadsheets show as it is; amounts, which may be negative, stay numbers."""
    return value if name in AMOUNTS or not isinstance(value, str) else str(escape_formula(value))


def _json(document: Document) -> str:
    content = {
        **_values(asdict(document.invoice)),
        "lines": [_values(asdict(detail)) for detail in document.details],
        "notes": NOTES,
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n"


def _values(fields: dict[str, object]) -> dict[str, Value]:
    return {name: _value(value) for name, value in fields.items()}


def _value(value: object) -> Value:
    """Return a value of an invoice as text or integer; an amount keeps all of its decimals."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, date) else str(value)
