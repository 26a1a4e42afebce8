"""The fallback chain: primary, fallback 1, fallback 2, ... within one deadline."""

import asyncio
from collections import deque
from collections.abc import Sequence

from app.domain import Upstream
from app.errors import UpstreamFailed
from app.upstreams.asker import Answer, Asker
from app.upstreams.cache import BodyCache
from app.upstreams.failures import AllUpstreamsFailed, FailedAttempt, FailureKind
from app.upstreams.fetched import Documents, Fetched, RequestValues
from app.upstreams.latencies import Latencies


class UpstreamChain:
    """Gets an ad from the first upstream of a chain that has one."""

    def __init__(self, asker: Asker, cache: BodyCache, documents: Documents) -> None:
        self._asker = asker
        self._cache = cache
        self._documents = documents
        self._losers: set[asyncio.Task[Answer]] = set()

    async def fetch(
        self, upstreams: Sequence[Upstream], context: RequestValues, deadline: float, *, late: bool = False
    ) -> Fetched:
        """Asks in order until one has an ad; `deadline` is in seconds of the event loop's clock.

        What is left of it is divided among the upstreams that are left, so that one that hangs leaves time for the
        others. A `late` request has little to divide: it is not the fault of one that it cannot give its `timeout_ms`.
        Raises AllUpstreamsFailed.
        """
        race = _Race(self._cache, self._asker.latencies, upstreams, context, deadline, late=late)
        try:
            return await race.run()
        finally:
            for task in race.running:
                task.cancel()
                self._losers.add(task)
                task.add_done_callback(self._forget)

    def _forget(self, loser: asyncio.Task[Answer]) -> None:
        self._losers.discard(loser)
        if not loser.cancelled():
            loser.exception()

    def in_hand(self, upstreams: Sequence[Upstream], context: RequestValues) -> Fetched | None:
        """The ad, if it is in the cache; asks nobody.

        It is that of the first upstream, unless that one's breaker is open: then of the next.
        """
        skipped: list[FailedAttempt] = []
        for upstream in upstreams:
            if answer := self._cache.look(upstream, context):
                return Fetched(upstream.id, answer.body, answer.document, tuple(skipped), from_cache=True)
            if not self._asker.breakers.refuses(upstream.id):
                return None
            skipped.append(FailedAttempt(upstream.id, FailureKind.BREAKER_OPEN, 0.0))
        return None

    def restore(self, upstream_id: str, body: bytes) -> Fetched:
        """The ad of a body that was served before; raises UnusableVast."""
        return Fetched(upstream_id, body, self._documents.compile(body))

    async def aclose(self) -> None:
        """Waits for attempts that have lost to let go of their connections."""
        await asyncio.gather(*self._losers, return_exceptions=True)


class _Race:
    """One request on its way along the chain."""

    def __init__(
        self,
        cache: BodyCache,
        latencies: Latencies,
        upstreams: Sequence[Upstream],
        context: RequestValues,
        deadline: float,
        *,
        late: bool,
    ) -> None:
        self._cache = cache
        self._latencies = latencies
        self._context = context
        self._deadline = deadline
        self._late = late
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._waiting = deque(upstreams)
        self._failed: list[FailedAttempt] = []
        self.running: dict[asyncio.Task[Answer], tuple[Upstream, float]] = {}

    async def run(self) -> Fetched:
        """The first ad; what is still in `running` afterwards has lost."""
        while self._waiting or self.running:
            if not self.running:
                self._start_next()
            done, _ = await asyncio.wait(
                self.running, timeout=self._hedge_after_s(), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                self._start_next()
            for task in [task for task in self.running if task in done]:
                upstream, since = self.running.pop(task)
                try:
                    return self._fetched(upstream, task.result())
                except UpstreamFailed as failure:
                    self._failed.append(FailedAttempt(upstream.id, failure.kind, 1000 * (self._clock() - since)))
        raise AllUpstreamsFailed(self._failed)

    def _start_next(self) -> None:
        now = self._clock()
        share_s = (self._deadline - now) / len(self._waiting)
        upstream = self._waiting.popleft()
        timeout_s = upstream.timeout_ms / 1000
        hurried = self._late and share_s < timeout_s
        asking = self._cache.ask(upstream, self._context, min(share_s, timeout_s), hurried=hurried)
        self.running[asyncio.create_task(asking)] = (upstream, now)

    def _hedge_after_s(self) -> float | None:
        """When to ask the next upstream although this one may still answer; None for not at all."""
        if not self._waiting or len(self.running) > 1:
            return None
        ((upstream, since),) = self.running.values()
        p95_s = self._latencies.p95_s(upstream.id) if upstream.hedge else None
        return None if p95_s is None else max(0.0, since + p95_s - self._clock())

    def _fetched(self, upstream: Upstream, answer: Answer) -> Fetched:
        return Fetched(
            upstream_id=upstream.id,
            body=answer.body,
            document=answer.document,
            attempts=tuple(self._failed),
            from_cache=answer.from_cache,
            elapsed_ms=1000 * (self._clock() - self._started),
        )
