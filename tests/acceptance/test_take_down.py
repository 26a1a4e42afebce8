"""Creatives and campaigns are taken down while two workers serve them to many players."""

import asyncio

import httpx
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import creative, own_campaign, placement, set_up
from tests.players import AUTHORIZED, connected, explained, serving

PLAYERS = 24
ROUNDS = 3
MORE = 50
SERVED = "SELECT count(*) FROM ad_serves WHERE creative_id = $1"
BY_ID, TARGETED = "campaign_id=film", "placement_id=preroll"


@pytest.mark.parametrize(
    ("query", "item", "successor", "fact"),
    [
        (BY_ID, "creatives/film-15s", "spare", "   ads: 1 of 2 creatives run now; "),
        (TARGETED, "creatives/film-15s", "spare", "   ads: 1 of 2 creatives run now; "),
        (TARGETED, "campaigns/film", "house-15s", "1 other campaigns are not active, "),
    ],
    ids=["creative", "creative of a targeted placement", "campaign of a targeted placement"],
)
async def test_nothing_is_served_after_the_answer_to_a_take_down(
    of_module: Databases, query: str, item: str, successor: str, fact: str
) -> None:
    await set_up(
        of_module.owner,
        own_campaign("film", priority=1),
        creative("spare", "film"),
        own_campaign("house", priority=10),
        placement("preroll", campaigns="targeted"),
    )
    async with (
        serving(of_module.app, WORKERS="2") as server,
        httpx.AsyncClient(base_url=server.url, limits=httpx.Limits(max_connections=PLAYERS + 1)) as client,
        connected(of_module.owner) as books,
        asyncio.timeout(120),
    ):
        over = asyncio.Event()

        async def play() -> None:
            while not over.is_set():
                assert (await client.get(f"/vast?{query}")).status_code == 200

        async def set_status(status: str) -> None:
            answer = await client.patch(f"/v1/{item}", json={"status": status}, headers=AUTHORIZED)
            assert (answer.status_code, answer.json()["status"]) == (200, status)

        async def served_more(creative_id: str) -> None:
            enough = await books.fetchval(SERVED, creative_id) + MORE
            while await books.fetchval(SERVED, creative_id) < enough:
                pass

        players = [asyncio.create_task(play()) for _ in range(PLAYERS)]
        for _ in range(ROUNDS):
            await served_more("film-15s")
            await set_status("paused")
            last = await books.fetchval(SERVED, "film-15s")
            await served_more(successor)
            assert await books.fetchval(SERVED, "film-15s") == last
            await set_status("active")
        over.set()
        await asyncio.gather(*players)
        await set_status("paused")
    assert fact in explained(of_module.owner, query)
