"""I1, I2 and I5: each rule has several guards, and each guard alone holds the rule."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Literal
from uuid import uuid4

import asyncpg
import pytest

from app.embedded import EmbeddedPostgres
from app.serving.outcomes import NoFill, Served
from app.store import budget_periods, caps, spending
from app.store.spending import Payment
from tests.campaigns import own_campaign, set_up
from tests.invariants.world import running, somebody_waits
from tests.players import connected, disagreements
from tests.postgres import cloned_database

CAPS = [{"impressions": 3, "per": "day"}, {"impressions": 5, "per": "week"}]
SEVEN = {"cpm": "1000", "budgets": {"lifetime": "7", "day": "9"}}
SEVEN_ADS = {"cpm": "0", "budgets": {"lifetime": {"impressions": 7}, "day": {"impressions": 9}}}
GRANT = "least(r.wanted, r.ads_by_now)"
UPDATE_GUARD = """AND (
        t.spent + t.held + c.amount <= t."limit" AND t.impressions + c.units <= t.impressions_limit
    ) IS NOT FALSE"""
COUNT_GUARD = "least(f.count + excluded.count, excluded.cap)"
OPEN_PERIOD = """
INSERT INTO budget_tracking (campaign_id, period, period_start, "limit")
VALUES ('tight', 'hour', '2026-01-01T00:00:00Z', 7)
"""
COPY_OF_PERIODS = """
INSERT INTO budget_tracking (campaign_id, period, period_start, "limit")
SELECT campaign_id, period, period_start, "limit" FROM budget_tracking
"""
CORRECTIONS = """
INSERT INTO ledger_corrections
SELECT {key}, '{kind}', 'tight', 1, 'USD', 'why', {reverses}, {reversed_on}, no, now(), now(), 'me'
FROM generate_series(1, 2) AS no
"""


async def reasons(asked: Iterable[Awaitable[Served | NoFill]]) -> Counter[str | None]:
    """The number of ads, as None, and the number of refusals for each reason."""
    outcomes = await asyncio.gather(*asked)
    return Counter(outcome.reason.value if isinstance(outcome, NoFill) else None for outcome in outcomes)


def without(statement: str, guard: str, instead: str = "") -> str:
    """The statement without that guard."""
    assert statement.count(guard) == 1
    return statement.replace(guard, instead)


@pytest.mark.parametrize("billing", ["serve", "impression"])
@pytest.mark.parametrize("limits", [SEVEN, SEVEN_ADS], ids=["money", "units"])
async def test_as_many_ads_are_served_as_the_budget_has_room_for(
    database: str, billing: str, limits: dict[str, object]
) -> None:
    await set_up(database, own_campaign("tight", billing=billing, **limits))
    async with running(database) as one, running(database) as two:
        asked = [server.ask(campaign_id="tight", user_id=f"u{index}") for index in range(30) for server in (one, two)]
        assert await reasons(asked) == {None: 7, "budget": 53}
    assert await disagreements(database) == []


async def test_a_user_sees_as_many_ads_as_every_cap_allows(database: str) -> None:
    await set_up(database, own_campaign("capped", frequency_caps=CAPS))
    async with running(database) as one, running(database) as two:
        asked = [server.ask(campaign_id="capped", user_id="u") for _ in range(20) for server in (one, two)]
        assert await reasons(asked) == {None: 3, "frequency_cap": 37}
    assert await disagreements(database) == []


@pytest.mark.parametrize("is_plain", [True, False])
async def test_a_full_cap_neither_counts_nor_gives_back(database: str, is_plain: bool) -> None:
    """The first campaign is full in one window and not in the other: neither count may change."""
    await set_up(database, own_campaign("capped", frequency_caps=CAPS))
    count = caps.CapIncrement("capped", uuid4(), None)
    async with connected(database) as connection:
        await caps.take(connection, [count], is_plain=is_plain)
        await connection.execute("UPDATE frequency_caps SET count = cap WHERE \"window\" = 'day'")
        taken = await caps.take(connection, [count], is_plain=is_plain)
        assert taken.shortfalls == [(0, "capped", "day", 0)]
        await caps.give_back(connection, [count], [0], [()], taken.shortfalls)
        assert await counts(connection) == {"day": 3, "week": 1}


@pytest.mark.parametrize("is_plain", [True, False])
async def test_several_ads_are_counted_as_far_as_each_cap_has_room_and_given_back_as_counted(
    database: str, is_plain: bool
) -> None:
    """Four ads are wanted; one window counts three and the other four; two are paid for."""
    await set_up(database, own_campaign("capped", frequency_caps=CAPS))
    count = caps.CapIncrement("capped", uuid4(), None, ads=4)
    async with connected(database) as connection:
        taken = await caps.take(connection, [count], is_plain=is_plain)
        assert taken.shortfalls == [(0, "capped", "day", 3)]
        assert await counts(connection) == {"day": 3, "week": 4}
        await caps.give_back(connection, [count], [2], [()], taken.shortfalls)
        assert await counts(connection) == {"day": 2, "week": 2}
        taken = await caps.take(connection, [count], is_plain=is_plain)
        assert sorted(taken.shortfalls) == [(0, "capped", "day", 1), (0, "capped", "week", 3)]
        await caps.give_back(connection, [count], [1], [()], taken.shortfalls)
        assert await counts(connection) == {"day": 3, "week": 3}


async def counts(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    return dict(await connection.fetch('SELECT "window", count FROM frequency_caps'))


async def paying(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Spend more than the budget has, in one group."""
    payments = [Payment(uuid4(), 0, "tight", "tight-15s", None, None, None, None, 0) for _ in range(8)]
    await budget_periods.open_periods(connection, ["tight"])
    async with connection.transaction():
        await spending.spend(connection, payments, has_orders=False)


@pytest.mark.parametrize("limits", [SEVEN, SEVEN_ADS], ids=["money", "units"])
async def test_the_update_refuses_what_was_granted_by_mistake(
    database: str, monkeypatch: pytest.MonkeyPatch, limits: dict[str, object]
) -> None:
    await set_up(database, own_campaign("tight", **limits))
    monkeypatch.setattr(spending, "SPEND_OWN_BUDGETS", without(spending.SPEND_OWN_BUDGETS, GRANT, "r.wanted"))
    async with connected(database) as connection:
        with pytest.raises(spending.UnchargedError):
            await paying(connection)


@pytest.mark.parametrize(
    ("limits", "rule"),
    [(SEVEN, "spend_within_budget"), (SEVEN_ADS, "impressions_within_budget")],
    ids=["money", "units"],
)
async def test_the_schema_refuses_what_the_statements_let_through(
    database: str, monkeypatch: pytest.MonkeyPatch, limits: dict[str, object], rule: str
) -> None:
    await set_up(database, own_campaign("tight", frequency_caps=CAPS, **limits))
    spend = without(without(spending.SPEND_OWN_BUDGETS, GRANT, "r.wanted"), UPDATE_GUARD)
    monkeypatch.setattr(spending, "SPEND_OWN_BUDGETS", spend)
    monkeypatch.setattr(caps, "TAKE_CAPS", without(caps.TAKE_CAPS, COUNT_GUARD, "f.count + excluded.count"))
    count = caps.CapIncrement("tight", uuid4(), None, ads=2)
    async with connected(database) as connection:
        with pytest.raises(asyncpg.CheckViolationError, match=rule):
            await paying(connection)
        await caps.take(connection, [count])
        with pytest.raises(asyncpg.CheckViolationError, match="count_within_cap"):
            await caps.take(connection, [count])


@pytest.mark.parametrize(
    ("isolation", "refused"),
    [
        ("read_committed", asyncpg.UniqueViolationError),
        ("repeatable_read", asyncpg.SerializationError),
    ],
)
async def test_a_budget_period_is_opened_once(
    database: str, isolation: Literal["read_committed", "repeatable_read"], refused: type[Exception]
) -> None:
    await set_up(database, own_campaign("tight", **SEVEN))
    async with connected(database) as one, connected(database) as two, two.transaction(isolation=isolation):
        await two.execute("SELECT")
        async with one.transaction():
            await one.execute(OPEN_PERIOD)
            second = asyncio.create_task(two.execute(OPEN_PERIOD))
            await somebody_waits(database)
            # The row version that the primary key would find is gone when the second continues.
            await one.execute("UPDATE budget_tracking SET generation = generation + 1")
        with pytest.raises(refused):
            await second


@pytest.fixture(scope="module")
async def served(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[str]:
    """A database with one served ad."""
    async with cloned_database(postgres, migrated_template) as url:
        await set_up(url, own_campaign("tight", frequency_caps=CAPS, **SEVEN))
        async with running(url) as server:
            await server.served(campaign_id="tight", user_id="u")
        yield url


@pytest.mark.parametrize(
    ("rule", "breakage"),
    [
        ("spend_within_budget", 'UPDATE budget_tracking SET spent = "limit" + 0.000001'),
        ("spend_within_budget", 'UPDATE budget_tracking SET held = "limit" - spent + 0.000001'),
        ("spend_within_budget", 'UPDATE budget_tracking SET "limit" = spent + held - 0.000001'),
        ("impressions_within_budget", "UPDATE budget_tracking SET impressions_limit = impressions - 1"),
        ("budget_has_a_limit", 'UPDATE configured_budgets SET "limit" = NULL'),
        ("budgeted_impressions_are_not_negative", "UPDATE configured_budgets SET impressions_limit = -1"),
        ("spend_is_not_negative", "UPDATE budget_tracking SET held = -0.000001"),
        ("spend_is_not_negative", "UPDATE budget_tracking SET impressions = -1"),
        ("count_within_cap", "UPDATE frequency_caps SET count = cap + 1"),
        ("count_within_cap", "UPDATE frequency_caps SET count = -1"),
        ("frequency_caps_pkey", "INSERT INTO frequency_caps TABLE frequency_caps"),
        ("budget_tracking_pkey", COPY_OF_PERIODS),
        ("owner and period of a row .* cannot be changed", "UPDATE budget_tracking SET period_start = now()"),
        (r"ad_serves_\d+_pkey", "INSERT INTO ad_serves TABLE ad_serves"),
        (
            "a_key_books_once",
            CORRECTIONS.format(key="'k'", kind="adjustment", reverses="NULL", reversed_on="NULL"),
        ),
        (
            "an_entry_is_reversed_once",
            CORRECTIONS.format(key="'k' || no", kind="reversal", reverses="1", reversed_on="now()"),
        ),
    ],
)
async def test_not_even_the_owner_can_break_a_rule_by_hand(served: str, rule: str, breakage: str) -> None:
    async with connected(served) as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=rule):
            await connection.execute(breakage)
