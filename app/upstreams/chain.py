"""The fallback chain: primary, fallback 1, fallback 2, ... within one deadline."""

import asyncio
from collections import deque
from collections.abc import Sequence

from app.domain import Upstream
from app.errors import UpstreamFailed
from app.upstreams.cache import BodyCache
from app.upstreams.failures import AllUpstreamsFailed, FailedAttempt, FailureKind
from app.upstreams.fetched_ad import FetchedAd
from app.upstreams.latencies import Latencies
from app.upstreams.request_values import RequestValues
from app.upstreams.requester import UpstreamRequester, UpstreamResponse
from app.vast.document_cache import DocumentCache


class UpstreamChain:
    """Gets an ad from the first upstream of a chain that has one."""

    def __init__(self, requester: UpstreamRequester, cache: BodyCache, documents: DocumentCache) -> None:
        self._requester = requester
        self._cache = cache
        self._documents = documents
        self._canceled: set[asyncio.Task[UpstreamResponse]] = set()

    async def fetch(
        self, upstreams: Sequence[Upstream], values: RequestValues, deadline: float, *, is_late: bool = False
    ) -> FetchedAd:
        """Try the upstreams in order until one has an ad; `deadline` is a time of the event loop's clock.

        The remaining time is divided among the remaining upstreams, so that one that hangs leaves time for the others.
        A request that `is_late` has little time left: if it cannot give an upstream its `timeout_ms`, a timeout is not
        that upstream's fault. Raises AllUpstreamsFailed.
        """
        race = _Race(self._cache, self._requester.latencies, upstreams, values, deadline, is_late=is_late)
        try:
            return await race.run()
        finally:
            for task in race.running:
                task.cancel()
                self._canceled.add(task)
                task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[UpstreamResponse]) -> None:
        self._canceled.discard(task)
        if not task.cancelled():
            task.exception()

    def find_cached(self, upstreams: Sequence[Upstream], values: RequestValues) -> FetchedAd | None:
        """Return the ad if it is in the cache; send no request.

        The ad is the first upstream's. While that one's breaker is open, it is the next one's.
        """
        skipped: list[FailedAttempt] = []
        for upstream in upstreams:
            if response := self._cache.find(upstream, values):
                return FetchedAd(upstream.id, response.body, response.document, tuple(skipped), from_cache=True)
            if not self._requester.breakers.would_reject(upstream.id):
                return None
            skipped.append(FailedAttempt(upstream.id, FailureKind.BREAKER_OPEN, 0.0))
        return None

    def from_stored_body(self, upstream_id: str, body: bytes) -> FetchedAd:
        """Return the ad of a body that was stored with an earlier serve; raise UnusableVast."""
        return FetchedAd(upstream_id, body, self._documents.compile(body))

    async def aclose(self) -> None:
        """Wait until the canceled attempts have released their connections."""
        await asyncio.gather(*self._canceled, return_exceptions=True)


class _Race:
    """The attempts of one request: one after the other, or two at a time where an upstream is hedged."""

    def __init__(
        self,
        cache: BodyCache,
        latencies: Latencies,
        upstreams: Sequence[Upstream],
        values: RequestValues,
        deadline: float,
        *,
        is_late: bool,
    ) -> None:
        self._cache = cache
        self._latencies = latencies
        self._values = values
        self._deadline = deadline
        self._is_late = is_late
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._waiting = deque(upstreams)
        self._failed: list[FailedAttempt] = []
        self.running: dict[asyncio.Task[UpstreamResponse], tuple[Upstream, float]] = {}

    async def run(self) -> FetchedAd:
        """Return the first ad; the caller cancels the attempts left in `running`."""
        while self._waiting or self.running:
            if not self.running:
                self._start_next()
            done, _ = await asyncio.wait(
                self.running, timeout=self._hedge_after_s(), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                self._start_next()
            for task in [task for task in self.running if task in done]:
                upstream, started = self.running.pop(task)
                try:
                    return self._fetched_ad(upstream, task.result())
                except UpstreamFailed as failure:
                    self._failed.append(FailedAttempt(upstream.id, failure.kind, 1000 * (self._clock() - started)))
        raise AllUpstreamsFailed(self._failed)

    def _start_next(self) -> None:
        now = self._clock()
        share_s = (self._deadline - now) / len(self._waiting)
        upstream = self._waiting.popleft()
        timeout_s = upstream.timeout_ms / 1000
        short_deadline = self._is_late and share_s < timeout_s
        attempt = self._cache.get(upstream, self._values, min(share_s, timeout_s), short_deadline=short_deadline)
        self.running[asyncio.create_task(attempt)] = (upstream, now)

    def _hedge_after_s(self) -> float | None:
        """Return the seconds after which the next upstream is tried while this one is still running, or None."""
        if not self._waiting or len(self.running) > 1:
            return None
        ((upstream, started),) = self.running.values()
        p95_s = self._latencies.p95_s(upstream.id) if upstream.hedge else None
        return None if p95_s is None else max(0.0, started + p95_s - self._clock())

    def _fetched_ad(self, upstream: Upstream, response: UpstreamResponse) -> FetchedAd:
        return FetchedAd(
            upstream_id=upstream.id,
            body=response.body,
            document=response.document,
            attempts=tuple(self._failed),
            from_cache=response.from_cache,
            elapsed_ms=1000 * (self._clock() - self._started),
        )
