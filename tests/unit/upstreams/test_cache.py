import asyncio
from dataclasses import replace

import pytest

from app.domain import Upstream
from app.upstreams.cache import REFRESH_AFTER, BodyCache
from app.upstreams.failures import AllUpstreamsFailed
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import UpstreamServer, answer, inline

ERROR = answer(b"", "500 Internal Server Error")


def cached(server: UpstreamServer, upstream_id: str = "primary", **limits: object) -> Upstream:
    limits = {"cache_ttl_s": 300, "timeout_ms": 5000} | limits
    return Upstream(upstream_id, server.url + "/?uid={uid}", **limits)  # type: ignore[arg-type]


async def renewed(harness, server, times) -> None:
    """Returns when that many requests were answered, and the cache has taken note."""
    await server.asked(times)
    while harness.cache._fetches:
        await asyncio.wait(harness.cache._fetches.values())


async def test_a_hit_sends_no_request(harness, upstream, observer) -> None:
    first = await harness.fetch(cached(upstream))
    second = await harness.fetch(cached(upstream))
    assert (first.from_cache, second.from_cache) == (False, True)
    assert second.body == inline()
    assert len(upstream.requests) == 1
    assert observer.lookups == [("primary", "miss"), ("primary", "hit")]


async def test_a_cached_body_is_found(harness, upstream) -> None:
    assert harness.find_cached(cached(upstream)) is None
    await harness.fetch(cached(upstream))
    fetched = harness.find_cached(cached(upstream))
    assert fetched is not None
    assert (fetched.upstream_id, fetched.from_cache) == ("primary", True)


async def test_a_ttl_of_0_is_off(harness, upstream) -> None:
    off = cached(upstream, cache_ttl_s=0, stale_while_revalidate_s=100, stale_if_error_s=100)
    await harness.fetch(off)
    assert harness.find_cached(off) is None
    await harness.fetch(off)
    assert len(upstream.requests) == 2
    assert harness.observer.lookups == []


async def test_the_key_is_the_tag_url_of_that_upstream(harness, upstream) -> None:
    await harness.fetch(cached(upstream), uid="alice")
    assert harness.find_cached(cached(upstream), uid="bob") is None
    assert harness.find_cached(cached(upstream, "other"), uid="alice") is None
    assert harness.find_cached(cached(upstream), uid="alice") is not None


@pytest.mark.parametrize(("ttl_s", "tells"), [(0, True), (300, False)])
async def test_a_cached_body_is_requested_without_the_viewers_headers(harness, upstream, ttl_s, tells) -> None:
    await harness.fetch(cached(upstream, cache_ttl_s=ttl_s))
    assert ("x-device-ip" in upstream.requests[0].headers) == tells


@pytest.mark.parametrize("ttl_s", [10, 300])
async def test_is_fresh_for_its_ttl_and_no_longer(harness, upstream, ttl_s) -> None:
    await harness.fetch(cached(upstream, cache_ttl_s=ttl_s))
    harness.clock.now += ttl_s - 0.1
    assert harness.find_cached(cached(upstream, cache_ttl_s=ttl_s)) is not None
    harness.clock.now += 0.2
    assert harness.find_cached(cached(upstream, cache_ttl_s=ttl_s)) is None


async def test_concurrent_misses_are_one_request(harness, upstream) -> None:
    gate = upstream.behavior = faults.Gate(answer(inline()))
    tasks = [asyncio.create_task(harness.fetch(cached(upstream), timeout_s=30)) for _ in range(10_000)]
    await upstream.asked(1)
    gate.opened.set()
    fetched = await asyncio.gather(*tasks)
    assert {ad.upstream_id for ad in fetched} == {"primary"}
    assert len(upstream.requests) == 1


async def test_a_failure_is_shared_too_and_not_kept(harness, upstream) -> None:
    gate = upstream.behavior = faults.Gate(ERROR)
    tasks = [asyncio.create_task(harness.fetch(cached(upstream))) for _ in range(10)]
    await upstream.asked(1)
    gate.opened.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {AllUpstreamsFailed}
    assert len(upstream.requests) == 1
    upstream.behavior = answer(inline())
    assert (await harness.fetch(cached(upstream))).upstream_id == "primary"


async def test_one_who_gives_up_does_not_end_the_fetch_for_the_others(harness, loop_clock, upstream, fallback) -> None:
    loop_clock.freeze()
    gate = upstream.behavior = faults.Gate(answer(inline()))
    patient = asyncio.create_task(harness.fetch(cached(upstream), timeout_s=20))
    chain = cached(upstream), cached(fallback, "fallback", cache_ttl_s=0)
    hasty = asyncio.create_task(harness.fetch(*chain, timeout_s=4))
    await upstream.asked(1)
    await loop_clock.advance(2)
    assert (await hasty).upstream_id == "fallback"
    leaving = asyncio.create_task(harness.fetch(cached(upstream)))
    leaving.cancel()
    gate.opened.set()
    assert (await patient).upstream_id == "primary"
    assert len(upstream.requests) == 1


async def test_stale_while_revalidate_serves_and_renews(harness, upstream, observer) -> None:
    lenient = cached(upstream, stale_while_revalidate_s=60)
    await harness.fetch(lenient)
    upstream.behavior = answer(inline("renewed"))
    harness.clock.now += 359
    fetched = harness.find_cached(lenient)
    assert fetched is not None
    assert fetched.body == inline()
    await renewed(harness, upstream, 2)
    assert harness.find_cached(lenient).body == inline("renewed")
    assert observer.lookups[1:] == [("primary", "stale"), ("primary", "hit")]


async def test_stale_while_revalidate_has_its_bound(harness, upstream) -> None:
    lenient = cached(upstream, stale_while_revalidate_s=60)
    await harness.fetch(lenient)
    harness.clock.now += 361
    assert harness.find_cached(lenient) is None
    assert (await harness.fetch(lenient)).from_cache is False


async def test_many_stale_hits_are_one_renewal(harness, upstream) -> None:
    lenient = cached(upstream, stale_while_revalidate_s=60)
    await harness.fetch(lenient)
    harness.clock.now += 301
    gate = upstream.behavior = faults.Gate(answer(inline()))
    assert all(harness.find_cached(lenient) for _ in range(100))
    gate.opened.set()
    await renewed(harness, upstream, 2)
    assert len(upstream.requests) == 2


async def test_stale_if_error_serves_while_the_upstream_fails(harness, upstream, fallback, observer) -> None:
    lenient = cached(upstream, stale_if_error_s=3600)
    await harness.fetch(lenient)
    upstream.behavior = ERROR
    harness.clock.now += 300 + 3599
    fetched = await harness.fetch(lenient, cached(fallback, "fallback", cache_ttl_s=0))
    assert (fetched.upstream_id, fetched.from_cache) == ("primary", True)
    assert observer.lookups[-1] == ("primary", "stale")
    harness.clock.now += 2
    fetched = await harness.fetch(lenient, cached(fallback, "fallback", cache_ttl_s=0))
    assert fetched.upstream_id == "fallback"


async def test_without_stale_if_error_a_failure_is_a_failure(harness, upstream) -> None:
    await harness.fetch(cached(upstream, stale_while_revalidate_s=3600))
    upstream.behavior = ERROR
    harness.clock.now += 300 + 3601
    with pytest.raises(AllUpstreamsFailed):
        await harness.fetch(cached(upstream))


async def test_no_ad_is_an_answer_and_ends_the_stale_body(harness, upstream) -> None:
    lenient = cached(upstream, stale_if_error_s=3600, stale_while_revalidate_s=60)
    await harness.fetch(lenient)
    upstream.behavior = answer(faults.EMPTY)
    harness.clock.now += 301
    assert harness.find_cached(lenient) is not None
    await renewed(harness, upstream, 2)
    assert len(harness.cache) == 0
    with pytest.raises(AllUpstreamsFailed):
        await harness.fetch(lenient)


async def test_behind_an_open_breaker_the_stale_body_or_the_fallbacks_is_found(harness, upstream, fallback) -> None:
    lenient = cached(upstream, breaker_failures=1, stale_if_error_s=600)
    other = cached(fallback, "fallback")
    await harness.fetch(lenient)
    await harness.fetch(other)
    upstream.behavior = ERROR
    harness.clock.now += 301
    await harness.fetch(other)
    assert harness.find_cached(lenient, other) is None
    assert (await harness.fetch(lenient)).from_cache
    assert harness.find_cached(lenient, other).upstream_id == "primary"
    harness.clock.now += 600
    await harness.fetch(other)
    fetched = harness.find_cached(lenient, other)
    assert fetched.upstream_id == "fallback"
    assert [(attempt.upstream_id, attempt.kind) for attempt in fetched.attempts] == [("primary", "breaker_open")]


async def test_a_body_in_use_is_renewed_before_it_expires(harness, loop_clock, upstream) -> None:
    assert 0.7 <= min(REFRESH_AFTER) <= max(REFRESH_AFTER) < 1
    loop_clock.freeze()
    quick = cached(upstream, cache_ttl_s=10)
    await harness.fetch(quick)
    assert harness.find_cached(quick) is not None
    await loop_clock.advance(7)
    assert not harness.cache._fetches
    await loop_clock.advance(2.5)
    await renewed(harness, upstream, 2)


async def test_a_body_that_nobody_uses_is_not_renewed(harness, loop_clock, upstream, fallback) -> None:
    loop_clock.freeze()
    await harness.fetch(cached(upstream, cache_ttl_s=10))
    used = cached(fallback, "used", cache_ttl_s=10)
    await harness.fetch(used)
    for times in (2, 3):
        assert harness.find_cached(used) is not None
        await loop_clock.advance(10)
        await renewed(harness, fallback, times)
    assert len(upstream.requests) == 1


async def test_bounded_in_entries_the_least_used_goes_first(harness, upstream) -> None:
    for index in range(100):
        await harness.fetch(cached(upstream), uid=str(index))
    assert harness.find_cached(cached(upstream), uid="0") is not None
    await harness.fetch(cached(upstream), uid="100")
    assert len(harness.cache) == 100
    assert harness.find_cached(cached(upstream), uid="1") is None
    assert harness.find_cached(cached(upstream), uid="0") is not None


async def test_bounded_in_bytes(harness, upstream, observer) -> None:
    cache = BodyCache(harness.requester, observer, harness.clock, bytes_max=50_000)
    harness.chain._cache = cache
    upstream.behavior = answer(inline("x" * 9_000))
    for index in range(10):
        await harness.fetch(cached(upstream), uid=str(index))
    assert len(cache) == 2
    assert 2 * 9_000 * 2 < cache.size_bytes <= 50_000
    upstream.behavior = answer(inline("x" * 30_000))
    await harness.fetch(cached(upstream), uid="large")
    assert len(cache) == 2
    await cache.aclose()
    assert (len(cache), cache.size_bytes) == (0, 0)


async def test_what_a_player_sent_counts_too_where_it_tells_one_body_from_another(harness, upstream, observer) -> None:
    cache = BodyCache(harness.requester, observer, harness.clock, bytes_max=50_000)
    harness.chain._cache = cache
    for index in range(10):
        await harness.fetch(cached(upstream), uid=f"{index:09000}")
    assert len(cache) * 9_000 < cache.size_bytes <= 50_000
    await cache.aclose()
    assert (len(cache), cache.size_bytes) == (0, 0)


async def test_what_a_renewal_will_need_counts_too(harness, upstream, observer) -> None:
    cache = BodyCache(harness.requester, observer, harness.clock, bytes_max=50_000)
    harness.chain._cache = cache
    for index in range(10):
        await harness.fetch(cached(upstream), uid=str(index))
    before = cache.size_bytes
    assert len(cache) == 10
    for _ in range(3):
        assert harness.find_cached(cached(upstream), uid="9", page="x" * 9_000) is not None
    assert 9_000 < cache.size_bytes - before < 9_010
    for index in range(10):
        harness.find_cached(cached(upstream), uid=str(index), page="x" * 9_000)
    assert len(cache) == 4
    assert 4 * 9_000 < cache.size_bytes <= 50_000
    await cache.aclose()
    assert (len(cache), cache.size_bytes) == (0, 0)


async def test_a_document_that_grows_while_it_is_kept_counts_as_what_it_is_now(harness, upstream):
    kept = Upstream("primary", upstream.url, cache_ttl_s=60)
    fetched = await harness.fetch(kept)
    before = harness.cache.size_bytes

    class Growing:
        size_bytes = 5000

    entry = next(iter(harness.cache._entries.values()))
    entry.response = replace(entry.response, document=Growing())
    assert harness.find_cached(kept) is not None
    assert harness.cache.size_bytes > before + 5000 - 2 * len(fetched.body)
    Growing.size_bytes = 2_000_000
    assert harness.find_cached(kept) is not None
    assert (len(harness.cache), harness.cache.size_bytes) == (0, 0)
