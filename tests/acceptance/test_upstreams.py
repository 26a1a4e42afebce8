"""Campaigns whose ads come from upstreams, over HTTP."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, publisher, set_up, upstream
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import UpstreamServer, answer, inline
from tests.players import connected, serving
from tests.unit.vast.conftest import texts


@pytest.fixture(scope="module")
async def slow() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer() as server:
        yield server


@pytest.fixture(scope="module")
async def quick() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer() as server:
        yield server


@pytest.fixture(scope="module")
async def campaigns(of_module: Databases, slow: UpstreamServer, quick: UpstreamServer) -> None:
    await set_up(
        of_module.owner,
        publisher("publisher1"),
        upstream("slow", slow.url, timeout_ms=5000),
        upstream("quick", quick.url, timeout_ms=5000),
        upstream("kept", quick.url + "/kept?cb=[CACHEBUSTING]&left={tmax}", timeout_ms=5000, cache_ttl_s=300),
        campaign("slow", upstreams=["slow"]),
        campaign("quick", upstreams=["quick"]),
        campaign("capped", upstreams=["quick"], frequency_caps=[{"impressions": 1, "per": "day"}]),
        campaign("kept", upstreams=["kept"], cpm="1000", frequency_caps=[{"impressions": 1, "per": "day"}]),
        own_campaign("own"),
        placement("preroll", "quick", "own"),
    )


@pytest.fixture(scope="module")
async def player(of_module: Databases, campaigns: None) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(of_module.app, WORKERS="1") as server,
        httpx.AsyncClient(base_url=server.url, timeout=10) as client,
    ):
        yield client


async def test_an_upstream_that_hangs_does_not_take_the_last_fetching_connection(
    of_module: Databases, campaigns: None, slow: UpstreamServer
) -> None:
    """Patience is long here, so that whoever has to wait for it is seen to."""
    limits = {"FETCH_CONNECTIONS": "2", "GROUP_FETCH_WAIT_MS": "3000", "UPSTREAM_DEADLINE_MS": "3000"}
    limits |= {"REQUEST_DEADLINE_MS": "5000", "IDLE_IN_TRANSACTION_TIMEOUT_MS": "9000"}
    gate = slow.behavior = faults.Gate(answer(inline()))
    async with (
        serving(of_module.app, WORKERS="1", **limits) as server,
        httpx.AsyncClient(base_url=server.url, timeout=10) as player,
    ):
        waiting = []
        for times in (1, 2, 3):
            waiting.append(asyncio.create_task(player.get("/vast", params={"campaign_id": "slow"})))
            await slow.asked(times)
        answered = await player.get("/vast", params={"campaign_id": "quick"})
        assert "<Ad" in answered.text
        assert answered.elapsed.total_seconds() < 2.5
        assert not any(task.done() for task in waiting)
        gate.opened.set()
        assert all("<Ad" in answered.text for answered in await asyncio.gather(*waiting))


async def test_an_ad_that_turns_out_too_long_is_not_paid_for_and_the_next_is_tried(
    player: httpx.AsyncClient, of_module: Databases
) -> None:
    """The upstream's ad takes 15 s, as does the own creative."""

    async def ask(**parameters: str) -> str | None:
        answered = await player.get("/vast", params=parameters)
        assert ("<Ad" in answered.text) == ("x-no-fill-reason" not in answered.headers)
        return answered.headers.get("x-no-fill-reason")

    assert await ask(campaign_id="capped", user_id="a", max_duration_s="14") == "no_candidate"
    assert await ask(campaign_id="capped", user_id="a", min_duration_s="16") == "no_candidate"
    assert await ask(campaign_id="capped", user_id="a", max_duration_s="15") is None
    assert await ask(campaign_id="capped", user_id="a", max_duration_s="15") == "frequency_cap"
    assert await ask(placement_id="preroll", pod_size="2", pod_duration_s="20") is None
    async with connected(of_module.owner) as connection:
        capped = await connection.fetchval("SELECT count(*) FROM ad_serves WHERE campaign_id = 'capped'")
        pod = await connection.fetchval("SELECT count(*) FROM ad_serves WHERE placement_id = 'preroll'")
    assert (capped, pod) == (1, 1), "of a pod of 20 s only one ad of 15 s"


async def test_an_ad_from_the_cache_is_capped_charged_and_tracked_like_any_other(
    player: httpx.AsyncClient, of_module: Databases, quick: UpstreamServer
) -> None:
    answers = [await player.get("/vast", params={"campaign_id": "kept", "user_id": user}) for user in "abca"]
    assert [answered.headers.get("x-no-fill-reason") for answered in answers] == [None, None, None, "frequency_cap"]
    for element in ("AdServingId", "Impression"):
        ours = [text for answered in answers for text in texts(answered.content, element) if "9/imp" not in text]
        assert len(set(ours)) == 3
    (asked,) = [request for request in quick.requests if request.target.startswith("/kept")]
    assert 0 < int(httpx.URL(asked.target).params["left"]) <= 5000
    async with connected(of_module.owner) as connection:
        charged = await connection.fetchrow("SELECT count(*), sum(amount) FROM spend_ledger WHERE campaign_id = 'kept'")
    assert tuple(charged) == (3, 3)
