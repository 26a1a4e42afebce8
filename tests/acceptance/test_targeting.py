"""Campaigns for some viewers, as a player, a stitcher and `adserver explain` meet them."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import own_campaign, placement, set_up
from tests.launched import adserver
from tests.places import write_places
from tests.players import SECRETS, connected, serving

US, DE = "198.51.100.7", "203.0.113.7"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 16_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
STITCHER = "a-token-of-the-stitcher"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_places(tmp_path_factory.mktemp("places") / "places.mmdb")


@pytest.fixture(scope="module")
async def player(of_module: Databases, places: Path) -> AsyncIterator[httpx.AsyncClient]:
    await set_up(
        of_module.owner,
        own_campaign("german", targeting={"countries": ["DE"]}),
        own_campaign("californian", targeting={"regions": ["US-CA"], "not": {"os": ["android"]}}),
        own_campaign("house"),
        own_campaign("sports", targeting={"pages": ["news.example/sport/*"], "kv": {"section": ["live"]}}),
        own_campaign("nightly", targeting={"dayparts": [{"days": ["mon"], "from_hour": 0, "until_hour": 1}]}),
        placement("preroll", "german", "californian", "house"),
        placement("sports", "sports", "house"),
    )
    settings = {"WORKERS": "1", "TRUSTED_PROXIES": "127.0.0.1/32", "STITCHER_TOKEN": STITCHER}
    async with (
        serving(of_module.app, GEOIP_FILE=str(places), **settings) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        yield client


async def served(player: httpx.AsyncClient, address: str = "", user_agent: str = "none", **parameters: str) -> str:
    """The campaign of the ad that a player at this address gets on a placement, preroll unless it says otherwise."""
    headers = {"user-agent": user_agent} | ({"x-forwarded-for": address} if address else {})
    answer = await player.get("/vast", params={"placement_id": "preroll"} | parameters, headers=headers)
    found = re.search(r"[a-z]+-15s", answer.text)
    return found[0] if found else answer.headers["x-no-fill-reason"]


async def test_a_campaign_for_a_country_is_served_to_addresses_of_that_country(player: httpx.AsyncClient) -> None:
    assert await served(player, DE) == "german-15s"
    assert await served(player, US) == "californian-15s"
    assert await served(player, "192.0.2.7") == "house-15s"


async def test_a_player_cannot_claim_to_be_elsewhere(player: httpx.AsyncClient) -> None:
    assert await served(player, US, country="DE") == "californian-15s"
    assert await served(player, "192.0.2.7", country="DE") == "german-15s"


async def test_a_stitcher_knows_its_viewer_best(player: httpx.AsyncClient) -> None:
    assert await served(player, country="DE", ip=US) == "german-15s"
    assert await served(player, ip=US, region="CA", country="US") == "californian-15s"
    assert await served(player, ip=US, ua="Mozilla/5.0 (Linux; Android 13; Pixel 7) Chrome/116.0 Mobile") == "house-15s"


async def test_a_batch_with_a_token_knows_its_viewers_too(player: httpx.AsyncClient) -> None:
    lines = [{"placement_id": "preroll", "ip": DE}, {"placement_id": "preroll", "country": "US", "region": "US-CA"}]
    headers = {"authorization": f"Bearer {STITCHER}", "x-forwarded-for": "192.0.2.7"}
    answer = await player.post("/v1/ads", json={"requests": lines}, headers=headers)
    assert answer.status_code == 200
    assert "german-15s" in answer.text
    assert "californian-15s" in answer.text


async def test_custom_parameters_and_pages_are_matched(player: httpx.AsyncClient) -> None:
    page = "https://news.example/sport/tennis"
    live = {"placement_id": "sports", "page_url": page, "kv.section": "sport, live"}
    assert await served(player, **live) == "sports-15s"
    assert await served(player, **live | {"kv.section": "culture"}) == "house-15s"
    assert await served(player, **live | {"page_url": "https://news.example/culture"}) == "house-15s"


async def test_country_and_device_are_kept_with_the_serve(player: httpx.AsyncClient, of_module: Databases) -> None:
    assert await served(player, DE, IPHONE) == "german-15s"
    async with connected(of_module.owner) as connection:
        kept = await connection.fetch("SELECT country, device_type FROM ad_serves WHERE device_type = 'mobile'")
    assert ("DE", "mobile") in [tuple(row) for row in kept]


def explained(database: Databases, places: Path, **parameters: str) -> str:
    request = str(httpx.QueryParams(parameters))
    result = adserver("explain", request, DATABASE_URL=database.owner, GEOIP_FILE=str(places), **SECRETS)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.usefixtures("player")
def test_explain_says_what_each_campaign_wants(of_module: Databases, places: Path) -> None:
    told = explained(of_module, places, placement_id="preroll", ip=US, ua=IPHONE)
    assert "1. german: no, targeting\n" in told
    assert "   targeting: countries must be one of de; the request has us\n" in told
    assert "2. californian: may serve\n" in told
    assert "   targeting: regions must be one of us-ca; the request has us-ca\n" in told
    assert "   targeting: os must be none of android; the request has ios\n" in told


def test_a_file_of_places_that_is_none_is_refused_in_one_line(of_module: Databases, tmp_path: Path) -> None:
    file = tmp_path / "places.mmdb"
    file.write_text("nothing")
    for command in (("serve",), ("explain", "placement_id=preroll")):
        result = adserver(*command, DATABASE_URL=of_module.app, GEOIP_FILE=str(file), **SECRETS)
        assert result.returncode == 2
        assert result.stderr.startswith(f"adserver: ADSERVER_GEOIP_FILE: cannot read {file}: ")
        assert result.stderr.count("\n") == 1
