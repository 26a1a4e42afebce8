"""I8: each request is answered by its deadline, and immediately when too many wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.domain import NoFillReason
from tests.campaigns import campaign, own_campaign, set_up, upstream
from tests.faults.upstream_server import UpstreamServer, hang
from tests.invariants.world import running, somebody_waits
from tests.players import connected

MONEY = {"cpm": "1000", "budgets": {"lifetime": "100"}}
FAR_LONGER_S = 8
"""Longer than every limit of these tests that expires, and shorter than the others."""


BUDGETS = "SELECT FROM budget_tracking FOR UPDATE"
CATALOG = "LOCK TABLE catalog"


@asynccontextmanager
async def held(database: str, lock: str) -> AsyncIterator[None]:
    """Another session has the budgets or the catalog locked inside the block."""
    async with connected(database) as holder, holder.transaction():
        await holder.execute(lock)
        yield


async def test_a_row_that_somebody_holds_is_waited_for_until_the_deadline_and_no_longer(database: str) -> None:
    await set_up(database, own_campaign("own", **MONEY))
    async with running(database, lock_ms=60_000, request_deadline_s=1) as server, held(database, BUDGETS):
        async with asyncio.timeout(FAR_LONGER_S):
            assert await server.reason(campaign_id="own") is NoFillReason.BUSY


async def test_a_row_that_somebody_holds_is_waited_for_no_longer_than_a_lock_may_take(database: str) -> None:
    await set_up(database, own_campaign("own", **MONEY))
    async with running(database, lock_ms=1000, request_deadline_s=60) as server, held(database, BUDGETS):
        async with asyncio.timeout(FAR_LONGER_S):
            assert await server.reason(campaign_id="own") is NoFillReason.BUSY


async def test_a_request_that_waits_behind_others_is_answered_by_its_deadline(database: str) -> None:
    await set_up(database, own_campaign("own", **MONEY))
    limits = {"serve_connections": 1, "group_max": 1, "request_deadline_s": 1}
    async with running(database, lock_ms=60_000, **limits) as server, held(database, BUDGETS):
        async with asyncio.timeout(FAR_LONGER_S):
            asked = [server.reason(campaign_id="own") for _ in range(5)]
            assert set(await asyncio.gather(*asked)) == {NoFillReason.BUSY}


async def test_past_the_bound_of_the_queue_the_answer_comes_at_once(database: str) -> None:
    await set_up(database, own_campaign("own", **MONEY))
    limits = {"serve_connections": 1, "queue_max": 1, "request_deadline_s": 60}
    async with running(database, lock_ms=60_000, **limits) as server, held(database, BUDGETS):
        under_way = asyncio.create_task(server.ask(campaign_id="own"))
        await somebody_waits(database)
        queued = asyncio.create_task(server.ask(campaign_id="own"))
        await asyncio.sleep(0)
        async with asyncio.timeout(FAR_LONGER_S):
            assert await server.reason(campaign_id="own") is NoFillReason.BUSY
        assert not under_way.done()
        assert not queued.done()


async def test_an_unknown_campaign_is_looked_for_until_the_deadline_and_no_longer(database: str) -> None:
    async with running(database, lock_ms=60_000, request_deadline_s=1) as server, held(database, CATALOG):
        async with asyncio.timeout(FAR_LONGER_S):
            asked = [server.reason(campaign_id=f"new-{index}") for index in range(3)]
            assert set(await asyncio.gather(*asked)) == {NoFillReason.BUSY}


async def test_no_more_unknown_campaigns_are_looked_for_than_may_wait(database: str) -> None:
    async with running(database, queue_max=1, request_deadline_s=60) as server, held(database, CATALOG):
        looked_for = asyncio.create_task(server.ask(campaign_id="new"))
        await somebody_waits(database)
        async with asyncio.timeout(FAR_LONGER_S):
            assert await server.reason(campaign_id="newer") is NoFillReason.BUSY
        assert not looked_for.done()
        looked_for.cancel()


async def test_all_upstreams_of_a_request_share_one_deadline(database: str) -> None:
    async with UpstreamServer(hang) as network:
        names = ["one", "two", "three"]
        await set_up(
            database,
            *(upstream(name, network.url, timeout_ms=30_000) for name in names),
            campaign("a", upstreams=names),
        )
        async with running(database, upstream_deadline_s=1, request_deadline_s=60) as server:
            async with asyncio.timeout(FAR_LONGER_S):
                assert await server.reason(campaign_id="a") is NoFillReason.UPSTREAM
