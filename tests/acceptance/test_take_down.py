"""A creative is taken down while two workers serve it to many players."""

import asyncio

import httpx

from tests.acceptance.conftest import Databases
from tests.campaigns import creative, own_campaign, set_up
from tests.players import AUTHORIZED, connected, serving

PLAYERS = 24
ROUNDS = 5
MORE = 100
SERVED = "SELECT count(*) FROM ad_serves WHERE creative_id = $1"


async def test_nothing_is_served_after_the_answer_to_a_take_down(of_module: Databases) -> None:
    await set_up(of_module.owner, own_campaign("film"), creative("other", "film"))
    async with (
        serving(of_module.app, WORKERS="2") as server,
        httpx.AsyncClient(base_url=server.url, limits=httpx.Limits(max_connections=PLAYERS + 1)) as client,
        connected(of_module.owner) as books,
        asyncio.timeout(60),
    ):
        over = asyncio.Event()

        async def play() -> None:
            while not over.is_set():
                assert (await client.get("/vast", params={"campaign_id": "film"})).status_code == 200

        async def set_status(status: str) -> None:
            body = {"status": status}
            answer = await client.patch("/v1/creatives/film-15s", json=body, headers=AUTHORIZED)
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
            await served_more("other")
            assert await books.fetchval(SERVED, "film-15s") == last
            await set_status("active")
        over.set()
        await asyncio.gather(*players)
