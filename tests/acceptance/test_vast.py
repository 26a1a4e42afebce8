"""The documents that players get over HTTP: valid in every version, whole, each Ad of a pod where it belongs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest
from lxml import etree

from app.domain import ID_LENGTH_MAX, URL_BYTES_MAX, VastVersion
from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import UpstreamServer
from tests.players import connected, serving
from tests.unit.vast.conftest import SAMPLES, lint_errors, needs_reference, schema_faults, texts

VERSIONS = list(VastVersion)

HOSTILE = r"""
[[creatives]]
id = "hostile-15s"
campaign_id = "hostile"
title = "]]> \"'<&> \U0001F4A9 ]]]]><![CDATA[>"
duration_s = 15
click_through = "https://acme.example/?a=]]>&b='\"<c>&d=%5B[CACHEBUSTING]"
media_files = [ { url = "https://cdn.example/a.mp4?]]>&x=<y>", type = "video/mp4", width = 640, height = 360 } ]
"""

LONG_ID = "\U0001f339" * ID_LENGTH_MAX
LONG_URL = "https://acme.example/é".ljust(URL_BYTES_MAX - 1, "x")
LONGEST = f"""
[[creatives]]
id = "long-15s"
campaign_id = "{LONG_ID}"
title = "Long"
duration_s = 15
click_through = "{LONG_URL}"
media_files = [ {{ url = "https://cdn.example/a.mp4", type = "video/mp4", width = 640, height = 360 }} ]
"""


@dataclass(frozen=True)
class Rig:
    """A player, a network's ad server, another one that Wrappers lead to, and the database."""

    player: httpx.AsyncClient
    network: UpstreamServer
    target: UpstreamServer
    database: str

    async def vast(self, **parameters: str) -> bytes:
        response = await self.player.get("/vast", params=parameters)
        assert response.status_code == 200, response.text
        return response.content

    async def reason(self, **parameters: str) -> str | None:
        response = await self.player.get("/vast", params=parameters)
        assert response.status_code == 200, response.text
        return response.headers.get("x-no-fill-reason")


@pytest.fixture(scope="module")
async def rig(of_module: Databases) -> AsyncIterator[Rig]:
    async with UpstreamServer() as network, UpstreamServer() as target:
        await set_up(
            of_module.owner,
            upstream("network", network.url, timeout_ms=3000),
            campaign("network", advertiser="Network", upstreams=["network"]),
            own_campaign("acme"),
            own_campaign("acme-again"),
            *(own_campaign(name, advertiser=name.title()) for name in ("globex", "initech", "umbrella")),
            campaign("hostile", advertiser="]]>&<\u00e4"),
            HOSTILE,
            campaign(LONG_ID),
            LONGEST,
            placement("pod", "acme", "acme-again", "globex", "initech", "umbrella"),
            placement("mixed", "acme", "network", "globex"),
        )
        async with (
            serving(of_module.app, WORKERS="1", ALLOWED_NETWORKS="127.0.0.0/8") as server,
            httpx.AsyncClient(base_url=server.url) as player,
        ):
            yield Rig(player, network, target, of_module.owner)


def pages(documents: Mapping[str, bytes]) -> faults.Behavior:
    """Answers each path with its document."""

    async def behave(request: faults.Request, writer: asyncio.StreamWriter) -> None:
        await faults.answer(documents[request.target])(request, writer)

    return behave


def ads(document: bytes) -> list[etree._Element]:
    return list(etree.fromstring(document).iter("{*}Ad"))


def assert_valid(document: bytes, version: str) -> None:
    assert etree.fromstring(document).get("version") == version
    assert schema_faults(document) == []
    assert lint_errors(document) == []


@needs_reference
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"campaign_id": "acme"}, 1),
        ({"placement_id": "pod", "pod_size": "3"}, 3),
        ({"campaign_id": "acme", "max_duration_s": "1"}, 0),
    ],
    ids=["an ad", "a pod", "no ad"],
)
async def test_every_own_answer_is_valid_for_the_version_asked_for(
    rig: Rig, version: str, asked: dict[str, str], count: int
) -> None:
    document = await rig.vast(**asked, vast_version=version)
    assert len(ads(document)) == count
    assert_valid(document, version)


async def test_without_a_version_it_is_the_latest(rig: Rig) -> None:
    assert etree.fromstring(await rig.vast(campaign_id="acme")).get("version") == "4.2"


@pytest.mark.invalid_input
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_hostile_creative_comes_out_saying_the_same(rig: Rig, version: str) -> None:
    document = await rig.vast(campaign_id="hostile", vast_version=version)
    assert texts(document, "AdTitle") == ["]]> \"'<&> \U0001f4a9 ]]]]><![CDATA[>"]
    assert texts(document, "MediaFile") == ["https://cdn.example/a.mp4?]]>&x=<y>"]
    (click,) = texts(document, "ClickThrough")
    clicked = await rig.player.get(httpx.URL(click).raw_path.decode())
    # What no URL may hold is encoded on the way, as a browser would; the rest stands as it was written.
    assert clicked.headers["location"] == "https://acme.example/?a=]]%3E&b='%22%3Cc%3E&d=%5B[CACHEBUSTING]"


async def test_a_click_leads_to_a_destination_however_long_it_is(rig: Rig) -> None:
    (click,) = texts(await rig.vast(campaign_id=LONG_ID), "ClickThrough")
    clicked = await rig.player.get(httpx.URL(click).raw_path.decode())
    assert (clicked.status_code, clicked.headers["location"]) == (302, LONG_URL.replace("é", "%C3%A9"))


@needs_reference
@pytest.mark.invalid_input
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
async def test_a_sample_comes_out_in_its_own_version_and_no_less_valid(rig: Rig, sample) -> None:
    body = sample.read_bytes()
    rig.network.behavior = faults.answer(body)
    document = await rig.vast(campaign_id="network", vast_version="2.0")
    assert etree.fromstring(document).get("version") == etree.fromstring(body).get("version")
    assert len(ads(document)) == len(ads(body))
    assert len(schema_faults(document)) <= len(schema_faults(body))
    assert set(lint_errors(document)) <= set(lint_errors(body))
    assert b"/event/impression?t=" in document


async def test_a_pod_has_no_advertiser_and_no_creative_twice_and_is_numbered(rig: Rig) -> None:
    document = await rig.vast(placement_id="pod", pod_size="20")
    assert [ad.get("sequence") for ad in ads(document)] == ["1", "2", "3", "4"]
    assert texts(document, "Advertiser") == ["Acme", "Globex", "Initech", "Umbrella"]
    assert len(set(texts(document, "AdServingId"))) == 4
    assert len(set(texts(document, "Impression"))) == 4


@pytest.mark.parametrize(("pod_duration_s", "count"), [("14", 0), ("15", 1), ("44", 2), ("45", 3)])
async def test_a_pod_is_no_longer_than_asked_for_and_paid_in_one_go(rig: Rig, pod_duration_s: str, count: int) -> None:
    request_id = uuid4()
    asked = {"placement_id": "pod", "pod_size": "3", "pod_duration_s": pod_duration_s, "request_id": str(request_id)}
    assert len(ads(await rig.vast(**asked))) == count
    async with connected(rig.database) as connection:
        rows = await connection.fetch(
            "SELECT slot, served_at FROM ad_serves WHERE request_key = $1 ORDER BY slot", request_id
        )
    assert [row["slot"] for row in rows] == list(range(count))
    assert len({row["served_at"] for row in rows}) == min(count, 1)


@needs_reference
async def test_upstreams_ads_stand_among_own_ones_in_the_latest_of_their_versions(rig: Rig) -> None:
    rig.network.behavior = faults.answer(faults.inline("theirs"))
    document = await rig.vast(placement_id="mixed", pod_size="3", vast_version="3.0")
    assert etree.fromstring(document).get("version") == "4.2"
    assert texts(document, "AdTitle") == ["Acme", "theirs", "Acme"]
    assert [ad.get("sequence") for ad in ads(document)] == ["1", "2", "3"]
    assert schema_faults(document) == []


async def test_an_upstreams_ad_of_an_advertiser_that_is_there_already_is_left_out(rig: Rig) -> None:
    theirs = faults.inline("theirs").replace(b"</AdTitle>", b"</AdTitle><Advertiser>Acme</Advertiser>")
    rig.network.behavior = faults.answer(theirs)
    document = await rig.vast(placement_id="mixed", pod_size="3")
    assert texts(document, "Advertiser") == ["Acme", "Globex"]
    assert [ad.get("sequence") for ad in ads(document)] == ["1", "2"]


async def test_an_inline_in_other_capitals_is_served_as_the_standard_spells_it(rig: Rig) -> None:
    rig.network.behavior = faults.answer(faults.inline("theirs").replace(b"InLine>", b"Inline>"))
    document = await rig.vast(campaign_id="network")
    assert texts(document, "AdTitle") == ["theirs"]
    assert document.count(b"InLine>") == 2


async def test_unwrapped_a_chain_becomes_one_inline_of_which_every_level_hears(rig: Rig) -> None:
    rig.network.behavior = faults.answer(faults.wrapper(f"{rig.target.url}/1"))
    rig.target.behavior = pages({"/1": faults.wrapper(f"{rig.target.url}/2"), "/2": faults.inline("at the end")})
    wrapped = await rig.vast(campaign_id="network")
    assert texts(wrapped, "VASTAdTagURI") == [f"{rig.target.url}/1"]
    assert sum("/event/impression?t=" in url for url in texts(wrapped, "Impression")) == 1
    document = await rig.vast(campaign_id="network", unwrap="1")
    assert texts(document, "VASTAdTagURI") == []
    assert texts(document, "AdTitle") == ["at the end"]
    theirs = [url for url in texts(document, "Impression") if "/event/" not in url]
    assert sorted(theirs) == ["http://127.0.0.1:9/imp", *["http://127.0.0.1:9/imp?of=wrapper"] * 2]
    assert len(texts(document, "Impression")) == 4
    assert lint_errors(document) == []


async def test_a_chain_that_loops_is_no_ad_and_its_error_urls_hear_of_it(rig: Rig) -> None:
    errors = f"{rig.target.url}/error?code=[ERRORCODE]"
    rig.target.requests.clear()
    around = faults.wrapper(f"{rig.target.url}/around", error_url=errors)
    rig.network.behavior = faults.answer(around)
    rig.target.behavior = pages({"/around": around, "/error?code=302": b""})
    assert await rig.reason(campaign_id="network", unwrap="1") == "upstream"
    await rig.target.asked(3)
    assert [request.target for request in rig.target.requests] == ["/around", "/error?code=302", "/error?code=302"]


async def test_a_wrapper_leads_to_no_private_address_unless_it_is_opened(rig: Rig, of_module: Databases) -> None:
    rig.network.behavior = faults.answer(faults.wrapper(f"{rig.target.url}/1"))
    rig.target.behavior = pages({"/1": faults.inline()})
    rig.target.requests.clear()
    async with serving(of_module.app, WORKERS="1") as server, httpx.AsyncClient(base_url=server.url) as player:
        response = await player.get("/vast", params={"campaign_id": "network", "unwrap": "1"})
    assert response.headers["x-no-fill-reason"] == "upstream"
    assert rig.target.requests == []
