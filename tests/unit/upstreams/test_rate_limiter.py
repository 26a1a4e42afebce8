"""The worker's side of a rate limit; tests/integration/test_quotas.py has the buckets."""

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from app.errors import StoreUnavailable
from app.upstreams.rate_limiter import RateLimiter
from tests.unit.upstreams.conftest import RecordingObserver


class Bucket:
    """One token bucket in memory, whose time passes when a test says so."""

    def __init__(self, tokens: float) -> None:
        self.tokens = tokens
        self.leases: list[tuple[str, int, int, int, int]] = []
        self.reachable = True
        self.leased = asyncio.Condition()
        self.refused = asyncio.Event()

    async def lease(self, name: str, rate_per_s: int, capacity: int, want: int, owed: int) -> tuple[int, float]:
        if not self.reachable:
            self.refused.set()
            raise StoreUnavailable("down")
        self.leases.append((name, rate_per_s, capacity, want, owed))
        self.tokens -= owed
        granted = min(want, max(0, math.floor(self.tokens)))
        self.tokens -= granted
        async with self.leased:
            self.leased.notify_all()
        return granted, self.tokens

    async def until(self, leases: int) -> None:
        async with self.leased, asyncio.timeout(10):
            await self.leased.wait_for(lambda: len(self.leases) >= leases)
        await asyncio.sleep(0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def bucket() -> Bucket:
    return Bucket(26)


@pytest.fixture
async def limit(bucket: Bucket, observer: RecordingObserver, clock: Clock) -> AsyncIterator[RateLimiter]:
    limit = RateLimiter(bucket, observer, clock)
    yield limit
    await limit.aclose()


def allowed(limit: RateLimiter, times: int, rate: int = 100, burst: int | None = None) -> int:
    return sum(limit.allow("upstream:primary", rate, burst) for _ in range(times))


async def test_the_first_does_not_wait_for_a_lease(limit: RateLimiter, bucket: Bucket) -> None:
    assert allowed(limit, 1) == 1
    assert bucket.leases == []


async def test_the_overdraft_is_half_a_bucket_and_is_paid(limit: RateLimiter, bucket: Bucket) -> None:
    assert allowed(limit, 100) == 13
    await bucket.until(1)
    assert bucket.leases == [("upstream:primary", 100, 26, 13, 13)]
    assert bucket.tokens == 0


async def test_leases_ahead_twice_what_was_used(limit: RateLimiter, bucket: Bucket) -> None:
    allowed(limit, 3)
    await bucket.until(1)
    assert bucket.leases[0][3:] == (7, 3)
    assert bucket.tokens == 26 - 3 - 7


async def test_nothing_passes_while_the_bucket_is_empty(limit: RateLimiter, bucket: Bucket) -> None:
    bucket.tokens = 0
    allowed(limit, 1)
    await bucket.until(1)
    assert allowed(limit, 100) == 0
    bucket.tokens = 5
    await bucket.until(2)
    assert allowed(limit, 100) == 5


async def test_gives_back_what_it_does_not_use(limit: RateLimiter, bucket: Bucket, clock: Clock) -> None:
    allowed(limit, 3)
    await bucket.until(1)
    assert bucket.tokens == 16
    clock.now += 0.5
    await bucket.until(2)
    assert bucket.leases[1][3:] == (0, -7)
    assert bucket.tokens == 23


async def test_an_idle_limit_leases_nothing(limit: RateLimiter, bucket: Bucket, clock: Clock) -> None:
    allowed(limit, 3)
    clock.now += 0.5
    await bucket.until(1)
    assert limit._leases["upstream:primary"].refill_task is not None
    await limit._leases["upstream:primary"].refill_task
    assert len(bucket.leases) == 1
    assert allowed(limit, 1) == 1
    await bucket.until(2)


async def test_after_a_pause_it_remembers_that_the_bucket_was_empty(
    limit: RateLimiter, bucket: Bucket, clock: Clock
) -> None:
    bucket.tokens = -200
    allowed(limit, 1)
    await bucket.until(1)
    clock.now += 0.5
    await limit._leases["upstream:primary"].refill_task  # type: ignore[misc]
    assert allowed(limit, 100) == 0
    clock.now += 3
    assert 0 < allowed(limit, 100) <= 13


async def test_burst_is_what_the_bucket_holds(limit: RateLimiter, bucket: Bucket) -> None:
    assert allowed(limit, 1000, rate=10, burst=100) == 50
    await bucket.until(1)
    assert bucket.leases[0][1:3] == (10, 100)


async def test_without_the_buckets_nothing_passes_for_long(limit: RateLimiter, bucket: Bucket) -> None:
    bucket.reachable = False
    assert allowed(limit, 100) == 13
    await bucket.refused.wait()
    assert allowed(limit, 100) == 0
    bucket.reachable = True
    await bucket.until(1)
    assert bucket.leases[0][4] == 13, "what was spent meanwhile is still owed"


async def test_every_request_is_reported_to_the_observer(limit: RateLimiter, observer: RecordingObserver) -> None:
    allowed(limit, 15)
    assert observer.quotas == [("upstream:primary", "passed")] * 13 + [("upstream:primary", "refused")] * 2
    assert limit.rates_per_s == {"upstream:primary": 100}


async def test_names_do_not_share(limit: RateLimiter) -> None:
    assert allowed(limit, 100) == 13
    assert limit.allow("publisher:one", 100)


async def test_closing_settles_and_gives_back(bucket: Bucket, observer: RecordingObserver, clock: Clock) -> None:
    limit = RateLimiter(bucket, observer, clock)
    allowed(limit, 3)
    await bucket.until(1)
    allowed(limit, 2)
    await limit.aclose()
    assert bucket.tokens == 26 - 5


async def test_closing_while_a_lease_is_under_way_settles_what_it_was_to_pay(
    bucket: Bucket, observer: RecordingObserver, clock: Clock
) -> None:
    lease, asked = bucket.lease, asyncio.Event()

    async def lost(*_: object) -> tuple[int, float]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    bucket.lease = lost  # type: ignore[method-assign]
    limit = RateLimiter(bucket, observer, clock)
    assert allowed(limit, 100) == 13
    await asked.wait()
    bucket.lease = lease  # type: ignore[method-assign]
    await limit.aclose()
    assert bucket.tokens == 26 - 13
