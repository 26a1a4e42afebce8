"""The definition of every metric: name with unit, labels and help text. docs/operations.md says how to act on each."""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from app.fast_path import AddableHistogram, BatchedCounter, BatchedHistogram
from app.version import VERSION

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1000.0)

GaugeMode = Literal["livesum", "livemax", "mostrecent"]
"""Combine the gauges of the live workers into their sum, their maximum, or the most recent value."""


class MetricDefinitions:
    """The metrics of one worker; prometheus_client's multiprocess mode adds up the files of several workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.requests = self._counter(
            "requests", "Ad requests answered; reason is the no-fill reason or an error's status", "outcome", "reason"
        )
        self.request_seconds = self._histogram(
            "request_seconds", "Time from the first byte of a request to its answer", SECONDS, "outcome"
        )
        self.group_wait_seconds = self._histogram(
            "group_wait_seconds", "Time a request is queued in a lane before its group starts", SECONDS, "lane"
        )
        self.group_seconds = self._histogram(
            "group_seconds", "Duration of a group's transaction, COMMIT included", SECONDS, "lane"
        )
        self.group_size = self._histogram("group_size", "Requests in a group", SIZES, "lane")
        self.upstream_attempts = self._counter(
            "upstream_attempts", "Attempts to fetch from an upstream by their outcome", "upstream_id", "outcome"
        )
        self.upstream_seconds = self._histogram(
            "upstream_seconds", "Duration of an attempt that sent a request to the upstream", SECONDS, "upstream_id"
        )
        self.upstream_cache = self._counter(
            "upstream_cache", "Cache lookups for an upstream's body: hit, stale or miss", "upstream_id", "outcome"
        )
        self.breaker_changes = self._counter(
            "upstream_breaker_changes", "Changes of a breaker by its new state", "upstream_id", "state"
        )
        self.quota_requests = self._counter(
            "quota_requests", "Requests that a rate limit passed or refused", "quota", "outcome"
        )
        self.client_limited = self._counter(
            "client_limited", "Requests above the limit of their client's address", "kind"
        )
        self.parameters_ignored = self._counter(
            "parameters_ignored", "Ad request parameters ignored because their value was a placeholder", "parameter"
        )
        self.invalid_requests = self._counter("invalid_requests", "Ad requests refused as invalid traffic", "reason")
        self.tokens_refused = self._counter("tokens_refused", "Requests with a wrong bearer token")
        self.beacons = self._counter("beacons", "Beacons by their outcome", "outcome")
        self.holds = self._counter("holds_ended", "Holds that beacons charged or released", "outcome")
        self.webhook_attempts = self._counter(
            "webhook_attempts", "Attempts to deliver an event by their outcome", "webhook_id", "outcome"
        )
        self.log_lines_dropped = self._counter(
            "log_lines_dropped", "Log lines dropped because the reader of the log was too slow"
        )
        self._define_gauges()

    def _define_gauges(self) -> None:
        self.build_info = self._gauge("build_info", "Always 1; the label is the server's version", "livemax", "version")
        self.build_info.labels(VERSION).set(1)
        self.waiting = self._gauge("waiting_requests", "Requests waiting in a lane", "livesum", "lane")
        self.pool_in_use = self._gauge("pool_connections_in_use", "Database connections in use", "livesum", "pool")
        self.pool_size = self._gauge("pool_connections", "Size of the database connection pool", "livesum", "pool")
        self.breaker_state = self._gauge(
            "upstream_breaker_state",
            "0 closed, 1 half_open, 2 open; the worst of all workers",
            "livemax",
            "upstream_id",
        )
        self.upstream_in_flight = self._gauge(
            "upstream_in_flight", "Requests to an upstream that wait for an answer", "livesum", "upstream_id"
        )
        self.cache_entries = self._gauge("upstream_cache_entries", "Upstream bodies in the cache", "livesum")
        self.cache_bytes = self._gauge("upstream_cache_bytes", "Memory used by the cached bodies", "livesum")
        self.quota_rate = self._gauge(
            "quota_limit_per_second", "Requests that a rate limit passes", "mostrecent", "quota"
        )
        self.campaign_spent = self._gauge(
            "campaign_spent", "Amount charged, in the campaign's currency", "mostrecent", "campaign_id", "currency"
        )
        self.campaign_held = self._gauge(
            "campaign_held", "Amount held, in the campaign's currency", "mostrecent", "campaign_id", "currency"
        )
        self.books_disagreements = self._gauge(
            "books_disagreements", "Budgets that are exceeded or differ from the sum of their entries", "mostrecent"
        )
        self.books_watched = self._gauge(
            "books_watched_timestamp_seconds", "Unix time of the last check of the ledger", "mostrecent"
        )
        self.webhook_oldest = self._gauge(
            "webhook_oldest_event_seconds", "Age of the oldest event not yet accepted", "mostrecent", "webhook_id"
        )
        self.webhook_failing = self._gauge(
            "webhook_failing", "1 if every attempt of the last 24 hours failed", "mostrecent", "webhook_id"
        )
        self.partitions_ahead = self._gauge(
            "partitions_ahead_days", "Days after today that have all partitions; -1 if today has not", "mostrecent"
        )
        self.misplaced_rows = self._gauge(
            "misplaced_rows", "1 if a default partition has rows because their partition was missing", "mostrecent"
        )

    def _counter(self, name: str, help_text: str, *labels: str) -> BatchedCounter:
        return BatchedCounter(Counter(f"adserver_{name}", help_text, labels, registry=self._registry))

    def _histogram(self, name: str, help_text: str, bounds: tuple[float, ...], *labels: str) -> BatchedHistogram:
        family = AddableHistogram(f"adserver_{name}", help_text, labels, registry=self._registry, buckets=bounds)
        return BatchedHistogram(family, bounds)

    def _gauge(self, name: str, help_text: str, mode: GaugeMode, *labels: str) -> Gauge:
        return Gauge(f"adserver_{name}", help_text, labels, registry=self._registry, multiprocess_mode=mode)
