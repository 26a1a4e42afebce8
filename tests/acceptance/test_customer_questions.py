"""The questions of a new customer, each with a player's real answer and what `adserver explain` says of it.

A take-down under load is in test_take_down.py, and the sold order plays in a browser in tests/browser.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import tomli_w

from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, order, own_campaign, placement, set_up
from tests.places import write_places
from tests.players import becomes, connected, explained, serving
from tests.unit.vast.conftest import texts

GERMAN, AMERICAN, ELSEWHERE = "203.0.113.7", "198.51.100.7", "192.0.2.7"
AD = re.compile(r"[a-z]+-15s")
MEASURED = {
    "id": "measured-15s",
    "campaign_id": "measured",
    "title": "Measured",
    "duration_s": 15,
    "click_through": "https://acme.example/",
    "media_files": [{"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 640, "height": 360}],
    "impression_urls": ["https://third.example/impression"],
    "tracking": [{"event": "complete", "url": "https://third.example/complete"}],
    "ad_verifications": [
        {
            "vendor": "third.example-omid",
            "javascript_resources": [{"url": "https://third.example/omid.js"}],
            "parameters": "campaign=4711",
        }
    ],
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_places(Path(tmp_path_factory.mktemp("places")) / "places.mmdb"))


@pytest.fixture(scope="module")
async def player(of_module: Databases, places: str) -> AsyncIterator[httpx.AsyncClient]:
    await set_up(
        of_module.owner,
        order("acme-2026", budget="10.00"),
        own_campaign("german", targeting={"countries": ["DE"], "placements": ["preroll"]}),
        own_campaign("house", advertiser="House", priority=10, targeting={"placements": ["preroll", "cup"]}),
        own_campaign(
            "sponsor", priority=1, targeting={"placements": ["cup"]}, budgets={"lifetime": {"impressions": 2}}
        ),
        own_campaign("citycar", categories=["IAB2-3"], targeting={"placements": ["film"]}),
        own_campaign("sportscar", advertiser="Globex", categories=["IAB2-3"], targeting={"placements": ["film"]}),
        campaign(
            "measured", order="acme-2026", cpm="2500.00", billing="impression", targeting={"content_genres": ["sport"]}
        ),
        tomli_w.dumps({"creatives": [MEASURED]}),
        *(placement(name, campaigns="targeted") for name in ("preroll", "cup", "film")),
    )
    async with (
        serving(of_module.app, WORKERS="1", TRUSTED_PROXIES="127.0.0.1/32", GEOIP_FILE=places) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        yield client


async def served(player: httpx.AsyncClient, address: str = ELSEWHERE, **parameters: str) -> list[str]:
    """The creatives that a player at this address is answered with."""
    answer = await player.get("/vast", params=parameters, headers={"x-forwarded-for": address})
    return list(dict.fromkeys(AD.findall(answer.text)))


async def test_who_sees_my_country_campaign(player: httpx.AsyncClient, of_module: Databases, places: str) -> None:
    answers = [await served(player, address, placement_id="preroll") for address in (GERMAN, AMERICAN, ELSEWHERE)]
    assert answers == [["german-15s"], ["house-15s"], ["house-15s"]]
    told = explained(of_module.owner, f"placement_id=preroll&ip={GERMAN}", GEOIP_FILE=places)
    assert "1. german: may serve\n" in told
    assert "   targeting: countries must be one of de; the request has de\n" in told
    told = explained(of_module.owner, f"campaign_id=german&ip={AMERICAN}", GEOIP_FILE=places)
    assert "1. german: no, targeting\n" in told
    assert "   targeting: countries must be one of de; the request has us\n" in told


async def test_what_follows_when_my_sponsor_is_through(player: httpx.AsyncClient, of_module: Databases) -> None:
    told = explained(of_module.owner, "placement_id=cup")
    assert "1. sponsor: may serve\n" in told
    assert "   rank: priority 1, " in told
    assert "2. house: may serve\n" in told
    answers = [await served(player, placement_id="cup") for _ in range(4)]
    assert answers == [["sponsor-15s"]] * 2 + [["house-15s"]] * 2
    told = explained(of_module.owner, "placement_id=cup")
    assert "1. sponsor: no, budget\n" in told
    assert "   lifetime budget: 2 of 2 impressions served\n" in told
    assert "2. house: may serve\n" in told


async def test_do_two_competitors_meet_in_one_break(player: httpx.AsyncClient, of_module: Databases) -> None:
    a_break = {"placement_id": "film", "pod_size": "2", "pod_duration_s": "60"}
    assert [len(await served(player, **a_break)) for _ in range(10)] == [1] * 10
    assert set(await served(player, **a_break, competitors="together")) == {"citycar-15s", "sportscar-15s"}
    told = explained(of_module.owner, str(httpx.QueryParams(a_break)))
    first, second = re.findall(r"^\d\. (\w+): may serve$", told, re.MULTILINE)
    assert {first, second} == {"citycar", "sportscar"}
    assert f"   pod: {first}-15s is ad 1 of 1, with 15 s\n" in told
    assert f"   pod: left out, because {first} is a competitor\n" in told


async def test_does_my_sold_order_carry_its_measurement_and_pay_when_it_is_seen(
    player: httpx.AsyncClient, of_module: Databases
) -> None:
    document = (await player.get("/vast", params={"campaign_id": "measured", "content_genre": "sport"})).content
    own, third = texts(document, "Impression")
    assert third == "https://third.example/impression"
    assert "https://third.example/complete" in texts(document, "Tracking")
    assert texts(document, "JavaScriptResource") == ["https://third.example/omid.js"]
    assert texts(document, "VerificationParameters") == ["campaign=4711"]
    budget = "   budget of order acme-2026: {} of 10.00 USD; an ad costs 2.50\n"
    request = "campaign_id=measured&content_genre=sport"
    assert budget.format("0.00 spent and 2.50 held") in explained(of_module.owner, request)
    assert (await player.get(own)).status_code == 200
    await becomes(lambda: is_settled(of_module))
    told = explained(of_module.owner, request)
    assert "1. measured: may serve\n" in told
    assert budget.format("2.50 spent and 0.00 held") in told


async def is_settled(databases: Databases) -> bool:
    async with connected(databases.owner) as connection:
        return await connection.fetchval("SELECT count(*) FROM holds") == 0
