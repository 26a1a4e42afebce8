"""The ad breaks of a placement over HTTP: each with its own ad request, or with what that request was answered."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
from lxml import etree

from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.faults.upstream_server import UpstreamServer, answer
from tests.players import disagreements, serving
from tests.unit.vast.ad_documents import DrawnAd, vast

ONE_A_DAY = {"frequency_caps": [{"impressions": 1, "per": "day"}]}

BREAKS = 'ad_breaks = [ { id = "pre", time_offset = "start" }, { id = "mid", time_offset = "50%" } ]\n'
SHORT = BREAKS.replace('"50%"', '"50%", pod_duration_s = 10')
PODS = BREAKS.replace('"50%"', '"50%", pod_size = 2, pod_duration_s = 45')
KINDS = """ad_breaks = [
    { id = "pod", time_offset = "start", pod_size = 2, min_ads = 2, competitors = "together" },
    { id = "every", time_offset = "00:10:00", repeat_every = "00:05:00.500" },
    { id = "overlay", time_offset = "#2", break_type = "nonlinear", placement_id = "overlays" },
]
"""
IDS = ("pre", "mid roll", "mid-roll", "Pause ä", "Pause ö", "?&=#%", "x" * 128, "x" * 127 + "y")
ATTRIBUTES = {"timeOffset", "breakType", "breakId", "repeatAfter"}
"""All attributes of an AdBreak in the schema of VMAP 1.0.1."""

UNUSUAL = "ad_breaks = [\n" + "".join(f'{{ id = "{break_id}", time_offset = "start" }},\n' for break_id in IDS) + "]\n"


@pytest.fixture(scope="module")
async def network() -> AsyncIterator[UpstreamServer]:
    """Answers with a pod of three and a stand-alone ad."""
    document = vast([DrawnAd(1), DrawnAd(2), DrawnAd(3), DrawnAd()])
    async with UpstreamServer(answer(document)) as server:
        yield server


@pytest.fixture(scope="module")
async def player(of_module: Databases, network: UpstreamServer) -> AsyncIterator[httpx.AsyncClient]:
    await set_up(
        of_module.owner,
        own_campaign("once", **ONE_A_DAY),
        own_campaign("acme"),
        own_campaign("globex", advertiser="Globex"),
        own_campaign("initech", advertiser="Initech"),
        placement("movie", "acme") + BREAKS,
        placement("capped", "once") + BREAKS,
        placement("short", "once") + SHORT,
        placement("pods", "acme", "globex", "initech") + PODS,
        placement("unusual", "acme") + UNUSUAL,
        upstream("network", network.url),
        campaign("fetched", upstreams=["network"], advertiser="Hooli", billing="impression"),
        placement("fetched", "fetched", "acme", "globex") + PODS,
        placement("overlays", "fetched"),
        placement("kinds", "acme", "globex") + KINDS,
    )
    async with serving(of_module.app, WORKERS="1") as server, httpx.AsyncClient(base_url=server.url) as client:
        yield client


async def breaks(player: httpx.AsyncClient, **query: str) -> list[etree._Element]:
    """The AdBreaks of a VMAP document."""
    answered = await player.get("/vmap", params=query)
    assert answered.status_code == 200, answered.text
    return list(etree.fromstring(answered.content))


async def ads(player: httpx.AsyncClient, **query: str) -> list[int]:
    """The number of ads in each break of a VMAP document."""
    return [len(list(found.iter("{*}Ad"))) for found in await breaks(player, embed="1", **query)]


async def tag_urls(player: httpx.AsyncClient, **query: str) -> list[str]:
    """The tag URL of each break."""
    return [found.findtext(".//{*}AdTagURI") or "" for found in await breaks(player, **query)]


@pytest.mark.parametrize("embed", ["0", "1"])
async def test_a_request_that_is_wrong_for_one_break_is_refused_before_any_is_served(
    player: httpx.AsyncClient, of_module: Databases, embed: str
) -> None:
    query = {"placement_id": "short", "min_duration_s": "12", "user_id": f"refused-{embed}", "embed": embed}
    refused = await player.get("/vmap", params=query)
    assert refused.status_code == 400
    assert (refused.json()["field"], refused.json()["reason"]) == (
        "min_duration_s",
        "must not exceed pod_duration_s",
    )
    counted = await player.get("/vast", params={"campaign_id": "once", "user_id": query["user_id"]})
    assert "<Ad" in counted.text, "nothing was counted before"
    assert await disagreements(of_module.owner) == []


@pytest.mark.parametrize(
    ("embed", "is_embedded"),
    [(["true"], True), (["1", "1"], True), (["no"], False), (["2"], False), (["[EMBED]"], False), (["-1"], False)],
)
async def test_whether_to_embed_is_a_flag_like_others(
    player: httpx.AsyncClient, embed: list[str], is_embedded: bool
) -> None:
    answered = await player.get("/vmap", params={"placement_id": "movie", "embed": embed})
    assert answered.status_code == 200
    assert ("AdTagURI" not in answered.text) is is_embedded


async def test_a_break_that_fails_is_empty_and_the_others_are_delivered(player: httpx.AsyncClient) -> None:
    earlier = {"placement_id": "movie", "user_id": "another", "request_id": "failing:mid"}
    assert "<Ad" in (await player.get("/vast", params=earlier)).text
    conflict = {"placement_id": "movie", "user_id": "viewer", "request_id": "failing"}
    assert await ads(player, **conflict) == [1, 0]
    assert await ads(player, placement_id="movie", session_id=str(uuid4())) == [0, 0]


@pytest.mark.parametrize("length", [1, 126, 128])
async def test_every_break_has_a_request_id_of_its_own_that_may_be_asked_for(
    player: httpx.AsyncClient, length: int
) -> None:
    query = {"placement_id": "unusual", "request_id": "r" * length}
    urls = await tag_urls(player, **query)
    assert len({httpx.URL(url).params["request_id"] for url in urls}) == len(IDS)
    for url in urls:
        assert "<Ad" in (await player.get(url)).text
    assert await tag_urls(player, **query) == urls


async def test_the_request_id_of_a_break_is_readable_where_it_can_be(player: httpx.AsyncClient) -> None:
    urls = await tag_urls(player, placement_id="movie", request_id="r")
    assert [httpx.URL(url).params["request_id"] for url in urls] == ["r:pre", "r:mid"]


async def test_a_break_has_as_many_ads_as_it_says_itself(player: httpx.AsyncClient) -> None:
    query = {"placement_id": "pods", "pod_size": "3"}
    assert await ads(player, **query) == [1, 2]
    multiple = [found.find("{*}AdSource").get("allowMultipleAds") for found in await breaks(player, **query)]
    assert multiple == ["false", "true"]


async def test_an_upstreams_pod_fills_a_break_no_further_than_the_break_goes(player: httpx.AsyncClient) -> None:
    assert await ads(player, placement_id="fetched") == [1, 2]


async def test_no_pod_but_its_own_is_in_the_tag_url_of_a_break(player: httpx.AsyncClient) -> None:
    query = {"placement_id": "pods", "min_duration_s": "15"}
    urls = await tag_urls(player, **query, pod_size="3", pod_duration_s="14")
    assert [dict(httpx.URL(url).params) for url in urls] == [query, query | {"pod_size": "2", "pod_duration_s": "45"}]


async def test_breaks_say_of_what_kind_they_are_and_when_they_are_repeated(player: httpx.AsyncClient) -> None:
    found = await breaks(player, placement_id="kinds")
    assert [(ad_break.get("breakType"), ad_break.get("repeatAfter")) for ad_break in found] == [
        ("linear", None),
        ("linear", "00:05:00.500"),
        ("nonlinear", None),
    ]
    assert all(set(ad_break.attrib) <= ATTRIBUTES for ad_break in found)
    urls = await tag_urls(player, placement_id="kinds", request_id="r", min_ads="1", competitors="apart")
    assert [dict(httpx.URL(url).params) for url in urls] == [
        {"placement_id": "kinds", "pod_size": "2", "min_ads": "2", "competitors": "together", "request_id": "r:pod"},
        {"placement_id": "kinds"},
        {"placement_id": "overlays", "request_id": "r:overlay"},
    ]


async def test_ads_of_a_repeated_break_are_not_embedded(player: httpx.AsyncClient, of_module: Databases) -> None:
    """The player repeats what is embedded, and it would be paid for once."""
    pod, every, overlay = await breaks(player, placement_id="kinds", embed="1")
    assert [len(list(found.iter("{*}Ad"))) for found in (pod, every, overlay)] == [2, 0, 1]
    url = every.findtext(".//{*}AdTagURI") or ""
    for _ in range(2):
        assert "<Ad" in (await player.get(url)).text
    assert await disagreements(of_module.owner) == []


@pytest.mark.parametrize("cookie", ["uid", "device_id"])
async def test_cookies_say_who_watches_where_the_request_does_not(player: httpx.AsyncClient, cookie: str) -> None:
    embedded = {"placement_id": "capped", "embed": "1"}
    cookies = {"Cookie": f"{cookie}=viewer-by-{cookie}"}
    assert (await player.get("/vmap", params=embedded, headers=cookies)).text.count("<Ad ") == 1
    capped = await player.get("/vast", params={"campaign_id": "once"}, headers=cookies)
    assert capped.headers["x-no-fill-reason"] == "frequency_cap", "it is the same viewer"
    named = embedded | {"user_id": f"another-than-by-{cookie}"}
    assert (await player.get("/vmap", params=named, headers=cookies)).text.count("<Ad ") == 1
    unreadable = {"Cookie": f"{cookie}={'x' * 129}"}
    assert (await player.get("/vmap", params=embedded, headers=unreadable)).text.count("<Ad ") == 0
