"""A tag as a creative: the player gets a Wrapper, follows it to another server, and reports to both."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import httpx
import pytest
from lxml import etree
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.domain import VastVersion
from app.vast.own_ads import own_document
from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, creative, placement, set_up
from tests.launched import Launched
from tests.players import becomes, connected, serving
from tests.unit.vast.conftest import VALUES
from tests.unit.vast.creatives import PLAIN
from tests.web_server import served

EVENTS = "SELECT event FROM ad_events e JOIN ad_serves s USING (request_key, slot) WHERE s.creative_id = $1"


@dataclass
class Agency:
    """The ad server of an agency, which keeps what it was asked for."""

    asked: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.asked.append(request.url.path)
        document = own_document(PLAIN, "Agency", VastVersion.V4_2, str(request.base_url).rstrip("/")).render(VALUES)
        response = Response(document, media_type="application/xml", headers={"Access-Control-Allow-Origin": "*"})
        await response(scope, receive, send)


@pytest.fixture
async def agency() -> AsyncIterator[tuple[Agency, str]]:
    server = Agency()
    async with served(server) as url:
        yield server, url


@pytest.fixture
async def server(of_module: Databases, agency: tuple[Agency, str]) -> AsyncIterator[Launched]:
    await set_up(
        of_module.owner,
        campaign("agency"),
        tag("agency-15s", "agency", f"{agency[1]}/vast?cb=[CACHEBUSTING]"),
        campaign("film", advertiser="Other"),
        creative("film-15s", "film"),
        placement("break", "agency", "film"),
    )
    async with serving(of_module.app, WORKERS="1", LOG_LEVEL="error") as launched:
        yield launched


def tag(creative_id: str, campaign_id: str, url: str) -> str:
    return (
        f'\n[[creatives]]\nid = "{creative_id}"\ncampaign_id = "{campaign_id}"\ntitle = "Agency"\nduration_s = 15\n'
        f'vast_tag_url = "{url}"\nimpression_urls = ["https://third.example/impression"]\n'
    )


async def asked(player: httpx.AsyncClient, **parameters: str) -> etree._Element:
    return etree.fromstring((await player.get("/vast", params=parameters)).content)


async def fetched(url: str) -> bytes:
    """The body of a URL of either server; only documents of this one are checked as its answers."""
    async with aiohttp.ClientSession() as player, player.get(url) as response:
        assert response.status == 200
        return await response.read()


def urls_of(ad: etree._Element, name: str) -> list[str]:
    return [found.text or "" for found in ad.iter(f"{{*}}{name}")]


@pytest.mark.parametrize("version", VastVersion)
async def test_a_player_follows_the_tag_and_reports_to_both_servers(
    server: Launched, agency: tuple[Agency, str], of_module: Databases, version: VastVersion
) -> None:
    other, url = agency
    async with httpx.AsyncClient(base_url=server.url) as player, connected(of_module.owner) as books:
        before = len(await books.fetch(EVENTS, "agency-15s"))
        wrapper = await asked(player, campaign_id="agency", vast_version=version)
        (followed,) = urls_of(wrapper, "VASTAdTagURI")
        assert followed == f"{url}/vast?cb=[CACHEBUSTING]"
        inline = etree.fromstring(await fetched(followed.replace("[CACHEBUSTING]", "1")))
        ours, theirs = urls_of(wrapper, "Impression")
        assert theirs == "https://third.example/impression"
        (click,) = urls_of(wrapper, "ClickTracking")
        for beacon in (ours, *urls_of(inline, "Impression"), click):
            await fetched(beacon)
        assert other.asked == ["/vast", "/event/impression"]

        async def counted() -> bool:
            return len(await books.fetch(EVENTS, "agency-15s")) == before + 2

        await becomes(counted)
        assert {row["event"] for row in await books.fetch(EVENTS, "agency-15s")} == {"impression", "click"}


@pytest.mark.parametrize("version", VastVersion)
async def test_a_tag_and_a_film_share_a_pod_by_their_lengths(server: Launched, version: VastVersion) -> None:
    async with httpx.AsyncClient(base_url=server.url) as player:
        pod = await asked(player, placement_id="break", pod_size="2", pod_duration_s="30", vast_version=version)
        kinds = [etree.QName(ad[0]).localname for ad in pod.iter("{*}Ad")]
        assert kinds == ["Wrapper", "InLine"]
        pod = await asked(player, placement_id="break", pod_size="2", pod_duration_s="29", vast_version=version)
        assert len(list(pod.iter("{*}Ad"))) == 1
        too_long = await asked(player, campaign_id="agency", max_duration_s="14")
        assert list(too_long.iter("{*}Ad")) == []
