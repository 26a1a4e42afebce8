"""Everybody wants the same few rows, in every order: nobody may wait for somebody who waits for them."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from app.embedded import EmbeddedPostgres
from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.faults.upstream_server import UpstreamServer
from tests.launched import Launched
from tests.players import UNHURRIED, Players, disagreements, serving

WORKERS = "4"
PLAYERS = 60
USERS = 25
REQUEST_IDS = 1000
# On a slow machine the seconds alone would be over before a cap is reached.
ASKED_AT_LEAST = 30
THREE_CAPS = [
    {"impressions": 40, "per": "minute"},
    {"impressions": 2000, "per": "hour"},
    {"impressions": 4000, "per": "day"},
]
BUDGETS = {"lifetime": "100000", "day": "50000", "hour": "20000"}
KINDS = {"cpm": "1000", "budgets": BUDGETS, "frequency_caps": THREE_CAPS}


@asynccontextmanager
async def two_campaigns(database: str, app_database: str) -> AsyncIterator[Launched]:
    """One with its own creative that charges, one from an upstream that holds; placements in either order."""
    async with UpstreamServer() as network:
        await set_up(
            database,
            upstream("network", network.url, timeout_ms=5000, max_in_flight=1000),
            own_campaign("a", **KINDS),
            campaign("b", advertiser="Other", billing="impression", upstreams=["network"], **KINDS),
            placement("a-first", "a", "b"),
            placement("b-first", "b", "a"),
        )
        async with serving(app_database, WORKERS=WORKERS, **UNHURRIED) as server:
            yield server


def any_request(choose: random.Random) -> dict[str, str]:
    """One of every kind there is, of few users, the first of them in a hurry; some are asked twice."""
    where = choose.choice(
        [{"campaign_id": "a"}, {"campaign_id": "b"}, {"placement_id": "a-first"}, {"placement_id": "b-first"}]
    )
    request = {**where, "user_id": f"u{0 if choose.random() < 0.2 else choose.randrange(USERS)}"}
    if "placement_id" in where and choose.random() < 0.3:
        request["pod_size"] = "2"
    if choose.random() < 0.2:
        request["request_id"] = f"r{choose.randrange(REQUEST_IDS)}"
    return request


async def play(players: Players, seed: int, until: float, seen: Counter[str]) -> None:
    choose = random.Random(seed)
    clock = asyncio.get_running_loop().time
    asked = 0
    while asked < ASKED_AT_LEAST or clock() < until:
        answer = await players.ask(**any_request(choose))
        seen[f"{answer.status} {answer.reason}"] += 1
        asked += 1


@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=pytest.mark.slow)])
async def test_random_orders_meet_in_no_deadlock_and_leave_the_books_right(
    postgres: EmbeddedPostgres, database: str, app_database: str, seconds: int
) -> None:
    log_before = postgres.log_path.stat().st_size
    seen: Counter[str] = Counter()
    async with two_campaigns(database, app_database) as server:
        until = asyncio.get_running_loop().time() + seconds
        async with Players(server.url) as players:
            await asyncio.gather(*(play(players, seed, until, seen) for seed in range(PLAYERS)))
        async with httpx.AsyncClient(base_url=server.url) as operator:
            assert (await operator.get("/readyz")).status_code == 200
    with postgres.log_path.open("rb") as log:
        log.seek(log_before)
        complaints = log.read().decode(errors="replace")
    assert "deadlock detected" not in complaints
    assert await disagreements(database) == []
    # Some were served, the caps of a minute stopped others, and a request's name used twice was a conflict.
    assert set(seen) <= {"200 None", "200 frequency_cap", "409 None"}, seen
    assert min(seen["200 None"], seen["200 frequency_cap"], seen["409 None"]) > 0
