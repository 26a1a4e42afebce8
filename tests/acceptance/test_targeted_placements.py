"""Placements that every matching campaign may serve, as a player and `adserver explain` meet them."""

import re
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

from app.serving.limits import CANDIDATES_MAX
from tests.acceptance.conftest import Databases
from tests.campaigns import own_campaign, placement, set_up
from tests.launched import adserver
from tests.players import SECRETS, serving

STITCHER = "a-token-of-the-stitcher"
NEWS = {"placements": ["news", "clean_news"]}
AD = re.compile(r"[a-z_]+-15s")


@pytest.fixture(scope="module")
async def player(of_module: Databases) -> AsyncIterator[httpx.AsyncClient]:
    await set_up(
        of_module.owner,
        own_campaign("sponsor", priority=1, targeting={"countries": ["DE"]}, budgets={"lifetime": {"impressions": 2}}),
        own_campaign("standard", advertiser="Beta", priority=5, targeting={"placements": ["preroll", "blocking"]}),
        own_campaign("house", advertiser="House", priority=10),
        own_campaign("betting", advertiser="Casino", priority=2, categories=["IAB9-7"], targeting=NEWS),
        own_campaign("paused", status="paused", priority=1),
        own_campaign("light", weight=1, targeting={"placements": ["fair"]}),
        own_campaign("heavy", weight=3, targeting={"placements": ["fair"]}),
        placement("preroll", campaigns="targeted", ad_breaks=[{"id": "pre", "time_offset": "start"}]),
        placement("fair", campaigns="targeted"),
        placement("news", campaigns="targeted"),
        placement("clean_news", campaigns="targeted", blocked_categories=["IAB9-7"]),
        placement("blocking", "standard", "house", blocked_advertisers=["Beta"]),
    )
    async with (
        serving(of_module.app, WORKERS="1", STITCHER_TOKEN=STITCHER) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        yield client


async def served(player: httpx.AsyncClient, placement_id: str = "preroll", **parameters: str) -> str:
    """The creative of the ad, or the reason for none."""
    answer = await player.get("/vast", params={"placement_id": placement_id} | parameters)
    found = AD.search(answer.text)
    return found[0] if found else answer.headers["x-no-fill-reason"]


async def test_a_sponsor_comes_first_until_its_budget_is_used_and_the_next_priority_follows(
    player: httpx.AsyncClient,
) -> None:
    assert [await served(player, country="DE") for _ in range(4)] == ["sponsor-15s"] * 2 + ["standard-15s"] * 2
    assert await served(player, country="FR") == "standard-15s"


async def test_every_way_to_ask_for_a_placement_finds_its_campaigns(player: httpx.AsyncClient) -> None:
    requests = {"requests": [{"placement_id": "preroll", "country": "FR"}]}
    batch = await player.post("/v1/ads", json=requests, headers={"authorization": f"Bearer {STITCHER}"})
    assert "standard-15s" in batch.text
    breaks = (await player.get("/vmap", params={"placement_id": "preroll", "country": "FR"})).text
    (tag,) = re.findall(r"http[^<\]]*/vast[^<\]]*", breaks)
    assert "standard-15s" in (await player.get(tag.replace("&amp;", "&"))).text


async def test_campaigns_of_one_priority_share_the_ads_by_weight(player: httpx.AsyncClient) -> None:
    counts = Counter([await served(player, "fair") for _ in range(200)])
    assert counts.keys() == {"heavy-15s", "light-15s"}
    assert 120 <= counts["heavy-15s"] <= 180


async def test_a_request_that_is_repeated_gets_the_same_ad(player: httpx.AsyncClient) -> None:
    for number in range(10):
        request_id = f"request-{number}"
        first = await served(player, "fair", request_id=request_id)
        assert await served(player, "fair", request_id=request_id) == first


async def test_what_a_placement_blocks_is_not_served_there(player: httpx.AsyncClient) -> None:
    assert await served(player, "news") == "betting-15s"
    assert await served(player, "clean_news") == "house-15s"
    assert await served(player, "blocking") == "house-15s"


async def test_a_new_campaign_is_served_and_a_paused_one_is_not_any_more(
    player: httpx.AsyncClient, of_module: Databases
) -> None:
    news: dict[str, object] = {"advertiser": "Gamma", "priority": 1, "targeting": {"placements": ["news"]}}
    await set_up(of_module.owner, own_campaign("breaking", **news))
    assert await served(player, "news") == "breaking-15s"
    await set_up(of_module.owner, own_campaign("breaking", status="paused", **news))
    assert await served(player, "news") == "betting-15s"


def explained(database: Databases, request: str) -> str:
    result = adserver("explain", request, DATABASE_URL=database.owner, **SECRETS)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.usefixtures("player")
def test_explain_ranks_the_candidates_and_counts_the_others(of_module: Databases) -> None:
    told = explained(of_module, "placement_id=clean_news")
    assert "1. house: may serve\n" in told
    assert "   rank: priority 10, weight 1\n" in told
    assert "2. betting: no, targeting\n" in told
    assert "   placement: blocks category IAB9-7\n" in told
    assert " other campaigns are not active, or a list of their targeting has no value of the request\n" in told
    assert "sponsor" not in told


@pytest.mark.usefixtures("player")
def test_explain_tells_of_a_list_what_the_placement_blocks(of_module: Databases) -> None:
    told = explained(of_module, "placement_id=blocking")
    assert "1. standard: no, targeting\n" in told
    assert "   placement: blocks advertiser Beta\n" in told
    assert "2. house: may serve\n" in told


@pytest.mark.usefixtures("player")
async def test_explain_stays_short_however_many_campaigns_there_are(of_module: Databases) -> None:
    crowd = [
        own_campaign(f"crowd{number}", targeting={"placements": ["crowded"], "not": {"countries": ["DE"]}})
        for number in range(CANDIDATES_MAX + 8)
    ]
    await set_up(of_module.owner, *crowd, placement("crowded", campaigns="targeted"))
    told = explained(of_module, "placement_id=crowded&country=FR")
    assert told.count(": may serve\n") == CANDIDATES_MAX
    assert f"9 other campaigns match and are not tried, because at most {CANDIDATES_MAX} are\n" in told
    told = explained(of_module, "placement_id=crowded&country=DE")
    assert told.count(": no, targeting\n") == 20
    assert f"{CANDIDATES_MAX + 8 - 20} other campaigns do not match, or are not in flight\n" in told
