"""Ads sold by click or completed view: held when served, charged once by the event that was sold, or given back."""

import asyncio
import random
from collections.abc import Sequence
from decimal import Decimal
from uuid import uuid4

import pytest
from asyncpg import CheckViolationError

from app.beacons.settlement import settle, sweep
from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.domain import Event
from app.errors import InvalidFile
from app.store.connections import Store
from app.store.holds import Beacon, charge_late_events
from app.store.spending import Payment
from tests.integration.accounting.world import (
    balance,
    beacon,
    campaign,
    connected,
    disagreements,
    payment,
    serve,
    serve_many,
    set_clock,
    set_up,
)

PRICE = Decimal("0.333333")
SOLD = pytest.mark.parametrize(
    ("model", "unit", "event", "other"),
    [("cpc", "clicks", Event.CLICK, Event.COMPLETE), ("cpcv", "completions", Event.COMPLETE, Event.CLICK)],
    ids=["cpc", "cpcv"],
)
TWO_HOURS_LATER = "transaction_timestamp() + interval '2 hours'"
CHARGED = """
SELECT i.serve_id, i.billing, i.charged, i.seen_at IS NOT NULL AS seen FROM finance.impressions i ORDER BY i.serve_id
"""
HOURLY = """
SELECT sum(serves), sum(seen), sum(clicks), sum(completed), sum(late), sum(expired), sum(charged)
FROM finance.delivery_hourly WHERE campaign_id = 'sold'
"""


def sold(model: str, **values: object) -> dict[str, object]:
    """A campaign at a third of a dollar for a click or a completed view."""
    terms = campaign("sold", **values) | {"price": {model: str(PRICE)}}
    return {key: value for key, value in terms.items() if key not in ("cpm", "billing")}


async def send(store: Store, beacons: Sequence[Beacon]) -> tuple[int, int]:
    """Send beacons in one group; return how many holds they settled and released."""
    async with store.serving_connection() as connection:
        outcome = await settle(connection, beacons)
    return outcome.settled, outcome.released


@SOLD
async def test_only_the_event_that_was_sold_charges(
    store: Store, database: str, finance_database: str, model: str, unit: str, event: Event, other: Event
) -> None:
    await set_up(store, sold(model, budgets={"lifetime": "10", "day": {unit: 3}}))
    bought, watched, failed = await serve_many(store, "sold", 3)
    for item in (bought, watched, failed):
        assert await send(store, [beacon(item), beacon(item, other), beacon(item, Event.START)]) == (0, 0)
    assert await balance(database, "sold") == (Decimal(0), 3 * PRICE, 3)
    assert await send(store, [beacon(bought, event), beacon(bought, event), beacon(failed, Event.ERROR)]) == (1, 1)
    assert await send(store, [beacon(bought, event), beacon(failed, event), beacon(bought, Event.ERROR)]) == (0, 0)
    for period in ("lifetime", "day"):
        assert await balance(database, "sold", period) == (PRICE, PRICE, 2)
    async with connected(finance_database) as finance:
        rows = {row["serve_id"]: row for row in await finance.fetch(CHARGED)}
        hourly = tuple(await finance.fetchrow(HOURLY) or ())
    assert {key: row["charged"] for key, row in rows.items()} == {
        bought.request_key: PRICE,
        watched.request_key: 0,
        failed.request_key: 0,
    }
    assert {(row["billing"], row["seen"]) for row in rows.values()} == {(event.value, True)}
    bought_too = {Event.CLICK: (2, 3), Event.COMPLETE: (3, 2)}
    assert hourly[:2] == (3, 3)
    assert hourly[2:4] == bought_too[event]
    # The event that came after its ad had failed.
    assert hourly[4:] == (1, 0, PRICE)
    assert await disagreements(database) == []


@SOLD
async def test_of_one_group_the_first_of_event_and_error_decides(
    store: Store, database: str, model: str, unit: str, event: Event, other: Event
) -> None:
    del unit, other
    await set_up(store, sold(model))
    bought, failed = await serve_many(store, "sold", 2)
    beacons = [
        *(beacon(bought), beacon(bought, event), beacon(bought, Event.ERROR)),
        *(beacon(failed), beacon(failed, Event.ERROR), beacon(failed, event)),
    ]
    assert await send(store, beacons) == (1, 1)
    assert await balance(database, "sold") == (PRICE, Decimal(0), 1)
    assert await disagreements(database) == []


@SOLD
async def test_a_goal_is_never_passed_and_has_room_again_after_a_release(
    store: Store, database: str, model: str, unit: str, event: Event, other: Event
) -> None:
    del other
    await set_up(store, sold(model, budgets={"lifetime": {unit: 5}}))
    served = await serve_many(store, "sold", 5)
    async with store.serving_connection() as connection:
        assert not await serve(connection, [payment("sold", uuid4())])
    assert await send(store, [beacon(item, event) for item in served[:3]]) == (3, 0)
    await set_clock(database, TWO_HOURS_LATER)
    assert await sweep(store) == 2
    assert len(await serve_many(store, "sold", 2)) == 2
    async with store.serving_connection() as connection:
        assert not await serve(connection, [payment("sold", uuid4())])
    assert await balance(database, "sold") == (3 * PRICE, 2 * PRICE, 5)
    assert await disagreements(database) == []


@SOLD
@pytest.mark.parametrize("rule", ["ignore", "charge"])
async def test_a_late_event_is_charged_if_the_campaign_says_so_while_there_is_room(
    store: Store, database: str, model: str, unit: str, event: Event, other: Event, rule: str
) -> None:
    await set_up(store, sold(model, late_impressions=rule, budgets={"lifetime": {unit: 2}}))
    served = await serve_many(store, "sold", 2)
    await set_clock(database, TWO_HOURS_LATER)
    assert await sweep(store) == 2
    (first, _), newer = served, await serve_many(store, "sold", 1)
    # What was not sold charges nothing when it is late either.
    assert await send(store, [beacon(item) for item in served] + [beacon(item, other) for item in served]) == (0, 0)
    late = [beacon(item, event) for item in (*served, *served)]
    charged = 1 if rule == "charge" else 0
    assert await send(store, late) == (charged, 0)
    assert await send(store, late) == (0, 0)
    assert await balance(database, "sold") == (charged * PRICE, PRICE, 1 + charged)
    async with connected(database) as owner:
        entries = [row[0] for row in await owner.fetch("SELECT request_key FROM spend_ledger")]
    assert entries == [first.request_key] * charged
    assert len(newer) == 1
    assert await disagreements(database) == []


@SOLD
async def test_holds_and_spend_stay_within_the_budget_under_concurrent_events_and_releases(
    store: Store, database: str, model: str, unit: str, event: Event, other: Event
) -> None:
    """Repeated events, errors, sweeps and new serves at once: every hold ends once."""
    await set_up(store, sold(model, budgets={"lifetime": {"amount": str(400 * PRICE), unit: 400}}))
    served = await serve_many(store, "sold", 400)
    ended: list[int] = []

    async def end(part: Sequence[Payment]) -> None:
        beacons = [beacon(item, kind) for item in part for kind in (event, event, other, Event.ERROR)]
        random.shuffle(beacons)
        for start in range(0, len(beacons), 32):
            settled, released = await send(store, beacons[start : start + 32])
            ended.append(settled + released)

    async def serve_more() -> None:
        async with store.serving_connection() as connection:
            for _ in range(20):
                await serve(connection, [payment("sold", uuid4()) for _ in range(8)])

    parts = [served[:200], served[100:300], served[150:350]]
    await asyncio.gather(*(end(part) for part in parts), serve_more(), serve_more())
    await set_clock(database, TWO_HOURS_LATER)
    await asyncio.gather(*(sweep(store, 16) for _ in range(3)))
    spent, held, units = await balance(database, "sold")
    assert (held, spent) == (0, units * PRICE)
    assert sum(ended) == 350
    assert await disagreements(database) == []


async def test_the_kind_of_price_stays_once_ads_were_served(store: Store) -> None:
    await set_up(store, sold("cpc"))
    await set_up(store, sold("cpcv"))
    await serve_many(store, "sold", 1)
    with pytest.raises(InvalidFile) as refused:
        await apply(store, read_draft("f.toml", {"campaigns": [sold("cpc")]}))
    (fault,) = refused.value.faults
    assert (fault.key, fault.reason) == (
        "campaigns[0].price",
        "must stay 'cpcv', because the campaign has served ads",
    )
    await set_up(store, sold("cpcv") | {"price": {"cpcv": "1"}})


@SOLD
async def test_a_released_hold_is_charged_late_by_nothing_but_what_was_sold(
    store: Store, database: str, model: str, unit: str, event: Event, other: Event
) -> None:
    del unit
    await set_up(store, sold(model, late_impressions="charge"))
    (served,) = await serve_many(store, "sold", 1)
    await set_clock(database, TWO_HOURS_LATER)
    await sweep(store)
    async with store.serving_connection() as connection:
        for not_sold in (Event.IMPRESSION, other):
            assert await charge_late_events(connection, [beacon(served, not_sold)]) == 0
        assert await charge_late_events(connection, [beacon(served, event)]) == 1


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("billing = 'serve'", "billing_fits_the_price"),
        ("billing = 'complete'", "billing_fits_the_price"),
        ("price_model = 'cpcv'", "billing_fits_the_price"),
        ("price_model = 'cpm', billing = 'serve', price = 0.0001", "cpm_has_three_decimals"),
        ("price = -1", "price_is_not_negative"),
        ("pacing = 'front'", "front_pacing_has_a_percentage"),
        ("front_percent = 20", "front_pacing_has_a_percentage"),
        ("pacing = 'front', front_percent = 101", "front_pacing_has_a_percentage"),
    ],
)
async def test_the_schema_refuses_terms_that_do_not_fit_the_price(
    store: Store, database: str, change: str, constraint: str
) -> None:
    await set_up(store, sold("cpc"))
    async with connected(database) as owner:
        with pytest.raises(CheckViolationError) as refused:
            await owner.execute(f"UPDATE campaigns SET {change}")
    assert refused.value.constraint_name == constraint
