"""Orders: campaigns share a budget to the last unit, whatever happens to their ads and to the order."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.accounting.corrections import Adjustment, Reversal, adjust, reverse
from app.beacons.settlement import settle, sweep
from app.domain import Event
from app.errors import InvalidEntry
from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from app.store.spending import Payment
from tests.integration.accounting.order_world import (
    apply_tables,
    in_order,
    order,
    order_balance,
    pay_group,
    pay_one,
    pay_until_refused,
)
from tests.integration.accounting.world import beacon, connected, disagreements, set_clock

PRICES = {"a": Decimal("2.5"), "b": Decimal("1.3"), "c": Decimal("0.7")}
CAMPAIGNS = [in_order(name, str(price * 1000)) for name, price in PRICES.items()]
EXPIRE = "UPDATE holds SET expires_at = now() - interval '1 second'"


def cost(ads: Sequence[Payment]) -> Decimal:
    return sum((PRICES[item.campaign_id] for item in ads), Decimal(0))


async def test_campaigns_share_a_budget_to_the_last_unit_of_money(store: Store, database: str) -> None:
    await apply_tables(store, [order(budget="100")], CAMPAIGNS)
    served = await pay_until_refused(store, [["a", "b", "c"], ["c", "b", "b", "a"], ["a"], ["b"], ["c"]])
    spent, held, ads = await order_balance(database)
    assert (spent, held, ads) == (cost(served), 0, len(served))
    assert 0 <= 100 - spent < min(PRICES.values())
    assert await disagreements(database) == []


async def test_campaigns_share_a_budget_to_the_last_impression(store: Store, database: str) -> None:
    await apply_tables(store, [order(impressions=97)], CAMPAIGNS)
    served = await pay_until_refused(store, [["a", "b", "c"], ["c", "b", "b", "a"], ["a", "c"]])
    assert len(served) == 97
    assert await order_balance(database) == (cost(served), 0, 97)
    assert await disagreements(database) == []


async def test_many_campaigns_of_two_orders_deadlock_nowhere(store: Store, database: str) -> None:
    """Groups name campaigns in every order, with budgets of their own beside those of both orders."""
    names = [f"c{n}" for n in range(12)]
    campaigns = [
        in_order(name, "1000", order=f"o{n % 2 + 1}", budgets={"day": "30", "lifetime": "20"})
        for n, name in enumerate(names)
    ]
    await apply_tables(store, [order("o1", budget="77"), order("o2", impressions=66)], campaigns)
    served = await pay_until_refused(store, [names, names[::-1], names[5:] + names[:5], *([name] for name in names)])
    count = Counter(names.index(item.campaign_id) % 2 for item in served)
    assert count == {0: 77, 1: 66}
    assert max(Counter(item.campaign_id for item in served).values()) <= 20
    assert await disagreements(database) == []


@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    budget=st.decimals(0, 12, places=2),
    units=st.none() | st.integers(0, 9),
    group=st.lists(st.sampled_from("abcf"), min_size=1, max_size=12),
)
async def test_a_group_of_several_prices_never_exceeds_its_order(
    store: Store, budget: Decimal, units: int | None, group: list[str]
) -> None:
    """All examples use one database: the order goes on from where the last one stopped."""
    async with store.connection() as connection:
        used = await connection.fetchrow("SELECT spent, impressions FROM budget_tracking WHERE order_id = 'o1'")
    spent, ads = (Decimal(0), 0) if used is None else (used["spent"], used["impressions"])
    limits = {"budget": str(spent + budget)} | ({} if units is None else {"impressions": ads + units})
    free = in_order("f", "0")
    await apply_tables(store, [order(**limits)], [*CAMPAIGNS, free])
    served = await pay_group(store, *group)
    price = sum((PRICES.get(item.campaign_id, Decimal(0)) for item in served), Decimal(0))
    assert price <= budget
    assert units is None or len(served) <= units
    refused = Counter(group) - Counter(item.campaign_id for item in served)
    if units is None or len(served) < units:
        assert all(PRICES.get(name, Decimal("0.000001")) > budget - price for name in refused)


async def test_an_order_that_runs_dry_is_spent_to_the_last_unit_in_every_group(store: Store) -> None:
    await apply_tables(store, [order(budget="3.2")], CAMPAIGNS)
    served = [item for _ in range(2) for item in await pay_group(store, "a", "a", "c")]
    served += await pay_group(store, "a", "b", "c")
    assert cost(served) == Decimal("3.2")


async def test_the_campaigns_own_budget_counts_beside_the_orders(store: Store, database: str) -> None:
    campaigns = [in_order("a", budgets={"lifetime": "5"}), in_order("b", budgets={"day": {"impressions": 3}})]
    await apply_tables(store, [order(budget="11")], campaigns)
    served = await pay_until_refused(store, [["a", "b"], ["b", "a"]])
    assert Counter(item.campaign_id for item in served)["a"] <= 2
    assert Counter(item.campaign_id for item in served)["b"] <= 3
    assert len(served) == 4
    assert await order_balance(database) == (10, 0, 4)
    assert await disagreements(database) == []


async def test_a_lowered_budget_applies_at_once_and_a_raised_one_too(store: Store, database: str) -> None:
    await apply_tables(store, [order(budget="100")], CAMPAIGNS)
    assert len(await pay_group(store, *"aaaa")) == 4
    result = await apply_tables(store, [order(budget="5")])
    assert [note for note in result.notes if note.startswith("order o1: the new lifetime budget of 5.00 is below")]
    assert await pay_one(store, "c") == "budget"
    await apply_tables(store, [order(budget="12.5")])
    assert [await pay_one(store, "a"), await pay_one(store, "a")] == [None, "budget"]
    assert (await order_balance(database))[0] == Decimal("12.5")
    assert await disagreements(database) == []


async def test_budgets_change_while_four_connections_serve(store: Store, database: str) -> None:
    await apply_tables(store, [order(budget="50")], CAMPAIGNS)

    async def change() -> None:
        for budget in ("10", "80", "20", "120", "60", "150"):
            await apply_tables(store, [order(budget=budget)])

    groups = [["a", "b", "c"], ["c"], ["b", "a"]]
    served, _ = await asyncio.gather(pay_until_refused(store, groups), change())
    served += await pay_until_refused(store, groups)
    assert 0 <= 150 - cost(served) < min(PRICES.values())
    assert (await order_balance(database))[0] == cost(served)
    assert await disagreements(database) == []


@pytest.mark.parametrize("limit", [{"budget": "20"}, {"impressions": 8}])
async def test_an_order_that_gets_a_limit_later_counts_what_was_used_before(
    store: Store, database: str, app_database: str, limit: dict[str, object]
) -> None:
    campaigns = [in_order("a"), in_order("b", billing="impression")]
    await apply_tables(store, [order()], campaigns)
    before = await pay_group(store, *"aabb")
    async with store.serving_connection() as connection:
        await settle(connection, [beacon(item) for item in before if item.campaign_id == "b"][:1])
    await set_clock(database, "transaction_timestamp() + interval '3 minutes'")
    await Maintenance(store, 35).tasks["days rolled up"].run()
    before += await pay_group(store, "a")
    async with connected(app_database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM budget_tracking WHERE order_id IS NOT NULL") == 0
    await apply_tables(store, [order(**limit)])
    assert await order_balance(database) == (10, Decimal("2.5"), 5)
    assert len(await pay_until_refused(store, [["a", "b"]])) == 3
    await apply_tables(store, [order()])
    async with connected(app_database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM budget_tracking WHERE order_id IS NOT NULL") == 0
    assert len(await pay_group(store, "a", "b")) == 2
    assert await disagreements(database) == []


async def test_holds_settle_and_are_released_in_the_orders_budget(store: Store, database: str) -> None:
    campaigns = [in_order(name, str(price * 1000), billing="impression") for name, price in PRICES.items()]
    await apply_tables(store, [order(budget="9", impressions=20)], campaigns)
    served = await pay_group(store, *"abcabc")
    assert await order_balance(database) == (0, 9, 6)
    assert await pay_one(store, "c") == "budget"
    async with store.serving_connection() as connection:
        await settle(connection, [beacon(served[0]), beacon(served[4]), beacon(served[3], Event.ERROR)])
    seen, failed = cost([served[0], served[4]]), cost([served[3]])
    assert await order_balance(database) == (seen, 9 - seen - failed, 5)
    async with connected(database) as connection:
        await connection.execute(EXPIRE)
    assert await sweep(store) == 3
    assert await order_balance(database) == (seen, 0, 2)
    assert await disagreements(database) == []


async def test_holds_of_many_campaigns_settle_at_once(store: Store, database: str) -> None:
    campaigns = [in_order(name, str(price * 1000), billing="impression") for name, price in PRICES.items()]
    await apply_tables(store, [order(budget="120")], campaigns)
    served = await pay_until_refused(store, [["a", "b", "c"], ["c", "a"], ["c"]])
    beacons = [beacon(item) for item in served]

    async def worker(first: int) -> None:
        async with store.serving_connection() as connection:
            for start in range(0, len(beacons), 8):
                group = beacons[(start + first) % len(beacons) :][:8]
                await settle(connection, group[:: 1 if first % 2 else -1])

    await asyncio.gather(*(worker(first) for first in (0, 3, 6, 9)), worker(len(beacons) - 8))
    async with store.serving_connection() as connection:
        await settle(connection, beacons)
    assert await order_balance(database) == (cost(served), 0, len(served))
    assert await disagreements(database) == []


async def test_late_impressions_are_charged_to_the_order_while_it_has_room(store: Store, database: str) -> None:
    campaigns = [
        in_order(name, str(price * 1000), billing="impression", late_impressions="charge")
        for name, price in PRICES.items()
    ]
    await apply_tables(store, [order(budget="10")], campaigns)
    late = await pay_group(store, *"abcabc")
    async with connected(database) as connection:
        await connection.execute(EXPIRE)
    assert await sweep(store) == 6
    await apply_tables(store, [order(budget="4")])
    async with store.serving_connection() as connection:
        settled = (await settle(connection, [beacon(item) for item in late])).settled
        settled += (await settle(connection, [beacon(item) for item in late])).settled
    spent, held, ads = await order_balance(database)
    assert (held, ads) == (0, settled)
    assert Decimal("3.3") < spent <= 4
    assert await disagreements(database) == []


async def test_late_impressions_end_at_the_orders_last_impression(store: Store, database: str) -> None:
    campaigns = [in_order(name, billing="impression", late_impressions="charge") for name in "ab"]
    await apply_tables(store, [order(impressions=6)], campaigns)
    late = await pay_group(store, *"ababab")
    async with connected(database) as connection:
        await connection.execute(EXPIRE)
    assert await sweep(store) == 6
    await apply_tables(store, [order(impressions=4)])
    async with store.serving_connection() as connection:
        assert (await settle(connection, [beacon(item) for item in late])).settled == 4
    assert await order_balance(database) == (10, 0, 4)
    assert await disagreements(database) == []


async def test_a_late_impression_is_paid_by_the_order_and_advertiser_of_its_serve(store: Store, database: str) -> None:
    late = {"billing": "impression", "late_impressions": "charge"}
    orders = [order("o1", budget="10"), order("o2", advertiser="Bella", budget="2.5")]
    await apply_tables(store, orders, [in_order("a", **late)], advertisers=[{"id": "Bella"}])
    served = await pay_group(store, "a", "a")
    await apply_tables(store, [], [in_order("a", advertiser="Bella", order="o2", **late)])
    served += await pay_group(store, "a")
    async with connected(database) as connection:
        await connection.execute(EXPIRE)
        assert await sweep(store) == 3
        async with store.serving_connection() as serving:
            assert (await settle(serving, [beacon(item) for item in served])).settled == 3
        payers = await connection.fetch(
            "SELECT advertiser_id, order_id, count(*) FROM spend_ledger GROUP BY 1, 2 ORDER BY 1"
        )
    assert [tuple(row) for row in payers] == [("Acme", "o1", 2), ("Bella", "o2", 1)]
    assert await order_balance(database, "o1") == (5, 0, 2)
    assert await order_balance(database, "o2") == (Decimal("2.5"), 0, 1)
    assert await disagreements(database) == []


async def test_corrections_count_in_the_order(store: Store, database: str, app_database: str) -> None:
    await apply_tables(store, [order(budget="10")], [in_order("a")])
    assert len(await pay_until_refused(store, [["a"]])) == 4
    async with connected(app_database) as connection:
        entry = await connection.fetchval("SELECT min(entry_id) FROM spend_ledger")
        await reverse(connection, Reversal(entry, "fraud", "k1"))
        assert (await order_balance(database))[0] == Decimal("7.5")
        await adjust(connection, Adjustment("a", Decimal(-5), "make-good", "k2"))
        assert (await order_balance(database))[0] == Decimal("2.5")
        with pytest.raises(InvalidEntry, match=r"at most 7\.500000 USD, the rest of the budget of order o1$"):
            await adjust(connection, Adjustment("a", Decimal("7.500001"), "fee", "k3"))
        await adjust(connection, Adjustment("a", Decimal("2.5"), "fee", "k4"))
    assert len(await pay_until_refused(store, [["a"]])) == 2
    assert await order_balance(database) == (10, 0, 6)
    assert await disagreements(database) == []


async def test_a_reversal_counts_in_the_order_of_its_entry(store: Store, database: str, app_database: str) -> None:
    await apply_tables(store, [order("o1", budget="10"), order("o2", budget="10")], [in_order("a")])
    await pay_group(store, "a")
    await apply_tables(store, [], [in_order("a", order="o2")])
    await pay_group(store, "a")
    async with connected(app_database) as connection:
        entry = await connection.fetchval("SELECT entry_id FROM spend_ledger WHERE order_id = 'o1'")
        await reverse(connection, Reversal(entry, "fraud", "k1"))
    assert (await order_balance(database, "o1"))[0] == 0
    assert (await order_balance(database, "o2"))[0] == Decimal("2.5")
    assert await disagreements(database) == []


async def test_the_pacing_of_a_campaign_does_not_pace_its_order(store: Store, database: str) -> None:
    """Of an even campaign's own day budget little may be spent by now, and of its order's all."""
    even = in_order("even", "10", pacing="even")
    limited = in_order("limited", "10", pacing="even", budgets={"lifetime": "1000000000"})
    await apply_tables(store, [order(budget="1")], [even, limited, in_order("a", "10")])
    served = await pay_until_refused(store, [["even", "limited"], ["a"], ["limited"]])
    assert len(served) == 100
    assert await disagreements(database) == []


async def test_a_free_campaign_counts_impressions_in_its_order(store: Store, database: str) -> None:
    await apply_tables(store, [order(impressions=5, budget="10")], [in_order("free", "0"), in_order("a")])
    assert len(await pay_group(store, "free", "free", "a")) == 3
    assert len(await pay_until_refused(store, [["free"], ["a"]])) == 2
    assert (await order_balance(database))[2] == 5
