"""Budgets in impressions: how many ads they allow, with and without a price, and the notes about them."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import uuid4

import pytest

from app.beacons.settlement import settle, sweep
from app.domain import Event
from app.store.budget_periods import BudgetStatus, read_current_budgets
from app.store.connections import Store
from app.store.spending import Payment
from tests.integration.accounting.world import balance, beacon, connected, disagreements, payment, serve, set_clock
from tests.integration.setup.files import apply_document, owned

HELD = {"billing": "impression"}
FREE = {"cpm": "0"}


async def serve_some(store: Store, count: int) -> list[Payment]:
    """Serve up to `count` ads, as far as the budget allows."""
    async with store.serving_connection() as connection:
        return await serve(connection, [payment("spring", uuid4()) for _ in range(count)])


async def see(store: Store, served: Sequence[Payment], event: Event = Event.IMPRESSION) -> None:
    async with store.serving_connection() as connection:
        await settle(connection, [beacon(item, event) for item in served])


async def status(url: str) -> BudgetStatus:
    """The campaign's longest period as the API shows it."""
    async with connected(url) as connection:
        return (await read_current_budgets(connection, "spring"))[0]


@pytest.mark.parametrize("billing", ["serve", "impression"])
@pytest.mark.parametrize(
    ("cpm", "budgets", "ads"),
    [
        ("0", {"lifetime": {"impressions": 3}}, 3),
        ("0", {"lifetime": {"impressions": 3}, "day": {"impressions": 2}}, 2),
        ("0", {"lifetime": {"amount": "0.01", "impressions": 3}}, 3),
        ("0", {"lifetime": "1.00", "day": {"impressions": 4}}, 4),
        ("0", {"lifetime": {"impressions": 0}}, 0),
        ("2500", {"lifetime": {"impressions": 3}}, 3),
        ("2500", {"lifetime": {"amount": "5", "impressions": 3}}, 2),
        ("2500", {"lifetime": {"amount": "100", "impressions": 3}, "day": "100"}, 3),
    ],
)
async def test_the_least_of_all_limits_counts(
    store: Store, app_database: str, billing: str, cpm: str, budgets: dict[str, object], ads: int
) -> None:
    await apply_document(store, owned(cpm=cpm, billing=billing, budgets=budgets))
    assert len(await serve_some(store, 5)) == ads
    assert await serve_some(store, 1) == []
    assert await disagreements(app_database) == []


async def test_free_ads_are_limited_by_money_where_there_is_none(store: Store) -> None:
    await apply_document(store, owned(**FREE, budgets={"lifetime": "1.00", "day": "0"}))
    assert await serve_some(store, 5) == []
    await apply_document(store, owned(**FREE, budgets={"lifetime": "1.00", "day": "0.01"}))
    assert len(await serve_some(store, 5)) == 5


async def test_a_released_hold_gives_its_unit_back(store: Store, app_database: str) -> None:
    await apply_document(store, owned(**HELD, budgets={"lifetime": {"impressions": 4}}))
    served = await serve_some(store, 9)
    await see(store, served[:2])
    await see(store, served[2:], Event.ERROR)
    assert await balance(app_database, "spring") == (5, 0, 2)
    assert len(await serve_some(store, 9)) == 2
    assert await disagreements(app_database) == []


async def test_impressions_that_come_late_are_charged_while_there_are_units(
    store: Store, app_database: str, database: str
) -> None:
    late = HELD | {"late_impressions": "charge"}
    await apply_document(store, owned(**late, budgets={"lifetime": {"impressions": 9}}))
    served = await serve_some(store, 9)
    await set_clock(database, "transaction_timestamp() + interval '2 hours'")
    assert await sweep(store) == 9
    await apply_document(store, owned(**late, budgets={"lifetime": {"impressions": 4}}))
    await see(store, served)
    assert await balance(app_database, "spring") == (10, 0, 4)
    assert await disagreements(app_database) == []


async def test_lowered_below_what_was_served_it_stops_there_and_says_so(store: Store, app_database: str) -> None:
    await apply_document(store, owned(**FREE, budgets={"lifetime": {"impressions": 100}}))
    await serve_some(store, 10)
    applied = await apply_document(store, owned(**FREE, budgets={"lifetime": {"impressions": 6}}))
    assert applied.notes == (
        "campaign spring: the new lifetime budget of 6 impressions is below the 10 already served; "
        "nothing more is served until this budget has room",
    )
    assert await serve_some(store, 1) == []
    found = await status(app_database)
    assert (found.impressions, found.impressions_limit, found.impressions_remaining) == (10, 10, 0)
    await apply_document(store, owned(**FREE, budgets={"lifetime": {"impressions": 12}}))
    assert len(await serve_some(store, 5)) == 2
    assert await disagreements(app_database) == []


async def test_holds_that_end_after_it_was_lowered_make_no_room_above_it(store: Store) -> None:
    await apply_document(store, owned(**HELD, budgets={"lifetime": {"impressions": 10}}))
    served = await serve_some(store, 10)
    await apply_document(store, owned(**HELD, budgets={"lifetime": {"impressions": 3}}))
    await see(store, served[:2])
    await see(store, served[2:], Event.ERROR)
    assert len(await serve_some(store, 5)) == 1


@pytest.mark.parametrize("period", ["hour", "day", "lifetime"])
async def test_added_later_it_counts_what_was_served_in_its_period(
    store: Store, app_database: str, period: str
) -> None:
    await apply_document(store, owned(**HELD))
    served = await serve_some(store, 8)
    await see(store, served[:4])
    await see(store, served[4:5], Event.ERROR)
    await apply_document(store, owned(**HELD, budgets={period: {"impressions": 9}}))
    assert await balance(app_database, "spring", period) == (10, Decimal("7.5"), 7)
    assert len(await serve_some(store, 10)) == 2
    assert await disagreements(app_database) == []


async def test_a_limit_of_either_kind_comes_and_goes(store: Store, app_database: str) -> None:
    await apply_document(store, owned(budgets={"day": "5"}))
    assert len(await serve_some(store, 5)) == 2
    await apply_document(store, owned(budgets={"day": {"impressions": 3}}))
    assert len(await serve_some(store, 5)) == 1
    assert await status(app_database) == BudgetStatus(
        campaign_id="spring",
        period="day",
        period_start=(await status(app_database)).period_start,
        spent=Decimal("7.5"),
        held=Decimal(0),
        limit=None,
        remaining=None,
        percentage_spent=None,
        currency="USD",
        impressions=3,
        impressions_limit=3,
        impressions_remaining=0,
    )
    await apply_document(store, owned(budgets={"day": "12.5"}))
    assert len(await serve_some(store, 5)) == 2
    assert await disagreements(app_database) == []


async def test_a_new_period_begins_with_all_of_its_units(store: Store, database: str) -> None:
    await set_clock(database, "timestamptz '2026-03-01 12:00Z'")
    await apply_document(store, owned(**FREE, budgets={"day": {"impressions": 2}}))
    assert len(await serve_some(store, 5)) == 2
    await set_clock(database, "timestamptz '2026-03-02 12:00Z'")
    await apply_document(store, owned(**FREE, budgets={"day": {"impressions": 3}}))
    assert len(await serve_some(store, 5)) == 3


async def test_even_pacing_lets_units_grow_over_the_day(store: Store, database: str) -> None:
    await set_clock(database, "timestamptz '2026-03-01 06:00Z'")
    await apply_document(store, owned(**FREE, pacing="even", budgets={"day": {"impressions": 10}}))
    assert len(await serve_some(store, 9)) == 2
    await set_clock(database, "timestamptz '2026-03-01 18:00Z'")
    assert len(await serve_some(store, 9)) == 5


@pytest.mark.parametrize(
    ("values", "noted"),
    [
        (FREE | {"budgets": {"lifetime": "1.00", "day": "0.50"}}, True),
        (FREE | {"budgets": {"lifetime": "1.00", "day": {"impressions": 5}}}, False),
        (FREE | {"budgets": {"lifetime": "1.00", "day": "0"}}, False),
        (FREE | {"budgets": {}}, False),
        ({"budgets": {"lifetime": "1.00"}}, False),
    ],
)
async def test_of_money_that_does_not_limit_free_ads_there_is_a_note(
    store: Store, values: dict[str, object], noted: bool
) -> None:
    applied = await apply_document(store, owned(**values))
    notes = (
        "campaign spring: its budgets do not limit it, because its ads cost nothing; limit impressions instead, "
        "for example with { impressions = 1000 }",
    )
    assert applied.notes == (await apply_document(store, owned(**values))).notes == (notes if noted else ())


async def test_finance_and_the_api_say_the_same_of_every_period(
    store: Store, app_database: str, finance_database: str
) -> None:
    limits = {"lifetime": {"amount": "100", "impressions": 7}, "day": {"impressions": 9}, "hour": "0"}
    await apply_document(store, owned(**HELD, budgets=limits | {"hour": "40"}))
    await see(store, (await serve_some(store, 3))[:1])
    await apply_document(store, owned(**HELD, budgets=limits))
    async with connected(app_database) as connection:
        shown = {budget.period: budget for budget in await read_current_budgets(connection, "spring")}
    async with connected(finance_database) as connection:
        rows = await connection.fetch("SELECT * FROM finance.budgets WHERE running")
    assert shown == {
        row["period"]: BudgetStatus(**{name: row[name] for name in BudgetStatus.__slots__}) for row in rows
    }
    assert [shown[period].percentage_spent for period in ("lifetime", "day", "hour")] == [
        Decimal("2.5"),
        None,
        Decimal("33.33"),
    ]


async def test_reconciliation_finds_more_impressions_than_the_limit(
    store: Store, app_database: str, database: str
) -> None:
    await apply_document(store, owned(budgets={"lifetime": {"impressions": 3}}))
    await serve_some(store, 3)
    async with connected(database) as owner:
        await owner.execute("ALTER TABLE budget_tracking DROP CONSTRAINT impressions_within_budget")
        await owner.execute("UPDATE budget_tracking SET impressions_limit = 2")
    (found,) = await disagreements(app_database)
    assert (found.rule, found.expected, found.actual) == ("I1", "2", "3")
    assert found.explanation == "impressions exceed the limit"
