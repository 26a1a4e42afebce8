"""kill -9 under load, of a worker and of Postgres: it recovers by itself, and no acknowledged ad is missing."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import psutil

from app.embedded import EmbeddedPostgres
from app.serving.keys import hash_key, request_key
from app.store.roles import APP
from tests.campaigns import own_campaign, placement, set_up
from tests.launched import Launched, eventually
from tests.players import (
    CONNECTIONS_OF_A_WORKER,
    SECRETS,
    Players,
    all_lanes_connected,
    all_transactions_ended,
    becomes,
    connected,
    connections,
    disagreements,
    serving,
)

PLAYERS = 100
CAPS = [{"impressions": 3, "per": "day"}]
WORKERS = 2


@dataclass
class Load:
    """Players that send requests until `stopping` is set, and the requests that were acknowledged."""

    players: Players
    acknowledged: set[str] = field(default_factory=set)
    stopping: bool = False
    asked: int = 0

    async def play(self, seed: int) -> None:
        """One player; where the connection breaks it asks once more with the same request_id."""
        choose = random.Random(seed)
        while not self.stopping:
            self.asked += 1
            name = f"r{seed}-{self.asked}"
            asked = {"placement_id": "preroll", "user_id": f"u{choose.randrange(3000)}", "request_id": name}
            answer = await self.players.ask_anyway(**asked) or await self.players.ask_anyway(**asked)
            if answer is None:
                await asyncio.sleep(0.05)
            elif answer.filled:
                self.acknowledged.add(name)

    async def further(self, ads: int) -> None:
        """Returns when so many more ads were acknowledged."""
        wanted = len(self.acknowledged) + ads

        async def acknowledged() -> bool:
            return len(self.acknowledged) >= wanted

        await becomes(acknowledged, 60)


async def crash_under_load(server: Launched, crash: Callable[[], Awaitable[None]], times: int) -> set[str]:
    """The requests whose ads were acknowledged before, during and after this number of crashes."""
    async with Players(server.url) as players:
        load = Load(players)
        playing = [asyncio.create_task(load.play(seed)) for seed in range(PLAYERS)]
        for _ in range(times):
            await load.further(500)
            await crash()
            await load.further(500)
        load.stopping = True
        await asyncio.gather(*playing)
    return load.acknowledged


def is_replaced(server: Launched, victim: psutil.Process) -> bool:
    """Whether there are as many workers again, without the one that was killed."""
    try:
        workers = server.workers()
    except psutil.NoSuchProcess:
        return False
    return victim not in workers and len(workers) == WORKERS


async def assert_all_is_well(database: str, acknowledged: set[str]) -> None:
    """Every acknowledged ad is in the database once, the books agree, and nothing is left half done."""
    key = hash_key(SECRETS["SECRET_KEY"])
    async with connected(database) as connection:
        rows = await connection.fetch("SELECT request_key, count(*) AS ads FROM ad_serves GROUP BY request_key")
    served = {row["request_key"]: row["ads"] for row in rows}
    missing = {name for name in acknowledged if request_key(key, name) not in served}
    assert missing == set()
    assert set(served.values()) == {1}
    await becomes(lambda: all_transactions_ended(database))
    assert await disagreements(database) == []


async def set_up_campaigns(database: str) -> None:
    money = {"cpm": "1000", "budgets": {"lifetime": "1000000", "day": "900000"}}
    await set_up(
        database,
        own_campaign("capped", billing="impression", frequency_caps=CAPS, **money),
        own_campaign("rest", advertiser="Other", **money),
        placement("preroll", "capped", "rest"),
    )


async def test_a_killed_worker_comes_again_and_no_acknowledged_ad_is_missing(database: str, app_database: str) -> None:
    await set_up_campaigns(database)
    async with serving(app_database, WORKERS=str(WORKERS), LOG_LEVEL="error") as server:
        await becomes(lambda: all_lanes_connected(database, WORKERS))

        async def kill_a_worker() -> None:
            victim = server.workers()[0]
            victim.kill()
            assert await asyncio.to_thread(eventually, lambda: is_replaced(server, victim))

        acknowledged = await crash_under_load(server, kill_a_worker, times=3)
        await assert_all_is_well(database, acknowledged)

        await becomes(lambda: all_lanes_connected(database, WORKERS))


async def test_a_killed_postgres_comes_again_and_no_acknowledged_ad_is_missing(own_postgres: EmbeddedPostgres) -> None:
    await set_up_campaigns(own_postgres.dsn)
    async with serving(own_postgres.url(role=APP), WORKERS=str(WORKERS), LOG_LEVEL="error") as server:
        await becomes(lambda: all_lanes_connected(own_postgres.dsn, WORKERS))

        async def kill_postgres() -> None:
            own_postgres.kill()
            await asyncio.to_thread(own_postgres.wait_until_ready)

        acknowledged = await crash_under_load(server, kill_postgres, times=3)
        await assert_all_is_well(own_postgres.dsn, acknowledged)
        # A lane that has nothing to do finds out that its connection is gone when it has.
        assert await connections(own_postgres.dsn) <= WORKERS * CONNECTIONS_OF_A_WORKER
        async with Players(server.url) as players:
            assert (await players.ask(campaign_id="rest", user_id="late")).filled
