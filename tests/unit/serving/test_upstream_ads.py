"""Ads from upstreams over real HTTP, as a pending request gets them."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from app.domain import URL_BYTES_MAX, Upstream
from app.errors import UpstreamFailed
from app.observer import Observer
from app.serving.outcomes import FetchedAd
from app.serving.pending import PendingRequest
from app.serving.upstream_ads import RequestMacroValues, UpstreamAds
from app.upstreams.error_pixels import URLS_MAX
from app.upstreams.service import UpstreamService
from app.vast.document_cache import DocumentCache
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import UpstreamServer
from tests.invariants import world
from tests.unit.serving.pending_requests import pending_request
from tests.unit.vast.conftest import BASE_URL, VALUES, texts

ID = UUID("0199f3a0-0000-7000-8000-000000000001")
LIMITS = replace(world.LIMITS, request_deadline_s=2.05, upstream_deadline_s=2)
VAST_1 = (
    b"<VideoAdServingTemplate><Ad id='1'><InLine><Video><MediaFiles><MediaFile><URL>https://cdn.example/a.mp4</URL>"
    b"</MediaFile></MediaFiles></Video></InLine></Ad></VideoAdServingTemplate>"
)


class NoLimits:
    async def lease(self, name: str, rate_per_s: int, capacity: int, want: int, owed: int) -> tuple[int, float]:
        raise AssertionError("no upstream here has a rate limit")


@dataclass
class Rig:
    """Two upstreams, and where the first one's Wrappers lead to."""

    ads: UpstreamAds
    primary: UpstreamServer
    fallback: UpstreamServer
    target: UpstreamServer
    breaker_states: Callable[[], Mapping[str, str]]
    upstreams_close: Callable[[], Awaitable[None]]
    cache_ttl_s: int = 0

    @property
    def upstreams(self) -> list[Upstream]:
        servers = {"primary": self.primary, "fallback": self.fallback}
        return [
            Upstream(
                name,
                f"{server.url}/?u={{user_id}}&ip=[DEVICEIP]",
                timeout_ms=2000,
                cache_ttl_s=self.cache_ttl_s,
                breaker_failures=1,
            )
            for name, server in servers.items()
        ]

    def pending(
        self, *, identifiable: bool = True, pod_size: int = 1, within_s: float = 2.0, **values: str
    ) -> PendingRequest:
        deadline = asyncio.get_running_loop().time() + within_s
        return pending_request("c", deadline=deadline, pod_size=pod_size, values=values, identifiable=identifiable)

    async def fetch(self, **values: str) -> FetchedAd:
        return await self.ads.fetch(self.pending(**values), self.upstreams)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    upstreams = UpstreamService(
        NoLimits(), DocumentCache(BASE_URL), Observer(), allowed_networks=[ip_network("127.0.0.0/8")]
    )
    async with UpstreamServer() as primary, UpstreamServer() as fallback, UpstreamServer() as target:
        primary.behavior = faults.answer(faults.wrapper(f"{target.url}/x?b={{user_id}}&ip=[DEVICEIP]"))
        fallback.behavior = faults.answer(faults.inline("from the fallback"))
        target.behavior = faults.answer(faults.inline("wrapped"))
        ads = UpstreamAds(upstreams.chain, upstreams.wrapper_resolver, LIMITS)
        yield Rig(ads, primary, fallback, target, lambda: upstreams.breaker_states, upstreams.aclose)
        await upstreams.aclose()


def handed_out(fetched: FetchedAd) -> bytes:
    return fetched.document.single_ad_document(0).render(VALUES)


async def test_the_values_of_requests_take_the_memory_that_they_say_and_keep_no_ticket(rig: Rig):
    tracemalloc.start()
    kept = []
    for index in range(200):
        pending = rig.pending(
            user_id=f"user {index}", page_url=f"https://page.example/{index:02000}", content_genre=f"世{index:0100}"
        )
        pending.keep_ready_ad("c", bytearray(10_000))  # type: ignore[arg-type]
        kept.append(RequestMacroValues(pending))
        kept[-1].tag_url("https://ads.example/?u={user_id}", 300)
    del pending
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.8 * taken < sum(values.size_bytes for values in kept) < 1.25 * taken


async def test_a_wrapper_is_passed_on_to_a_player_that_follows_it_itself(rig: Rig):
    answer = handed_out(await rig.fetch(user_id="u"))
    assert texts(answer, "VASTAdTagURI") == [f"{rig.target.url}/x?b={{user_id}}&ip=[DEVICEIP]"]
    assert rig.target.requests == []


async def test_with_unwrap_the_player_gets_the_ad_and_everybody_hears_of_its_impression(rig: Rig):
    fetched = await rig.fetch(unwrap="1")
    answer = handed_out(fetched)
    assert texts(answer, "VASTAdTagURI") == []
    assert texts(answer, "AdTitle") == ["wrapped"]
    assert texts(answer, "Impression") == [
        *("http://127.0.0.1:9/imp", "http://127.0.0.1:9/imp?of=wrapper"),
        f"{BASE_URL}/event/impression?t={VALUES['impression']}",
    ]
    again = rig.ads.from_stored_document("primary", fetched.body)
    assert handed_out(again) == answer


async def test_the_operators_upstream_hears_who_watches_and_a_stranger_does_not(rig: Rig):
    await rig.fetch(unwrap="1", user_id="u/1")
    assert [request.target for request in rig.primary.requests] == ["/?u=u%2F1&ip=203.0.113.9"]
    assert [request.target for request in rig.target.requests] == ["/x?b={user_id}&ip=203.0.113.9"]


@pytest.mark.parametrize(
    "query",
    ["x" * URL_BYTES_MAX, "[PAGEURL]" * 30],
    ids=["as it came", "with its macros replaced"],
)
async def test_a_url_in_a_document_that_is_too_long_is_not_called(rig: Rig, query: str):
    rig.primary.behavior = faults.answer(
        f"<VAST version='4.2'><Ad><Wrapper><Error>{rig.target.url}/long?{query}</Error>"
        f"<Error>{rig.target.url}/error?[ERRORCODE]</Error>"
        f"<VASTAdTagURI>{rig.target.url}/?{query}</VASTAdTagURI></Wrapper></Ad></VAST>".encode()
    )
    fetched = await rig.fetch(unwrap="1", page_url="https://example.com/" + "x" * 1000)
    assert fetched.upstream_id == "fallback"
    await rig.ads._wrapper_resolver.aclose()
    assert [request.target for request in rig.target.requests] == ["/error?300"]


async def test_who_may_not_be_identified_is_told_to_nobody(rig: Rig):
    await rig.ads.fetch(rig.pending(identifiable=False, unwrap="1", user_id="u"), rig.upstreams)
    assert [request.target for request in rig.primary.requests] == ["/?u=-2&ip=-2"]
    assert [request.target for request in rig.target.requests] == ["/x?b={user_id}&ip=-2"]
    for request in (*rig.primary.requests, *rig.target.requests):
        assert "x-device-ip" not in request.headers
        assert request.headers["x-device-user-agent"] == "TV/1.0"


@pytest.mark.parametrize("behavior", [faults.answer(faults.EMPTY), faults.answer(faults.HTML), faults.hang])
async def test_when_a_chain_leads_to_nothing_the_next_upstream_is_asked_in_time(rig: Rig, behavior: faults.Behavior):
    rig.target.behavior = behavior
    started = asyncio.get_running_loop().time()
    fetched = await rig.ads.fetch(rig.pending(unwrap="1", within_s=2), rig.upstreams)
    assert texts(handed_out(fetched), "AdTitle") == ["from the fallback"]
    assert fetched.upstream_id == "fallback"
    assert asyncio.get_running_loop().time() - started < 2


async def test_when_no_chain_leads_to_an_ad_there_is_none(rig: Rig):
    rig.target.behavior = faults.answer(faults.EMPTY)
    rig.fallback.behavior = rig.primary.behavior
    with pytest.raises(UpstreamFailed, match="no_ad"):
        await rig.fetch(unwrap="1")


async def test_a_cached_wrapper_is_followed_anew_for_every_request(rig: Rig):
    rig.cache_ttl_s = 60
    await rig.fetch()
    assert rig.ads.cached(rig.pending(), rig.upstreams) is not None
    assert rig.ads.cached(rig.pending(unwrap="1"), rig.upstreams) is None
    for _ in range(2):
        assert texts(handed_out(await rig.fetch(unwrap="1")), "AdTitle") == ["wrapped"]
    assert (len(rig.primary.requests), len(rig.target.requests)) == (1, 2)
    assert texts(handed_out(await rig.fetch()), "VASTAdTagURI") != []


async def test_an_ad_of_vast_1_is_served_alone_but_has_no_place_in_a_pod(rig: Rig):
    rig.cache_ttl_s = 60
    rig.primary.behavior = faults.answer(VAST_1)
    assert b"VideoAdServingTemplate" in handed_out(await rig.fetch(unwrap="1"))
    in_pod = rig.pending(pod_size=2)
    assert rig.ads.cached(in_pod, rig.upstreams) is None
    assert (await rig.ads.fetch(in_pod, rig.upstreams)).upstream_id == "fallback"


def no_ad(rig: Rig, errors: int = 1) -> faults.Behavior:
    urls = "".join(
        f"<Error><![CDATA[{rig.target.url}/{index}?c=[ERRORCODE]&u={{user_id}}]]></Error>" for index in range(errors)
    )
    return faults.answer(f"<VAST version='4.2'>{urls}</VAST>".encode())


async def test_an_upstream_without_an_ad_is_called_back_as_it_asks_for_it(rig: Rig):
    rig.primary.behavior = no_ad(rig, errors=2)
    assert (await rig.fetch(user_id="u")).upstream_id == "fallback"
    await rig.target.asked(2)
    assert sorted(request.target for request in rig.target.requests) == [
        "/0?c=303&u={user_id}",
        "/1?c=303&u={user_id}",
    ]
    assert rig.breaker_states()["primary"] == "closed"


async def test_each_of_several_without_an_ad_is_called_back_once(rig: Rig):
    rig.primary.behavior = rig.fallback.behavior = no_ad(rig)
    with pytest.raises(UpstreamFailed, match="no_ad"):
        await rig.fetch()
    await rig.upstreams_close()
    assert [request.target for request in rig.target.requests] == ["/0?c=303&u={user_id}"] * 2


async def test_however_many_urls_it_names_only_so_many_are_called(rig: Rig):
    rig.primary.behavior = no_ad(rig, errors=URLS_MAX + 10)
    await rig.fetch()
    await rig.upstreams_close()
    assert len(rig.target.requests) == URLS_MAX


async def test_the_errors_of_a_root_with_an_ad_are_not_called(rig: Rig):
    error = f"<Error>{rig.target.url}/</Error></VAST>".encode()
    rig.primary.behavior = faults.answer(faults.inline().replace(b"</VAST>", error))
    assert (await rig.fetch()).upstream_id == "primary"
    await rig.upstreams_close()
    assert rig.target.requests == []


async def test_ads_without_anything_to_show_are_no_ad_and_can_be_seen(rig: Rig):
    rig.primary.behavior = faults.answer(b"<VAST version='3.0'><Ad><InLine><Creatives/></InLine></Ad></VAST>")
    with capture_logs() as logs:
        assert (await rig.fetch()).upstream_id == "fallback"
    (line,) = logs
    assert (line["kind"], line["detail"]) == ("no_ad", "no Ad in the document has anything to play")
    assert rig.breaker_states()["primary"] == "closed"


NOTHING = {
    "no bytes": faults.answer(b""),
    "gzip of no bytes": faults.answer(b"", headers=["Content-Encoding: gzip"]),
    "no content": faults.answer(b"", "204 No Content"),
    "a comment": faults.answer(b"<!-- no ads -->"),
    "a mark and a declaration": faults.answer(b"\xef\xbb\xbf\n<?xml version='1.0'?>\n"),
    "no Ad": faults.answer(faults.EMPTY),
}


@pytest.mark.parametrize("behavior", NOTHING.values(), ids=NOTHING.keys())
async def test_to_have_no_ad_is_no_failure(rig: Rig, behavior: faults.Behavior):
    rig.primary.behavior = behavior
    assert (await rig.fetch()).upstream_id == "fallback"
    assert rig.breaker_states()["primary"] == "closed"


@pytest.mark.parametrize(
    "behavior", [faults.answer(b"no ad", "404 Not Found"), faults.answer(faults.HTML), faults.answer(b"no ad")]
)
async def test_to_say_it_otherwise_is_one(rig: Rig, behavior: faults.Behavior):
    rig.primary.behavior = behavior
    assert (await rig.fetch()).upstream_id == "fallback"
    assert rig.breaker_states()["primary"] == "open"


@pytest.mark.parametrize(("within_s", "state"), [(0.9, "closed"), (1.2, "open")])
async def test_an_upstream_is_held_to_the_time_of_requests_that_did_not_wait_long(
    rig: Rig, within_s: float, state: str
):
    rig.primary.behavior = faults.hang
    fetched = await rig.ads.fetch(rig.pending(within_s=within_s), rig.upstreams)
    assert fetched.upstream_id == "fallback"
    assert rig.breaker_states()["primary"] == state
