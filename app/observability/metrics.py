"""What this worker counts; app.observability.metric_snapshots makes sense of what all workers have counted."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from app.fast_path import BatchedCounter, BatchedHistogram
from app.observability.metric_definitions import Families
from app.observer import FinishedRequest, Observer

log = structlog.get_logger()

FLUSH_INTERVAL_S = 1.0
"""How old another worker's counts may be in an answer of /metrics."""

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client reads it when it is imported, so it is in the environment before a worker starts."""

SERVED = frozenset({"served", "repeat"})
ERROR = "error"
NOT_SENT = frozenset({"breaker_open", "quota", "bulkhead", "deadline"})
"""Outcomes of attempts that took no time, because no request was sent."""

BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}


class Metrics(Observer):
    """Counts in plain numbers, and flushes them once a second; start it in the running event loop.

    It is every part's observer. Labels come from the catalog and from fixed words, never from a player.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._families = Families(self._registry)
        members = vars(self._families).values()
        self._batched = [member for member in members if isinstance(member, BatchedCounter | BatchedHistogram)]
        self._flushing: asyncio.Task[None] | None = None
        self._sample: Callable[[], None] = lambda: None

    def start(self, sample: Callable[[], None]) -> None:
        """Flushes from now on; `sample` is called before each flush, and sets the gauges."""
        self._sample = sample
        self._flushing = asyncio.create_task(self._flush_forever(), name="metrics")

    async def stop(self) -> None:
        """Flushes for the last time."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        self.flush()

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            try:
                self.flush()
            except Exception:
                log.exception("metrics not flushed")

    def flush(self) -> None:
        """Hands over what was counted since the last time, and has the gauges set."""
        self._sample()
        for batched in self._batched:
            batched.flush()

    # Requests and groups

    def requests_finished(self, requests: Sequence[FinishedRequest]) -> None:
        """Count these requests, and observe how long they took."""
        count, observe = self._families.requests.add, self._families.request_seconds.observe
        for _finished_at, _request_id, status, outcome, seconds in requests:
            if outcome in SERVED:
                labels = (outcome, "")
            elif outcome == ERROR:
                labels = (outcome, str(status))
            else:
                labels = ("no_fill", outcome)
            count(labels)
            observe(labels[:1], seconds)

    def group_finished(self, lane: str, size: int, seconds: float) -> None:
        """Observe the size and duration of a group."""
        self._families.group_size.observe((lane,), size)
        self._families.group_seconds.observe((lane,), seconds)

    def group_started(self, lane: str, waits_s: Sequence[float]) -> None:
        """Observe how long each request of the group was queued."""
        self._families.group_wait_seconds.observe((lane,), *waits_s)

    # Upstreams

    def upstream_attempt_finished(self, upstream_id: str, outcome: str, seconds: float) -> None:
        """An attempt at an upstream ended: `ad`, `lost` to a hedge, or a failure's kind."""
        self._families.upstream_attempts.add((upstream_id, str(outcome)))
        if outcome not in NOT_SENT:
            self._families.upstream_seconds.observe((upstream_id,), seconds)

    def upstream_cache_checked(self, upstream_id: str, outcome: str) -> None:
        """A request found its body fresh (`hit`), found it `stale`, or did not find it (`miss`)."""
        self._families.upstream_cache.add((upstream_id, outcome))

    def breaker_changed(self, upstream_id: str, _old: str, new: str) -> None:
        """A breaker went to `closed`, `open` or `half_open`."""
        self._families.breaker_changes.add((upstream_id, new))
        self._families.breaker_state.labels(upstream_id).set(BREAKER_STATES[new])

    def quota_checked(self, name: str, outcome: str) -> None:
        """A rate limit `passed` or `refused` a request."""
        self._families.quota_requests.add((name, outcome))

    # Clients

    def client_limited(self, kind: str) -> None:
        """A request of this kind was above its client's limit."""
        self._families.client_limited.add((kind,))

    def parameters_ignored(self, names: Sequence[str]) -> None:
        """These parameters of an ad request have values that say nothing, such as a macro that was not replaced."""
        for name in names:
            self._families.parameters_ignored.add((name,))

    def token_refused(self) -> None:
        """A request carried a wrong token."""
        self._families.tokens_refused.add(())

    # Beacons and logs

    def beacons_handled(self, outcome: str, count: int) -> None:
        """So many beacons were `counted`, a `repeat`, `refused` or `dropped`."""
        self._families.beacons.add((outcome,), count)

    def holds_settled(self, charged: int, released: int) -> None:
        """So many holds were charged and released by a group of beacons."""
        self._families.holds.add(("charged",), charged)
        self._families.holds.add(("released",), released)

    def log_lines_dropped(self, count: int) -> None:
        """So many log lines were thrown away, because nobody took them in time."""
        self._families.log_lines_dropped.add((), count)

    # Gauges, set by `sample` and by whoever watches the books

    def lanes(self, waiting: Mapping[str, int]) -> None:
        """Requests waiting, by lane."""
        for lane, requests in waiting.items():
            self._families.waiting.labels(lane).set(requests)

    def pool(self, name: str, in_use: int, size: int) -> None:
        """Database connections of a pool."""
        self._families.pool_in_use.labels(name).set(in_use)
        self._families.pool_size.labels(name).set(size)

    def in_flight(self, requests: Mapping[str, int]) -> None:
        """Requests on their way, by upstream."""
        for upstream_id, count in requests.items():
            self._families.upstream_in_flight.labels(upstream_id).set(count)

    def quotas(self, rates_per_s: Mapping[str, int]) -> None:
        """What each rate limit passes."""
        for name, rate_per_s in rates_per_s.items():
            self._families.quota_rate.labels(name).set(rate_per_s)

    def cached(self, entries: int, size_bytes: int) -> None:
        """What the cache of upstream bodies holds."""
        self._families.cache_entries.set(entries)
        self._families.cache_bytes.set(size_bytes)

    def spend(self, campaign_id: str, currency: str, spent: float, held: float) -> None:
        """What a campaign has spent and held, rounded as a float is."""
        self._families.campaign_spent.labels(campaign_id, currency).set(spent)
        self._families.campaign_held.labels(campaign_id, currency).set(held)

    def books(self, disagreements: int, partitions_ahead_days: int, *, misplaced: bool) -> None:
        """What a look after the books found."""
        self._families.books_disagreements.set(disagreements)
        self._families.partitions_ahead.set(partitions_ahead_days)
        self._families.misplaced_rows.set(misplaced)
        self._families.books_watched.set(time.time())

    async def collect(self) -> list[Metric]:
        """The metrics of all workers; read in a thread, because it takes milliseconds."""
        self.flush()
        return await asyncio.to_thread(lambda: list(self._all_workers().collect()))

    async def exposition(self) -> bytes:
        """The metrics of all workers in Prometheus' text format."""
        self.flush()
        return await asyncio.to_thread(lambda: generate_latest(self._all_workers()))

    def _all_workers(self) -> CollectorRegistry:
        if MULTIPROCESS_DIR not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry
