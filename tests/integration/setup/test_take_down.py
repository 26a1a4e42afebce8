"""A take-down is one request, and holds from its commit."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from app.store import spending
from app.store.connections import Store
from tests.integration.accounting.world import connected, payment
from tests.integration.setup.files import apply_document, creative, owned
from tests.integration.setup.test_admin_api import TOKEN, faults, served_api

WAITERS = """
SELECT count(*) FROM pg_locks WHERE NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
NOON = "2026-01-02T12:00:00Z"


@pytest.fixture
async def api(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    setup = owned()
    await apply_document(store, setup | {"creatives": [*setup["creatives"], creative("other-15s")]})
    async with served_api(store, TOKEN) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


async def set_status(api: httpx.AsyncClient, path: str, status: str) -> httpx.Response:
    return await api.patch(path, json={"status": status})


@pytest.mark.parametrize("path", ["/v1/creatives/spring-15s", "/v1/campaigns/spring"])
async def test_a_take_down_waits_for_ads_that_are_being_paid_for(
    api: httpx.AsyncClient, store: Store, database: str, path: str
) -> None:
    async with store.serving_connection() as serving, connected(database) as watching:
        transaction = serving.transaction()
        await transaction.start()
        assert not (await spending.spend(serving, [payment("spring")])).refusals
        taking_down = asyncio.create_task(set_status(api, path, "paused"))
        while not await watching.fetchval(WAITERS):
            assert not taking_down.done()
        await transaction.commit()
        answer = await taking_down
    assert (answer.status_code, answer.json()["status"]) == (200, "paused")


async def test_a_status_that_takes_nothing_down_waits_for_nobody(api: httpx.AsyncClient, store: Store) -> None:
    assert (await set_status(api, "/v1/creatives/spring-15s", "paused")).status_code == 200
    async with store.serving_connection() as serving:
        transaction = serving.transaction()
        await transaction.start()
        assert not (await spending.spend(serving, [payment("spring")])).refusals
        for status in ("active", "active"):
            assert (await set_status(api, "/v1/creatives/spring-15s", status)).status_code == 200
        await transaction.rollback()


async def test_a_status_changes_nothing_else(api: httpx.AsyncClient) -> None:
    before = (await api.get("/v1/creatives/spring-15s")).json()
    for status in ("paused", "archived", "active"):
        answer = await set_status(api, "/v1/creatives/spring-15s", status)
        assert answer.json() | {"status": "active"} == before | {"status": "active"}


async def test_a_status_that_there_is_not_is_refused(api: httpx.AsyncClient) -> None:
    answer = await set_status(api, "/v1/creatives/spring-15s", "ended")
    assert (answer.status_code, answer.json()["detail"]) == (400, "status: must be one of active, paused, archived")
    answer = await api.patch("/v1/creatives/spring-15s", json={"weight": 2})
    assert answer.json()["detail"] == "weight: cannot be patched: PUT the whole creative"
    assert (await set_status(api, "/v1/creatives/unknown", "paused")).status_code == 404


@pytest.mark.parametrize(
    ("keys", "field", "reason"),
    [
        ({"weight": 0}, "weight", "must be at least 1"),
        ({"status": "ended"}, "status", "must be 'active', 'paused' or 'archived', got 'ended'"),
        (
            {"starts_at": NOON, "ends_at": NOON},
            "ends_at",
            "must be after starts_at",
        ),
        ({"starts_at": "tomorrow"}, "starts_at", "must be a date and time such as 2026-01-31T00:00:00Z"),
    ],
)
async def test_a_life_that_cannot_be_is_refused(
    api: httpx.AsyncClient, keys: dict[str, object], field: str, reason: str
) -> None:
    answer = await api.put("/v1/creatives/spring-15s", json=creative(**keys))
    assert faults(answer) == [(field, reason)]
