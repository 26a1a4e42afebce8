"""Chains of Wrappers, followed over real HTTP."""

import asyncio
import re
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest
from lxml import etree

from app.domain import Upstream
from app.errors import UpstreamFailed
from app.upstreams.client import UpstreamClient
from app.upstreams.refusals import Refusals
from app.upstreams.wrapper_resolver import REQUESTS_MAX, WrapperResolver
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import Behavior, Request, UpstreamServer
from tests.loop_clock import LoopClock
from tests.unit.upstreams.conftest import Values
from tests.unit.vast.documents import MEDIA_FILES

UPSTREAM = Upstream("primary", "http://unused.example/")
NAMESPACE = 'xmlns="http://www.iab.com/VAST"'


class Site:
    """Pages by path; `{site}` in a page is where the site is. Everything below /error/ is there."""

    def __init__(self, server: UpstreamServer) -> None:
        self.server = server
        self.pages: dict[str, Behavior] = {}
        server.behavior = self._behave

    def page(self, path: str, body: str) -> None:
        self.pages[path] = faults.answer(body.replace("{site}", self.server.url).encode())

    async def _behave(self, request: Request, writer: asyncio.StreamWriter) -> None:
        path = request.target.partition("?")[0]
        behavior = faults.answer(b"") if path.startswith("/error/") else self.pages[path]
        await behavior(request, writer)

    @property
    def paths(self) -> list[str]:
        return [request.target for request in self.server.requests if not request.target.startswith("/error/")]

    @property
    def errors(self) -> list[str]:
        return sorted(
            request.target.removeprefix("/error/")
            for request in self.server.requests
            if request.target.startswith("/error/")
        )


@pytest.fixture
async def site(upstream: UpstreamServer) -> Site:
    return Site(upstream)


@pytest.fixture
async def resolver() -> AsyncIterator[WrapperResolver]:
    client = UpstreamClient([ip_network("127.0.0.1/32")])
    resolver = WrapperResolver(client)
    yield resolver
    await resolver.aclose()
    await client.aclose()


def vast(*ads: str, error: str = "") -> str:
    return f'<VAST version="4.2" {NAMESPACE}>{"".join(ads)}{error}</VAST>'


def wrapper(name: str, path: str, flags: str = "", sequence: int | None = None) -> str:
    return (
        f'<Ad id="{name}"{_number(sequence)}><Wrapper {flags}><AdSystem>{name}</AdSystem>'
        f"<Error><![CDATA[{{site}}/error/{name}?code=[ERRORCODE]]]></Error><Impression>{name}</Impression>"
        f"<VASTAdTagURI><![CDATA[{{site}}{path}]]></VASTAdTagURI></Wrapper></Ad>"
    )


def inline(name: str, sequence: int | None = None) -> str:
    return (
        f'<Ad id="{name}"{_number(sequence)}><InLine><AdSystem>{name}</AdSystem><Impression>{name}</Impression>'
        "<Creatives><Creative><Linear><Duration>00:00:15</Duration>"
        + MEDIA_FILES
        + "</Linear></Creative></Creatives></InLine></Ad>"
    )


def _number(sequence: int | None) -> str:
    return "" if sequence is None else f' sequence="{sequence}"'


async def unwrapped(resolver: WrapperResolver, site: Site, body: str, timeout_s: float = 5.0) -> bytes:
    deadline = asyncio.get_running_loop().time() + timeout_s
    return await resolver.unwrap(UPSTREAM, body.replace("{site}", site.server.url).encode(), Values(), deadline)


def impressions(body: bytes) -> dict[str, list[str]]:
    """By the id of each Ad, its sequence first where it has one, who hears of its impression."""
    root = etree.fromstring(body)
    assert not list(root.iter("{*}Wrapper"))
    return {
        " ".join(filter(None, (ad.get("sequence"), ad.get("id")))): [found.text for found in ad.iter("{*}Impression")]
        for ad in root.iter("{*}Ad")
    }


async def test_a_chain_of_five_becomes_an_inline_that_says_what_all_of_them_say(resolver: WrapperResolver, site: Site):
    for number in range(2, 6):
        site.page(f"/{number - 1}", vast(wrapper(f"w{number}", f"/{number}")))
    site.page("/5", vast(inline("ad")))
    body = await unwrapped(resolver, site, vast(wrapper("w1", "/1")))
    assert impressions(body) == {"ad": ["ad", "w5", "w4", "w3", "w2", "w1"]}
    assert site.paths == ["/1", "/2", "/3", "/4", "/5"]
    assert {request.headers["x-device-ip"] for request in site.server.requests} == {"203.0.113.9"}
    await resolver.aclose()
    assert site.errors == []


async def test_a_chain_of_six_is_too_long_and_all_its_wrappers_get_the_error(resolver: WrapperResolver, site: Site):
    for number in range(2, 7):
        site.page(f"/{number - 1}", vast(wrapper(f"w{number}", f"/{number}")))
    with pytest.raises(UpstreamFailed, match="wrapper_limit"):
        await unwrapped(resolver, site, vast(wrapper("w1", "/1")))
    await resolver.aclose()
    assert site.errors == [f"w{number}?code=302" for number in range(1, 7)]
    assert site.paths == ["/1", "/2", "/3", "/4", "/5"]


async def test_a_loop_is_noticed_though_its_cache_buster_changes(resolver: WrapperResolver, site: Site):
    site.page("/a", vast(wrapper("b", "/b")))
    site.page("/b", vast(wrapper("a", "/a?cb=[CACHEBUSTING]")))
    with pytest.raises(UpstreamFailed, match="wrapper_limit"):
        await unwrapped(resolver, site, vast(wrapper("first", "/a?cb=[CACHEBUSTING]")))
    await resolver.aclose()
    assert site.errors == ["a?code=302", "b?code=302", "first?code=302"]
    assert len(site.paths) == 2


@pytest.mark.parametrize(
    ("behavior", "code", "kind"),
    [
        (faults.answer(faults.EMPTY), 303, "no_ad"),
        (faults.answer(b""), 303, "no_ad"),
        (faults.answer(b"<!-- no ads -->"), 303, "no_ad"),
        (faults.answer(b"", "204 No Content"), 303, "no_ad"),
        (faults.answer(faults.HTML), 300, "malformed"),
        (faults.answer(faults.ENTITIES), 300, "malformed"),
        (faults.answer(b"", "500 Oops"), 300, "status"),
        (faults.reset, 300, "reset"),
        (faults.hang, 301, "wrapper_timeout"),
        (faults.redirect("http://10.0.0.1/"), 300, "forbidden_address"),
    ],
)
async def test_a_chain_that_ends_in_nothing_is_told_why(
    loop_clock: LoopClock, resolver: WrapperResolver, site: Site, behavior: Behavior, code: int, kind: str
):
    site.page("/1", vast(wrapper("inner", "/2")))
    site.pages["/2"] = behavior
    unwrapping = asyncio.create_task(unwrapped(resolver, site, vast(wrapper("outer", "/1")), timeout_s=5))
    await site.server.asked(2)
    if kind == "wrapper_timeout":
        await loop_clock.advance(5)
    with pytest.raises(UpstreamFailed) as caught:
        await unwrapping
    assert caught.value.kind == kind
    await resolver.aclose()
    assert site.errors == [f"inner?code={code}", f"outer?code={code}"]


async def test_an_empty_answer_may_want_to_hear_of_it_too(resolver: WrapperResolver, site: Site):
    site.page("/1", vast(error="<Error>{site}/error/empty?code=[ERRORCODE]</Error>"))
    with pytest.raises(UpstreamFailed, match="no_ad"):
        await unwrapped(resolver, site, vast(wrapper("w", "/1")))
    await resolver.aclose()
    assert site.errors == ["empty?code=303", "w?code=303"]


async def test_without_time_left_no_request_is_sent(resolver: WrapperResolver, site: Site):
    with pytest.raises(UpstreamFailed, match="wrapper_timeout"):
        await unwrapped(resolver, site, vast(wrapper("w", "/1")), timeout_s=0.0)
    await resolver.aclose()
    assert (site.paths, site.errors) == ([], ["w?code=304"])


@pytest.mark.parametrize(
    "host", ["10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "127.0.0.2", "[::1]", "0.0.0.0"]
)
async def test_a_document_leads_to_no_private_address(resolver: WrapperResolver, site: Site, host: str):
    body = vast(wrapper("w", "/1")).replace("<![CDATA[{site}/1]]>", f"http://{host}:{site.server.port}/1")
    with pytest.raises(UpstreamFailed, match="forbidden_address"):
        await unwrapped(resolver, site, body)
    assert site.paths == []


async def test_nor_an_error_url(site: Site):
    client = UpstreamClient()
    resolver = WrapperResolver(client)
    with pytest.raises(UpstreamFailed):
        await unwrapped(resolver, site, vast(wrapper("w", "/1")))
    await resolver.aclose()
    await client.aclose()
    assert site.server.requests == []


@pytest.mark.parametrize(
    ("flags", "ads", "expected"),
    [
        ("", [inline("a", 1), inline("b", 2), inline("c")], {"c": ["c", "w"]}),
        ("", [inline("only", 1)], {"1 only": ["only", "w"]}),
        (
            'allowMultipleAds="true"',
            [inline("b", 2), inline("a", 1), inline("c")],
            {"1 a": ["a", "w"], "2 b": ["b", "w"], "c": ["c", "w"]},
        ),
        ('followAdditionalWrappers="false"', [wrapper("x", "/x"), inline("c")], {"c": ["c", "w"]}),
    ],
)
async def test_the_flags_of_a_wrapper_are_obeyed(
    resolver: WrapperResolver, site: Site, flags: str, ads: list[str], expected: dict[str, list[str]]
):
    site.page("/1", vast(*ads))
    body = await unwrapped(resolver, site, vast(wrapper("w", "/1", flags)))
    assert dict(sorted(impressions(body).items())) == expected
    assert site.paths == ["/1"]


async def test_without_the_wrappers_that_must_not_be_followed_there_may_be_no_ad(resolver: WrapperResolver, site: Site):
    site.page("/1", vast(wrapper("x", "/x")))
    with pytest.raises(UpstreamFailed, match="no_ad"):
        await unwrapped(resolver, site, vast(wrapper("w", "/1", 'followAdditionalWrappers="false"')))
    await resolver.aclose()
    assert (site.paths, site.errors) == (["/1"], ["w?code=303"])


async def test_a_pod_of_wrappers_is_followed_all_at_once_and_numbered(resolver: WrapperResolver, site: Site):
    gates = [faults.Gate(faults.answer(vast(inline(name)).encode())) for name in ("a", "b")]
    site.pages["/a"], site.pages["/b"] = gates
    pod = vast(wrapper("second", "/b", sequence=2), inline("third", 3), wrapper("first", "/a", sequence=1))
    unwrapping = asyncio.create_task(unwrapped(resolver, site, pod))
    await site.server.asked(2)
    for gate in gates:
        gate.opened.set()
    assert impressions(await unwrapping) == {"2 b": ["b", "second"], "3 third": ["third"], "1 a": ["a", "first"]}


async def test_in_a_pod_a_stand_alone_ad_takes_the_place_of_one_that_failed_if_that_asks_for_it(
    resolver: WrapperResolver, site: Site
):
    site.page("/empty", vast())
    site.page("/ad", vast(inline("wrapped")))
    fallback = 'fallbackOnNoAd="true"'
    pod = [wrapper("w1", "/empty", fallback, sequence=1), inline("i2", 2), wrapper("w3", "/empty", fallback, 3)]
    body = await unwrapped(resolver, site, vast(*pod, inline("alone"), wrapper("last", "/ad")))
    assert impressions(body) == {"1 alone": ["alone"], "2 i2": ["i2"], "3 wrapped": ["wrapped", "last"]}
    without = await unwrapped(resolver, site, vast(wrapper("w1", "/empty", sequence=1), inline("i2", 2), inline("x")))
    assert impressions(without) == {"1 i2": ["i2"], "x": ["x"]}


async def test_pods_of_wrappers_that_multiply_are_asked_so_many_times_and_no_more(
    resolver: WrapperResolver, site: Site
):
    many = [wrapper(f"w{number}", f"/many?{{level}}{number}", 'allowMultipleAds="true"', number) for number in range(9)]

    async def multiply(request: Request, writer: asyncio.StreamWriter) -> None:
        body = (
            vast(*many).replace("{level}", re.sub(r"\D", "", request.target) + "-").replace("{site}", site.server.url)
        )
        await faults.answer(body.encode())(request, writer)

    site.pages["/many"] = multiply
    with pytest.raises(UpstreamFailed, match="wrapper_limit"):
        await unwrapped(resolver, site, vast(*many).replace("{level}", ""))
    assert len(site.paths) == REQUESTS_MAX


async def test_a_document_without_wrappers_is_left_as_it_is_and_one_of_vast_1_is_not_unwrapped(
    resolver: WrapperResolver, site: Site
):
    assert impressions(await unwrapped(resolver, site, vast(inline("a")))) == {"a": ["a"]}
    ad = "<Ad><Wrapper><VASTAdTagURL>{site}/1</VASTAdTagURL></Wrapper></Ad>"
    vast_1 = f"<VideoAdServingTemplate>{ad}</VideoAdServingTemplate>"
    with pytest.raises(UpstreamFailed, match="malformed"):
        await unwrapped(resolver, site, vast_1)


async def test_closing_waits_for_error_calls_and_too_many_of_them_are_left_out(
    resolver: WrapperResolver, site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.upstreams.error_pixels.IN_FLIGHT_MAX", 3)
    errors = "".join(f"<Error>{{site}}/error/{number}</Error>" for number in range(9))
    site.page("/1", vast(error=errors))
    with pytest.raises(UpstreamFailed):
        await unwrapped(resolver, site, vast(wrapper("w", "/1")))
    await resolver.aclose()
    assert len(site.errors) == 3


async def test_a_refusal_says_how_far_the_chain_came(site: Site):
    client = UpstreamClient([ip_network("127.0.0.1/32")])
    refusals = Refusals()
    resolver = WrapperResolver(client, refusals)
    site.page("/1", vast(wrapper("w2", "/2")))
    site.pages["/2"] = faults.answer(faults.ENTITIES)
    with pytest.raises(UpstreamFailed):
        await unwrapped(resolver, site, vast(wrapper("w1", "/1")))
    assert refusals.last["primary"].kind == "malformed"
    assert refusals.last["primary"].detail.startswith("response to Wrapper 2: has a DOCTYPE")
    await resolver.aclose()
    await client.aclose()
