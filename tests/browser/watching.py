"""A viewer's browser: opens a page with an ad tag, and tells what was played and reported."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from uuid import UUID, uuid4

import asyncpg
from playwright.async_api import Browser, Page, Request

from tests.browser.conftest import World

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
PLAYS_S = 20

CONTENT_PLAYS = """() => {
    const video = document.querySelector("video");
    return video?.currentSrc.endsWith("/media/content.mp4") && video.currentTime > 0.3;
}"""

AD_PLAYS = """() => {
    const video = document.querySelector("video");
    return /media.ad.mp4$|^blob:/.test(video?.currentSrc ?? "") && video.currentTime > 0.3;
}"""

WHOLE_AD = {"impression", "start", "firstQuartile", "midpoint", "thirdQuartile", "complete"}


class Watched:
    """One page that plays an ad tag."""

    def __init__(self, world: World, page: Page, request_id: UUID) -> None:
        self._world = world
        self.page = page
        self.request_id = request_id
        self.sent: Counter[str] = Counter()
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        path = urlsplit(request.url).path
        if request.url.startswith(self._world.url) and path.startswith("/event/"):
            self.sent[path.removeprefix("/event/")] += 1

    async def wait_for(self, condition: str) -> None:
        await self.page.wait_for_function(condition, timeout=PLAYS_S * 1000)

    async def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    async def counted(self, count: int, request_ids: tuple[UUID, ...] = ()) -> list[tuple[int, str]]:
        """Slot and event of the beacons that the server counted, when they are so many, or when time is up."""
        keys = request_ids or (self.request_id,)
        connection = await asyncpg.connect(self._world.database)
        try:
            for _ in range(PLAYS_S * 20):
                rows = await connection.fetch("SELECT slot, event FROM ad_events WHERE request_key = ANY ($1)", keys)
                if len(rows) >= count:
                    break
                await asyncio.sleep(0.05)
        finally:
            await connection.close()
        return sorted((row["slot"], row["event"]) for row in rows)


@asynccontextmanager
async def watching(
    browser: Browser, world: World, player: str, path: str = "/vast", **parameters: str
) -> AsyncIterator[Watched]:
    """A publisher's page, on another origin than the ad server, that plays the tag with `player`."""
    request_id = uuid4()
    tag = f"{world.url}{path}?{urlencode(parameters | {'request_id': str(request_id)})}"
    page = await browser.new_page(viewport={"width": 800, "height": 460})
    watched = Watched(world, page, request_id)
    try:
        await page.goto(f"{world.site_url}/page?{urlencode({'player': player, 'url': tag})}")
        yield watched
    finally:
        await page.close()
