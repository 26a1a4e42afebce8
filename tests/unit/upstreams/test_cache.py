import asyncio
from dataclasses import replace

import pytest

from app.domain import Upstream
from app.upstreams.cache import RENEW_AFTER, BodyCache
from app.upstreams.failures import AllUpstreamsFailed
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import UpstreamServer, answer, inline

ERROR = answer(b"", "500 Internal Server Error")


def cached(server: UpstreamServer, upstream_id: str = "primary", **limits: object) -> Upstream:
    limits = {"cache_ttl_s": 300, "timeout_ms": 5000} | limits
    return Upstream(upstream_id, server.url + "/?uid={uid}", **limits)  # type: ignore[arg-type]


async def renewed(bench, server, times) -> None:
    """Returns when that many requests were answered, and the cache has taken note."""
    await server.asked(times)
    while bench.cache._fetches:
        await asyncio.wait(bench.cache._fetches.values())


async def test_a_hit_asks_nobody(bench, upstream, seen) -> None:
    first = await bench.fetch(cached(upstream))
    second = await bench.fetch(cached(upstream))
    assert (first.from_cache, second.from_cache) == (False, True)
    assert second.body == inline()
    assert len(upstream.requests) == 1
    assert seen.looks == [("primary", "miss"), ("primary", "hit")]


async def test_a_cached_body_is_in_hand(bench, upstream) -> None:
    assert bench.in_hand(cached(upstream)) is None
    await bench.fetch(cached(upstream))
    fetched = bench.in_hand(cached(upstream))
    assert fetched is not None
    assert (fetched.upstream_id, fetched.from_cache) == ("primary", True)


async def test_a_ttl_of_0_is_off(bench, upstream) -> None:
    off = cached(upstream, cache_ttl_s=0, stale_while_revalidate_s=100, stale_if_error_s=100)
    await bench.fetch(off)
    assert bench.in_hand(off) is None
    await bench.fetch(off)
    assert len(upstream.requests) == 2
    assert bench.seen.looks == []


async def test_the_key_is_the_tag_url_of_that_upstream(bench, upstream) -> None:
    await bench.fetch(cached(upstream), uid="alice")
    assert bench.in_hand(cached(upstream), uid="bob") is None
    assert bench.in_hand(cached(upstream, "other"), uid="alice") is None
    assert bench.in_hand(cached(upstream), uid="alice") is not None


@pytest.mark.parametrize(("ttl_s", "tells"), [(0, True), (300, False)])
async def test_a_body_for_everybody_is_asked_for_without_saying_who_watches(bench, upstream, ttl_s, tells) -> None:
    await bench.fetch(cached(upstream, cache_ttl_s=ttl_s))
    assert ("x-device-ip" in upstream.requests[0].headers) == tells


@pytest.mark.parametrize("ttl_s", [10, 300])
async def test_is_fresh_for_its_ttl_and_no_longer(bench, upstream, ttl_s) -> None:
    await bench.fetch(cached(upstream, cache_ttl_s=ttl_s))
    bench.clock.now += ttl_s - 0.1
    assert bench.in_hand(cached(upstream, cache_ttl_s=ttl_s)) is not None
    bench.clock.now += 0.2
    assert bench.in_hand(cached(upstream, cache_ttl_s=ttl_s)) is None


async def test_concurrent_misses_are_one_request(bench, upstream) -> None:
    gate = upstream.behaviour = faults.Gate(answer(inline()))
    tasks = [asyncio.create_task(bench.fetch(cached(upstream), within_s=30)) for _ in range(10_000)]
    await upstream.asked(1)
    gate.opened.set()
    fetched = await asyncio.gather(*tasks)
    assert {one.upstream_id for one in fetched} == {"primary"}
    assert len(upstream.requests) == 1


async def test_a_failure_is_shared_too_and_not_kept(bench, upstream) -> None:
    gate = upstream.behaviour = faults.Gate(ERROR)
    tasks = [asyncio.create_task(bench.fetch(cached(upstream))) for _ in range(10)]
    await upstream.asked(1)
    gate.opened.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {AllUpstreamsFailed}
    assert len(upstream.requests) == 1
    upstream.behaviour = answer(inline())
    assert (await bench.fetch(cached(upstream))).upstream_id == "primary"


async def test_one_who_gives_up_does_not_end_the_fetch_for_the_others(bench, upstream, fallback) -> None:
    gate = upstream.behaviour = faults.Gate(answer(inline()))
    patient = asyncio.create_task(bench.fetch(cached(upstream), within_s=20))
    hasty = await bench.fetch(cached(upstream), Upstream("fallback", fallback.url), within_s=0.1)
    assert hasty.upstream_id == "fallback"
    leaving = asyncio.create_task(bench.fetch(cached(upstream)))
    leaving.cancel()
    gate.opened.set()
    assert (await patient).upstream_id == "primary"
    assert len(upstream.requests) == 1


async def test_stale_while_revalidate_serves_and_renews(bench, upstream, seen) -> None:
    lenient = cached(upstream, stale_while_revalidate_s=60)
    await bench.fetch(lenient)
    upstream.behaviour = answer(inline("renewed"))
    bench.clock.now += 359
    fetched = bench.in_hand(lenient)
    assert fetched is not None
    assert fetched.body == inline()
    await renewed(bench, upstream, 2)
    assert bench.in_hand(lenient).body == inline("renewed")
    assert seen.looks[1:] == [("primary", "stale"), ("primary", "hit")]


async def test_stale_while_revalidate_has_its_bound(bench, upstream) -> None:
    lenient = cached(upstream, stale_while_revalidate_s=60)
    await bench.fetch(lenient)
    bench.clock.now += 361
    assert bench.in_hand(lenient) is None
    assert (await bench.fetch(lenient)).from_cache is False


async def test_many_stale_hits_are_one_renewal(bench, upstream) -> None:
    lenient = cached(upstream, stale_while_revalidate_s=60)
    await bench.fetch(lenient)
    bench.clock.now += 301
    gate = upstream.behaviour = faults.Gate(answer(inline()))
    assert all(bench.in_hand(lenient) for _ in range(100))
    gate.opened.set()
    await renewed(bench, upstream, 2)
    assert len(upstream.requests) == 2


async def test_stale_if_error_serves_while_the_upstream_fails(bench, upstream, fallback, seen) -> None:
    lenient = cached(upstream, stale_if_error_s=3600)
    await bench.fetch(lenient)
    upstream.behaviour = ERROR
    bench.clock.now += 300 + 3599
    fetched = await bench.fetch(lenient, Upstream("fallback", fallback.url))
    assert (fetched.upstream_id, fetched.from_cache) == ("primary", True)
    assert seen.looks[-1] == ("primary", "stale")
    bench.clock.now += 2
    fetched = await bench.fetch(lenient, Upstream("fallback", fallback.url))
    assert fetched.upstream_id == "fallback"


async def test_without_stale_if_error_a_failure_is_a_failure(bench, upstream) -> None:
    await bench.fetch(cached(upstream, stale_while_revalidate_s=3600))
    upstream.behaviour = ERROR
    bench.clock.now += 300 + 3601
    with pytest.raises(AllUpstreamsFailed):
        await bench.fetch(cached(upstream))


async def test_no_ad_is_an_answer_and_ends_the_stale_body(bench, upstream) -> None:
    lenient = cached(upstream, stale_if_error_s=3600, stale_while_revalidate_s=60)
    await bench.fetch(lenient)
    upstream.behaviour = answer(faults.EMPTY)
    bench.clock.now += 301
    assert bench.in_hand(lenient) is not None
    await renewed(bench, upstream, 2)
    assert len(bench.cache) == 0
    with pytest.raises(AllUpstreamsFailed):
        await bench.fetch(lenient)


async def test_behind_an_open_breaker_the_stale_body_or_the_fallbacks_is_in_hand(bench, upstream, fallback) -> None:
    lenient = cached(upstream, breaker_failures=1, stale_if_error_s=600)
    other = cached(fallback, "fallback")
    await bench.fetch(lenient)
    await bench.fetch(other)
    upstream.behaviour = ERROR
    bench.clock.now += 301
    await bench.fetch(other)
    assert bench.in_hand(lenient, other) is None
    assert (await bench.fetch(lenient)).from_cache
    assert bench.in_hand(lenient, other).upstream_id == "primary"
    bench.clock.now += 600
    await bench.fetch(other)
    fetched = bench.in_hand(lenient, other)
    assert fetched.upstream_id == "fallback"
    assert [(attempt.upstream_id, attempt.kind) for attempt in fetched.attempts] == [("primary", "breaker_open")]


async def test_a_body_in_use_is_renewed_before_it_expires(bench, upstream, monkeypatch) -> None:
    assert 0.7 <= min(RENEW_AFTER) <= max(RENEW_AFTER) < 1
    # Half of the time, so that a machine that is busy still renews within the whole of it.
    monkeypatch.setattr("app.upstreams.cache.RENEW_AFTER", (0.5, 0.5))
    quick = cached(upstream, cache_ttl_s=1)
    await bench.fetch(quick)
    started = asyncio.get_running_loop().time()
    assert bench.in_hand(quick) is not None
    await renewed(bench, upstream, 2)
    assert 0.45 <= asyncio.get_running_loop().time() - started < 1


async def test_a_body_that_nobody_uses_is_not_renewed(bench, upstream, fallback) -> None:
    await bench.fetch(cached(upstream, cache_ttl_s=1))
    used = cached(fallback, "used", cache_ttl_s=1)
    await bench.fetch(used)
    for times in (2, 3):
        assert bench.in_hand(used) is not None
        await renewed(bench, fallback, times)
    assert len(upstream.requests) == 1


async def test_bounded_in_entries_the_least_used_goes_first(bench, upstream) -> None:
    for no in range(100):
        await bench.fetch(cached(upstream), uid=str(no))
    assert bench.in_hand(cached(upstream), uid="0") is not None
    await bench.fetch(cached(upstream), uid="100")
    assert len(bench.cache) == 100
    assert bench.in_hand(cached(upstream), uid="1") is None
    assert bench.in_hand(cached(upstream), uid="0") is not None


async def test_bounded_in_bytes(bench, upstream, seen) -> None:
    cache = BodyCache(bench.asker, seen, bench.clock, bytes_max=50_000)
    bench.chain._cache = cache
    upstream.behaviour = answer(inline("x" * 9_000))
    for no in range(10):
        await bench.fetch(cached(upstream), uid=str(no))
    assert len(cache) == 2
    assert 2 * 9_000 * 2 < cache.size_bytes <= 50_000
    upstream.behaviour = answer(inline("x" * 30_000))
    await bench.fetch(cached(upstream), uid="large")
    assert len(cache) == 2
    await cache.aclose()
    assert (len(cache), cache.size_bytes) == (0, 0)


async def test_what_a_player_sent_counts_too_where_it_tells_one_body_from_another(bench, upstream, seen) -> None:
    cache = BodyCache(bench.asker, seen, bench.clock, bytes_max=50_000)
    bench.chain._cache = cache
    for no in range(10):
        await bench.fetch(cached(upstream), uid=f"{no:09000}")
    assert len(cache) * 9_000 < cache.size_bytes <= 50_000
    await cache.aclose()
    assert (len(cache), cache.size_bytes) == (0, 0)


async def test_what_a_renewal_will_need_counts_too(bench, upstream, seen) -> None:
    cache = BodyCache(bench.asker, seen, bench.clock, bytes_max=50_000)
    bench.chain._cache = cache
    for no in range(10):
        await bench.fetch(cached(upstream), uid=str(no))
    before = cache.size_bytes
    assert len(cache) == 10
    for _ in range(3):
        assert bench.in_hand(cached(upstream), uid="9", page="x" * 9_000) is not None
    assert 9_000 < cache.size_bytes - before < 9_010
    for no in range(10):
        bench.in_hand(cached(upstream), uid=str(no), page="x" * 9_000)
    assert len(cache) == 4
    assert 4 * 9_000 < cache.size_bytes <= 50_000
    await cache.aclose()
    assert (len(cache), cache.size_bytes) == (0, 0)


async def test_a_document_that_grows_while_it_is_kept_counts_as_what_it_is_now(bench, upstream):
    kept = Upstream("primary", upstream.url, cache_ttl_s=60)
    fetched = await bench.fetch(kept)
    before = bench.cache.size_bytes

    class Growing:
        size_bytes = 5000

    entry = next(iter(bench.cache._entries.values()))
    entry.answer = replace(entry.answer, document=Growing())
    assert bench.in_hand(kept) is not None
    assert bench.cache.size_bytes > before + 5000 - 2 * len(fetched.body)
    Growing.size_bytes = 2_000_000
    assert bench.in_hand(kept) is not None
    assert (len(bench.cache), bench.cache.size_bytes) == (0, 0)
