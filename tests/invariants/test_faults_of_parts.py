"""Unexpected failures in a part of a worker."""

import asyncio

import pytest
from sqlalchemy.engine import make_url

from app.domain import NoFillReason
from app.embedded import EmbeddedPostgres
from app.errors import StoreUnavailable
from app.serving.pending import PendingRequest
from app.upstreams.fetched_ad import FetchedAd
from tests.campaigns import campaign, own_campaign, set_up, upstream
from tests.faults.upstream_server import Gate, UpstreamServer, answer, inline
from tests.invariants.world import running
from tests.postgres import administering


async def test_a_late_ad_that_breaks_its_parser_is_no_ad(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with UpstreamServer() as network:
        gate = network.behavior = Gate(answer(inline()))
        await set_up(database, upstream("network", network.url, timeout_ms=2000), campaign("a", upstreams=["network"]))
        async with running(database, group_fetch_wait_s=0) as server:
            fetch = server.ads.fetch

            async def break_after_fetching(pending: PendingRequest, upstreams: list) -> FetchedAd:  # type: ignore[type-arg]
                await fetch(pending, upstreams)
                raise ZeroDivisionError

            monkeypatch.setattr(server.ads, "fetch", break_after_fetching)
            asked = asyncio.create_task(server.reason(campaign_id="a"))
            await network.asked(1)
            await server.fetch_wait_is_over()
            gate.opened.set()
            async with asyncio.timeout(10):
                assert await asked in (NoFillReason.UPSTREAM, NoFillReason.BUSY)


async def test_a_pool_that_has_no_connection_left_is_a_store_that_is_unavailable(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(database, own_campaign("own"))
    async with running(database) as server:
        monkeypatch.setattr(server.store._general.pool, "_timeout", 1)
        async with (
            server.store.connection(),
            server.store.connection(),
            server.store.connection(),
            server.store.connection(),
        ):
            with pytest.raises(StoreUnavailable):
                async with server.store.connection():
                    pass


async def test_a_lane_outlives_every_refusal_of_the_database(postgres: EmbeddedPostgres, database: str) -> None:
    await set_up(database, own_campaign("own"))
    name = make_url(database).database
    async with running(database, request_deadline_s=3) as server, administering(postgres) as operator:
        # This is not among the errors that mean that a database is down.
        await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        assert await server.reason(campaign_id="own") is NoFillReason.BUSY
        await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert await server.campaign(campaign_id="own") == "own"
