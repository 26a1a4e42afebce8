"""The metrics of this worker; app.observability.metric_snapshots reads those of all workers."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from app.fast_path import BatchedCounter, BatchedHistogram
from app.observability.metric_definitions import MetricDefinitions
from app.observer import FinishedRequest, Observer

log = structlog.get_logger()

FLUSH_INTERVAL_S = 1.0
"""Maximum age of another worker's counts in a response of /metrics."""

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client reads it when it is imported, so it is in the environment before a worker starts."""

SERVED = frozenset({"served", "repeat"})
ERROR = "error"
NOT_SENT = frozenset({"breaker_open", "quota", "bulkhead", "deadline"})
"""Outcomes of attempts that took no time, because no request was sent."""

BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}


class Metrics(Observer):
    """Counts events in plain numbers and flushes them once a second; start it in the running event loop.

    Labels come from the catalog and from fixed words, never from a player.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._metrics = MetricDefinitions(self._registry)
        members = vars(self._metrics).values()
        self._batched = [member for member in members if isinstance(member, BatchedCounter | BatchedHistogram)]
        self._flush_task: asyncio.Task[None] | None = None
        self._set_gauges: Callable[[], None] = lambda: None

    def start(self, set_gauges: Callable[[], None]) -> None:
        """Start flushing periodically; `set_gauges` is called before each flush."""
        self._set_gauges = set_gauges
        self._flush_task = asyncio.create_task(self._flush_forever(), name="metrics")

    async def stop(self) -> None:
        """Flush for the last time."""
        if self._flush_task is not None:
            self._flush_task.cancel()
            await asyncio.gather(self._flush_task, return_exceptions=True)
        self.flush()

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            try:
                self.flush()
            except Exception:
                log.exception("metrics_flush_failed")

    def flush(self) -> None:
        """Set the gauges, and hand the counts since the last flush to prometheus_client."""
        self._set_gauges()
        for batched in self._batched:
            batched.flush()

    # Requests and groups

    def requests_finished(self, requests: Sequence[FinishedRequest]) -> None:
        """Count the requests by outcome, and observe their durations."""
        count, observe = self._metrics.requests.add, self._metrics.request_seconds.observe
        for _finished_at, _request_id, status, outcome, seconds, _values, _client in requests:
            if outcome in SERVED:
                labels = (outcome, "")
            elif outcome == ERROR:
                labels = (outcome, str(status))
            else:
                labels = ("no_fill", outcome)
            count(labels)
            observe(labels[:1], seconds)

    def group_started(self, lane: str, waits_s: Sequence[float]) -> None:
        """Observe how long each request of the group was queued."""
        self._metrics.group_wait_seconds.observe((lane,), *waits_s)

    def group_finished(self, lane: str, size: int, seconds: float) -> None:
        """Observe the size and the duration of the group."""
        self._metrics.group_size.observe((lane,), size)
        self._metrics.group_seconds.observe((lane,), seconds)

    # Upstreams

    def upstream_attempt_finished(self, upstream_id: str, outcome: str, seconds: float) -> None:
        """Count the attempt, and observe its duration if a request was sent."""
        self._metrics.upstream_attempts.add((upstream_id, str(outcome)))
        if outcome not in NOT_SENT:
            self._metrics.upstream_seconds.observe((upstream_id,), seconds)

    def upstream_cache_checked(self, upstream_id: str, outcome: str) -> None:
        """Count the lookup."""
        self._metrics.upstream_cache.add((upstream_id, outcome))

    def breaker_changed(self, upstream_id: str, old: str, new: str) -> None:
        """Count the change, and set the breaker's state."""
        self._metrics.breaker_changes.add((upstream_id, new))
        self._metrics.breaker_state.labels(upstream_id).set(BREAKER_STATES[new])

    def quota_checked(self, name: str, outcome: str) -> None:
        """Count the decision."""
        self._metrics.quota_requests.add((name, outcome))

    # Clients

    def client_limited(self, kind: str) -> None:
        """Count the request."""
        self._metrics.client_limited.add((kind,))

    def parameters_ignored(self, names: Sequence[str]) -> None:
        """Count the parameters by name."""
        for name in names:
            self._metrics.parameters_ignored.add((name,))

    def invalid_request_refused(self, reason: str) -> None:
        """Count the request."""
        self._metrics.invalid_requests.add((reason,))

    def token_refused(self) -> None:
        """Count the request."""
        self._metrics.tokens_refused.add(())

    # Beacons

    def beacons_handled(self, outcome: str, count: int) -> None:
        """Count the beacons."""
        self._metrics.beacons.add((outcome,), count)

    def holds_settled(self, charged: int, released: int) -> None:
        """Count the holds."""
        self._metrics.holds.add(("charged",), charged)
        self._metrics.holds.add(("released",), released)

    # Webhooks

    def webhook_attempted(self, webhook_id: str, outcome: str) -> None:
        """Count the attempt."""
        self._metrics.webhook_attempts.add((webhook_id, outcome))

    # Values sampled by GaugeSampler and LedgerHealthSampler

    def count_dropped_log_lines(self, count: int) -> None:
        """Count log lines that were dropped because the reader of the log was too slow."""
        self._metrics.log_lines_dropped.add((), count)

    def set_waiting(self, waiting: Mapping[str, int]) -> None:
        """Set the number of waiting requests of each lane."""
        for lane, requests in waiting.items():
            self._metrics.waiting.labels(lane).set(requests)

    def set_pool(self, name: str, in_use: int, size: int) -> None:
        """Set how many database connections of a pool are in use, and its size."""
        self._metrics.pool_in_use.labels(name).set(in_use)
        self._metrics.pool_size.labels(name).set(size)

    def set_upstreams_in_flight(self, requests: Mapping[str, int]) -> None:
        """Set the number of requests in flight to each upstream."""
        for upstream_id, count in requests.items():
            self._metrics.upstream_in_flight.labels(upstream_id).set(count)

    def set_quotas(self, rates_per_s: Mapping[str, int]) -> None:
        """Set the rate of each rate limit, in requests a second."""
        for name, rate_per_s in rates_per_s.items():
            self._metrics.quota_rate.labels(name).set(rate_per_s)

    def set_upstream_cache(self, entries: int, size_bytes: int) -> None:
        """Set the number of cached upstream bodies and their size."""
        self._metrics.cache_entries.set(entries)
        self._metrics.cache_bytes.set(size_bytes)

    def set_campaign_spend(self, campaign_id: str, currency: str, spent: float, held: float) -> None:
        """Set the amounts that a campaign has spent and held, with the precision of a float."""
        self._metrics.campaign_spent.labels(campaign_id, currency).set(spent)
        self._metrics.campaign_held.labels(campaign_id, currency).set(held)

    def set_webhook_backlog(self, webhook_id: str, oldest_s: float, *, failing: bool) -> None:
        """Set the age of a webhook's oldest pending event, and whether its deliveries have failed for long."""
        self._metrics.webhook_oldest.labels(webhook_id).set(oldest_s)
        self._metrics.webhook_failing.labels(webhook_id).set(failing)

    def set_ledger_health(self, disagreements: int, partitions_ahead_days: int, *, misplaced: bool) -> None:
        """Set the results of a check of the ledger, and the time of the check to now."""
        self._metrics.books_disagreements.set(disagreements)
        self._metrics.partitions_ahead.set(partitions_ahead_days)
        self._metrics.misplaced_rows.set(misplaced)
        self._metrics.books_watched.set(time.time())

    async def collect(self) -> list[Metric]:
        """Return the metrics of all workers. They are read in a thread, because that takes milliseconds."""
        self.flush()
        return await asyncio.to_thread(lambda: list(self._all_workers().collect()))

    async def exposition(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format."""
        self.flush()
        return await asyncio.to_thread(lambda: generate_latest(self._all_workers()))

    def _all_workers(self) -> CollectorRegistry:
        if MULTIPROCESS_DIR not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry
