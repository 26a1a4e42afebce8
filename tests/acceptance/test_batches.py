"""A stitcher at a live ad break: a thousand viewers in one call, each answered by himself."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.faults.upstream_server import Gate, UpstreamServer, answer, inline
from tests.players import AUTHORIZED, UNHURRIED, connected, disagreements, serving
from tests.served_ads import assert_booked, serves_of
from tests.unit.vast.ad_documents import DrawnAd, vast
from tests.valid_vast import assert_valid

CAP_3 = [{"impressions": 3, "per": "day"}]


@pytest.fixture(scope="module")
async def network() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer(answer(inline("from upstream"))) as server:
        yield server


@pytest.fixture(scope="module")
async def stitcher(of_module: Databases, network: UpstreamServer) -> AsyncIterator[httpx.AsyncClient]:
    await set_up(
        of_module.owner,
        upstream("network", network.url, timeout_ms=5000),
        own_campaign("capped", cpm="1000", budgets={"lifetime": "700"}, frequency_caps=CAP_3),
        campaign("fetched", upstreams=["network"], billing="impression"),
        own_campaign("own"),
        placement("preroll", "capped"),
    )
    async with (
        serving(of_module.app, WORKERS="2", **UNHURRIED) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as client,
    ):
        yield client


async def answers(stitcher: httpx.AsyncClient, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the answer, in the order in which they came."""
    answered = await stitcher.post("/v1/ads", json={"requests": requests}, headers=AUTHORIZED)
    assert answered.status_code == 200
    assert answered.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answered.text.splitlines()]


async def test_a_thousand_viewers_are_each_answered_under_their_own_request_id(
    stitcher: httpx.AsyncClient, of_module: Databases
) -> None:
    requests = [
        {"placement_id": "preroll", "user_id": f"u{number}", "request_id": f"r{number}"} for number in range(1000)
    ]
    lines = await answers(stitcher, requests)
    assert sorted(line["request_id"] for line in lines) == sorted(request["request_id"] for request in requests)
    assert all(line["request_id"] == requests[line["index"]]["request_id"] for line in lines)
    assert all(line["filled"] == ("<Ad" in line["vast"]) for line in lines)
    for line in lines:
        assert_valid(line["vast"].encode())
    assert sum(len(serves_of(line["vast"].encode())) for line in lines) == 700
    assert Counter(line["no_fill_reason"] for line in lines) == {None: 700, "budget": 300}
    # The stitcher repeats the batch, as after a broken connection: each request that had an ad gets the same one.
    again = await answers(stitcher, requests)
    filled = {line["request_id"] for line in lines if line["filled"]}
    assert {line["request_id"] for line in again if line["filled"]} == filled
    async with connected(of_module.owner) as connection:
        assert await connection.fetchval("SELECT sum(spent) FROM budget_tracking WHERE campaign_id = 'capped'") == 700
    assert await disagreements(of_module.owner) == []


async def test_one_viewers_failure_is_that_viewers_alone(stitcher: httpx.AsyncClient) -> None:
    fine = [{"campaign_id": "own", "user_id": f"u{number}", "request_id": f"fine-{number}"} for number in range(50)]
    bad: list[dict[str, Any]] = [
        {"request_id": "unknown", "campaign_id": "other"},
        {"request_id": "neither"},
        {"request_id": "nested", "campaign_id": {"id": "own"}},
        {"request_id": "stranger", "campaign_id": "own", "color": "red"},
        {"request_id": "zero", "campaign_id": "ow\u0000"},
        {"request_id": "both", "campaign_id": "own", "placement_id": "preroll"},
        {"request_id": "session", "campaign_id": "own", "session_id": "00000000-0000-4000-8000-000000000000"},
        {"request_id": "fine-0", "campaign_id": "own", "user_id": "another"},
    ]
    lines = await answers(stitcher, [*fine, *bad])
    by_index = {line["index"]: line for line in lines}
    assert len(by_index) == len(lines) == 58
    assert [by_index[number]["status"] for number in range(50, 57)] == [400, 400, 400, 400, 400, 400, 404]
    assert [by_index[number].get("field") for number in range(50, 56)] == [
        "campaign_id",
        "campaign_id",
        "campaign_id",
        "color",
        "campaign_id",
        "campaign_id",
    ]
    # Two requests of one name in one batch: one of the two is served, and the other is a conflict.
    assert {by_index[0]["status"], by_index[57]["status"]} == {200, 409}
    assert all(by_index[number]["filled"] for number in range(1, 50))


async def test_each_ad_of_an_upstreams_pod_is_a_serve(
    stitcher: httpx.AsyncClient, of_module: Databases, network: UpstreamServer
) -> None:
    network.behavior = answer(vast([DrawnAd(1), DrawnAd(2), DrawnAd(3)]))
    requests_sent = {"campaign_id": "fetched", "user_id": "u"}
    alone, pod = await answers(stitcher, [requests_sent, requests_sent | {"pod_size": 2}])
    network.behavior = answer(inline("from upstream"))
    by_index = {line["index"]: serves_of(line["vast"].encode()) for line in (alone, pod)}
    assert [len(by_index[index]) for index in (0, 1)] == [1, 2]
    async with connected(of_module.owner) as connection:
        await assert_booked(connection, {serve for serves in by_index.values() for serve in serves})


async def test_the_same_request_twice_in_a_batch_is_one_ad(stitcher: httpx.AsyncClient, of_module: Databases) -> None:
    request = {"campaign_id": "own", "user_id": "twice", "request_id": "twice"}
    lines = await answers(stitcher, [request, request])
    assert len({line["vast"] for line in lines}) == 1
    async with connected(of_module.owner) as connection:
        rows = "SELECT count(*) FROM ad_serves WHERE user_key = (SELECT user_key FROM ad_serves WHERE fingerprint = $1)"
        fingerprint = await connection.fetchval("SELECT fingerprint FROM ad_serves ORDER BY served_at DESC LIMIT 1")
        assert await connection.fetchval(rows, fingerprint) == 1


async def test_a_number_is_a_request_id_too(stitcher: httpx.AsyncClient) -> None:
    request = {"campaign_id": "own", "user_id": "numbered", "request_id": 20260101}
    (first,), (again,) = await answers(stitcher, [request]), await answers(stitcher, [request])
    assert first["request_id"] == "20260101"
    assert first["filled"]
    assert again == first


async def test_numbers_and_flags_are_values_too_and_what_cannot_be_one_is_ignored(stitcher: httpx.AsyncClient) -> None:
    odd = {"vast_version": 3.0, "max_duration_s": 30.5, "lmt": False, "user_id": {"id": "u"}, "country": ["US"]}
    (line,) = await answers(stitcher, [{"campaign_id": "own", **odd}])
    assert (line["status"], line["filled"]) == (200, True)
    assert '<VAST version="3.0"' in line["vast"]


async def test_a_line_comes_as_soon_as_it_is_decided(stitcher: httpx.AsyncClient, network: UpstreamServer) -> None:
    gate = network.behavior = Gate(answer(inline("from upstream")))
    requests = [{"campaign_id": "fetched", "request_id": "slow"}, {"campaign_id": "own", "request_id": "quick"}]
    async with stitcher.stream("POST", "/v1/ads", json=requests, headers=AUTHORIZED) as answered:
        lines = answered.aiter_lines()
        assert json.loads(await anext(lines))["request_id"] == "quick"
        gate.opened.set()
        assert "from upstream" in json.loads(await anext(lines))["vast"]
