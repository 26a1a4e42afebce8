"""Rate limits that hold over all workers and servers, without anybody waiting for them.

Each name has one token bucket, shared by all (app.store.quotas). A worker leases small slices of it ahead, as much as
it lately used, and gives back what it does not use. Where it has none left it may go on credit, as far as the bucket
was full when it last looked: what it owes is taken from the bucket with the next lease, even below zero, so that the
rate holds in the end, whoever was how quick.
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
"""What a bucket holds unless it is told otherwise: this many seconds' worth, and one token."""

GAP_MIN_S, GAP_MAX_S = 0.02, (0.05, 0.1)
"""Between two leases of one name: at least the first while there are tokens, the second, at random, otherwise."""

IDLE_S = 0.3
"""After so long without use, tokens are given back."""

QUIET_S = 0.25
"""How long after a lease what it saw is taken for what is there, before time is thought to have filled the bucket."""


class QuotaLease(Protocol):
    """Where the buckets are."""

    async def lease(self, name: str, rate_per_s: int, capacity: int, want: int, owed: int) -> tuple[int, float]:
        """Takes `owed` from the bucket (gives it back, if negative), then up to `want` of what is left.

        Returns what it got and the tokens left, which may be below 0; raises StoreUnavailable.
        """


@dataclass(slots=True)
class _Purse:
    """What this worker has of one bucket, and knows of it."""

    rate_per_s: int
    capacity: int
    level: float
    """Tokens in the bucket when it was last looked at, less what was spent on credit since."""
    seen_at: float
    used_at: float
    tokens: int = 0
    owed: int = 0
    demand: int = 0
    """Requests since the last lease, allowed or not."""
    cut_off: bool = False
    """Whether the last lease failed."""
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    supply: "asyncio.Task[None] | None" = None

    def credit(self, now: float) -> int:
        """How many more may go before the next lease: half of what may be there, for there are other workers."""
        filled = self.level + self.rate_per_s * max(0.0, now - self.seen_at - QUIET_S)
        return math.ceil(int(min(filled, self.capacity)) / 2) - self.owed

    def spend(self, now: float) -> bool:
        """Takes a token, or credit."""
        self.demand += 1
        self.used_at = now
        if self.tokens:
            self.tokens -= 1
            return True
        self.empty.set()
        if self.credit(now) > 0:
            self.owed += 1
            return True
        return False


class RateLimit:
    """Says whether one more may pass, at once. One object for each worker; close it to give back what it holds."""

    def __init__(self, leases: QuotaLease, observer: Observer, clock: Callable[[], float]) -> None:
        self._leases = leases
        self._observer = observer
        self._clock = clock
        self._purses: dict[str, _Purse] = {}

    @property
    def rates_per_s(self) -> Mapping[str, int]:
        """The limits that were asked for so far, by name."""
        return {name: purse.rate_per_s for name, purse in self._purses.items()}

    def allow(self, name: str, rate_per_s: int, burst: int | None = None) -> bool:
        """Whether one more of `name` may pass, and counts it if so; `burst` is how many may pass at once."""
        now = self._clock()
        capacity = burst or math.ceil(1 + rate_per_s * BURST_S)
        purse = self._purses.get(name)
        if purse is None:
            purse = self._purses[name] = _Purse(rate_per_s, capacity, level=capacity, seen_at=now, used_at=now)
        purse.rate_per_s, purse.capacity = rate_per_s, capacity
        allowed = purse.spend(now)
        self._observer.quota_checked(name, "passed" if allowed else "refused")
        if purse.supply is None or purse.supply.done():
            purse.supply = asyncio.create_task(self._supply(name, purse), name=f"quota-{name}")
        return allowed

    async def _supply(self, name: str, purse: _Purse) -> None:
        """Keeps a purse filled for as long as it is used; what it knows of its bucket is kept after that."""
        while True:
            used = self._clock() - purse.used_at < IDLE_S
            await self._lease(name, purse, want=self._wanted(purse) if used else 0, keep=used)
            if not used and not purse.demand and not purse.owed:
                return
            await self._pause(purse)

    def _wanted(self, purse: _Purse) -> int:
        """Twice what the last gap used, but no more than half a bucket."""
        return max(0, min(2 * purse.demand + 1, math.ceil(purse.capacity / 2)) - purse.tokens)

    async def _lease(self, name: str, purse: _Purse, *, want: int, keep: bool) -> None:
        returned, purse.tokens = (0, purse.tokens) if keep else (purse.tokens, 0)
        owed, purse.owed, purse.demand = purse.owed, 0, 0
        purse.level -= owed
        purse.empty.clear()
        if not want and not owed and not returned:
            return
        try:
            granted, level = await self._leases.lease(name, purse.rate_per_s, purse.capacity, want, owed - returned)
        except asyncio.CancelledError:
            # Whether it was paid nobody knows. It is paid again: a bucket may be too empty, but not too full.
            purse.owed += owed
            raise
        except StoreUnavailable as error:
            if not purse.cut_off:
                log.warning("quota unavailable, nothing passes", quota=name, error=str(error))
            purse.owed += owed
            level, granted = 0.0, 0
            purse.cut_off = True
        else:
            purse.cut_off = False
        purse.tokens += granted
        purse.level, purse.seen_at = level, self._clock()

    async def _pause(self, purse: _Purse) -> None:
        gap_s = random.uniform(*GAP_MAX_S)  # noqa: S311 - jitter
        if purse.level < 1:
            await asyncio.sleep(gap_s)
            return
        await asyncio.sleep(GAP_MIN_S)
        try:
            async with asyncio.timeout(gap_s):
                await purse.empty.wait()
        except TimeoutError:
            return

    async def aclose(self) -> None:
        """Settles what is owed, and gives back what was not used."""
        for name, purse in self._purses.items():
            if purse.supply is not None:
                purse.supply.cancel()
                await asyncio.gather(purse.supply, return_exceptions=True)
            await self._lease(name, purse, want=0, keep=False)
        self._purses.clear()
