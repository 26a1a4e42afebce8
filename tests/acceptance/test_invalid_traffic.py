"""A publisher that refuses invalid traffic gives bots and prefetches no ad, however they ask, and pays nothing."""

import re
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import own_campaign, placement, publisher, set_up
from tests.players import connected, serving
from tests.unit.traffic.players import PLAYERS

TOKEN = "a-token-for-stitchers"
VIEWER = {"User-Agent": PLAYERS[0]}
BOT = {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}
INVALID = [
    BOT,
    {"USER-AGENT": "curl/8.5.0"},
    {"User-Agent": ""},
    {"User-Agent": "..."},
    VIEWER | {"SEC-PURPOSE": "prefetch;prerender"},
    VIEWER | {"purpose": "Prefetch"},
    VIEWER | {"X-moz": "prefetch"},
    BOT | {"X-Device-User-Agent": PLAYERS[0]},
    BOT | {"X-Forwarded-For": "203.0.113.7"},
    BOT | {"Cookie": "uid=somebody"},
]


@pytest.fixture(scope="module")
async def player(of_module: Databases) -> AsyncIterator[httpx.AsyncClient]:
    await set_up(
        of_module.owner,
        publisher("strict", invalid_traffic="refuse", requests_per_s=1000),
        publisher("lenient"),
        own_campaign("spring", budgets={"lifetime": "100.00"}),
        placement("strict", "spring", publisher_id="strict"),
        placement("lenient", "spring", publisher_id="lenient"),
        '[[placements]]\nid = "breaks"\npublisher_id = "strict"\ncampaigns = ["spring"]\n'
        'ad_breaks = [{ id = "pre", time_offset = "start" }]',
    )
    async with (
        serving(of_module.app, WORKERS="1", STITCHER_TOKEN=TOKEN) as server,
        httpx.AsyncClient(base_url=server.url, timeout=10) as client,
    ):
        yield client


async def reason(player: httpx.AsyncClient, headers: dict[str, str], **values: str) -> str | None:
    answered = await player.get("/vast", params=values, headers=headers)
    assert answered.status_code == 200
    assert ("<Ad" in answered.text) == ("x-no-fill-reason" not in answered.headers)
    return answered.headers.get("x-no-fill-reason")


async def spent(databases: Databases) -> str:
    async with connected(databases.owner) as connection:
        return str(await connection.fetchval("SELECT sum(spent + held) FROM budget_tracking"))


@pytest.mark.parametrize("headers", INVALID)
async def test_an_invalid_request_gets_no_ad_where_the_publisher_refuses_it(
    player: httpx.AsyncClient, of_module: Databases, headers: dict[str, str]
) -> None:
    before = await spent(of_module)
    assert await reason(player, headers, placement_id="strict", user_id="u") == "invalid_traffic"
    assert await reason(player, headers, placement_id="strict", publisher_id="lenient", ua="") == "invalid_traffic"
    assert await spent(of_module) == before
    assert await reason(player, headers, placement_id="lenient", publisher_id="strict") is None
    assert await reason(player, headers, campaign_id="spring") is None


async def test_a_refused_request_leaves_its_request_id_to_the_viewer(player: httpx.AsyncClient) -> None:
    asked = {"placement_id": "strict", "request_id": "mine"}
    assert await reason(player, BOT, **asked) == "invalid_traffic"
    assert await reason(player, VIEWER, **asked) is None
    assert await reason(player, BOT, **asked) == "invalid_traffic", "an ad that was served is no way round"


async def test_a_session_is_no_way_round(player: httpx.AsyncClient) -> None:
    session_id = (await player.post("/v1/sessions", headers=BOT)).json()["id"]
    assert await reason(player, BOT, placement_id="strict", session_id=session_id) == "invalid_traffic"
    assert await reason(player, VIEWER, placement_id="strict", session_id=session_id) is None


@pytest.mark.parametrize(("headers", "has_ad"), [(VIEWER, True), (BOT, False)])
async def test_embedded_ads_are_for_viewers(player: httpx.AsyncClient, headers: dict[str, str], has_ad: bool) -> None:
    document = await player.get("/vmap", params={"placement_id": "breaks", "embed": "1"}, headers=headers)
    assert ("<Ad id" in document.text) is has_ad


async def test_a_batch_is_judged_by_the_viewers_that_it_names(player: httpx.AsyncClient) -> None:
    requests = [{"placement_id": "strict"} | more for more in ({}, {"ua": PLAYERS[0]}, {"ua": BOT["User-Agent"]})]
    headers = {"Authorization": f"Bearer {TOKEN}", "User-Agent": "Go-http-client/2.0"}
    answered = await player.post("/v1/ads", json=requests, headers=headers)
    lines = {line["index"]: line["no_fill_reason"] for line in map(orjson.loads, answered.text.splitlines())}
    assert lines == {0: None, 1: None, 2: "invalid_traffic"}


async def test_refused_requests_are_counted_by_their_reason(player: httpx.AsyncClient) -> None:
    assert await reason(player, BOT, placement_id="strict") == "invalid_traffic"
    metrics = (await player.get("/metrics")).text
    assert re.search(r'adserver_invalid_requests_total\{reason="known_bot"\} [1-9]', metrics)
    assert re.search(r'adserver_requests_total\{outcome="no_fill",reason="invalid_traffic"\} [1-9]', metrics)
