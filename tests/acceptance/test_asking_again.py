"""A request_id is an ad: asked again, anywhere and also on the next day, it is the same one and costs nothing."""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.clock import set_clock
from tests.faults.upstream_server import UpstreamServer, answer, inline
from tests.players import connected, disagreements, serving

CAPS = [{"impressions": 50, "per": "lifetime"}]
MONEY = {"cpm": "1000", "budgets": {"lifetime": "1000"}, "frequency_caps": CAPS}
# Sweeping goes on beside the tests: it is to give nothing back while one looks at what is held.
LONGER_THAN_THESE_DAYS_S = 604_800
COUNTED = "SELECT sum(count) FROM frequency_caps"
PAID = "SELECT sum(spent + held) FROM budget_tracking"


@pytest.fixture(scope="module")
async def workers(of_module: Databases) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two servers on one database, so that the test says which worker it asks."""
    async with UpstreamServer(answer(inline("from upstream"))) as network:
        await set_up(
            of_module.owner,
            upstream("network", network.url, timeout_ms=2000),
            own_campaign("own", **MONEY),
            campaign(
                "fetched",
                upstreams=["network"],
                billing="impression",
                advertiser="Other",
                hold_ttl_s=LONGER_THAN_THESE_DAYS_S,
                **MONEY,
            ),
            placement("preroll", "own", "fetched"),
        )
        async with (
            serving(of_module.app, WORKERS="1") as one,
            serving(of_module.app, WORKERS="1") as two,
            httpx.AsyncClient(base_url=one.url, timeout=10) as first,
            httpx.AsyncClient(base_url=two.url, timeout=10) as second,
        ):
            yield [first, second]


async def paid_and_counted(url: str) -> tuple[int, int]:
    """Of all campaigns, since the beginning."""
    async with connected(url) as connection:
        return await connection.fetchval(PAID) or 0, await connection.fetchval(COUNTED) or 0


@pytest.mark.parametrize(
    "asked",
    [
        {"campaign_id": "own"},
        {"campaign_id": "fetched"},
        {"placement_id": "preroll", "pod_size": "2"},
    ],
    ids=["own creative", "upstream", "pod"],
)
async def test_another_worker_gives_the_same_ad_and_changes_nothing(
    workers: list[httpx.AsyncClient], of_module: Databases, asked: dict[str, str]
) -> None:
    first, second = workers
    asked = asked | {"user_id": "u", "request_id": f"once-{'-'.join(asked.values())}"}
    original = await first.get("/vast", params=asked)
    assert "<Ad" in original.text
    afterwards = await paid_and_counted(of_module.owner)
    for worker in (second, first):
        again = await worker.get("/vast", params=asked)
        assert again.headers["x-request-id"] == asked["request_id"]
        assert without_macros(again.text) == without_macros(original.text)
    assert await paid_and_counted(of_module.owner) == afterwards


def without_macros(vast: str) -> str:
    """What is the same in every answer of a request: the beacons' addresses name the server that answered."""
    return re.sub(r"http://127\.0\.0\.1:\d+/(event|click)[^\]]*", "", vast)


async def test_at_the_same_time_on_both_workers_is_still_once(
    workers: list[httpx.AsyncClient], of_module: Databases
) -> None:
    spent, counted = await paid_and_counted(of_module.owner)
    for index in range(20):
        asked = {"campaign_id": "fetched" if index % 2 else "own", "user_id": "v", "request_id": f"race-{index}"}
        answers = await asyncio.gather(*(worker.get("/vast", params=asked) for worker in workers * 3))
        assert len({without_macros(answered.text) for answered in answers}) == 1
        assert "<Ad" in answers[0].text
    assert await paid_and_counted(of_module.owner) == (spent + 20, counted + 20)
    assert await disagreements(of_module.owner) == []


@pytest.mark.parametrize(
    "other",
    [{"campaign_id": "fetched"}, {"user_id": "w"}, {"max_duration_s": "30"}, {"ip": "203.0.113.9"}],
    ids=lambda other: "".join(other),
)
async def test_with_other_parameters_it_is_a_conflict(workers: list[httpx.AsyncClient], other: dict[str, str]) -> None:
    first, second = workers
    asked = {"campaign_id": "own", "user_id": "c", "request_id": f"conflict-{''.join(other)}"}
    assert "<Ad" in (await first.get("/vast", params=asked)).text
    conflict = await second.get("/vast", params=asked | other)
    assert conflict.status_code == 409
    assert conflict.headers["content-type"] == "application/problem+json"
    assert conflict.json()["detail"] == "request_id was already used with different parameters"


async def test_a_request_that_got_no_ad_may_be_asked_again_and_get_one(
    workers: list[httpx.AsyncClient], of_module: Databases
) -> None:
    first, second = workers
    asked = {"campaign_id": "own", "user_id": "n", "request_id": "none-at-first"}
    async with connected(of_module.owner) as connection:
        await connection.execute("UPDATE campaigns SET status = 'paused' WHERE id = 'own'")
        assert (await first.get("/vast", params=asked)).headers["x-no-fill-reason"] == "paused"
        await connection.execute("UPDATE campaigns SET status = 'active' WHERE id = 'own'")
    assert "<Ad" in (await second.get("/vast", params=asked)).text


async def test_midnight_between_the_two_askings_changes_nothing(
    workers: list[httpx.AsyncClient], of_module: Databases
) -> None:
    first, second = workers
    asked = {"campaign_id": "fetched", "user_id": "m"}
    for index, (before, after) in enumerate(
        [
            ("2026-03-31 23:59:59.9+00", "2026-04-01 00:00:00+00"),
            ("2026-03-31 23:58:00+00", "2026-04-01 00:02:00+00"),
            ("2026-03-31 00:00:01+00", "2026-04-01 00:00:00.9+00"),
        ]
    ):
        named = asked | {"request_id": f"midnight-{index}"}
        await set_clock(of_module.owner, before)
        original = await first.get("/vast", params=named)
        assert "from upstream" in original.text, original.headers
        afterwards = await paid_and_counted(of_module.owner)
        await set_clock(of_module.owner, after)
        again = await second.get("/vast", params=named)
        assert without_macros(again.text) == without_macros(original.text)
        assert await paid_and_counted(of_module.owner) == afterwards


async def test_after_a_day_it_is_a_new_request(workers: list[httpx.AsyncClient], of_module: Databases) -> None:
    first, second = workers
    named = {"campaign_id": "own", "user_id": "d", "request_id": "daily"}
    for at in ("2026-04-02 00:00:10+00", "2026-04-03 00:00:20+00", "2026-04-04 00:00:30+00"):
        await set_clock(of_module.owner, at)
        spent, counted = await paid_and_counted(of_module.owner)
        for worker in (first, second):
            assert "<Ad" in (await worker.get("/vast", params=named)).text
        assert await paid_and_counted(of_module.owner) == (spent + 1, counted + 1)


async def test_an_ad_that_waits_for_its_impression_longer_than_a_day_does_not_block_its_name(
    workers: list[httpx.AsyncClient], of_module: Databases
) -> None:
    first, second = workers
    named = {"campaign_id": "fetched", "user_id": "h", "request_id": "held"}
    for at, worker in (("2026-04-06 12:00:00+00", first), ("2026-04-07 12:00:01+00", second)):
        await set_clock(of_module.owner, at)
        assert "<Ad" in (await worker.get("/vast", params=named)).text
