"""Payouts: what publishers are owed is what they earned less what they were paid, exactly."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.accounting.corrections import Reversal, reverse
from app.accounting.payouts import Payout, RecordedPayout, record_payout
from app.errors import InvalidEntry
from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from tests.integration.accounting.order_world import apply_tables, on_placement, open_budgets, pay
from tests.integration.accounting.world import campaign, connected, disagreements, repair, set_clock

EARNED = Decimal("6.25")


def payout(amount: str, key: str = "k1", publisher_id: str = "p1", currency: str | None = None) -> Payout:
    return Payout(publisher_id, Decimal(amount), key, currency)


async def earn(store: Store, publisher_id: str, campaign_id: str = "dollars", ads: int = 5) -> None:
    """Serve ads on the publisher's placement, half of whose price it earns."""
    await open_budgets(store, [campaign_id])
    async with store.serving_connection() as connection:
        paid, _ = await pay(connection, [on_placement(campaign_id, publisher_id) for _ in range(ads)])
    assert len(paid) == ads


@pytest.fixture
async def books(store: Store, app_database: str) -> AsyncIterator["Connection[Record]"]:
    """Publisher p1 earned 6.25 USD, p2 1.25 USD and 2.50 EUR, and p3 nothing."""
    campaigns = [campaign("dollars", billing="serve"), campaign("euros", billing="serve", currency="EUR")]
    publishers = [{"id": f"p{n}", "name": f"Publisher {n}", "revenue_share": "0.5"} for n in (1, 2, 3)]
    await apply_tables(store, [], campaigns, publishers, ["dollars", "euros"])
    await earn(store, "p1")
    await earn(store, "p2", ads=1)
    await earn(store, "p2", "euros", ads=2)
    async with connected(app_database) as connection:
        yield connection


async def statement(url: str, publisher_id: str = "p1") -> list[tuple[object, ...]]:
    """Month, currency, opening balance, delivered, corrected, paid, closing balance."""
    async with connected(url) as connection:
        rows = await connection.fetch(
            "SELECT to_char(month, 'YYYY-MM'), currency, opening_balance, delivered, corrected, paid, closing_balance "
            "FROM finance.publisher_statement WHERE publisher_id = $1 ORDER BY currency, month",
            publisher_id,
        )
    return [tuple(row.values()) for row in rows]


async def test_a_payout_lowers_what_is_owed(books: "Connection[Record]", finance_database: str) -> None:
    first = await record_payout(books, payout("4"))
    assert first == RecordedPayout("p1", Decimal(4), "USD", Decimal("2.25"), is_repeat=False)
    assert (await record_payout(books, payout("2.25", "k2"))).owed == 0
    ((_, *amounts),) = await statement(finance_database)
    assert amounts == ["USD", 0, EARNED, 0, EARNED, 0]
    async with connected(finance_database) as connection:
        row = await connection.fetchrow("SELECT * FROM finance.payouts WHERE idempotency_key = 'k1'")
    assert row is not None
    assert (row["publisher"], row["amount"], row["recorded_by"]) == ("Publisher 1", 4, "adserver_app")


async def test_more_may_be_paid_than_is_owed_and_paid_back(books: "Connection[Record]") -> None:
    assert (await record_payout(books, payout("10"))).owed == EARNED - 10
    assert (await record_payout(books, payout("-3.75", "k2"))).owed == 0


async def test_a_reversal_lowers_what_is_owed(
    books: "Connection[Record]", finance_database: str, database: str
) -> None:
    await record_payout(books, payout("6.25"))
    entry = await books.fetchval("SELECT min(entry_id) FROM spend_ledger WHERE publisher_id = 'p1'")
    await reverse(books, Reversal(entry, "fraud", "r1"))
    ((_, *amounts),) = await statement(finance_database)
    assert amounts == ["USD", 0, EARNED, Decimal("-1.25"), EARNED, Decimal("-1.25")]
    assert await disagreements(database) == []


async def test_currencies_are_accounts_of_their_own(books: "Connection[Record]", finance_database: str) -> None:
    with pytest.raises(
        InvalidEntry, match=r"^currency: is required, because publisher p2 has an account in each of EUR, USD$"
    ):
        await record_payout(books, payout("1", publisher_id="p2"))
    assert (await record_payout(books, payout("1", publisher_id="p2", currency="EUR"))).owed == Decimal("1.5")
    assert [row[1:] for row in await statement(finance_database, "p2")] == [
        ("EUR", 0, Decimal("2.5"), 0, 1, Decimal("1.5")),
        ("USD", 0, Decimal("1.25"), 0, 0, Decimal("1.25")),
    ]


async def test_an_advance_needs_its_currency(books: "Connection[Record]", finance_database: str) -> None:
    with pytest.raises(InvalidEntry, match=r"^currency: is required, because publisher p3 has earned nothing yet$"):
        await record_payout(books, payout("1", publisher_id="p3"))
    assert (await record_payout(books, payout("1", publisher_id="p3", currency="EUR"))).owed == -1
    assert [row[1:] for row in await statement(finance_database, "p3")] == [("EUR", 0, 0, 0, 1, -1)]
    assert (await record_payout(books, payout("1", "k2", publisher_id="p3"))).owed == -2


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (payout("1", publisher_id="gone"), "publisher_id: unknown publisher 'gone'"),
        (payout("1", currency="GBP"), "currency: must be a currency of a campaign (EUR, USD), got 'GBP'"),
        (payout("1", currency="usd"), "currency: must be a currency of a campaign (EUR, USD), got 'usd'"),
        (payout("1", key=""), "key: must have 1 to 128 printable characters"),
    ],
)
async def test_a_payout_that_cannot_be_is_refused(books: "Connection[Record]", wanted: Payout, message: str) -> None:
    with pytest.raises(InvalidEntry) as refused:
        await record_payout(books, wanted)
    assert str(refused.value) == message
    assert await books.fetchval("SELECT count(*) FROM payouts") == 0


@pytest.mark.parametrize("changed", [payout("5"), payout("4", publisher_id="p2"), payout("4", currency="EUR")])
async def test_a_key_with_other_values_is_refused(books: "Connection[Record]", changed: Payout) -> None:
    await record_payout(books, payout("4"))
    with pytest.raises(InvalidEntry, match=r"^key: key k1 was already used .* to pay 4\.000000 USD to publisher p1$"):
        await record_payout(books, changed)
    assert await books.fetchval("SELECT sum(amount) FROM payouts") == 4


async def test_not_even_the_owner_pays_twice_under_one_key(books: "Connection[Record]", database: str) -> None:
    await record_payout(books, payout("5"))
    async with connected(database) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("INSERT INTO payouts TABLE payouts")


async def test_one_key_pays_once_though_many_send_it_at_once(books: "Connection[Record]", app_database: str) -> None:
    async def send() -> RecordedPayout:
        async with connected(app_database) as connection:
            return await record_payout(connection, payout("4"))

    sent = await asyncio.gather(*(send() for _ in range(8)))
    assert sorted(item.is_repeat for item in sent) == [False] + [True] * 7
    assert {item.owed for item in sent} == {Decimal("2.25")}
    assert await books.fetchval("SELECT count(*) FROM payouts") == 1


async def test_months_carry_their_balance_on(
    books: "Connection[Record]", store: Store, database: str, finance_database: str
) -> None:
    """Rolled up or not, each month opens with what the one before closed with; a new name changes no earlier month."""
    async with connected(database) as connection:
        await repair(connection, "DELETE FROM spend_ledger WHERE publisher_id = 'p1'", "a test of months")
    for month, (ads, paid) in {"2026-01": (4, "3"), "2026-02": (0, "7"), "2026-04": (2, "0.000001")}.items():
        await set_clock(database, f"timestamptz '{month}-15 12:00Z'")
        for task in ("partitions created", "days rolled up"):
            await Maintenance(store, 35).tasks[task].run()
        if month == "2026-04":
            await apply_tables(store, publishers=[{"id": "p1", "name": "Renamed", "revenue_share": "0.1"}])
        if ads:
            await earn(store, "p1", ads=ads)
        await record_payout(books, payout(paid, month))
    assert await statement(finance_database) == [
        ("2026-01", "USD", 0, 5, 0, 3, 2),
        ("2026-02", "USD", 2, 0, 0, 7, -5),
        ("2026-04", "USD", -5, Decimal("0.5"), 0, Decimal("0.000001"), Decimal("-4.500001")),
    ]
    async with connected(finance_database) as connection:
        names = await connection.fetch(
            "SELECT publisher FROM finance.publisher_statement WHERE publisher_id = 'p1' ORDER BY month"
        )
    assert [row["publisher"] for row in names] == ["Publisher 1", "Publisher 1", "Renamed"]


@pytest.mark.parametrize("statement", ["UPDATE payouts SET amount = 1", "DELETE FROM payouts", "TRUNCATE payouts"])
@pytest.mark.parametrize("table", ["payouts", "order_credits"])
async def test_the_server_cannot_change_what_it_recorded(
    books: "Connection[Record]", statement: str, table: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await books.execute(statement.replace("payouts", table))
