"""Metrics are counted, batched and read again; those of several workers through their files."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.domain import Client
from app.observability.metric_snapshots import UpstreamHistory, breaker_states, stats, upstream_counts
from app.observability.metrics import Metrics


async def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of a sample in the exposition; None if it is not there."""
    families = text_string_to_metric_families((await metrics.exposition()).decode())
    found = [s.value for family in families for s in family.samples if s.name == name and s.labels == labels]
    return found[0] if found else None


async def test_requests_are_counted_by_outcome_and_reason(metrics: Metrics) -> None:
    now = datetime.now(UTC)
    served = [(now, "", 200, "served", seconds, {}, Client()) for seconds in (0.004, 0.4)]
    others = [(now, "", 200, "budget", 0.001, {}, Client()), (now, "", 409, "error", 0.001, {}, Client())]
    metrics.requests_finished([*served, *others])
    count = "adserver_requests_total"
    assert await sample(metrics, count, outcome="served", reason="") == 2
    assert await sample(metrics, count, outcome="no_fill", reason="budget") == 1
    assert await sample(metrics, count, outcome="error", reason="409") == 1
    bucket = "adserver_request_seconds_bucket"
    assert await sample(metrics, bucket, outcome="served", le="0.003") == 0
    assert await sample(metrics, bucket, outcome="served", le="0.005") == 1
    assert await sample(metrics, bucket, outcome="served", le="+Inf") == 2
    assert await sample(metrics, "adserver_request_seconds_sum", outcome="served") == pytest.approx(0.404)


async def test_a_value_on_a_bound_belongs_below_it(metrics: Metrics) -> None:
    metrics.group_finished("serve", 128, 0.01)
    assert await sample(metrics, "adserver_group_size_bucket", lane="serve", le="64.0") == 0
    assert await sample(metrics, "adserver_group_size_bucket", lane="serve", le="128.0") == 1
    assert await sample(metrics, "adserver_group_seconds_bucket", lane="serve", le="0.01") == 1


async def test_flushing_twice_counts_once(metrics: Metrics) -> None:
    metrics.group_started("fetch", [0.001, 0.002])
    metrics.flush()
    metrics.flush()
    assert await sample(metrics, "adserver_group_wait_seconds_count", lane="fetch") == 2


async def test_what_was_not_sent_to_an_upstream_took_no_time(metrics: Metrics) -> None:
    metrics.upstream_attempt_finished("primary", "ad", 0.05)
    for outcome in ("breaker_open", "quota", "bulkhead", "deadline"):
        metrics.upstream_attempt_finished("primary", outcome, 0.0)
    assert await sample(metrics, "adserver_upstream_seconds_count", upstream_id="primary") == 1
    assert await sample(metrics, "adserver_upstream_attempts_total", upstream_id="primary", outcome="quota") == 1


async def test_dropped_log_lines_and_quotas_are_counted(metrics: Metrics) -> None:
    metrics.count_dropped_log_lines(7)
    metrics.quota_checked("upstream:primary", "refused")
    metrics.set_quotas({"upstream:primary": 100})
    assert await sample(metrics, "adserver_log_lines_dropped_total") == 7
    assert await sample(metrics, "adserver_quota_requests_total", quota="upstream:primary", outcome="refused") == 1
    assert await sample(metrics, "adserver_quota_limit_per_second", quota="upstream:primary") == 100


async def test_a_breakers_state_and_its_changes(metrics: Metrics) -> None:
    metrics.breaker_changed("primary", "closed", "open")
    metrics.breaker_changed("primary", "open", "half_open")
    assert await sample(metrics, "adserver_upstream_breaker_state", upstream_id="primary") == 1
    assert await sample(metrics, "adserver_upstream_breaker_changes_total", upstream_id="primary", state="open") == 1
    assert breaker_states(await metrics.collect()) == {"primary": "half_open"}


async def test_gauges_are_sampled_before_every_scrape(metrics: Metrics) -> None:
    waiting = 0

    def look() -> None:
        nonlocal waiting
        waiting += 1
        metrics.set_waiting({"fetch": waiting})

    metrics.start(look)
    first = await sample(metrics, "adserver_waiting_requests", lane="fetch")
    assert await sample(metrics, "adserver_waiting_requests", lane="fetch") != first
    await metrics.stop()


async def test_the_last_counts_are_flushed_at_the_end(metrics: Metrics) -> None:
    metrics.start(lambda: None)
    metrics.beacons_handled("counted", 3)
    await metrics.stop()
    assert stats(metrics._registry.collect()).total == 0
    counted = [s.value for family in metrics._registry.collect() for s in family.samples if "beacons_total" in s.name]
    assert counted == [3]


async def test_a_sample_that_fails_does_not_stop_the_flushing(metrics: Metrics, monkeypatch) -> None:
    monkeypatch.setattr("app.observability.metrics.FLUSH_INTERVAL_S", 0)
    failed_twice = asyncio.Event()

    def fail() -> None:
        if calls.append(None) or len(calls) > 2:
            failed_twice.set()
        raise RuntimeError

    calls: list[None] = []
    metrics.start(fail)
    async with asyncio.timeout(10):
        await failed_twice.wait()
    metrics._set_gauges = lambda: None
    await metrics.stop()


async def test_stats_are_those_of_the_contract(metrics: Metrics) -> None:
    for outcome, times in {"served": 5, "repeat": 1, "frequency_cap": 2, "budget": 1, "error": 1}.items():
        status = 400 if outcome == "error" else 200
        metrics.requests_finished([(datetime.now(UTC), "", status, outcome, 0.010, {}, Client())] * times)
    figures = stats(await metrics.collect())
    assert (figures.total, figures.success, figures.failed, figures.capped) == (10, 6, 2, 2)
    assert figures.success_rate == 0.6
    assert figures.avg_latency == pytest.approx(10)


async def test_stats_before_the_first_request(metrics: Metrics) -> None:
    figures = stats(await metrics.collect())
    assert (figures.total, figures.success_rate, figures.avg_latency) == (0, 0, 0)


async def test_an_upstreams_health_is_that_of_the_last_minutes(metrics: Metrics) -> None:
    now = 100.0
    history = UpstreamHistory(lambda: now)
    for _ in range(50):
        metrics.upstream_attempt_finished("primary", "timeout", 0.3)
    history.add(upstream_counts(await metrics.collect()))
    for outcome, times, seconds in (
        ("ad", 60, 0.012),
        ("no_ad", 30, 0.012),
        ("timeout", 10, 0.3),
        ("canceled", 5, 0.3),
    ):
        for _ in range(times):
            metrics.upstream_attempt_finished("primary", outcome, seconds)
    metrics.upstream_attempt_finished("primary", "breaker_open", 0)
    now += 21
    health = history.health("primary", upstream_counts(await metrics.collect()))
    assert (health.requests, health.requests_per_s) == (105, 5)
    assert (health.fill_rate, health.error_rate) == (0.6, 0.1)
    assert health.p50_ms is not None
    assert 10 < health.p50_ms <= 15
    assert health.p95_ms is not None
    assert 200 < health.p95_ms <= 300


@pytest.mark.parametrize("earlier", [0, 10])
async def test_an_upstream_that_was_not_asked_lately_has_no_rates(metrics: Metrics, earlier: int) -> None:
    history = UpstreamHistory(lambda: 0.0)
    for _ in range(earlier):
        metrics.upstream_attempt_finished("primary", "ad", 0.01)
    counts = upstream_counts(await metrics.collect())
    history.add(counts)
    health = history.health("primary", counts)
    assert (health.requests, health.p50_ms, health.p95_ms, health.error_rate, health.fill_rate) == (0, *[None] * 4)


WORKER = """
import asyncio, sys
from datetime import UTC, datetime
from app.domain import Client
from app.observability.metrics import Metrics

metrics = Metrics()
metrics.requests_finished([(datetime.now(UTC), "", 200, "served", 0.01, {}, Client())] * int(sys.argv[1]))
metrics.set_waiting({"fetch": 3})
metrics.breaker_changed("primary", "closed", sys.argv[2])
print(asyncio.run(metrics.exposition()).decode())
"""


def worker(folder: Path, requests: int, state: str) -> str:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", WORKER, str(requests), state]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_scrape_of_one_worker_shows_all_of_them(tmp_path: Path) -> None:
    worker(tmp_path, 3, "open")
    shown = worker(tmp_path, 4, "closed")
    assert 'adserver_requests_total{outcome="served",reason=""} 7.0' in shown
    assert 'adserver_request_seconds_bucket{le="0.01",outcome="served"} 7.0' in shown
    assert 'adserver_waiting_requests{lane="fetch"} 6.0' in shown
    assert 'adserver_upstream_breaker_state{upstream_id="primary"} 2.0' in shown, "the worst of both"
