"""The demo page gets everything about its own invented viewer, and nothing about others."""

import tomllib
from collections.abc import AsyncIterator
from importlib.resources import files

import httpx
import pytest
from starlette.applications import Starlette

from app.beacons.settlement import settle
from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.errors import AdServerError
from app.launch.demo import CAMPAIGN_FILE
from app.serving.keys import hash_key, user_key
from app.store import budget_periods
from app.store.connections import Store
from app.store.demo_content import PUBLISHER_ID
from app.store.spending import Payment
from app.web.demo import DemoEndpoints
from app.web.problems import on_error
from tests.integration.accounting.world import beacon, campaign, payment, serve, set_up
from tests.integration.serves import open_store
from tests.web_server import served

HASH_KEY = hash_key("secret")


@pytest.fixture
async def store(app_database: str) -> AsyncIterator[Store]:
    opened = open_store(app_database)
    yield opened
    await opened.close()


@pytest.fixture
async def page(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=DemoEndpoints(store, HASH_KEY).routes(), exception_handlers={AdServerError: on_error})
    async with served(app) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


async def load_demo(store: Store, *campaigns: str) -> None:
    placement = {"id": "preroll", "publisher_id": PUBLISHER_ID, "campaigns": list(campaigns)}
    await apply(store, read_draft("test", {"publishers": [{"id": PUBLISHER_ID}], "placements": [placement]}))


async def watch(store: Store, user_id: str) -> Payment:
    """An ad that the viewer was served and has seen."""
    await set_up(store, campaign("spring", frequency_caps=[{"impressions": 3, "per": "day"}]), campaign("demo"))
    async with store.serving_connection() as connection:
        await budget_periods.open_periods(connection, ["spring"])
        [paid] = await serve(connection, [payment("spring", user_key(HASH_KEY, user_id))])
        await settle(connection, [beacon(paid)])
    return paid


async def told(page: httpx.AsyncClient, user_id: str, paid: Payment) -> dict[str, int]:
    answer = await page.get("/demo/viewer", params={"user_id": user_id, "request_id": str(paid.request_key)})
    assert answer.status_code == 200
    return {name: len(entries) for name, entries in answer.json().items()}


async def test_the_demos_viewer_is_told_of_its_ads(page: httpx.AsyncClient, store: Store) -> None:
    paid = await watch(store, "demo-1")
    await load_demo(store, "spring")
    assert await told(page, "demo-1", paid) == {"caps": 1, "serves": 1, "beacons": 1}


async def test_nothing_is_shown_of_campaigns_outside_the_demo(page: httpx.AsyncClient, store: Store) -> None:
    paid = await watch(store, "demo-1")
    await load_demo(store, "demo")
    assert await told(page, "demo-1", paid) == {"caps": 0, "serves": 0, "beacons": 0}


@pytest.mark.parametrize("path", ["/demo", "/demo/viewer?user_id=demo-1"])
async def test_there_is_no_demo_without_its_content(page: httpx.AsyncClient, store: Store, path: str) -> None:
    await watch(store, "demo-1")
    assert (await page.get(path)).status_code == 404
    await load_demo(store, "demo")
    assert (await page.get(path)).status_code == 200


@pytest.mark.parametrize("user_id", ["u1", "demo-2"])
async def test_nobody_is_told_of_what_others_were_served(page: httpx.AsyncClient, store: Store, user_id: str) -> None:
    paid = await watch(store, user_id)
    await load_demo(store, "spring")
    assert await told(page, "demo-1", paid) == {"caps": 0, "serves": 0, "beacons": 0}


async def test_others_cannot_be_asked_about(page: httpx.AsyncClient, store: Store) -> None:
    await watch(store, "u1")
    await load_demo(store, "demo")
    answer = await page.get("/demo/viewer", params={"user_id": "u1"})
    assert (answer.status_code, answer.json()["field"]) == (400, "user_id")


def test_the_demo_content_is_of_the_publisher_that_marks_it() -> None:
    content = tomllib.loads((files("app.launch") / CAMPAIGN_FILE).read_text(encoding="utf-8"))
    shown = {campaign for placement in content["placements"] for campaign in placement["campaigns"]}
    assert {placement["publisher_id"] for placement in content["placements"]} == {PUBLISHER_ID}
    assert shown == {campaign["id"] for campaign in content["campaigns"]}
