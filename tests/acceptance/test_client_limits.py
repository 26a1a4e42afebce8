"""Above the limit of its address a client gets clean answers and nothing else; everybody else is served."""

import re
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import own_campaign, placement, publisher, set_up
from tests.players import AUTHORIZED, connected, serving

PER_S = 1
STITCHER_TOKEN = "a-token-for-stitchers"
ASKED = 40
"""Far more than the limit lets pass in the time that this takes."""

IMPRESSION = re.compile(r"(/event/impression\?t=[^\]]+)\]")
CLICK = re.compile(r"(/click\?t=[^\]]+)\]")


@pytest.fixture(scope="module")
async def player(of_module: Databases) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks as a proxy on this machine, which says whom each request is from."""
    await set_up(
        of_module.owner,
        publisher("limited", requests_per_s=1),
        own_campaign("spring") + 'click_through = "https://acme.example/"\n',
        placement("preroll", "spring"),
        placement("theirs", "spring", publisher_id="limited"),
        '[[placements]]\nid = "breaks"\npublisher_id = "tv"\ncampaigns = ["spring"]\n'
        'ad_breaks = [{ id = "pre", time_offset = "start" }]',
    )
    settings = {"CLIENT_REQUESTS_PER_S": str(PER_S), "TRUSTED_PROXIES": "127.0.0.1/32", "WORKERS": "1"}
    settings |= {"STITCHER_TOKEN": STITCHER_TOKEN, "UNLIMITED_NETWORKS": "198.51.100.0/24, 2001:db8:1::/48"}
    async with (
        serving(of_module.app, **settings) as server,
        httpx.AsyncClient(base_url=server.url, timeout=10) as client,
    ):
        yield client


def sent_by(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


async def use_up(player: httpx.AsyncClient, address: str) -> None:
    """A session counts as ten requests: for nine seconds nothing else passes."""
    assert (await player.post("/v1/sessions", headers=sent_by(address))).status_code == 201


async def counted(databases: Databases, event: str) -> int:
    async with connected(databases.owner) as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM ad_events WHERE event = $1", event)
    return count


async def test_a_client_above_its_limit_gets_no_ads_and_others_do(player: httpx.AsyncClient) -> None:
    answers = [
        await player.get(
            "/vast", params={"campaign_id": "spring", "user_id": f"u{index}"}, headers=sent_by("203.0.113.1")
        )
        for index in range(ASKED)
    ]
    reasons = Counter(answer.headers.get("x-no-fill-reason") for answer in answers)
    assert {answer.status_code for answer in answers} == {200}
    assert reasons.keys() == {None, "rate_limit"}
    took_s = sum((answer.elapsed for answer in answers), start=answers[0].elapsed).total_seconds()
    assert PER_S <= reasons[None] <= PER_S + PER_S * took_s + 1
    other = await player.get("/vast", params={"campaign_id": "spring"}, headers=sent_by("203.0.113.2"))
    assert "x-no-fill-reason" not in other.headers


async def test_the_empty_answer_has_the_version_and_the_request_id_that_were_asked_for(
    player: httpx.AsyncClient,
) -> None:
    await use_up(player, "203.0.113.3")
    query = {"campaign_id": "spring", "vast_version": "3.0", "request_id": "mine"}
    answer = await player.get("/vast", params=query, headers=sent_by("203.0.113.3"))
    assert answer.headers["x-no-fill-reason"] == "rate_limit"
    assert answer.headers["x-request-id"] == "mine"
    assert b'version="3.0"' in answer.content


async def test_a_whole_network_of_ipv6_is_one_client(player: httpx.AsyncClient) -> None:
    answers = [
        await player.get("/vast", params={"campaign_id": "spring"}, headers=sent_by(f"2001:db8::{index:x}"))
        for index in range(1, ASKED)
    ]
    assert Counter(answer.headers.get("x-no-fill-reason") for answer in answers)["rate_limit"] > ASKED / 2


@pytest.mark.parametrize("headers", [{}, sent_by("198.51.100.7"), sent_by("2001:db8:1::7")])
async def test_the_proxy_itself_and_listed_networks_have_no_limit(
    player: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answers = [await player.get("/vast", params={"campaign_id": "spring"}, headers=headers) for _ in range(ASKED)]
    assert Counter(answer.headers.get("x-no-fill-reason") for answer in answers) == {None: ASKED}


async def test_beacons_and_clicks_above_the_limit_are_answered_and_not_counted(
    player: httpx.AsyncClient, of_module: Databases
) -> None:
    document = (await player.get("/vast", params={"campaign_id": "spring"})).text
    (impression,), (click, *_) = IMPRESSION.findall(document), CLICK.findall(document)
    await use_up(player, "203.0.113.4")
    for _ in range(3):
        answer = await player.get(impression, headers=sent_by("203.0.113.4"))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    assert (await player.get(click, headers=sent_by("203.0.113.4"))).headers["location"] == "https://acme.example/"
    assert (await counted(of_module, "impression"), await counted(of_module, "click")) == (0, 0)
    assert (await player.get(impression, headers=sent_by("203.0.113.5"))).status_code == 200
    assert await counted(of_module, "impression") == 1
    metrics = (await player.get("/metrics")).text
    assert re.search(r'adserver_client_limited_total\{kind="beacon"\} [1-9]', metrics)
    assert re.search(r'adserver_beacons_total\{outcome="limited"\} [1-9]', metrics)


async def test_sessions_above_the_limit_are_a_problem_that_says_when_to_come_again(player: httpx.AsyncClient) -> None:
    await use_up(player, "203.0.113.6")
    headers = sent_by("203.0.113.6") | {"Origin": "https://tv.example"}
    refused = await player.post("/v1/sessions", headers=headers)
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert refused.headers["access-control-allow-origin"] == "https://tv.example"
    session = await player.get("/v1/sessions/00000000-0000-4000-8000-000000000000", headers=headers)
    assert session.status_code == 429
    assert (await player.post("/v1/sessions")).status_code == 201


async def test_vmap_above_the_limit_has_no_breaks(player: httpx.AsyncClient) -> None:
    breaks = await player.get("/vmap", params={"placement_id": "breaks"})
    assert b"AdBreak" in breaks.content
    await use_up(player, "203.0.113.8")
    refused = await player.get("/vmap", params={"placement_id": "breaks", "embed": "1"}, headers=sent_by("203.0.113.8"))
    assert (refused.status_code, refused.headers["x-no-fill-reason"]) == (200, "rate_limit")
    assert b"AdBreak" not in refused.content


async def test_a_publishers_limit_binds_whichever_way_its_placement_is_asked_for(player: httpx.AsyncClient) -> None:
    session = (await player.post("/v1/sessions", json={"publisher_id": "other"})).json()["id"]
    parameters = {"placement_id": "theirs", "publisher_id": "other", "session_id": session}
    requests = [parameters | {"user_id": f"u{index}"} for index in range(ASKED)]
    in_batch = await player.post("/v1/ads", json=requests)
    assert sum('"filled":true' in line for line in in_batch.text.splitlines()) < ASKED / 2
    one_by_one = [await player.get("/vast", params=request) for request in requests]
    assert Counter(answer.headers.get("x-no-fill-reason") for answer in one_by_one)["rate_limit"] > ASKED / 2
    vmaps = [await player.get("/vmap", params=parameters | {"embed": "1"}) for _ in range(ASKED)]
    assert {vmap.status_code for vmap in vmaps} == {200}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        (sent_by("203.0.113.20"), 401),
        (sent_by("127.0.0.1, 203.0.113.20"), 401),
        (sent_by("203.0.113.20") | {"X-Device-IP": "127.0.0.1"}, 401),
        (sent_by("203.0.113.20") | {"Authorization": "Bearer wrong"}, 401),
        (sent_by("203.0.113.21") | AUTHORIZED, 200),
        (sent_by("203.0.113.21") | {"Authorization": f"Bearer {STITCHER_TOKEN}"}, 200),
    ],
)
async def test_a_batch_needs_a_token_or_a_trusted_network(
    player: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await player.post("/v1/ads", json=[{"campaign_id": "spring"}], headers=headers)
    assert answer.status_code == status
    assert ('"filled":true' in answer.text) == (status == 200)


async def test_who_sends_many_wrong_tokens_has_to_wait_and_the_admin_does_not(player: httpx.AsyncClient) -> None:
    wrong = sent_by("203.0.113.22") | {"Authorization": "Bearer wrong"}
    statuses = Counter([(await player.get("/v1/campaigns", headers=wrong)).status_code for _ in range(ASKED)])
    assert statuses.keys() == {401, 429}
    assert statuses[401] < ASKED / 2
    right = await player.get("/v1/campaigns", headers=sent_by("203.0.113.22") | AUTHORIZED)
    assert (right.status_code, 1 <= int(right.headers["retry-after"]) <= 5) == (429, True)
    assert (await player.get("/v1/campaigns", headers=sent_by("203.0.113.23") | AUTHORIZED)).status_code == 200
    assert re.search(r"adserver_tokens_refused_total [1-9]", (await player.get("/metrics")).text)
