"""A viewing session: what it keeps across requests and workers, and how it ends."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from app.domain import NoFillReason
from app.launch.databases import command_store
from app.maintenance.tasks import Maintenance
from app.serving.explain import explain
from app.serving.keys import hash_key
from app.targeting.viewer import ViewerReader
from app.web.query import ad_request
from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.clock import set_clock
from tests.faults.upstream_server import UpstreamServer, answer, inline
from tests.players import becomes, disagreements, serving

MEDIA = '[ { url = "https://cdn.example/a.mp4", type = "video/mp4", width = 640, height = 360 } ]'
TWO_A_SESSION = [{"impressions": 2, "per": "session"}]
ONE_A_DAY = [{"impressions": 1, "per": "day"}]


def creative(creative_id: str, campaign_id: str) -> str:
    return (
        f'\n[[creatives]]\nid = "{creative_id}"\ncampaign_id = "{campaign_id}"\ntitle = "{creative_id}"\n'
        f"duration_s = 15\nmedia_files = {MEDIA}\n"
    )


@pytest.fixture(scope="module")
async def network() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer(answer(inline("from upstream"))) as server:
        yield server


@pytest.fixture(scope="module")
async def workers(of_module: Databases, network: UpstreamServer) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two servers on one database, so that the test says which worker it asks."""
    await set_up(
        of_module.owner,
        upstream("network", network.url + "/?c=[CORRELATOR]", timeout_ms=2000),
        campaign("fetched", upstreams=["network"]),
        own_campaign("three"),
        creative("three-b", "three"),
        creative("three-c", "three"),
        own_campaign("twice-a-session", frequency_caps=TWO_A_SESSION),
        own_campaign("once-a-day", frequency_caps=ONE_A_DAY),
        own_campaign("one"),
        placement("preroll", "one", "three"),
        own_campaign("cola", advertiser="Cola", categories=["drinks"]),
        campaign("water", advertiser="Water", categories=["drinks"], upstreams=["network"]),
        own_campaign("cars", advertiser="Cars", categories=["cars"]),
        placement("drinks-first", "water", "cars"),
    )
    async with (
        serving(of_module.app, WORKERS="1") as one,
        serving(of_module.app, WORKERS="1") as two,
        httpx.AsyncClient(base_url=one.url, timeout=10) as first,
        httpx.AsyncClient(base_url=two.url, timeout=10) as second,
    ):
        yield [first, second]


async def begin(worker: httpx.AsyncClient, **body: object) -> str:
    """A session's id."""
    made = await worker.post("/v1/sessions", json=body)
    assert made.status_code == 201
    session_id: str = made.json()["id"]
    assert made.headers["location"] == f"/v1/sessions/{session_id}"
    return session_id


async def creatives(worker: httpx.AsyncClient, **asked: str) -> list[str]:
    answered = await worker.get("/vast", params=asked)
    assert answered.status_code == 200
    return re.findall(r'<Creative [^>]*id="([^"]*)"', answered.text)


async def test_the_correlator_is_the_same_for_all_its_ads_on_every_worker(
    workers: list[httpx.AsyncClient], network: UpstreamServer
) -> None:
    first, second = workers
    session_id = await begin(first)
    network.requests.clear()
    for worker in (first, second, first):
        assert (
            "from upstream"
            in (await worker.get("/vast", params={"campaign_id": "fetched", "session_id": session_id})).text
        )
    await first.get("/vast", params={"campaign_id": "fetched"})
    *correlators, other = [request.target.partition("c=")[2] for request in network.requests]
    told = (await second.get(f"/v1/sessions/{session_id}")).json()["correlator"]
    assert correlators == [told] * 3
    assert other != told


async def test_no_creative_is_repeated_while_another_can_serve(workers: list[httpx.AsyncClient]) -> None:
    for _ in range(5):
        session_id = await begin(workers[0])
        asked = {"campaign_id": "three", "session_id": session_id}
        seen = [one for index in range(3) for one in await creatives(workers[index % 2], **asked)]
        assert sorted(seen) == ["three-15s", "three-b", "three-c"]
        assert len(await creatives(workers[0], **asked)) == 1, "nothing else is left"
        told = (await workers[1].get(f"/v1/sessions/{session_id}")).json()["played"]
        assert told[:3] == seen


async def test_another_campaign_serves_before_a_creative_is_repeated(workers: list[httpx.AsyncClient]) -> None:
    session_id = await begin(workers[0])
    asked = {"placement_id": "preroll", "session_id": session_id}
    seen = Counter([one for index in range(4) for one in await creatives(workers[index % 2], **asked)])
    assert set(seen.values()) == {1}
    assert set(seen) == {"one-15s", "three-15s", "three-b", "three-c"}


async def test_at_the_same_time_no_creative_is_repeated_either(workers: list[httpx.AsyncClient]) -> None:
    session_id = await begin(workers[0])
    asked = {"placement_id": "preroll", "session_id": session_id}
    answers = await asyncio.gather(*(creatives(workers[index % 2], **asked) for index in range(4)))
    assert sorted(one for served in answers for one in served) == ["one-15s", "three-15s", "three-b", "three-c"]


async def test_a_cap_per_session_counts_in_each_session_alone(
    workers: list[httpx.AsyncClient], of_module: Databases
) -> None:
    for _ in range(2):
        session_id = await begin(workers[0], user_id="the same viewer")
        asked = {"campaign_id": "twice-a-session", "session_id": session_id}
        served = await asyncio.gather(*(creatives(workers[index % 2], **asked) for index in range(8)))
        assert sum(map(bool, served)) == 2
        refused = await workers[0].get("/vast", params=asked)
        assert refused.headers["x-no-fill-reason"] == "frequency_cap"
    refused = await workers[0].get("/vast", params={"campaign_id": "twice-a-session", "user_id": "the same viewer"})
    assert refused.headers["x-no-fill-reason"] == "no_user", "there is no session to count in"
    assert await disagreements(of_module.owner) == []


async def test_a_session_says_who_watches(workers: list[httpx.AsyncClient]) -> None:
    session_id = await begin(workers[0], user_id="viewer")
    assert await creatives(workers[1], campaign_id="once-a-day", session_id=session_id)
    assert not await creatives(workers[0], campaign_id="once-a-day", user_id="viewer")
    assert not await creatives(workers[0], campaign_id="once-a-day", session_id=session_id)


async def test_no_competitor_follows_in_a_session(workers: list[httpx.AsyncClient], of_module: Databases) -> None:
    first, second = workers
    session_id = await begin(first)

    async def watch(worker: httpx.AsyncClient, **asked: str) -> str:
        """The ad, or else the reason why there is none."""
        answered = await worker.get("/vast", params={"session_id": session_id} | asked)
        ads = re.findall("from upstream|(?:cola|cars)-15s", answered.text)
        return ads[0] if ads else answered.headers["x-no-fill-reason"]

    assert await watch(first, campaign_id="cola") == "cola-15s"
    assert await watch(second, campaign_id="water") == "no_candidate"
    assert await watch(first, campaign_id="cola") == "cola-15s", "it may follow itself"
    assert await watch(second, placement_id="drinks-first") == "cars-15s"
    assert await watch(first, placement_id="drinks-first") == "from upstream", "another ad was between"
    assert await watch(second, campaign_id="cola") == "no_candidate", "an upstream's ad counts too"
    assert await watch(first, campaign_id="cola", pod_size="2") == "no_candidate"
    assert await creatives(second, campaign_id="one", session_id=session_id)
    assert await watch(first, campaign_id="cola") == "cola-15s", "an ad without a category was between"
    assert await watch(second, campaign_id="water", competitors="together") == "from upstream"
    session_id = await begin(first)
    assert await watch(second, campaign_id="water") == "from upstream", "another session"
    assert await disagreements(of_module.owner) == []


async def test_explain_names_the_competitor_in_the_session(
    workers: list[httpx.AsyncClient], of_module: Databases
) -> None:
    session_id = await begin(workers[0])
    assert await creatives(workers[0], campaign_id="cola", session_id=session_id)
    async with command_store(of_module.owner) as store, store.connection() as connection:
        asked = ad_request({"placement_id": "drinks-first", "session_id": session_id})
        explained = await explain(connection, asked, hash_key("secret"), ViewerReader())
    water, cars = explained.verdicts
    assert (water.reason, cars.reason) == (NoFillReason.NO_CANDIDATE, None)
    told = "session: its last answer had an ad of cola, a competitor, which this campaign may not follow"
    assert told in water.facts
    assert not any("session" in fact for fact in cars.facts)


async def test_a_session_that_is_over_is_gone_and_one_that_never_was_is_not_found(
    workers: list[httpx.AsyncClient],
) -> None:
    first, second = workers
    ended, unknown = await begin(first), str(uuid4())
    assert (await second.delete(f"/v1/sessions/{ended}")).status_code == 204
    for session_id, status in ((ended, 410), (unknown, 404)):
        for answered in (
            await first.get("/vast", params={"campaign_id": "one", "session_id": session_id}),
            await first.get(f"/v1/sessions/{session_id}"),
            await first.delete(f"/v1/sessions/{session_id}"),
        ):
            assert answered.status_code == status
            assert answered.headers["content-type"] == "application/problem+json"
            assert session_id in answered.json()["detail"]
    assert (await first.get("/v1/sessions/x")).status_code == 404


async def test_a_session_ends_at_its_second_and_is_swept_later(
    workers: list[httpx.AsyncClient], of_module: Databases
) -> None:
    await set_clock(of_module.owner, "2027-01-01 12:00:00+00")
    session_id = await begin(workers[0], ttl_s=60)
    asked = {"campaign_id": "one", "session_id": session_id}
    await set_clock(of_module.owner, "2027-01-01 12:00:59.999+00")
    assert (await workers[0].get("/vast", params=asked)).status_code == 200
    await set_clock(of_module.owner, "2027-01-01 12:01:00+00")
    assert (await workers[1].get("/vast", params=asked)).status_code == 410
    # So long it can be told that it is gone; then nobody knows of it.
    await set_clock(of_module.owner, "2027-01-01 13:01:00+00")
    await sweep(of_module.owner)
    assert (await workers[0].get("/vast", params=asked)).status_code == 410
    await set_clock(of_module.owner, "2027-01-01 13:01:00.000001+00")
    await sweep(of_module.owner)
    assert (await workers[0].get("/vast", params=asked)).status_code == 404


async def sweep(url: str) -> None:
    """Removes the sessions of which nothing need be known any more, as the servers do every minute."""
    async with command_store(url) as store:
        await Maintenance(store, retention_days=35).tasks["sessions removed"].run()


async def test_there_are_no_more_sessions_than_the_database_is_to_bear(database: str, app_database: str) -> None:
    async with (
        serving(app_database, WORKERS="1", SESSIONS_MAX="3") as server,
        httpx.AsyncClient(base_url=server.url, timeout=10) as player,
    ):

        async def is_refused() -> bool:
            made = await player.post("/v1/sessions")
            assert made.status_code in (201, 429)
            return made.status_code == 429

        await becomes(is_refused)
        refused = await player.post("/v1/sessions")
        assert (refused.json()["detail"], refused.headers["retry-after"]) == (
            "too many viewing sessions",
            "60",
        )
        assert (await player.get("/vast", params={"campaign_id": "none"})).status_code == 400
