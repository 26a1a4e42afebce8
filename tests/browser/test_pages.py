"""The pages for people, in headless Chromium: they show what there is, and nothing in them fails."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import World
from tests.browser.watching import PLAYS_S, SCREENSHOTS, WHOLE_AD

TIMEOUT_MS = 1000 * PLAYS_S


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page in which no script fails."""
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    failed: list[str] = []
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.set_default_timeout(TIMEOUT_MS)
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"page-{page.url.rpartition('/')[2]}.png")
    await page.close()
    assert failed == []


async def expect_text(page: Page, selector: str, text: str) -> None:
    await expect(page.locator(selector)).to_contain_text(text, timeout=TIMEOUT_MS)


async def test_the_demo_shows_beacons_cap_and_budget_as_they_move(page: Page, world: World) -> None:
    await page.goto(f"{world.url}/demo")
    await page.select_option("[name=kind]", "campaign_id")
    await page.fill("[name=id]", "capped")
    for left in ("2 of 3", "1 of 3"):
        await page.click("#request button")
        for event in WHOLE_AD:
            row = page.locator("#beacons tbody tr").filter(has_text=event)
            await expect(row).to_have_count(1, timeout=TIMEOUT_MS)
            await expect(row).to_contain_text("1 \u00d7", timeout=TIMEOUT_MS)
        await expect_text(page, "#caps tbody", left)
        await expect_text(page, "#serves tbody", "capped")
    await expect_text(page, "#budgets tbody", "100000")


async def test_without_a_player_the_demo_says_so_and_shows_the_tag(page: Page, world: World) -> None:
    await page.route("**/static/player/*", lambda route: route.abort())
    await page.goto(f"{world.url}/demo")
    await expect_text(page, "#no-player", "make demo-player")
    await expect_text(page, "#tag", f"{world.url}/vast?placement_id=preroll")


async def test_the_console_shows_campaigns_to_who_has_the_token(page: Page, world: World) -> None:
    await page.goto(f"{world.url}/console")
    await expect_text(page, "#ready", "ok")
    await expect_text(page, "#upstreams", "wrapper")
    await page.fill("[name=token]", "another")
    await page.click("#token button")
    await expect(page.locator("#error")).to_be_visible(timeout=TIMEOUT_MS)
    await expect_text(page, "#error", "token")
    await page.fill("[name=token]", "a-token-for-tests")
    await page.click("#token button")
    await expect_text(page, "#campaigns tbody", "network-inline")
    await expect(page.locator("#error")).to_be_hidden(timeout=TIMEOUT_MS)


async def test_the_description_of_the_api_is_shown(page: Page, world: World) -> None:
    await page.goto(f"{world.url}/docs")
    await expect_text(page, "main", "/v1/upstreams/{id}")
    await expect_text(page, "main", "/vmap")
