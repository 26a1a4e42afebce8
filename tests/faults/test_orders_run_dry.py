"""Orders run dry while workers and Postgres are killed: all that was bought is sold, and nothing beyond it."""

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest
from lxml import etree

from app.accounting.credits import Credit, credit_order
from app.embedded import EmbeddedPostgres
from app.errors import InvalidEntry
from app.store.roles import APP
from tests.campaigns import campaign, creative, order, placement, publisher, set_up
from tests.launched import Launched
from tests.players import (
    UNHURRIED,
    Answer,
    Players,
    all_lanes_connected,
    all_transactions_ended,
    becomes,
    connected,
    disagreements,
    serving,
)
from tests.served_ads import OUR_IMPRESSION, Serve, ads_of, serves_of

WORKERS = 4
PLAYERS = 100
CAMPAIGNS = 200
ORDERS = ("money", "units", "prepaid")
UNIT = Decimal("0.333333")
"""The lowest price of an ad. The others are multiples of it, so that an order can be sold to its last unit."""
SHARES = {"p0": Decimal("0.3333"), "p1": Decimal("0.7001")}
TRIES_MAX = 400
ENTRIES = """
SELECT request_key, slot, campaign_id, order_id, publisher_id, amount, publisher_amount, house_amount FROM spend_ledger
"""
ORDER_BUDGETS = "SELECT order_id, spent, held, impressions FROM budget_tracking WHERE order_id IS NOT NULL"


class SoldAd(NamedTuple):
    """An ad as its player received it."""

    number: int
    """Of its campaign."""
    publisher: str
    impression: str

    @property
    def order(self) -> str:
        return order_of(self.number)

    @property
    def price(self) -> Decimal:
        return price_of(self.number)

    @property
    def part(self) -> Decimal:
        """The publisher's part of the price."""
        return (self.price * SHARES[self.publisher]).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)


def order_of(number: int) -> str:
    """The order of the campaign with this number."""
    return ORDERS[number % len(ORDERS)]


def price_of(number: int) -> Decimal:
    """The price of an ad of the campaign with this number."""
    return UNIT * (number // len(ORDERS) % 4 + 1)


def publisher_of(number: int) -> str:
    """The publisher of the placement with this number."""
    return f"p{number % len(SHARES)}"


async def set_up_orders(database: str, ads: int) -> None:
    """Each order has room for that many ads of the lowest price, and every placement sells a campaign of each order."""
    parts = [
        order("money", budget=str(UNIT * ads)),
        order("units", impressions=ads),
        order("prepaid", prepaid=True),
        *(publisher(name, revenue_share=str(share)) for name, share in SHARES.items()),
    ]
    for number in range(CAMPAIGNS):
        name, billing = f"c{number}", "impression" if number % 2 else "serve"
        terms = {"order": order_of(number), "cpm": f"{price_of(number) * 1000:.3f}", "billing": billing}
        parts += [campaign(name, **terms), creative(f"{name}-15s", name, title=str(number))]
    for number in range(CAMPAIGNS):
        sold = [f"c{(number + step * 67) % CAMPAIGNS}" for step in range(len(ORDERS))]
        parts.append(placement(f"s{number}", *sold, publisher_id=publisher_of(number)))
    await set_up(database, *parts)


def any_requests(count: int) -> list[dict[str, str]]:
    """Requests of all placements in random order, some for two ads."""
    requests = [
        {
            "placement_id": f"s{number % CAMPAIGNS}",
            "publisher_id": publisher_of(number % CAMPAIGNS),
            "request_id": f"r{number}",
            "pod_size": random.choice("112"),
        }
        for number in range(count)
    ]
    random.shuffle(requests)
    return requests


@dataclass
class Crowd:
    """Players that repeat each request until its answer is final, and the ads that they got."""

    players: Players
    waiting: list[dict[str, str]]
    ads: dict[Serve, SoldAd] = field(default_factory=dict)

    async def ask_all(self) -> None:
        await asyncio.gather(*(self._play() for _ in range(PLAYERS)))

    async def have_asked(self, left: int) -> None:
        """Returns when only this number of requests is left."""

        async def asked() -> bool:
            return len(self.waiting) <= left

        await becomes(asked, 240)

    async def _play(self) -> None:
        while self.waiting:
            request = self.waiting.pop()
            answer = await self._final_answer(request)
            assert answer.filled or answer.reason == "budget", answer
            received = {
                serve: SoldAd(int(ad.findtext(".//{*}AdTitle") or ""), request["publisher_id"], impression_of(ad))
                for serve, ad in zip(serves_of(answer.body), ads_of(answer.body), strict=True)
            }
            assert not received.keys() & self.ads.keys()
            self.ads |= received
            for ad in received.values():
                if random.random() < 0.5:
                    await self.players.beacon(ad.impression)

    async def _final_answer(self, request: dict[str, str]) -> Answer:
        for _ in range(TRIES_MAX):
            answer = await self.players.ask_anyway(**request)
            if answer is not None and answer.status == 200 and answer.reason != "busy":
                return answer
            await asyncio.sleep(0.05)
        raise AssertionError(f"no answer to {request}")

    async def send_impressions(self) -> None:
        """Send the beacon of every ad, also those that were sent before."""
        counted = await asyncio.gather(*(self.players.beacon(ad.impression) for ad in self.ads.values()))
        assert all(counted)


def impression_of(ad: etree._Element) -> str:
    """The path of our impression beacon."""
    (url,) = (found.text for found in ad.iter("{*}Impression") if OUR_IMPRESSION in (found.text or ""))
    parts = urlsplit(url or "")
    return f"{parts.path}?{parts.query}"


async def credit_until_booked(database: str, key: str, amount: Decimal) -> None:
    """Credit the prepaid order, and repeat that under the same key where Postgres was killed."""
    for _ in range(TRIES_MAX):
        try:
            async with connected(database) as connection:
                await credit_order(connection, Credit("prepaid", amount, "payment", key))
                return
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await asyncio.sleep(0.05)
    raise AssertionError("the database did not come back")


async def crash_and_credit(crowd: Crowd, server: Launched, postgres: EmbeddedPostgres, ads: int, crashes: int) -> None:
    """Kill a worker and Postgres in turn, and credit a part of the prepaid order's ads each time."""
    requests = len(crowd.waiting)
    for crash in range(crashes):
        await crowd.have_asked(requests - requests * (crash + 1) // (crashes + 2))
        paid = UNIT * (ads * (crash + 1) // crashes - ads * crash // crashes)
        crediting = asyncio.create_task(credit_until_booked(postgres.dsn, f"payment {crash}", paid))
        if crash % 2:
            postgres.kill()
            await asyncio.to_thread(postgres.wait_until_ready)
        else:
            random.choice(server.workers()).kill()
        await crediting


def prices_by_order(sold: Iterable[SoldAd]) -> dict[str, list[Decimal]]:
    prices: dict[str, list[Decimal]] = {name: [] for name in ORDERS}
    for ad in sold:
        prices[ad.order].append(ad.price)
    return prices


def assert_sold_out(sold: Iterable[SoldAd], ads: int) -> None:
    """The players have received exactly what the orders have room for."""
    prices = prices_by_order(sold)
    assert (sum(prices["money"]), len(prices["units"]), sum(prices["prepaid"])) == (UNIT * ads, ads, UNIT * ads)


async def assert_books_fit(database: str, sold: dict[Serve, SoldAd]) -> None:
    """The ledger has each of these ads, and no other; the orders have spent exactly their prices."""
    async with connected(database) as connection:
        entries = await connection.fetch(ENTRIES)
        budgets = {row["order_id"]: (row["spent"], row["held"], row["impressions"])
                   for row in await connection.fetch(ORDER_BUDGETS)}  # fmt: skip
    booked = {(row["request_key"], row["slot"]): tuple(row)[2:] for row in entries}
    assert len(booked) == len(entries)
    assert booked.keys() == sold.keys()
    for serve, ad in sold.items():
        assert booked[serve] == (f"c{ad.number}", ad.order, ad.publisher, ad.price, ad.part, ad.price - ad.part)
    assert budgets == {name: (sum(prices), 0, len(prices)) for name, prices in prices_by_order(sold.values()).items()}


async def are_settled(database: str) -> bool:
    async with connected(database) as connection:
        return not await connection.fetchval("SELECT count(*) FROM holds")


@pytest.mark.parametrize(
    ("ads", "crashes"), [(1000, 6), pytest.param(20_000, 20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
async def test_orders_are_sold_to_the_last_unit_and_not_beyond(
    own_postgres: EmbeddedPostgres, ads: int, crashes: int
) -> None:
    database, app_database = own_postgres.dsn, own_postgres.url(role=APP)
    await set_up_orders(database, ads)
    async with (
        serving(app_database, WORKERS=str(WORKERS), **UNHURRIED | {"LOG_LEVEL": "error"}) as server,
        Players(server.url) as players,
    ):
        await becomes(lambda: all_lanes_connected(database, WORKERS))
        crowd = Crowd(players, any_requests(ads * 8))
        asking = asyncio.create_task(crowd.ask_all())
        await crash_and_credit(crowd, server, own_postgres, ads, crashes)
        await asking
        assert_sold_out(crowd.ads.values(), ads)
        await crowd.send_impressions()
        await becomes(lambda: are_settled(database))
        await becomes(lambda: all_transactions_ended(database))
        async with connected(database) as connection:
            with pytest.raises(InvalidEntry, match=r"amount: must be at least 0\.000000 USD"):
                await credit_order(connection, Credit("prepaid", -UNIT, "back", "back"))
    await assert_books_fit(database, crowd.ads)
    assert await disagreements(database) == []
