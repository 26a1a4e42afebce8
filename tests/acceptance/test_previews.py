"""Previews of a real server: the document of a creative by a signed link, which books and counts nothing."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import httpx
import pytest
from lxml import etree

from app.domain import VastVersion
from app.serving.previews import PreviewLinks
from tests.acceptance.test_refused_money import contents
from tests.campaigns import own_campaign, set_up
from tests.launched import Launched, adserver
from tests.players import AUTHORIZED, SECRETS, becomes, connected, serving
from tests.unit.vast.creatives import PLAIN

DESTINATION = "https://acme.example/buy?a=b"
PAUSED = {
    "campaign": own_campaign("film", status="paused"),
    "creative": own_campaign("film") + '\nstatus = "paused"',
    "archived": own_campaign("film") + '\nstatus = "archived"',
    "over": own_campaign("film", starts_at="2020-01-01T00:00:00Z", ends_at="2021-01-01T00:00:00Z"),
    "early": own_campaign("film") + "\nstarts_at = 2090-01-01T00:00:00Z",
}
COUNTED = "SELECT count(*) FROM ad_events"


@pytest.fixture
async def server(database: str, app_database: str) -> AsyncIterator[Launched]:
    await set_up(database, own_campaign("film") + f'\nclick_through = "{DESTINATION}"', own_campaign("other"))
    async with serving(app_database, WORKERS="1", LOG_LEVEL="error") as launched:
        yield launched


def printed_link(server: Launched, database: str, *options: str) -> str:
    done = adserver(
        *("creatives", "preview", "film-15s", *options),
        DATABASE_URL=database,
        PORT=str(server.port),
        SECRET_KEY=SECRETS["SECRET_KEY"],
    )
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    return done.stdout.strip()


async def made_link(server: Launched, creative_id: str = "film-15s", **body: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, headers=AUTHORIZED) as client:
        return await client.post(f"/v1/creatives/{creative_id}/preview", json=body or None)


async def shown(url: str) -> etree._Element:
    async with httpx.AsyncClient() as player:
        answer = await player.get(url, headers={"Origin": "https://player.example"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/xml; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["access-control-allow-origin"] == "https://player.example"
    return etree.fromstring(answer.content)


def urls_of(document: etree._Element) -> list[str]:
    return [text.strip() for text in document.itertext() if text.strip().startswith("http")]


@pytest.mark.parametrize("version", VastVersion)
async def test_the_command_and_the_api_make_links_to_every_version(
    server: Launched, database: str, version: VastVersion
) -> None:
    answer = await made_link(server, vast_version=version)
    assert answer.json().keys() == {"url", "vast_version", "expires_at"}
    for url in (printed_link(server, database, "--vast", version), answer.json()["url"]):
        assert (await shown(url)).get("version") == version


async def test_a_preview_has_the_shape_of_what_is_served(server: Launched) -> None:
    preview = await shown((await made_link(server)).json()["url"])
    async with httpx.AsyncClient(base_url=server.url) as player:
        served = etree.fromstring((await player.get("/vast", params={"campaign_id": "film"})).content)
    assert [element.tag for element in preview.iter()] == [element.tag for element in served.iter()]
    assert [url.partition("t=")[0] for url in urls_of(preview)] == [url.partition("t=")[0] for url in urls_of(served)]


async def test_a_preview_and_all_its_beacons_leave_every_table_as_it_was(server: Launched, database: str) -> None:
    url = (await made_link(server)).json()["url"]
    async with httpx.AsyncClient(base_url=server.url) as player, connected(database) as books:
        ad = etree.fromstring((await player.get("/vast", params={"campaign_id": "other"})).content)
        await count_start_of(ad, player, books)
        before = await contents(database)
        preview = await shown(url)
        for tracked in urls_of(preview):
            if "/event/" in tracked:
                assert (await player.get(tracked)).headers["content-type"] == "image/gif"
            elif "/click" in tracked:
                clicked = await player.get(tracked)
                assert (clicked.status_code, clicked.headers["location"]) == (302, DESTINATION)
        assert await contents(database) == before
        # The lane counts in order, so a beacon of the preview would be in the table by now.
        ad = etree.fromstring((await player.get("/vast", params={"campaign_id": "other"})).content)
        await count_start_of(ad, player, books)
        assert await books.fetchval("SELECT count(*) FROM ad_serves WHERE campaign_id = 'film'") == 0


async def count_start_of(
    ad: etree._Element, player: httpx.AsyncClient, books: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Report the start of a served ad, and wait until that, and nothing else, is counted."""
    expected = await books.fetchval(COUNTED) + 1
    (start,) = (url for url in urls_of(ad) if "/event/start" in url)
    await player.get(start)

    async def counted() -> bool:
        return bool(await books.fetchval(COUNTED) >= expected)

    await becomes(counted)
    assert await books.fetchval(COUNTED) == expected


@pytest.mark.parametrize("state", PAUSED)
async def test_a_preview_works_while_nothing_is_served(server: Launched, database: str, state: str) -> None:
    await set_up(database, PAUSED[state])
    async with httpx.AsyncClient(base_url=server.url) as player:
        assert (await player.get("/vast", params={"campaign_id": "film"})).headers["x-no-fill-reason"]
    assert (await shown((await made_link(server)).json()["url"])).findall("{*}Ad")


async def test_a_link_shows_the_creative_as_it_is_at_that_moment(server: Launched, database: str) -> None:
    url = (await made_link(server)).json()["url"]
    await set_up(database, own_campaign("film").replace('title = "Acme"', 'title = "Autumn"'))
    assert (await shown(url)).findtext(".//{*}AdTitle") == "Autumn"


async def test_links_that_are_forged_expired_or_of_nothing_are_refused_with_a_problem(server: Launched) -> None:
    url = (await made_link(server)).json()["url"]
    past = datetime(2020, 1, 1, tzinfo=UTC)
    links = PreviewLinks([SECRETS["SECRET_KEY"]], server.url)
    expired = links.link(replace(PLAIN, id="film-15s", campaign_id="film"), VastVersion.V4_2, past).url
    async with httpx.AsyncClient(base_url=server.url) as player:
        for path, status in (
            (f"{url}0", 400),
            (url[:-1], 400),
            ("/preview", 400),
            ("/preview?t=", 400),
            (expired, 410),
        ):
            answer = await player.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert (await player.head(url)).status_code == 200
        assert (await player.post(url)).status_code == 405
    assert (await made_link(server, "unknown")).status_code == 404
    refused = await made_link(server, vast_version="5.0")
    assert refused.json()["detail"] == "vast_version: must be one of 2.0, 3.0, 4.0, 4.1, 4.2"
    assert (await made_link(server, version="4.0")).json()["detail"] == "version: unknown field"


def test_the_command_names_a_creative_that_is_not_there(database: str) -> None:
    done = adserver("creatives", "preview", "film", DATABASE_URL=database, SECRET_KEY=SECRETS["SECRET_KEY"])
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "adserver: unknown creative id\n")
