"""Bad input about money: one line that names the field and the fault, and every table is as it was."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from app.accounting.credits import Credit, credit_order
from app.accounting.month_close import close_month
from app.accounting.payouts import Payout, record_payout
from tests.acceptance.conftest import Databases
from tests.integration.accounting.invoice_world import SEPTEMBER, at
from tests.integration.accounting.order_world import apply_tables, in_order, on_placement, open_budgets, order, pay
from tests.integration.accounting.world import connected, open_store, set_clock
from tests.integration.setup.test_admin_api import TOKEN, faults, put, served_api
from tests.launched import adserver

OCTOBER_20 = "2026-10-20 12:00Z"
SECRET = "whsec_WW91ciBvd24gc2VjcmV0LCBub3QgdGhpcyBvbmU="
READ_TABLES = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1
"""
PUBLIC = "must lead to a public address or into ADSERVER_WEBHOOK_PRIVATE_NETWORKS"


@dataclass(frozen=True)
class BadItem:
    """An entry of the campaign file, and its fault: the key and the reason."""

    kind: str
    entry: Mapping[str, object]
    key: str
    reason: str


def bad_publisher(revenue_share: str, reason: str) -> BadItem:
    return BadItem("publishers", {"id": "p1", "revenue_share": revenue_share}, "revenue_share", reason)


def bad_order(key: str, value: object, reason: str, **keys: str) -> BadItem:
    return BadItem("orders", order("new", budget="100") | keys | {key: value}, key, reason)


def bad_campaign(key: str, value: str, reason: str) -> BadItem:
    terms = {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2040-01-01T00:00:00Z", "cpm": "1"}
    entry = {"id": "new", "advertiser": "Acme", "currency": "USD", "order": "o2", "status": "paused"} | terms
    return BadItem("campaigns", entry | {key: value}, key, reason)


def bad_webhook(url: str, reason: str) -> BadItem:
    return BadItem("webhooks", {"id": "w", "url": url, "secret": SECRET}, "url", reason)


ITEMS = [
    bad_publisher("1.5", "must be between 0 and 1"),
    bad_publisher("1.0001", "must be between 0 and 1"),
    bad_publisher("-0.1", "must be between 0 and 1"),
    bad_publisher("0.70001", "must have at most four decimals"),
    bad_publisher("70 %", "must be a share such as \"0.70\", got '70 %'"),
    bad_publisher("NaN", "must be a share such as \"0.70\", got 'NaN'"),
    bad_order("advertiser", "Acmee", "unknown advertiser 'Acmee'"),
    bad_order("currency", "XXX", "must be an ISO 4217 currency code such as USD, got 'XXX'"),
    bad_order("budget", "-1", "must not be negative"),
    bad_order("budget", "0.0000001", "must have at most six decimals"),
    bad_order("impressions", -1, "must be at least 0"),
    bad_order("prepaid", "yes", "must be true or false, got 'yes'"),
    bad_order("bugdet", "100", "unknown key"),
    bad_campaign("currency", "EUR", "must be USD, the currency of order 'o2'"),
    bad_campaign("order", "gone", "unknown order 'gone'"),
    bad_campaign("advertiser", "Globex", "must be 'Acme', the advertiser of order 'o2'"),
    bad_webhook("http://10.0.0.1/", f"{PUBLIC}, got host '10.0.0.1'"),
    bad_webhook("https://localhost:8080/", f"{PUBLIC}, got host 'localhost'"),
    bad_webhook("http://[::ffff:169.254.169.254]/", f"{PUBLIC}, got host '::ffff:169.254.169.254'"),
]
OF_USED_ORDER = [
    bad_order("currency", "EUR", "must fit campaign 'plain', whose currency is USD", id="o2"),
    bad_order(
        "prepaid", True, "must stay false, because 7.50 of the order is spent and held, and only 0.00 may be", id="o2"
    ),
]

USED = "key k1 was already used with different values, to"
COMMANDS = [
    ("orders credit o1 --amount 5 --key k1 --reason payment", f"key: {USED} credit +10.000000 USD to order o1"),
    (
        "orders credit o2 --amount 5 --key k2 --reason payment",
        "order_id: must be a prepaid order, and order o2 is not prepaid",
    ),
    ("orders credit gone --amount 5 --key k2 --reason payment", "order_id: unknown order 'gone'"),
    (
        "orders credit o1 --amount -2.500001 --key k2 --reason payment",
        "amount: must be at least -2.500000 USD, because 7.500000 of the 10.000000 credited is spent and held",
    ),
    ("payouts record gone --amount 1 --key k2", "publisher_id: unknown publisher 'gone'"),
    ("payouts record p1 --amount 2 --key k1", f"key: {USED} pay 1.000000 USD to publisher p1"),
    (
        "payouts record p1 --amount 1 --key k2 --currency EUR",
        "currency: must be a currency of a campaign (USD), got 'EUR'",
    ),
    ("books close 2026-08", "month: 2026-08 is before 2026-09, which is already closed"),
    ("invoices make 2026-10", "month: 2026-10 is not closed; close it first: adserver books close 2026-10"),
    ("invoices make 2026-9", "month: must have the form 2026-10, got '2026-9'"),
    ("invoices make 2026-09 --order gone", "order: unknown order 'gone'"),
]
TOO_EARLY = [
    ("2026-11-01 06:59Z", "2026-10 has not ended in America/Los_Angeles, the timezone of a campaign"),
    ("2026-11-02 12:00Z", "2026-10 or an earlier month has 1 open holds"),
]


@pytest.fixture(scope="module")
async def books(of_module: Databases) -> AsyncIterator[Databases]:
    """September is closed; October has a charge and a hold. 2.50 of the 10 that were credited to order o1 are left."""
    store, owner = open_store(of_module.app), open_store(of_module.owner)
    campaigns = [
        in_order("spring"),
        in_order("plain", order="o2"),
        in_order("west", order="o2", timezone="America/Los_Angeles", billing="impression"),
    ]
    names = [str(values["id"]) for values in campaigns]
    publishers = [{"id": "p1", "revenue_share": "0.5"}, {"id": "p2"}]
    orders = [order(prepaid=True), order("o2", budget="100"), order("o3", budget="5")]
    await at(owner, of_module.owner, "2026-09-15 12:00Z")
    await apply_tables(store, orders, campaigns, publishers, names)
    async with connected(of_module.owner) as connection:
        await credit_order(connection, Credit("o1", Decimal(10), "payment", "k1"))
        for moment, sold in (("2026-09-15 12:00Z", ["spring"] * 3 + ["plain"]), (OCTOBER_20, ["plain", "west"])):
            await at(owner, of_module.owner, moment)
            await open_budgets(store, names)
            async with store.serving_connection() as serving:
                paid, _ = await pay(serving, [on_placement(name) for name in sold])
            assert len(paid) == len(sold)
        await close_month(connection, SEPTEMBER)
        await record_payout(connection, Payout("p1", Decimal(1), "k1"))
    yield of_module
    await store.close()
    await owner.close()


@pytest.fixture(scope="module")
async def api(books: Databases) -> AsyncIterator[httpx.AsyncClient]:
    store = open_store(books.app)
    async with served_api(store, TOKEN) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client
    await store.close()


async def contents(url: str) -> dict[str, str]:
    """A hash of the rows of every table."""
    async with connected(url) as connection:
        tables = [row["relname"] for row in await connection.fetch(READ_TABLES)]
        return {
            table: await connection.fetchval(f"SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {table} t")
            for table in tables
        }


async def assert_refused(database: str, arguments: list[str], errors: list[str]) -> None:
    before = await contents(database)
    done = await asyncio.to_thread(adserver, *arguments, DATABASE_URL=database)
    assert (done.returncode, done.stdout) == (2, "")
    assert sorted(done.stderr.splitlines()) == sorted(f"adserver: {error}" for error in errors)
    assert await contents(database) == before


def as_toml(item: BadItem, item_id: str) -> str:
    lines = (f"{key} = {value if isinstance(value, int) else repr(value)}" for key, value in item.entry.items())
    return "\n".join([f"[[{item.kind}]]", *lines]).replace(repr(item.entry["id"]), repr(item_id), 1)


@pytest.mark.parametrize(
    "item", ITEMS + OF_USED_ORDER, ids=lambda item: f"{item.kind}-{item.key}-{item.entry.get(item.key)}"
)
async def test_an_item_that_is_put_is_refused(books: Databases, api: httpx.AsyncClient, item: BadItem) -> None:
    before = await contents(books.owner)
    answer = await put(api, f"/v1/{item.kind}/{item.entry['id']}", dict(item.entry))
    assert faults(answer) == [(item.key, item.reason)]
    assert await contents(books.owner) == before


async def test_each_fault_of_a_file_is_a_line(books: Databases, tmp_path: Path) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_text("\n".join(as_toml(item, f"id{number}") for number, item in enumerate(ITEMS)))
    kinds = [item.kind for item in ITEMS]
    lines = [
        f"{file}: {item.kind}[{kinds[:number].count(item.kind)}].{item.key}: {item.reason}"
        for number, item in enumerate(ITEMS)
    ]
    await assert_refused(books.owner, ["apply", str(file)], lines)


@pytest.mark.parametrize(("command", "error"), COMMANDS, ids=[command for command, _ in COMMANDS])
async def test_a_command_is_refused(books: Databases, command: str, error: str) -> None:
    await assert_refused(books.owner, command.split(), [error])


@pytest.mark.parametrize(("moment", "reason"), TOO_EARLY)
async def test_a_month_is_not_closed_too_early(books: Databases, moment: str, reason: str) -> None:
    await set_clock(books.owner, f"timestamptz '{moment}'")
    await assert_refused(books.owner, ["books", "close", "2026-10"], [f"month: {reason}"])


async def test_months_are_closed_in_order(books: Databases) -> None:
    await set_clock(books.owner, "timestamptz '2026-12-02 12:00Z'")
    async with connected(books.owner) as connection:
        await connection.execute("DELETE FROM holds")
    await assert_refused(books.owner, ["books", "close", "2026-11"], ["month: 2026-10 must be closed before 2026-11"])
