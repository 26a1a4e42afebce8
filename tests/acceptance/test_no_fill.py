"""Who serves when the first cannot, and what a player hears when nobody can."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, publisher, set_up, upstream
from tests.faults.upstream_server import EMPTY, UpstreamServer, answer
from tests.launched import free_port
from tests.players import connected, disagreements, serving

ONE_A_DAY = [{"impressions": 1, "per": "day"}]
ALL_OF_IT = {"cpm": "1000", "budgets": {"lifetime": "1"}}
PAST = {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-01-02T00:00:00Z"}
YET_TO_COME = {"starts_at": "2099-01-01T00:00:00Z"}
# Evenly over a flight that has just begun, where one ad is a tenth of everything.
TOO_EARLY = {"cpm": "1000", "budgets": {"lifetime": "10"}, "pacing": "even", "ends_at": "2900-01-01T00:00:00Z"}

REASONS = {
    "capped": "frequency_cap",
    "spent": "budget",
    "paced": "pacing",
    "past": "flight",
    "to-come": "flight",
    "paused": "paused",
    "ended": "paused",
    "elsewhere": "targeting",
    "empty": "upstream",
    "down": "upstream",
    "long": "no_candidate",
}
"""What each campaign that cannot serve has to say."""


@pytest.fixture(scope="module")
async def player(of_module: Databases) -> AsyncIterator[httpx.AsyncClient]:
    long = own_campaign("long").replace("duration_s = 15", "duration_s = 60")
    async with UpstreamServer(answer(EMPTY)) as empty:
        await set_up(
            of_module.owner,
            publisher("hasty", requests_per_s=1, burst=1),
            publisher("bursting", requests_per_s=1, burst=100),
            upstream("empty", empty.url),
            upstream("down", f"http://127.0.0.1:{free_port()}"),
            own_campaign("capped", frequency_caps=ONE_A_DAY),
            own_campaign("spent", **ALL_OF_IT),
            own_campaign("paced", **TOO_EARLY),
            own_campaign("past", **PAST),
            own_campaign("to-come", **YET_TO_COME),
            own_campaign("paused", status="paused"),
            own_campaign("ended", status="ended"),
            own_campaign("elsewhere", targeting={"countries": ["NZ"]}),
            campaign("empty", upstreams=["empty", "down"], frequency_caps=ONE_A_DAY, **ALL_OF_IT),
            campaign("down", upstreams=["down"]),
            long,
            own_campaign("house"),
            own_campaign("anybody", without_user="serve", frequency_caps=ONE_A_DAY),
            *(placement(f"{name}-first", name, "house") for name in REASONS),
            placement("all", *REASONS, "house"),
            placement("none", *REASONS),
            placement("none-reversed", *reversed(REASONS)),
            placement("hasty", "house", publisher_id="hasty"),
            placement("bursting", "house", publisher_id="bursting"),
        )
        async with serving(of_module.app, WORKERS="1") as server, httpx.AsyncClient(base_url=server.url) as client:
            for used_up in ("capped", "spent"):
                assert "<Ad" in (await client.get("/vast", params={"campaign_id": used_up, "user_id": "u"})).text
            yield client


async def ask(player: httpx.AsyncClient, **parameters: str) -> httpx.Response:
    asked = {"user_id": "u", "country": "DE", "max_duration_s": "30"} | parameters
    answered = await player.get("/vast", params=asked)
    assert answered.status_code == 200
    assert answered.headers["content-type"].startswith("application/xml")
    assert ("<Ad" in answered.text) == ("x-no-fill-reason" not in answered.headers)
    return answered


@pytest.mark.parametrize(("name", "reason"), REASONS.items())
async def test_a_campaign_that_cannot_serve_says_why(player: httpx.AsyncClient, name: str, reason: str) -> None:
    assert (await ask(player, campaign_id=name)).headers["x-no-fill-reason"] == reason


@pytest.mark.parametrize("place", [*(f"{name}-first" for name in REASONS), "all"])
async def test_the_house_campaign_serves_where_all_before_it_cannot(player: httpx.AsyncClient, place: str) -> None:
    assert "house-15s" in (await ask(player, placement_id=place)).text


async def test_the_reason_is_that_of_the_first_campaign(player: httpx.AsyncClient) -> None:
    first, *_, last = REASONS.values()
    assert (await ask(player, placement_id="none")).headers["x-no-fill-reason"] == first
    assert (await ask(player, placement_id="none-reversed")).headers["x-no-fill-reason"] == last


async def test_a_campaign_with_caps_needs_somebody_to_count(player: httpx.AsyncClient) -> None:
    nobody = {"country": "DE"}
    refused = await player.get("/vast", params={"campaign_id": "capped", **nobody})
    assert refused.headers["x-no-fill-reason"] == "no_user"
    assert "house-15s" in (await player.get("/vast", params={"placement_id": "capped-first", **nobody})).text
    for _ in range(3):
        assert "<Ad" in (await player.get("/vast", params={"campaign_id": "anybody", **nobody})).text
    assert "<Ad" in (await ask(player, campaign_id="anybody", user_id="", device_id="d")).text
    refused = await ask(player, campaign_id="anybody", user_id="", device_id="d")
    assert refused.headers["x-no-fill-reason"] == "frequency_cap"


async def test_who_withholds_consent_is_nobody_to_count(player: httpx.AsyncClient) -> None:
    refused = await ask(player, campaign_id="capped", user_id="other", lmt="1")
    assert refused.headers["x-no-fill-reason"] == "consent"


async def test_a_publisher_that_asks_too_fast_is_told_so(player: httpx.AsyncClient) -> None:
    answers = [await ask(player, placement_id="hasty") for _ in range(10)]
    reasons = {answered.headers.get("x-no-fill-reason") for answered in answers}
    assert reasons == {None, "rate_limit"}


async def test_a_publisher_may_ask_for_a_burst_at_once(player: httpx.AsyncClient) -> None:
    answers = [await ask(player, placement_id="bursting") for _ in range(20)]
    assert {answered.headers.get("x-no-fill-reason") for answered in answers} == {None}


async def test_a_campaign_without_an_ad_counts_and_spends_nothing(
    player: httpx.AsyncClient, of_module: Databases
) -> None:
    for _ in range(3):
        assert (await ask(player, campaign_id="empty")).headers["x-no-fill-reason"] == "upstream"
    async with connected(of_module.owner) as connection:
        counted = await connection.fetchval("SELECT sum(count) FROM frequency_caps WHERE campaign_id = 'empty'")
        spent = await connection.fetchval("SELECT sum(spent + held) FROM budget_tracking WHERE campaign_id = 'empty'")
    assert (counted or 0, spent) == (0, 0)
    assert await disagreements(of_module.owner) == []
