"""Rate limits that hold over all workers and servers, decided without waiting.

Each name has one token bucket, shared by all workers (app.store.quotas). A worker leases small numbers of tokens ahead,
as many as it has recently used, and returns those it does not use. When it has none left it may overdraw by up to
half of the bucket's last known level. The overdraft is taken from the bucket with the next lease, even below zero, so
that the rate holds over time, however the requests are spread over the workers.
"""

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from app.errors import StoreUnavailable
from app.observer import Observer

log = structlog.get_logger()

BURST_S = 0.25
"""The default capacity of a bucket: the tokens of this many seconds, and one more."""

LEASE_INTERVAL_MIN_S = 0.02
"""The minimum time between two leases of one name while its bucket has tokens."""

LEASE_INTERVAL_MAX_S = (0.05, 0.1)
"""The range of the random time to the next lease: all of it if the bucket is empty, else a maximum."""

IDLE_S = 0.3
"""Tokens are returned after this time without a request."""

LEVEL_TRUSTED_S = 0.25
"""Trust the last reported level for this long before extrapolating the refill."""


class TokenBuckets(Protocol):
    """The shared buckets."""

    async def lease(self, name: str, rate_per_s: int, capacity: int, want: int, owed: int) -> tuple[int, float]:
        """Take `owed` tokens from the bucket (return them, if negative), then up to `want` of those left.

        Returns the granted tokens and the bucket's level, which may be below 0. Raises StoreUnavailable.
        """


@dataclass(slots=True)
class _TokenLease:
    """The tokens that this worker holds of one bucket, and the bucket's last known level."""

    rate_per_s: int
    capacity: int
    level: float
    """The bucket's level as of the last lease, less the overdraft since settled."""
    level_at: float
    used_at: float
    tokens: int = 0
    owed: int = 0
    """The overdraft that the next lease pays."""
    demand: int = 0
    """Requests since the last lease, allowed or not."""
    lease_failed: bool = False
    """Whether the last lease failed."""
    exhausted: asyncio.Event = field(default_factory=asyncio.Event)
    refill_task: "asyncio.Task[None] | None" = None

    def overdraft(self, now: float) -> int:
        """Return how many more requests may be allowed before the next lease.

        It is half of what the bucket may contain, because other workers draw on it too.
        """
        estimated = self.level + self.rate_per_s * max(0.0, now - self.level_at - LEVEL_TRUSTED_S)
        return math.ceil(int(min(estimated, self.capacity)) / 2) - self.owed

    def spend(self, now: float) -> bool:
        """Take a token or overdraw by one; return False if neither is possible."""
        self.demand += 1
        self.used_at = now
        if self.tokens:
            self.tokens -= 1
            return True
        self.exhausted.set()
        if self.overdraft(now) > 0:
            self.owed += 1
            return True
        return False


class RateLimiter:
    """Decides immediately whether one more request is allowed. One object per worker; close it to return its tokens."""

    def __init__(self, token_buckets: TokenBuckets, observer: Observer, clock: Callable[[], float]) -> None:
        self._token_buckets = token_buckets
        self._observer = observer
        self._clock = clock
        self._leases: dict[str, _TokenLease] = {}

    @property
    def rates_per_s(self) -> Mapping[str, int]:
        """The limits used so far, by name."""
        return {name: lease.rate_per_s for name, lease in self._leases.items()}

    def allow(self, name: str, rate_per_s: int, burst: int | None = None) -> bool:
        """Whether one more request of `name` is allowed; counts it if so. `burst` is the bucket's capacity."""
        now = self._clock()
        capacity = burst or math.ceil(1 + rate_per_s * BURST_S)
        lease = self._leases.get(name)
        if lease is None:
            lease = self._leases[name] = _TokenLease(rate_per_s, capacity, level=capacity, level_at=now, used_at=now)
        lease.rate_per_s, lease.capacity = rate_per_s, capacity
        allowed = lease.spend(now)
        self._observer.quota_checked(name, "passed" if allowed else "refused")
        if lease.refill_task is None or lease.refill_task.done():
            lease.refill_task = asyncio.create_task(self._keep_filled(name, lease), name=f"quota-{name}")
        return allowed

    async def _keep_filled(self, name: str, lease: _TokenLease) -> None:
        """Refill a lease for as long as it is in use; its knowledge of the bucket is kept after that."""
        while True:
            in_use = self._clock() - lease.used_at < IDLE_S
            await self._refill(name, lease, want=self._wanted(lease) if in_use else 0, keep=in_use)
            if not in_use and not lease.demand and not lease.owed:
                return
            await self._wait_for_next_refill(lease)

    def _wanted(self, lease: _TokenLease) -> int:
        """Return twice the demand since the last lease, but no more than half a bucket."""
        return max(0, min(2 * lease.demand + 1, math.ceil(lease.capacity / 2)) - lease.tokens)

    async def _refill(self, name: str, lease: _TokenLease, *, want: int, keep: bool) -> None:
        returned, lease.tokens = (0, lease.tokens) if keep else (lease.tokens, 0)
        owed, lease.owed, lease.demand = lease.owed, 0, 0
        lease.level -= owed
        lease.exhausted.clear()
        if not want and not owed and not returned:
            return
        try:
            granted, level = await self._token_buckets.lease(
                name, lease.rate_per_s, lease.capacity, want, owed - returned
            )
        except asyncio.CancelledError:
            # The overdraft may have been paid. It is paid again: a bucket may be too empty, but not too full.
            lease.owed += owed
            raise
        except StoreUnavailable as error:
            if not lease.lease_failed:
                log.warning("quota_unavailable", quota=name, error=str(error))
            lease.owed += owed
            level, granted = 0.0, 0
            lease.lease_failed = True
        else:
            lease.lease_failed = False
        lease.tokens += granted
        lease.level, lease.level_at = level, self._clock()

    async def _wait_for_next_refill(self, lease: _TokenLease) -> None:
        interval_s = random.uniform(*LEASE_INTERVAL_MAX_S)  # noqa: S311 - jitter
        if lease.level < 1:
            await asyncio.sleep(interval_s)
            return
        await asyncio.sleep(LEASE_INTERVAL_MIN_S)
        try:
            async with asyncio.timeout(interval_s):
                await lease.exhausted.wait()
        except TimeoutError:
            return

    async def aclose(self) -> None:
        """Pay the overdrafts and return the unused tokens."""
        for name, lease in self._leases.items():
            if lease.refill_task is not None:
                lease.refill_task.cancel()
                await asyncio.gather(lease.refill_task, return_exceptions=True)
            await self._refill(name, lease, want=0, keep=False)
        self._leases.clear()
