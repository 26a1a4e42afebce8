"""Every format of an invoice has the same figures, and shows names as text."""

import csv
import io
from collections.abc import AsyncIterator
from decimal import Decimal

import orjson
import pytest
from asyncpg import Connection, Record
from lxml import html

from app.accounting.corrections import Adjustment, adjust
from app.accounting.invoice_documents import NOTES, InvoiceFormat, render
from app.accounting.invoices import make_invoices
from app.accounting.month_close import close_month
from app.store.connections import Store
from tests.integration.accounting.invoice_world import OCTOBER, at, september_closed, set_up, shown
from tests.integration.accounting.world import serve_many

HOSTILE = [
    "<script>alert(1)</script>",
    '=HYPERLINK("http://evil.example")',
    "</title></style><img src=x onerror=alert(1)>",
    "&lt;b&gt; \"quoted\" 'name'",
]


@pytest.fixture
async def books(store: Store, database: str) -> AsyncIterator["Connection[Record]"]:
    async with september_closed(store, database) as connection:
        yield connection


@pytest.mark.parametrize("name", HOSTILE)
async def test_every_format_has_the_same_figures_and_no_name_is_more_than_text(
    books: "Connection[Record]", store: Store, database: str, name: str
) -> None:
    await set_up(store, acme=name)
    await serve_many(store, "plain", 2)
    await adjust(books, Adjustment("plain", Decimal("-0.003"), name, "k1"))
    await at(store, database, "2026-11-02 12:00Z")
    await close_month(books, OCTOBER)
    await make_invoices(books, OCTOBER)
    document = await shown(books, 1)
    invoice = document.invoice
    amounts = [f"{line.amount:f}" for line in document.details]
    assert amounts == ["0.020000", "-0.003000"]

    rows = list(csv.DictReader(io.StringIO(render(document, InvoiceFormat.CSV), newline="")))
    assert [row["line_amount"] for row in rows] == amounts
    assert {row["total"] for row in rows} == {"0.02"}
    assert {row["advertiser"].removeprefix("'") for row in rows} == {name}
    assert not any(row["advertiser"].startswith(("=", "+", "-", "@")) for row in rows)

    content = orjson.loads(render(document, InvoiceFormat.JSON))
    assert [line["amount"] for line in content["lines"]] == amounts
    assert (content["total_exact"], content["rounding"], content["total"]) == ("0.017000", "0.003000", "0.02")
    assert content["advertiser"] == name

    page = html.document_fromstring(render(document, InvoiceFormat.HTML))
    assert page.xpath("//tbody/tr/td[last()]/text()") == amounts
    assert page.xpath("//tfoot//td/text()") == ["0.017000 USD", "0.003000 USD", "0.02 USD"]
    assert page.xpath("//dt[.='Advertiser']/following-sibling::dd[1]")[0].text_content() == name
    assert not page.xpath("//script | //img | //link | //@src | //@href | //@onerror")
    assert page.xpath("//main/p/text()") == list(NOTES)

    text = render(document, InvoiceFormat.TEXT)
    assert f"Total: {invoice.total:f} USD" in text
    assert f"Advertiser: {name}" in text
