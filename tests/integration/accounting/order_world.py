"""Orders and publishers with campaigns of different prices, for accounting tests."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from asyncpg import Connection, Record

from app.campaign_file.apply import ApplyResult, apply
from app.campaign_file.parser import read_draft
from app.store import budget_periods, spending
from app.store.connections import Store
from app.store.spending import Payment
from tests.integration.accounting.world import campaign, connected, payment

Table = Mapping[str, object]

PLACEMENT = "preroll"
CONNECTIONS = 4


def order(order_id: str = "o1", **values: object) -> dict[str, object]:
    return {"id": order_id, "advertiser": "Acme", "currency": "USD"} | values


def in_order(campaign_id: str, cpm: str = "2500", **values: object) -> dict[str, object]:
    """A campaign of order o1, without budgets of its own, charged when its ads are served."""
    return campaign(campaign_id, **{"order": "o1", "cpm": cpm, "budgets": {}, "billing": "serve"} | values)


async def apply_tables(
    store: Store,
    orders: Sequence[Table] = (),
    campaigns: Sequence[Table] = (),
    publishers: Sequence[Table] = (),
    sold: Sequence[str] = (),
    advertisers: Sequence[Table] = (),
) -> ApplyResult:
    """Apply these items; each campaign gets a creative, and each publisher a placement that sells `sold`, if any."""
    creatives = [
        {
            "id": f"{values['id']}-video",
            "campaign_id": values["id"],
            "title": "Acme",
            "duration_s": 15,
            "media_files": [{"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 640, "height": 360}],
        }
        for values in campaigns
    ]
    placements = [
        {"id": f"{PLACEMENT}-{values['id']}", "publisher_id": values["id"], "campaigns": [*sold]}
        for values in publishers
        if sold
    ]
    tables: dict[str, Any] = {
        "advertisers": [*advertisers],
        "orders": [*orders],
        "campaigns": [*campaigns],
        "creatives": creatives,
        "publishers": [*publishers],
        "placements": placements,
    }
    return await apply(store, read_draft("test", {kind: items for kind, items in tables.items() if items}))


def on_placement(campaign_id: str, publisher_id: str = "p1") -> Payment:
    """One ad on the placement of a publisher."""
    return payment(campaign_id)._replace(placement_id=f"{PLACEMENT}-{publisher_id}")


async def open_budgets(store: Store, campaign_ids: Iterable[str]) -> None:
    async with store.connection() as connection:
        await budget_periods.open_periods(connection, sorted({*campaign_ids}))


async def pay(connection: "Connection[Record]", payments: Sequence[Payment]) -> tuple[list[Payment], list[str]]:
    """Pay for a group in its own transaction; return the paid ads and the reasons of the others."""
    async with connection.transaction():
        refusals = (await spending.spend(connection, payments)).refusals
    return [item for position, item in enumerate(payments) if position not in refusals], list(refusals.values())


async def pay_group(store: Store, *campaign_ids: str) -> list[Payment]:
    """Pay for one group; return the ads that were paid."""
    await open_budgets(store, campaign_ids)
    async with store.serving_connection() as connection:
        paid, _ = await pay(connection, [payment(campaign_id) for campaign_id in campaign_ids])
    return paid


async def pay_one(store: Store, campaign_id: str) -> str | None:
    """Pay for one ad; return the reason if it is refused."""
    async with store.serving_connection() as connection:
        _, reasons = await pay(connection, [payment(campaign_id)])
    return reasons[0] if reasons else None


async def pay_until_refused(store: Store, groups: Sequence[Sequence[str]]) -> list[Payment]:
    """On four connections at once, pay for these groups of campaigns in turn until every ad of each was refused."""

    async def worker(first: int) -> list[Payment]:
        paid: list[Payment] = []
        refused_groups = 0
        position = first
        async with store.serving_connection() as connection:
            while refused_groups < len(groups):
                group = groups[position % len(groups)]
                served, reasons = await pay(connection, [payment(campaign_id) for campaign_id in group])
                assert set(reasons) <= {"budget"}
                refused_groups = 0 if served else refused_groups + 1
                paid += served
                position += 1
        return paid

    await open_budgets(store, {campaign_id for group in groups for campaign_id in group})
    return [item for paid in await asyncio.gather(*(worker(n) for n in range(CONNECTIONS))) for item in paid]


async def order_balance(url: str, order_id: str = "o1") -> tuple[Decimal, Decimal, int]:
    """Spent, held, and ads charged or held, of the order."""
    async with connected(url) as connection:
        row = await connection.fetchrow(
            "SELECT spent, held, impressions FROM budget_tracking WHERE order_id = $1", order_id
        )
    assert row is not None
    return row["spent"], row["held"], row["impressions"]
