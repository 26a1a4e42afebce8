"""Books with advertisers, an order and campaigns in four currencies, for tests of invoices."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

from asyncpg import Connection, Record

from app.accounting.invoice_documents import Document
from app.accounting.month_close import close_month
from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from app.store.invoices import read_details, read_invoices
from tests.integration.accounting.world import campaign, connected, serve_many, set_clock

SEPTEMBER, OCTOBER, NOVEMBER = (date(2026, month, 1) for month in (9, 10, 11))

ADVERTISERS = [
    {"id": "acme", "name": "Acme Inc", "billing_details": "1 Main Street\nSpringfield"},
    {"id": "bella", "name": "Bella"},
]
ORDERS = [{"id": "o1", "advertiser": "acme", "currency": "USD", "budget": "1000", "purchase_order": "PO 7"}]
CAMPAIGNS = [
    campaign("spring", advertiser="acme", order="o1", billing="serve", cpm="1.001"),
    campaign("summer", advertiser="acme", order="o1", billing="serve", cpm="2.25"),
    campaign("plain", advertiser="acme", billing="serve", cpm="10"),
    campaign("tokyo", advertiser="bella", currency="JPY", billing="serve", cpm="1500"),
    campaign("kuwait", advertiser="bella", currency="KWD", billing="serve", cpm="0.5"),
    campaign("free", advertiser="bella", currency="EUR", billing="serve", cpm="0"),
]


async def set_up(store: Store, **names: str) -> None:
    """Apply the advertisers, with other names if given, their orders and campaigns."""
    advertisers = [values | {"name": names.get(values["id"], values["name"])} for values in ADVERTISERS]
    creatives = [
        {
            "id": f"{values['id']}-video",
            "campaign_id": values["id"],
            "title": "Acme",
            "duration_s": 15,
            "media_files": [{"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 640, "height": 360}],
        }
        for values in CAMPAIGNS
    ]
    draft = {"advertisers": advertisers, "orders": ORDERS, "campaigns": CAMPAIGNS, "creatives": creatives}
    await apply(store, read_draft("test", draft))


async def at(store: Store, database: str, moment: str) -> None:
    await set_clock(database, f"timestamptz '{moment}'")
    await Maintenance(store, 35).tasks["partitions created"].run()


@asynccontextmanager
async def september_closed(store: Store, database: str) -> "AsyncIterator[Connection[Record]]":
    """The owner's connection to books with a closed September, in which every campaign has served."""
    await at(store, database, "2026-09-15 12:00Z")
    await set_up(store)
    for campaign_id, ads in (("spring", 5), ("summer", 4), ("plain", 3), ("tokyo", 1), ("kuwait", 1), ("free", 2)):
        await serve_many(store, campaign_id, ads)
    await at(store, database, "2026-10-02 12:00Z")
    async with connected(database) as connection:
        await close_month(connection, SEPTEMBER)
        yield connection


async def shown(connection: "Connection[Record]", number: int) -> Document:
    (invoice,) = await read_invoices(connection, number=number, limit=1)
    return Document(invoice, await read_details(connection, number))
