import asyncio

import pytest

from app.domain import Upstream
from app.upstreams.failures import AllUpstreamsFailed, FailedAttempt
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import UpstreamServer, answer, inline


def kinds(attempts: tuple[FailedAttempt, ...]) -> list[tuple[str, str]]:
    return [(attempt.upstream_id, attempt.kind) for attempt in attempts]


def ask(server: UpstreamServer, upstream_id: str = "primary", **limits: object) -> Upstream:
    limits = {"timeout_ms": 5000} | limits
    return Upstream(upstream_id, server.url + f"/{upstream_id}?tmax={{tmax}}", **limits)  # type: ignore[arg-type]


def tmax(server: UpstreamServer, index: int = 0) -> int:
    return int(server.requests[index].target.partition("tmax=")[2])


async def test_the_primarys_ad_is_served_without_a_request_to_the_fallback(harness, upstream, fallback) -> None:
    fetched = await harness.fetch(ask(upstream), ask(fallback, "fallback"))
    assert (fetched.upstream_id, fetched.body, fetched.attempts) == ("primary", inline(), ())
    assert fetched.elapsed_ms > 0
    assert not fallback.requests


async def test_tries_the_chain_in_order_and_says_what_failed(harness, upstream, fallback) -> None:
    upstream.behavior = answer(b"", "500 Internal Server Error")
    third = ask(fallback, "fallback2")
    fetched = await harness.fetch(ask(upstream), ask(upstream, "fallback1"), third)
    assert fetched.upstream_id == "fallback2"
    assert kinds(fetched.attempts) == [("primary", "status"), ("fallback1", "status")]
    assert all(attempt.elapsed_ms > 0 for attempt in fetched.attempts)


async def test_all_failed_lists_each(harness, upstream, fallback) -> None:
    upstream.behavior = answer(faults.EMPTY)
    fallback.behavior = answer(faults.HTML)
    with pytest.raises(AllUpstreamsFailed) as caught:
        await harness.fetch(ask(upstream), ask(fallback, "fallback"))
    assert kinds(caught.value.attempts) == [("primary", "no_ad"), ("fallback", "malformed")]
    assert (caught.value.upstream_id, caught.value.kind) == ("primary", "no_ad")


async def test_an_attempt_may_not_take_longer_than_its_own_limit(harness, loop_clock, upstream, fallback) -> None:
    upstream.behavior = faults.hang
    loop_clock.freeze()
    chain = ask(upstream, timeout_ms=8000), ask(fallback, "fallback")
    task = asyncio.create_task(harness.fetch(*chain, timeout_s=30))
    await upstream.asked(1)
    await loop_clock.advance(8)
    fetched = await task
    assert kinds(fetched.attempts) == [("primary", "timeout")]
    assert fetched.attempts[0].elapsed_ms == 8000


async def test_what_is_left_is_divided_among_the_attempts_left(harness, loop_clock, upstream, fallback) -> None:
    upstream.behavior = faults.hang
    loop_clock.freeze()
    slow = {"timeout_ms": 100_000}
    chain = [ask(upstream, **slow), ask(upstream, "fallback1", **slow), ask(fallback, "fallback2", **slow)]
    task = asyncio.create_task(harness.fetch(*chain, timeout_s=60))
    for times in (1, 2):
        await upstream.asked(times)
        await loop_clock.advance(20)
    fetched = await task
    assert fetched.upstream_id == "fallback2"
    assert tmax(upstream) == tmax(upstream, 1) == tmax(fallback) == 20_000
    assert fetched.elapsed_ms == 40_000


async def test_tmax_is_the_upstreams_own_limit_when_that_is_shorter(harness, loop_clock, upstream) -> None:
    loop_clock.freeze()
    await harness.fetch(ask(upstream, timeout_ms=1500), timeout_s=10)
    assert tmax(upstream) == 1500


async def test_a_late_request_that_cannot_wait_opens_no_breaker(harness, loop_clock, upstream, fallback) -> None:
    upstream.behavior = faults.hang
    loop_clock.freeze()
    chain = ask(upstream, timeout_ms=10_000, breaker_failures=1), ask(fallback, "fallback")
    late = asyncio.create_task(harness.fetch(*chain, timeout_s=4, is_late=True))
    await upstream.asked(1)
    await loop_clock.advance(2)
    assert kinds((await late).attempts) == [("primary", "short_deadline")]
    assert harness.requester.breakers.states["primary"] == "closed"
    in_time = asyncio.create_task(harness.fetch(*chain, timeout_s=4))
    await upstream.asked(2)
    await loop_clock.advance(2)
    assert kinds((await in_time).attempts) == [("primary", "timeout")]
    assert harness.requester.breakers.states["primary"] == "open"


async def test_who_has_its_own_limit_is_at_fault_however_late_the_request(
    harness, loop_clock, upstream, fallback
) -> None:
    upstream.behavior = faults.hang
    loop_clock.freeze()
    chain = ask(upstream, timeout_ms=5000, breaker_failures=1), ask(fallback, "fallback")
    task = asyncio.create_task(harness.fetch(*chain, timeout_s=30, is_late=True))
    await upstream.asked(1)
    await loop_clock.advance(5)
    fetched = await task
    assert kinds(fetched.attempts) == [("primary", "timeout")]
    assert harness.requester.breakers.states["primary"] == "open"


async def test_past_the_deadline_no_request_is_sent(harness, upstream) -> None:
    with pytest.raises(AllUpstreamsFailed) as caught:
        await harness.fetch(ask(upstream), timeout_s=0)
    assert kinds(caught.value.attempts) == [("primary", "deadline")]
    assert not upstream.requests


async def test_no_upstreams_is_a_failure_too(harness) -> None:
    with pytest.raises(AllUpstreamsFailed):
        await harness.fetch()


async def test_sends_the_headers_of_the_viewer(harness, upstream) -> None:
    await harness.fetch(ask(upstream))
    assert upstream.requests[0].headers["x-device-ip"] == "203.0.113.9"


async def test_each_upstream_has_its_own_size_and_redirect_limit(harness, upstream, fallback) -> None:
    fallback.behavior = faults.redirect(upstream.url)
    chain = [ask(upstream, max_body_bytes=10), ask(fallback, "fallback", max_redirects=0), ask(fallback, "last")]
    fetched = await harness.fetch(*chain)
    assert kinds(fetched.attempts) == [("primary", "too_large"), ("fallback", "redirects")]
    assert fetched.upstream_id == "last"


async def test_cancelling_the_fetch_gives_every_connection_up(harness, upstream, observer) -> None:
    upstream.behavior = faults.hang
    task = asyncio.create_task(harness.fetch(ask(upstream, timeout_ms=10_000), timeout_s=10))
    await upstream.asked(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.connected(0)
    assert observer.attempts == [("primary", "canceled")]
    assert harness.requester.bulkhead.in_flight["primary"] == 0


async def test_restores_an_ad_that_was_served_before(harness) -> None:
    fetched = harness.chain.from_stored_body("primary", inline())
    assert (fetched.upstream_id, fetched.body) == ("primary", inline())
    assert fetched.document is not None


# Breaker


async def test_an_open_breaker_sends_nothing_and_the_fallback_is_next(harness, upstream, fallback, observer) -> None:
    upstream.behavior = faults.reset_in_body
    primary = ask(upstream, breaker_failures=2)
    for _ in range(4):
        fetched = await harness.fetch(primary, ask(fallback, "fallback"))
        assert fetched.upstream_id == "fallback"
    assert len(upstream.requests) == 2
    assert kinds(fetched.attempts) == [("primary", "breaker_open")]
    assert observer.changes == [("primary", "closed", "open")]


async def test_no_ad_does_not_open_the_breaker(harness, upstream, fallback) -> None:
    upstream.behavior = answer(faults.EMPTY)
    for _ in range(4):
        await harness.fetch(ask(upstream, breaker_failures=2), ask(fallback, "fallback"))
    assert len(upstream.requests) == 4


async def test_half_open_asks_once_however_many_wait(harness, upstream, fallback, monkeypatch) -> None:
    upstream.behavior = answer(b"", "500 Internal Server Error")
    primary = ask(upstream, breaker_failures=1, breaker_reset_s=0)
    await harness.fetch(primary, ask(fallback, "fallback"))
    gate = upstream.behavior = faults.Gate(answer(inline()))
    trials = [asyncio.create_task(harness.fetch(primary, ask(fallback, "fallback"))) for _ in range(20)]
    await fallback.asked(1 + 19)
    gate.opened.set()
    winners = [(await trial).upstream_id for trial in trials]
    assert winners.count("primary") == 1
    assert len(upstream.requests) == 2


# Retry


async def test_a_reset_before_the_answer_is_asked_once_more_on_a_fresh_connection(harness, upstream, observer) -> None:
    await harness.fetch(ask(upstream))

    async def reset_once(request, writer) -> None:
        upstream.behavior = answer(inline())
        await faults.reset(request, writer)

    upstream.behavior = reset_once
    fetched = await harness.fetch(ask(upstream))
    assert fetched.attempts == ()
    assert [request.connection for request in upstream.requests] == [1, 1, 2]
    assert observer.attempts == [("primary", "ad")] * 2


async def test_never_more_than_two(harness, upstream, fallback) -> None:
    upstream.behavior = faults.reset
    fetched = await harness.fetch(ask(upstream), ask(fallback, "fallback"))
    assert len(upstream.requests) == 2
    assert kinds(fetched.attempts) == [("primary", "reset")]


@pytest.mark.parametrize("behavior", [faults.reset_in_body, faults.hang, answer(b"", "503 Service Unavailable")])
async def test_nothing_else_is_asked_again(harness, loop_clock, upstream, fallback, behavior) -> None:
    upstream.behavior = behavior
    task = asyncio.create_task(harness.fetch(ask(upstream, timeout_ms=5000), ask(fallback, "fallback")))
    await upstream.asked(1)
    if behavior is faults.hang:
        await loop_clock.advance(5)
    await task
    assert len(upstream.requests) == 1


async def test_a_retry_takes_a_place_in_the_quota_too(harness, upstream, fallback) -> None:
    upstream.behavior = faults.reset
    harness.tokens["primary"] = 1
    fetched = await harness.fetch(ask(upstream, max_qps=1), ask(fallback, "fallback"))
    assert len(upstream.requests) == 1
    assert kinds(fetched.attempts) == [("primary", "reset")]


async def test_a_reset_without_quota_for_a_retry_counts_against_the_upstream(harness, upstream) -> None:
    upstream.behavior = faults.reset
    for _ in range(2):
        harness.tokens["primary"] = 1
        with pytest.raises(AllUpstreamsFailed, match="reset"):
            await harness.fetch(ask(upstream, max_qps=1, breaker_failures=2))
    assert harness.requester.breakers.states["primary"] == "open"


# Quota and bulkhead


async def test_without_a_place_in_the_quota_the_fallback_goes_at_once(harness, upstream, fallback) -> None:
    harness.tokens["primary"] = 3
    winners = [(await harness.fetch(ask(upstream, max_qps=3), ask(fallback, "fallback"))).upstream_id for _ in range(5)]
    assert winners == ["primary"] * 3 + ["fallback"] * 2
    assert len(upstream.requests) == 3


async def test_no_more_than_max_in_flight(harness, upstream, fallback) -> None:
    gate = upstream.behavior = faults.Gate(answer(inline()))
    primary = ask(upstream, max_in_flight=3, timeout_ms=5000)
    tasks = [asyncio.create_task(harness.fetch(primary, ask(fallback, "fallback"), timeout_s=20)) for _ in range(10)]
    await fallback.asked(7)
    await upstream.asked(3)
    assert harness.requester.bulkhead.in_flight["primary"] == 3
    gate.opened.set()
    fetched = [await task for task in tasks]
    assert sorted(ad.upstream_id for ad in fetched) == ["fallback"] * 7 + ["primary"] * 3
    assert {kind for ad in fetched for kind in kinds(ad.attempts)} == {("primary", "bulkhead")}
    assert len(upstream.requests) == 3
    assert (await harness.fetch(primary)).upstream_id == "primary"


# Hedging


def known_p95(harness, upstream_id: str, seconds: float) -> None:
    for _ in range(20):
        harness.latencies.record(upstream_id, seconds)


async def test_hedging_asks_the_next_after_the_p95_and_the_first_ad_wins(
    harness, loop_clock, upstream, fallback, observer
) -> None:
    loop_clock.freeze()
    known_p95(harness, "primary", 2)
    upstream.behavior = faults.hang
    chain = ask(upstream, hedge=True, timeout_ms=5000), ask(fallback, "fallback")
    task = asyncio.create_task(harness.fetch(*chain, timeout_s=10))
    await upstream.asked(1)
    await loop_clock.advance(1.875)
    assert harness.requester.bulkhead.in_flight["fallback"] == 0
    await loop_clock.advance(0.5)
    fetched = await task
    assert fetched.upstream_id == "fallback"
    assert fetched.elapsed_ms == 2375
    await upstream.connected(0)
    assert sorted(observer.attempts) == [("fallback", "ad"), ("primary", "canceled")]
    assert harness.requester.breakers.states["primary"] == "closed"


async def test_the_primary_may_still_win(harness, upstream, fallback, observer) -> None:
    known_p95(harness, "primary", 0.001)
    gate = upstream.behavior = faults.Gate(answer(inline("primary")))
    fallback.behavior = faults.hang
    hedged, other = ask(upstream, hedge=True, timeout_ms=5000), ask(fallback, "fallback", timeout_ms=5000)
    task = asyncio.create_task(harness.fetch(hedged, other, timeout_s=10))
    await fallback.asked(1)
    gate.opened.set()
    assert (await task).upstream_id == "primary"
    await fallback.connected(0)


@pytest.mark.parametrize("hedge", [False, True])
async def test_hedging_is_off_by_default_and_needs_a_known_p95(harness, loop_clock, upstream, fallback, hedge) -> None:
    loop_clock.freeze()
    if not hedge:
        known_p95(harness, "primary", 0.001)
    upstream.behavior = faults.hang
    chain = ask(upstream, hedge=hedge, timeout_ms=5000), ask(fallback, "fallback")
    task = asyncio.create_task(harness.fetch(*chain))
    await upstream.asked(1)
    await loop_clock.advance(4)
    assert harness.requester.bulkhead.in_flight["fallback"] == 0
    await loop_clock.advance(1)
    await task
    assert harness.observer.attempts[0] == ("primary", "timeout")


async def test_a_failed_primary_leaves_the_hedge_running(harness, upstream, fallback) -> None:
    known_p95(harness, "primary", 0.001)
    failing = upstream.behavior = faults.Gate(answer(b"", "500 Internal Server Error"))
    slow = fallback.behavior = faults.Gate(answer(inline()))
    hedged, other = ask(upstream, hedge=True, timeout_ms=5000), ask(fallback, "fallback", timeout_ms=5000)
    task = asyncio.create_task(harness.fetch(hedged, other, timeout_s=10))
    await fallback.asked(1)
    failing.opened.set()
    await upstream.asked(1)
    slow.opened.set()
    fetched = await task
    assert fetched.upstream_id == "fallback"
    assert len(fallback.requests) == 1
