"""Credits of prepaid orders: each booked once, and nothing is spent that was not credited."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import pytest
from asyncpg import Connection, Record

from app.accounting.credits import BookedCredit, Credit, credit_order
from app.beacons.settlement import settle, sweep
from app.domain import AMOUNT_MAX
from app.errors import InvalidEntry, InvalidFile
from app.store.connections import Store
from tests.integration.accounting.order_world import (
    apply_tables,
    in_order,
    open_budgets,
    order,
    order_balance,
    pay,
    pay_one,
    pay_until_refused,
)
from tests.integration.accounting.world import beacon, connected, disagreements, payment

PREPAID = order(prepaid=True)


def credit(amount: str, key: str = "k1", **values: object) -> Credit:
    return Credit(**{"order_id": "o1", "amount": Decimal(amount), "reason": "payment 4711", "key": key} | values)


async def limits(url: str) -> tuple[Decimal, Decimal]:
    """The configured and the running limit of the order."""
    async with connected(url) as connection:
        row = await connection.fetchrow(
            'SELECT b."limit", t."limit" FROM configured_budgets b JOIN budget_tracking t USING (budget_id) '
            "WHERE b.order_id = 'o1'"
        )
    assert row is not None
    return row[0], row[1]


@pytest.fixture
async def books(store: Store, app_database: str) -> AsyncIterator["Connection[Record]"]:
    """A prepaid order with a campaign of 2.50 an ad, as the server's role sees it."""
    await apply_tables(store, [PREPAID], [in_order("spring")])
    async with connected(app_database) as connection:
        yield connection


async def test_a_prepaid_order_serves_nothing_before_it_is_credited(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    assert await pay_one(store, "spring") == "budget"
    booked = await credit_order(books, credit("5"))
    assert (booked.credited, booked.used, booked.remaining, booked.is_repeat) == (5, 0, 5, False)
    assert await limits(database) == (5, 5)
    assert [await pay_one(store, "spring") for _ in range(3)] == [None, None, "budget"]
    assert await order_balance(database) == (5, 0, 2)
    assert await disagreements(database) == []


async def test_a_credit_tells_who_recorded_it_and_why(books: "Connection[Record]", finance_database: str) -> None:
    await credit_order(books, credit("5"))
    async with connected(finance_database) as connection:
        row = await connection.fetchrow("SELECT * FROM finance.order_credits")
    assert row is not None
    assert (row["order_id"], row["amount"], row["currency"], row["reason"]) == ("o1", 5, "USD", "payment 4711")
    assert (row["recorded_by"], row["idempotency_key"]) == ("adserver_app", "k1")


async def test_a_key_credits_once_and_shows_what_it_credited(books: "Connection[Record]", database: str) -> None:
    first = await credit_order(books, credit("5"))
    again = await credit_order(books, credit("5.000000"))
    assert (again.amount, again.credited, again.is_repeat) == (first.amount, 5, True)
    assert await limits(database) == (5, 5)


@pytest.mark.parametrize(
    "changed", [credit("6"), credit("5", reason="another"), credit("5", order_id="o2"), credit("5", order_id="gone")]
)
async def test_a_key_with_other_values_is_refused(
    books: "Connection[Record]", store: Store, database: str, changed: Credit
) -> None:
    await apply_tables(store, [order("o2", prepaid=True)])
    await credit_order(books, credit("5"))
    with pytest.raises(InvalidEntry, match=r"^key: key k1 was already used .* to credit \+5\.000000 USD to order o1$"):
        await credit_order(books, changed)
    assert await books.fetchval("SELECT sum(amount) FROM order_credits") == 5
    assert await limits(database) == (5, 5)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (credit("5", order_id="o2"), "order_id: must be a prepaid order, and order o2 is not prepaid"),
        (credit("5", order_id="gone"), "order_id: unknown order 'gone'"),
        (
            credit("-0.000001"),
            "amount: must be at least 0.000000 USD, because 0.000000 of the 0.000000 credited is spent and held",
        ),
        (credit("5", key=" "), "key: must have 1 to 128 printable characters"),
        (credit("5", reason="a\nb"), "reason: must have 1 to 1000 printable characters"),
    ],
)
async def test_a_credit_that_cannot_be_is_refused(
    books: "Connection[Record]", store: Store, database: str, wanted: Credit, message: str
) -> None:
    await apply_tables(store, [order("o2", budget="10")])
    with pytest.raises(InvalidEntry) as refused:
        await credit_order(books, wanted)
    assert str(refused.value) == message
    assert await books.fetchval("SELECT count(*) FROM order_credits") == 0
    assert await limits(database) == (0, 0)


async def test_credits_add_up_to_less_than_an_amount_may_be(books: "Connection[Record]", database: str) -> None:
    await credit_order(books, credit("999999999999"))
    with pytest.raises(InvalidEntry, match=r"^amount: must be less than 1\.000000 USD"):
        await credit_order(books, credit("1", "k2"))
    await credit_order(books, credit("0.999999", "k3"))
    assert (await limits(database))[0] == AMOUNT_MAX - Decimal("0.000001")


async def test_money_is_taken_back_but_not_what_is_spent_or_held(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    await apply_tables(store, [], [in_order("seen", "1000", billing="impression")])
    await credit_order(books, credit("10"))
    assert [await pay_one(store, "spring"), await pay_one(store, "seen")] == [None, None]
    with pytest.raises(InvalidEntry) as refused:
        await credit_order(books, credit("-6.500001", "k2"))
    assert "at least -6.500000 USD, because 3.500000 of the 10.000000 credited is spent and held" in str(refused.value)
    assert await limits(database) == (10, 10)
    taken = await credit_order(books, credit("-6.5", "k3"))
    assert (taken.credited, taken.used, taken.remaining) == (Decimal("3.5"), Decimal("3.5"), 0)
    assert await limits(database) == (Decimal("3.5"), Decimal("3.5"))
    assert await pay_one(store, "seen") == "budget"
    assert await disagreements(database) == []


async def test_an_order_with_a_budget_may_spend_the_lower_one_of_both(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    await apply_tables(store, [PREPAID | {"budget": "7.5"}])
    assert (await credit_order(books, credit("100"))).remaining == Decimal("7.5")
    assert await limits(database) == (Decimal("7.5"), Decimal("7.5"))
    await apply_tables(store, [PREPAID | {"budget": "1000"}])
    assert await limits(database) == (100, 100)
    await credit_order(books, credit("-95", "k2"))
    assert await limits(database) == (5, 5)
    assert len(await pay_until_refused(store, [["spring"]])) == 2
    assert await disagreements(database) == []


async def test_not_even_the_owner_credits_twice_under_one_key(books: "Connection[Record]", database: str) -> None:
    await credit_order(books, credit("5"))
    async with connected(database) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("INSERT INTO order_credits TABLE order_credits")


async def test_one_key_credits_once_though_many_send_it_at_once(
    books: "Connection[Record]", database: str, app_database: str
) -> None:
    async def send(amount: str) -> BookedCredit | InvalidEntry:
        async with connected(app_database) as connection:
            try:
                return await credit_order(connection, credit(amount))
            except InvalidEntry as refused:
                return refused

    sent = await asyncio.gather(*(send(amount) for amount in ["5"] * 6 + ["7"] * 6))
    booked = [item for item in sent if isinstance(item, BookedCredit)]
    assert [item.is_repeat for item in booked].count(False) == 1
    assert len(booked) == 6
    assert {str(item)[:8] for item in sent if isinstance(item, InvalidEntry)} == {"key: key"}
    assert await limits(database) == (booked[0].amount, booked[0].amount)


async def test_exactly_as_many_ads_are_served_as_were_credited(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    """Four connections ask for campaigns of three prices and both billings while the money comes in small credits."""
    campaigns = [
        in_order("cheap", "500", billing="impression"),
        in_order("dear", "4000"),
        in_order("middle", "1500", billing="impression"),
    ]
    await apply_tables(store, [], campaigns)
    credited = [Decimal(3) + n for n in range(20)]

    async def send() -> None:
        for position, amount in enumerate(credited):
            await credit_order(books, credit(str(amount), f"k{position}"))

    groups = [["cheap", "dear", "middle", "spring"], ["dear", "dear"], ["middle"], ["spring", "cheap"], ["cheap"]]
    served, _ = await asyncio.gather(pay_until_refused(store, groups), send())
    served += await pay_until_refused(store, groups)
    count = Counter(item.campaign_id for item in served)
    prices = {"cheap": Decimal("0.5"), "dear": 4, "middle": Decimal("1.5"), "spring": Decimal("2.5")}
    assert sum(prices[name] * ads for name, ads in count.items()) == sum(credited)
    spent, held, ads = await order_balance(database)
    assert (spent + held, ads) == (sum(credited), len(served))
    assert await disagreements(database) == []


@pytest.mark.parametrize("billing", ["serve", "impression"])
async def test_a_credit_of_n_ads_serves_n(
    books: "Connection[Record]", store: Store, database: str, billing: str
) -> None:
    await apply_tables(store, [], [in_order("other", billing=billing)])
    await credit_order(books, credit("2.499999"))
    assert await pay_until_refused(store, [["other"], ["spring"]]) == []
    await credit_order(books, credit("67.500001", "k2"))
    assert len(await pay_until_refused(store, [["other", "spring"], ["spring"], ["other"] * 5])) == 28
    assert sum(await order_balance(database)) == 70 + 28


async def test_money_is_taken_back_while_ads_are_served(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    await credit_order(books, credit("500"))

    async def take_back() -> Decimal:
        taken = Decimal(0)
        for position in range(40):
            try:
                await credit_order(books, credit("-10", f"back{position}"))
            except InvalidEntry:
                break
            taken += 10
        return taken

    served, taken = await asyncio.gather(pay_until_refused(store, [["spring"], ["spring"] * 3]), take_back())
    served += await pay_until_refused(store, [["spring"]])
    assert len(served) * Decimal("2.5") == 500 - taken
    assert await limits(database) == (500 - taken, 500 - taken)
    assert await disagreements(database) == []


async def test_money_that_is_released_can_be_spent_again_and_taken_back(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    await apply_tables(store, [], [in_order("seen", billing="impression")])
    await credit_order(books, credit("5"))
    await open_budgets(store, ["seen"])
    async with store.serving_connection() as connection:
        paid, _ = await pay(connection, [payment("seen"), payment("seen")])
        with pytest.raises(InvalidEntry, match=r"at least 0\.000000 USD"):
            await credit_order(books, credit("-2.5", "k2"))
        await settle(connection, [beacon(paid[0])])
    async with connected(database) as connection:
        await connection.execute("UPDATE holds SET expires_at = now() - interval '1 second'")
    assert await sweep(store) == 1
    await credit_order(books, credit("-2.5", "k2"))
    assert await order_balance(database) == (Decimal("2.5"), 0, 1)
    assert await disagreements(database) == []


async def test_an_order_that_spent_more_than_was_credited_cannot_become_prepaid(
    books: "Connection[Record]", store: Store, database: str
) -> None:
    await credit_order(books, credit("5"))
    await apply_tables(store, [order(budget="100")])
    assert len(await pay_until_refused(store, [["spring"]])) == 40
    with pytest.raises(InvalidFile, match=r"prepaid: must stay false, because 100\.00 .* and only 5\.00 may be"):
        await apply_tables(store, [PREPAID])
    assert await limits(database) == (100, 100)
    with pytest.raises(InvalidEntry, match="is not prepaid"):
        await credit_order(books, credit("95", "k2"))
    assert await disagreements(database) == []
