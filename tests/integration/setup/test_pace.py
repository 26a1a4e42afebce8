"""How far each campaign is behind its goal, as the database tells it."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.serving.pace import Pace, PaceReader
from app.store import goals
from app.store.connections import Store
from app.store.goals import GoalPace
from app.targeting.campaign_index import Tier
from tests.clock import set_clock
from tests.integration.serves import open_store, serve_ads
from tests.integration.setup.files import Document, apply_document, campaign, loaded

DAYS = {"starts_at": datetime(2026, 1, 1, tzinfo=UTC), "ends_at": datetime(2026, 1, 11, tzinfo=UTC)}
NOW = "2026-01-05 06:00:00+00"
"""When 42.5 % of the flight and a quarter of the day are over."""


def planned(campaign_id: str, **keys: object) -> Document:
    """A campaign of ten days."""
    return campaign(campaign_id, upstreams=["u"], **{**DAYS, **keys})


CAMPAIGNS = [
    planned("by_impressions", budgets={"lifetime": {"impressions": 40}}),
    planned("by_money", budgets={"lifetime": "100"}, pacing="even"),
    planned("by_both", budgets={"lifetime": "100", "day": {"impressions": 8}}, pacing="even"),
    planned("no_goal", budgets={"lifetime": "100", "day": {"impressions": 8}}),
    planned("hourly", budgets={"hour": {"impressions": 8}}, pacing="even"),
    planned("paused", budgets={"lifetime": {"impressions": 40}}, status="paused"),
    planned("later", budgets={"lifetime": {"impressions": 9}}, starts_at=datetime(2026, 1, 10, tzinfo=UTC)),
    planned("none", budgets={"lifetime": {"impressions": 0}}),
]
DOCUMENT: Document = {
    "upstreams": [{"id": "u", "tag_url": "https://ads.example/vast"}],
    "campaigns": CAMPAIGNS,
    "placements": [{"id": "p", "publisher_id": "tv", "campaigns": "targeted"}],
}


async def read_pace(store: Store) -> GoalPace:
    async with store.connection() as connection:
        return await goals.read_pace(connection)


async def test_a_goal_is_due_evenly_and_the_budget_least_behind_counts(store: Store, database: str) -> None:
    await set_clock(database, NOW)
    await apply_document(store, DOCUMENT)
    for campaign_id, ads in {"by_impressions": 7, "by_money": 10, "by_both": 1}.items():
        await serve_ads(store, campaign_id, ads)
    found = await read_pace(store)
    assert found.database_time == datetime.fromisoformat(NOW)
    assert found.behind == pytest.approx(
        {"by_impressions": 0.425 - 7 / 40, "by_money": 0.425 - 10 * 2.5 / 100, "by_both": 0.25 - 1 / 8}
    )
    goals_of_catalog = {item.id for item in (await loaded(store)).campaigns.values() if item.has_goal}
    assert goals_of_catalog == {*found.behind, "paused", "later", "none"}


async def test_a_worker_reads_the_pace_again_and_again_only_while_a_placement_is_targeted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.serving.pace.REFRESH_INTERVAL_S", 0.001)
    await apply_document(store, DOCUMENT)
    read: asyncio.Queue[GoalPace] = asyncio.Queue()
    catalogs = SimpleNamespace(current=await loaded(store))
    reader = PaceReader(store, cast("Any", catalogs), read.put_nowait)
    await reader.start()
    for _ in range(3):
        await asyncio.wait_for(read.get(), 10)
    await reader.stop()
    await apply_document(store, {**DOCUMENT, "placements": [{**DOCUMENT["placements"][0], "campaigns": ["none"]}]})
    catalogs.current = await loaded(store)
    read = asyncio.Queue()
    await PaceReader(store, cast("Any", catalogs), read.put_nowait).refresh()
    assert read.empty()


async def test_without_a_database_the_last_pace_stays() -> None:
    store = open_store("postgresql://localhost:1/nowhere")
    placements = {"p": SimpleNamespace(campaigns="targeted")}
    catalogs = SimpleNamespace(current=SimpleNamespace(placements=placements))
    read: list[GoalPace] = []
    await PaceReader(store, cast("Any", catalogs), read.append).refresh()
    assert read == []
    await store.close()


def test_an_order_of_goals_is_kept_until_the_next_pace() -> None:
    tier = Tier(("a", "b", "c"), (), (), frozenset("abc"))
    pace = Pace({"a": 0.1, "b": -0.2, "c": 0.3})
    assert pace.order(tier) == (["c", "a"], ["b"])
    assert pace.order(tier) is pace.order(tier)
