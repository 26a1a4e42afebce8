"""Two real players in headless Chromium; screenshots are left in build/screenshots."""

import asyncio
from collections import Counter
from decimal import Decimal

import asyncpg
import pytest
from playwright.async_api import Browser

from app.domain import VastVersion
from tests.browser.conftest import World
from tests.browser.watching import AD_PLAYS, CONTENT_PLAYS, WHOLE_AD, watching
from tests.players import explained

WHOLE = sorted((0, event) for event in WHOLE_AD)

VERIFICATIONS = """async tag => (await new VASTClient().get(tag)).ads[0].adVerifications.map(
    ({ vendor, resource, apiFramework, parameters, trackingEvents }) =>
        ({ vendor, resource, apiFramework, parameters, missed: trackingEvents.verificationNotExecuted }))"""

both_players = pytest.mark.parametrize("player", ["fluid", "client"])


async def held_and_spent(world: World, campaign_id: str) -> tuple[Decimal, Decimal]:
    connection = await asyncpg.connect(world.database)
    try:
        row = await connection.fetchrow("SELECT held, spent FROM budget_tracking WHERE campaign_id = $1", campaign_id)
    finally:
        await connection.close()
    return row["held"], row["spent"]


async def play_whole(browser: Browser, world: World, player: str, name: str, **parameters: str) -> None:
    """Plays one ad and then content; every beacon is sent once, and counted once."""
    async with watching(browser, world, player, **parameters) as watched:
        await watched.wait_for(AD_PLAYS)
        await watched.screenshot(f"{player}-{name}-ad")
        await watched.wait_for(CONTENT_PLAYS)
        assert await watched.counted(len(WHOLE)) == WHOLE
        assert watched.sent == Counter(WHOLE_AD)
        await watched.screenshot(f"{player}-{name}-content")


@both_players
async def test_an_own_creative_plays_in_every_version_and_each_beacon_arrives_once(
    browser: Browser, world: World, player: str
) -> None:
    await asyncio.gather(
        *(
            play_whole(browser, world, player, f"own-{version}", campaign_id="own", vast_version=version)
            for version in ("4.2", "3.0", "2.0")
        )
    )


@both_players
async def test_an_upstreams_inline_plays_and_both_sides_count_it_once(
    browser: Browser, world: World, player: str
) -> None:
    world.site.seen.clear()
    await play_whole(browser, world, player, "inline", campaign_id="network-inline")
    assert world.site.seen == {"impression": 1, "complete": 1}


@both_players
async def test_an_upstreams_wrapper_plays_and_every_level_counts_it_once(
    browser: Browser, world: World, player: str
) -> None:
    world.site.seen.clear()
    await play_whole(browser, world, player, "wrapper", campaign_id="network-wrapper")
    assert world.site.seen == {"wrapper": 1, "impression": 1, "complete": 1}


@pytest.mark.parametrize(("player", "version"), [("fluid", "3.0"), ("client", "4.2")])
async def test_of_a_sold_order_a_third_partys_trackers_are_requested_once_beside_our_own(
    browser: Browser, world: World, player: str, version: str
) -> None:
    """Fluid Player takes the first TrackingEvents for the film's, which are the verification's since 4.0."""
    world.site.seen.clear()
    await play_whole(browser, world, player, "measured", campaign_id="measured", vast_version=version)
    assert world.site.seen == {"third-impression": 1, "third-start": 1, "third-complete": 1}
    told = explained(world.database, "campaign_id=measured")
    assert "1. measured: may serve\n" in told
    assert " spent and 0.00 held of 5000.00 USD; an ad costs 2.50\n" in told.partition("budget of order acme-2026: ")[2]


async def test_a_player_finds_the_verification_in_every_version(browser: Browser, world: World) -> None:
    async with watching(browser, world, "client", campaign_id="measured") as watched:
        await watched.wait_for(AD_PLAYS)
        for version in VastVersion:
            tag = f"{world.url}/vast?campaign_id=measured&vast_version={version}"
            assert await watched.page.evaluate(VERIFICATIONS, tag) == [
                {
                    "vendor": "third.example-omid",
                    "resource": f"{world.site_url}/static/omid.js",
                    "apiFramework": "omid",
                    "parameters": "campaign=4711",
                    "missed": [f"{world.site_url}/seen/third-missed?reason=[REASON]"],
                }
            ]


@both_players
async def test_a_pod_plays_to_its_end_and_each_of_its_ads_is_counted_by_itself(
    browser: Browser, world: World, player: str
) -> None:
    async with watching(browser, world, player, placement_id="pod", pod_size="2") as watched:
        await watched.wait_for(CONTENT_PLAYS)
        assert await watched.counted(12) == sorted((slot, event) for slot in (0, 1) for event in WHOLE_AD)
        assert watched.sent == Counter(dict.fromkeys(WHOLE_AD, 2))
        await watched.screenshot(f"{player}-pod-content")


async def test_the_breaks_of_a_vmap_play_before_within_and_after_the_content(browser: Browser, world: World) -> None:
    async with watching(browser, world, "vmap", "/vmap", placement_id="breaks") as watched:
        await watched.wait_for(AD_PLAYS)
        await watched.wait_for(CONTENT_PLAYS)
        await watched.screenshot("vmap-content")
        for _ in range(400):
            if watched.sent["complete"] == 3:
                break
            await asyncio.sleep(0.05)
        assert watched.sent == Counter(dict.fromkeys(WHOLE_AD, 3))


@both_players
async def test_the_cap_stops_the_fourth_ad_and_the_content_plays_at_once(
    browser: Browser, world: World, player: str
) -> None:
    for number in range(1, 5):
        async with watching(browser, world, player, campaign_id="capped", user_id=f"viewer-{player}") as watched:
            if number < 4:
                await watched.wait_for(AD_PLAYS)
            else:
                await watched.wait_for(CONTENT_PLAYS)
                assert watched.sent == {}
                assert await watched.counted(0) == []
                await watched.screenshot(f"{player}-capped-content")


@both_players
async def test_content_plays_after_an_upstream_without_an_ad(browser: Browser, world: World, player: str) -> None:
    async with watching(browser, world, player, campaign_id="network-empty") as watched:
        await watched.wait_for(CONTENT_PLAYS)
        assert watched.sent == {}


async def test_an_ad_that_cannot_be_played_is_reported_with_its_code_and_not_charged(
    browser: Browser, world: World
) -> None:
    async with watching(browser, world, "client", campaign_id="broken") as watched:
        await watched.wait_for(CONTENT_PLAYS)
        assert await watched.counted(1) == [(0, "error")]
        assert await held_and_spent(world, "broken") == (0, 0)
        assert watched.sent == {"error": 1}


async def test_an_ad_that_is_billed_when_seen_is_charged_by_its_impression(browser: Browser, world: World) -> None:
    async with watching(browser, world, "client", campaign_id="seen") as watched:
        await watched.wait_for(AD_PLAYS)
        assert (0, "impression") in await watched.counted(1)
        assert await held_and_spent(world, "seen") == (0, Decimal("2.5"))


async def test_a_click_opens_what_was_advertised_and_counts_once(browser: Browser, world: World) -> None:
    async with watching(browser, world, "fluid", campaign_id="own") as watched:
        await watched.wait_for(AD_PLAYS)
        async with watched.page.expect_popup() as opening:
            await watched.page.click("#stage video", force=True, position={"x": 300, "y": 120})
        popup = await opening.value
        await popup.wait_for_load_state()
        assert popup.url == f"{world.site_url}/landing?from=own&a=b"
        await popup.close()
        counted = await watched.counted(3)
        assert counted.count((0, "click")) == 1
