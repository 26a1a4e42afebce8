"""The lines of an invoice name what was sold, how much of it, and at which price."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from app.accounting.invoice_documents import Document, line_cells
from app.store.invoices import Invoice, InvoiceDetail


def invoice() -> Invoice:
    total = Decimal("5.000000")
    return Invoice(
        number=1,
        kind="invoice",
        month=date(2026, 10, 1),
        corrects=None,
        advertiser_id="acme",
        advertiser="Acme",
        billing_details=None,
        order_id=None,
        purchase_order=None,
        currency="USD",
        total_exact=total,
        rounding=Decimal(0),
        total=total,
        made_at=datetime(2026, 11, 20, tzinfo=UTC),
        made_by="finance",
    )


@pytest.mark.parametrize(
    ("kind", "price_of_1000", "described", "price"),
    [
        ("ads", "12.500", "Ads", "12.500 per 1,000"),
        ("clicks", "500.000", "Clicks", "0.500 each"),
        ("completions", "20.001", "Completed views", "0.020001 each"),
        ("days", None, "Days of the flat price", ""),
        ("adjustment", None, "Adjustment: rebate", ""),
    ],
)
def test_a_price_says_what_it_is_for(kind: str, price_of_1000: str | None, described: str, price: str) -> None:
    cpm = None if price_of_1000 is None else Decimal(price_of_1000)
    detail = InvoiceDetail(1, kind, "spring", cpm, 10, 0, 10, Decimal("5.000000"), None, "rebate")
    _, (row,) = line_cells(Document(invoice(), [detail]))
    assert row[:4] == ["spring", described, price, "10"]
