"""Changes to campaigns that are serving: budgets, caps and prices change, and the books agree at every moment."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest

from app.beacons.settlement import settle, sweep
from app.domain import Event
from app.errors import InvalidFile
from app.store.connections import Store
from app.store.spending import Payment
from tests.integration.accounting.world import (
    balance,
    beacon,
    connected,
    disagreements,
    payment,
    serve,
    set_clock,
)
from tests.integration.setup.files import apply_document, campaign, owned

USER = uuid4()


async def serve_group(store: Store, payments: Sequence[Payment]) -> list[Payment]:
    async with store.serving_connection() as connection:
        return await serve(connection, payments)


async def serve_some(store: Store, count: int) -> list[Payment]:
    """Serve up to `count` ads, as far as the budget allows."""
    return await serve_group(store, [payment("spring", uuid4()) for _ in range(count)])


async def see(store: Store, served: Sequence[Payment], event: Event = Event.IMPRESSION) -> None:
    async with store.serving_connection() as connection:
        await settle(connection, [beacon(item, event) for item in served])


async def limit_of(url: str, period: str) -> Decimal | None:
    async with connected(url) as connection:
        limit: Decimal | None = await connection.fetchval(
            'SELECT "limit" FROM budget_tracking WHERE period = $1 ORDER BY period_start DESC LIMIT 1', period
        )
    return limit


async def test_a_budget_lowered_below_what_is_spent_stops_the_campaign_there_and_says_so(
    store: Store, app_database: str
) -> None:
    await apply_document(store, owned(budgets={"lifetime": "100"}))
    await serve_some(store, 10)
    applied = await apply_document(store, owned(budgets={"lifetime": "10"}))
    assert applied.notes == (
        "campaign spring: the new lifetime budget of 10.00 is below the 25.00 already spent and held; "
        "nothing more is served until this budget has room",
    )
    assert await serve_some(store, 1) == []
    assert await limit_of(app_database, "lifetime") == 25
    await apply_document(store, owned(budgets={"lifetime": "30"}))
    assert len(await serve_some(store, 5)) == 2
    assert await disagreements(app_database) == []


async def test_a_budget_lowered_to_what_fits_one_more_ad_serves_one_more(store: Store) -> None:
    await apply_document(store, owned(budgets={"lifetime": "100"}))
    await serve_some(store, 10)
    assert (await apply_document(store, owned(budgets={"lifetime": "27.5"}))).notes == ()
    assert len(await serve_some(store, 5)) == 1


async def test_holds_that_end_after_a_budget_was_lowered_make_no_room_above_it(store: Store, app_database: str) -> None:
    await apply_document(store, owned(billing="impression", budgets={"lifetime": "100"}))
    served = await serve_some(store, 10)
    await see(store, served[:2])
    await apply_document(store, owned(billing="impression", budgets={"lifetime": "7.5"}))
    await see(store, served[2:], Event.ERROR)
    assert await balance(app_database, "spring") == (5, 0, 2)
    assert len(await serve_some(store, 5)) == 1
    assert await disagreements(app_database) == []


async def test_impressions_that_come_late_are_charged_within_a_lowered_budget(
    store: Store, app_database: str, database: str
) -> None:
    late = {"billing": "impression", "late_impressions": "charge"}
    await apply_document(store, owned(**late, budgets={"lifetime": "100"}))
    served = await serve_some(store, 10)
    await see(store, served[:2])
    await apply_document(store, owned(**late, budgets={"lifetime": "12.5"}))
    await set_clock(database, "transaction_timestamp() + interval '2 hours'")
    assert await sweep(store) == 8
    await see(store, served[2:])
    assert await balance(app_database, "spring") == (Decimal("12.5"), 0, 5)
    assert await disagreements(app_database) == []


async def test_finance_sees_the_limits_that_ads_are_served_by(
    store: Store, finance_database: str, database: str
) -> None:
    async def limits() -> dict[str, tuple[Decimal, Decimal]]:
        async with connected(finance_database) as finance:
            rows = await finance.fetch(
                """SELECT period || ' ' || period_start::date AS period, "limit", remaining FROM finance.budgets"""
            )
        return {row["period"]: (row["limit"], row["remaining"]) for row in rows}

    held = {"billing": "impression"}
    await set_clock(database, "timestamptz '2026-03-01 12:00Z'")
    await apply_document(store, owned(**held, budgets={"lifetime": "100", "day": "50"}))
    await serve_some(store, 4)
    await set_clock(database, "timestamptz '2026-03-02 12:00Z'")
    await apply_document(store, owned(**held, budgets={"lifetime": "5", "day": "40"}))
    assert await limits() == {"lifetime 1970-01-01": (10, 0), "day 2026-03-01": (50, 40), "day 2026-03-02": (40, 40)}
    await sweep(store)
    assert (await limits())["lifetime 1970-01-01"] == (5, 5)
    assert (await limits())["day 2026-03-01"] == (50, 50)


@pytest.mark.parametrize("period", ["hour", "day", "lifetime"])
async def test_a_budget_that_is_added_later_counts_what_was_spent_in_its_period(
    store: Store, app_database: str, period: str
) -> None:
    await apply_document(store, owned(billing="impression"))
    served = await serve_some(store, 10)
    await see(store, served[:4])
    await see(store, served[4:5], Event.ERROR)
    await apply_document(store, owned(billing="impression", budgets={period: "30"}))
    assert await balance(app_database, "spring", period) == (10, Decimal("12.5"), 9)
    assert len(await serve_some(store, 10)) == 3
    await see(store, served[5:])
    assert await disagreements(app_database) == []


async def test_a_budget_that_is_added_below_what_was_spent_stops_the_campaign_and_says_so(store: Store) -> None:
    await apply_document(store, owned())
    await serve_some(store, 10)
    applied = await apply_document(store, owned(budgets={"day": "5"}))
    assert applied.notes[0].startswith("campaign spring: the new day budget of 5.00 is below the 25.00")
    assert await serve_some(store, 1) == []


async def test_a_budget_that_is_taken_away_limits_no_longer_and_its_holds_end_well(
    store: Store, app_database: str
) -> None:
    await apply_document(store, owned(billing="impression", budgets={"day": "25", "lifetime": "1000"}))
    served = await serve_some(store, 10)
    assert await serve_some(store, 1) == []
    await apply_document(store, owned(billing="impression", budgets={"lifetime": "1000"}))
    served += await serve_some(store, 10)
    await see(store, served)
    assert await balance(app_database, "spring") == (50, 0, 20)
    assert await limit_of(app_database, "day") is None
    await apply_document(store, owned(billing="impression", budgets={"day": "60", "lifetime": "1000"}))
    assert await balance(app_database, "spring", "day") == (50, 0, 20)
    assert await disagreements(app_database) == []


async def test_days_that_are_over_stay_when_their_budget_is_taken_away(
    store: Store, app_database: str, database: str
) -> None:
    await set_clock(database, "timestamptz '2026-03-01 12:00Z'")
    await apply_document(store, owned(budgets={"day": "25"}))
    await serve_some(store, 3)
    await set_clock(database, "timestamptz '2026-03-02 12:00Z'")
    await apply_document(store, owned(budgets={}))
    assert await balance(app_database, "spring", "day") == (Decimal("7.5"), 0, 3)


async def test_ads_go_on_while_budgets_come_and_go_and_no_cent_is_lost(store: Store, app_database: str) -> None:
    await apply_document(store, owned(billing="impression"))

    async def serve_and_see() -> None:
        for _ in range(40):
            # A group whose budget has just come finds no room or no row: the server asks again, here it is left.
            served = await serve_some(store, 5)
            await see(store, served)

    async def change() -> None:
        for number in range(12):
            periods = {"day": "10000"} if number % 2 else {"lifetime": "20000", "hour": "5000"}
            await apply_document(store, owned(billing="impression", budgets=periods))

    await asyncio.gather(serve_and_see(), change())
    assert await disagreements(app_database) == []


async def test_a_cap_lowered_below_a_users_count_shows_that_user_no_more(store: Store, app_database: str) -> None:
    def capped(impressions: int) -> dict[str, object]:
        return owned(frequency_caps=[{"impressions": impressions, "per": "day"}])

    async def ask(count: int) -> int:
        return sum([len(await serve_group(store, [payment("spring", USER)])) for _ in range(count)])

    await apply_document(store, capped(5))
    assert await ask(4) == 4
    await apply_document(store, capped(2))
    assert await ask(2) == 0
    await apply_document(store, capped(6))
    assert await ask(4) == 2
    await apply_document(store, owned())
    assert await ask(3) == 3
    assert await disagreements(app_database) == []


async def test_a_count_above_a_lowered_cap_can_be_given_back(store: Store, app_database: str) -> None:
    await apply_document(store, owned(budgets={"lifetime": "10"}, frequency_caps=[{"impressions": 9, "per": "day"}]))
    for _ in range(4):
        await serve_group(store, [payment("spring", USER)])
    await apply_document(store, owned(budgets={"lifetime": "10"}, frequency_caps=[{"impressions": 9, "per": "week"}]))
    assert await serve_group(store, [payment("spring", USER)]) == []
    await apply_document(store, owned(budgets={"lifetime": "10"}, frequency_caps=[{"impressions": 5, "per": "day"}]))
    assert await serve_group(store, [payment("spring", USER)]) == []
    async with connected(app_database) as connection:
        counts = await connection.fetch('SELECT "window", count FROM frequency_caps ORDER BY "window"')
    assert [tuple(row.values()) for row in counts] == [("day", 4), ("week", 0)]


async def test_a_cap_that_stays_keeps_the_moment_since_which_it_counts(store: Store, app_database: str) -> None:
    await apply_document(store, owned(frequency_caps=[{"impressions": 5, "per": "day"}]))
    async with connected(app_database) as connection:
        since = await connection.fetchval("SELECT counts_from FROM campaign_caps")
        caps = [{"impressions": 3, "per": "day"}, {"impressions": 1, "per": "hour"}]
        await apply_document(store, owned(frequency_caps=caps))
        rows = await connection.fetch("SELECT counts_from, impressions FROM campaign_caps ORDER BY counts_from")
    assert rows[0]["counts_from"] == since < rows[1]["counts_from"]
    assert [row["impressions"] for row in rows] == [3, 1]


async def test_a_new_price_and_another_billing_hold_for_new_ads_alone(store: Store, app_database: str) -> None:
    await apply_document(store, owned(billing="impression", budgets={"lifetime": "1000"}))
    served = await serve_some(store, 4)
    await apply_document(store, owned(billing="serve", cpm="1000", budgets={"lifetime": "1000"}))
    await serve_some(store, 3)
    await see(store, served)
    assert await balance(app_database, "spring") == (13, 0, 7)
    assert await disagreements(app_database) == []


@pytest.mark.parametrize("outcome", ["charged", "held", "released"])
@pytest.mark.parametrize(("key", "value", "was"), [("currency", "EUR", "USD"), ("timezone", "Asia/Tokyo", "UTC")])
async def test_currency_and_timezone_stay_once_an_ad_was_served(
    store: Store, outcome: str, key: str, value: str, was: str
) -> None:
    billing = "serve" if outcome == "charged" else "impression"
    await apply_document(store, owned(billing=billing))
    served = await serve_some(store, 1)
    if outcome == "released":
        await see(store, served, Event.ERROR)
    with pytest.raises(InvalidFile) as refused:
        await apply_document(store, owned(billing=billing, **{key: value}))
    assert [(fault.key, fault.reason) for fault in refused.value.faults] == [
        (f"campaigns[0].{key}", f"must stay {was!r}, because the campaign has served ads")
    ]


async def test_currency_and_timezone_may_change_before_the_first_ad(store: Store, app_database: str) -> None:
    await apply_document(store, owned(budgets={"day": "100"}))
    changed = owned(budgets={"day": "100"}, currency="EUR", timezone="Asia/Tokyo")
    assert (await apply_document(store, changed)).updated == ("campaign spring",)
    assert len(await serve_some(store, 2)) == 2
    assert await disagreements(app_database) == []


async def test_an_ad_under_way_is_waited_for_before_the_currency_changes(store: Store) -> None:
    await apply_document(store, owned())
    async with store.serving_connection() as connection, connection.transaction():
        await serve(connection, [payment("spring", USER)])
        change = asyncio.create_task(apply_document(store, owned(currency="EUR")))
        async with store.connection() as watching:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            while not await watching.fetchval(waiting):
                assert not change.done()
    with pytest.raises(InvalidFile, match="must stay 'USD'"):
        await change


async def test_a_paused_campaign_serves_nothing_from_its_commit_on(store: Store) -> None:
    await apply_document(store, owned())
    assert len(await serve_some(store, 1)) == 1
    await apply_document(store, owned(status="paused"))
    assert await serve_some(store, 1) == []
    await apply_document(store, owned())
    assert len(await serve_some(store, 1)) == 1


async def test_a_flight_moved_into_the_past_ends_the_serving(store: Store) -> None:
    await apply_document(store, owned())
    await apply_document(store, owned(ends_at=datetime(2021, 1, 1, tzinfo=UTC)))
    assert await serve_some(store, 1) == []


async def test_thousands_of_campaigns_are_applied_in_one_go(store: Store) -> None:
    many = {
        "upstreams": [{"id": "u", "tag_url": "http://ads.example/vast"}],
        "campaigns": [campaign(f"c{number}", upstreams=["u"], budgets={"day": "5"}) for number in range(2000)],
    }
    assert len((await apply_document(store, many)).created) == 2002
    assert len((await apply_document(store, many)).unchanged) == 2001
