"""Figures derived from the metrics of all workers: request statistics, and the health of each upstream."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.samples import Sample

from app.observability.metrics import BREAKER_STATES, NOT_SENT, SERVED

CAPPED = "frequency_cap"

SNAPSHOT_INTERVAL_S = 10
SNAPSHOTS_MAX = 30
"""Five minutes; every ten seconds the oldest snapshot is dropped."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The response of `GET /v1/stats`: requests of all workers since the server started."""

    total: int
    success: int
    """Answered with an ad."""
    failed: int
    """Answered without an ad for another reason than a frequency cap, errors included."""
    capped: int
    success_rate: float
    """Fraction of `total`; 0 before the first request."""
    avg_latency: float
    """Milliseconds."""


def stats(families: Iterable[Metric]) -> Stats:
    """Return the statistics of the requests so far."""
    total = success = capped = 0
    seconds = 0.0
    for sample in _samples(families, "adserver_requests", "adserver_request_seconds"):
        if sample.name == "adserver_request_seconds_sum":
            seconds += sample.value
        elif sample.name == "adserver_requests_total":
            count = int(sample.value)
            total += count
            success += count if sample.labels["outcome"] in SERVED else 0
            capped += count if sample.labels["reason"] == CAPPED else 0
    return Stats(
        total=total,
        success=success,
        failed=total - success - capped,
        capped=capped,
        success_rate=success / total if total else 0.0,
        avg_latency=1000 * seconds / total if total else 0.0,
    )


@dataclass(slots=True)
class UpstreamCounts:
    """Attempts to fetch from one upstream since the server started, in all workers."""

    outcomes: Counter[str] = field(default_factory=Counter)
    cumulative: dict[float, int] = field(default_factory=dict)
    """Upper bound of a histogram bucket in seconds, and the number of attempts that took no longer."""

    def since(self, earlier: "UpstreamCounts") -> "UpstreamCounts":
        """Return the attempts that were not counted in `earlier`."""
        cumulative = {bound_s: count - earlier.cumulative.get(bound_s, 0) for bound_s, count in self.cumulative.items()}
        return UpstreamCounts(self.outcomes - earlier.outcomes, cumulative)


def upstream_counts(families: Iterable[Metric]) -> dict[str, UpstreamCounts]:
    """Return the attempts so far by upstream."""
    counts: dict[str, UpstreamCounts] = {}
    for sample in _samples(families, "adserver_upstream_attempts", "adserver_upstream_seconds"):
        upstream = counts.setdefault(sample.labels["upstream_id"], UpstreamCounts())
        if sample.name == "adserver_upstream_attempts_total":
            upstream.outcomes[sample.labels["outcome"]] = int(sample.value)
        elif sample.name == "adserver_upstream_seconds_bucket":
            upstream.cumulative[float(sample.labels["le"])] = int(sample.value)
    return counts


def breaker_states(families: Iterable[Metric]) -> dict[str, str]:
    """Return the worst state of all workers' breakers by upstream, without breakers that never changed."""
    names = {value: state for state, value in BREAKER_STATES.items()}
    return {
        sample.labels["upstream_id"]: names[int(sample.value)]
        for sample in _samples(families, "adserver_upstream_breaker_state")
    }


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """One upstream over the last five minutes, or since this worker started if that is later.

    Rates are fractions of 1, and None without attempts.
    """

    requests: int
    requests_per_s: float
    p50_ms: float | None
    p95_ms: float | None
    error_rate: float | None
    """Fraction of attempts that ended in neither an ad nor a valid response without one."""
    fill_rate: float | None


class UpstreamHistory:
    """Snapshots of the counts of the last minutes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._snapshots: deque[tuple[float, Mapping[str, UpstreamCounts]]] = deque(maxlen=SNAPSHOTS_MAX)

    def add(self, counts: Mapping[str, UpstreamCounts]) -> None:
        """Add a snapshot; call it every SNAPSHOT_INTERVAL_S."""
        self._snapshots.append((self._clock(), counts))

    def health(self, upstream_id: str, now: Mapping[str, UpstreamCounts]) -> UpstreamHealth:
        """Return the health of an upstream from the oldest snapshot until now."""
        since, oldest = self._snapshots[0] if self._snapshots else (self._clock(), {})
        recent = now.get(upstream_id, UpstreamCounts()).since(oldest.get(upstream_id, UpstreamCounts()))
        sent = Counter({outcome: count for outcome, count in recent.outcomes.items() if outcome not in NOT_SENT})
        answered = sent.total() - sent["canceled"]
        buckets = sorted(recent.cumulative.items())
        return UpstreamHealth(
            requests=sent.total(),
            requests_per_s=round(sent.total() / max(self._clock() - since, 1.0), 3),
            p50_ms=_percentile_ms(buckets, 0.5),
            p95_ms=_percentile_ms(buckets, 0.95),
            error_rate=(answered - sent["ad"] - sent["no_ad"]) / answered if answered else None,
            fill_rate=sent["ad"] / answered if answered else None,
        )


def _percentile_ms(buckets: Sequence[tuple[float, int]], fraction: float) -> float | None:
    """Return the milliseconds within which this fraction was done, by linear interpolation between two bounds."""
    if not buckets or not buckets[-1][1]:
        return None
    rank = buckets[-1][1] * fraction
    lower_s, below = 0.0, 0
    for bound_s, count in buckets:
        if count >= rank:
            # The last bucket has no upper bound.
            upper_s = bound_s if bound_s < float("inf") else lower_s
            share = (rank - below) / (count - below) if count > below else 0.0
            return round(1000 * (lower_s + (upper_s - lower_s) * share), 3)
        lower_s, below = bound_s, count
    return None


def _samples(families: Iterable[Metric], *names: str) -> Iterator[Sample]:
    return (sample for family in families if family.name in names for sample in family.samples)
