"""Rate limits hold over all workers of two servers, for a publisher's requests and for those to an upstream."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, publisher, set_up, upstream
from tests.faults.upstream_server import UpstreamServer
from tests.players import UNHURRIED, Answer, Players, serving

SERVERS = 2
PER_S = 40
ASKED_PER_S = 40
"""Of each server, so that twice the limit is asked for."""

PART = 0.05
BUCKET = 11
"""What may pass at once: a quarter of a second's worth, and one."""

CREDIT = 6
"""What a worker may lend itself beyond that until it has settled."""


async def ask(players: Players, seconds: float, **parameters: str) -> list[Answer]:
    """At a steady pace, whatever becomes of the earlier ones."""
    clock = asyncio.get_running_loop().time
    start, asking = clock(), []
    for number in range(int(seconds * ASKED_PER_S)):
        await asyncio.sleep(start + number / ASKED_PER_S - clock())
        asking.append(asyncio.create_task(players.ask(**parameters)))
    return await asyncio.gather(*asking)


async def passed(databases: Databases, workers: int, seconds: float) -> tuple[int, int, float]:
    """Requests that passed the publisher's limit, requests that reached the upstream, and how long it took."""
    async with UpstreamServer() as network, AsyncExitStack() as stack:
        await set_up(
            databases.owner,
            publisher("limited", requests_per_s=PER_S),
            upstream("limited", network.url, max_qps=PER_S, timeout_ms=5000),
            own_campaign("own"),
            campaign("theirs", upstreams=["limited"]),
            placement("limited", "own", publisher_id="limited"),
        )
        players = []
        for _ in range(SERVERS):
            server = await stack.enter_async_context(serving(databases.app, **UNHURRIED, WORKERS=str(workers)))
            players.append(await stack.enter_async_context(Players(server.url)))
        began = asyncio.get_running_loop().time()
        limited, theirs = await asyncio.gather(
            asyncio.gather(*(ask(player, seconds, placement_id="limited") for player in players)),
            asyncio.gather(*(ask(player, seconds, campaign_id="theirs") for player in players)),
        )
        took_s = asyncio.get_running_loop().time() - began
        assert {answer.reason for answers in limited for answer in answers} == {None, "rate_limit"}
        assert {answer.reason for answers in theirs for answer in answers} == {None, "upstream"}
        return sum(answer.filled for answers in limited for answer in answers), len(network.requests), took_s


async def test_no_more_passes_two_servers_than_one_limit_allows(of_module: Databases) -> None:
    publishers, upstreams, took_s = await passed(of_module, workers=1, seconds=2)
    most = PER_S * took_s + BUCKET + SERVERS * CREDIT
    assert PER_S <= publishers <= most
    assert PER_S <= upstreams <= most


@pytest.mark.slow
async def test_over_twenty_seconds_the_limit_is_met_within_a_twentieth(of_module: Databases) -> None:
    publishers, upstreams, took_s = await passed(of_module, workers=2, seconds=20)
    assert publishers == pytest.approx(PER_S * took_s, rel=PART)
    assert upstreams == pytest.approx(PER_S * took_s, rel=PART)
