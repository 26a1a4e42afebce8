"""What the metrics of all workers say: the server's own figures, and how each upstream has been doing."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.samples import Sample

from app.observability.metrics import BREAKER_STATES, NOT_SENT, SERVED

CAPPED = "frequency_cap"

SNAPSHOT_INTERVAL_S = 10
SNAPSHOTS_MAX = 30
"""Five minutes, forgotten ten seconds at a time."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What `GET /v1/stats` shows: requests since the server started, in all workers."""

    total: int
    success: int
    """Answered with an ad."""
    failed: int
    """Answered without one, for another reason than a frequency cap; errors are among them."""
    capped: int
    success_rate: float
    """A part of 1; 0 while there was no request."""
    avg_latency: float
    """Milliseconds."""


def stats(families: Iterable[Metric]) -> Stats:
    """The requests so far."""
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
    """Attempts at one upstream since the server started, in all workers."""

    outcomes: Counter[str] = field(default_factory=Counter)
    until: dict[float, int] = field(default_factory=dict)
    """Attempts that took at most so many seconds, by the bounds of the histogram."""

    def since(self, earlier: "UpstreamCounts") -> "UpstreamCounts":
        """What came after `earlier`."""
        until = {bound_s: count - earlier.until.get(bound_s, 0) for bound_s, count in self.until.items()}
        return UpstreamCounts(self.outcomes - earlier.outcomes, until)


def upstream_counts(families: Iterable[Metric]) -> dict[str, UpstreamCounts]:
    """The attempts so far, by upstream."""
    counts: dict[str, UpstreamCounts] = {}
    for sample in _samples(families, "adserver_upstream_attempts", "adserver_upstream_seconds"):
        of_upstream = counts.setdefault(sample.labels["upstream_id"], UpstreamCounts())
        if sample.name == "adserver_upstream_attempts_total":
            of_upstream.outcomes[sample.labels["outcome"]] = int(sample.value)
        elif sample.name == "adserver_upstream_seconds_bucket":
            of_upstream.until[float(sample.labels["le"])] = int(sample.value)
    return counts


def breaker_states(families: Iterable[Metric]) -> dict[str, str]:
    """The worst state of all workers' breakers, by upstream; without those that never changed."""
    names = {number: state for state, number in BREAKER_STATES.items()}
    return {
        sample.labels["upstream_id"]: names[int(sample.value)]
        for sample in _samples(families, "adserver_upstream_breaker_state")
    }


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """One upstream over the last five minutes, or since the worker that was asked started.

    Rates are parts of 1, and None without attempts.
    """

    requests: int
    requests_per_s: float
    p50_ms: float | None
    p95_ms: float | None
    error_rate: float | None
    """Attempts that ended in neither an ad nor a clear "no ad"."""
    fill_rate: float | None


class UpstreamHistory:
    """Keeps snapshots of the counts, so that the last minutes can be told from what was before."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._snapshots: deque[tuple[float, Mapping[str, UpstreamCounts]]] = deque(maxlen=SNAPSHOTS_MAX)

    def keep(self, counts: Mapping[str, UpstreamCounts]) -> None:
        """To be called every SNAPSHOT_INTERVAL_S."""
        self._snapshots.append((self._clock(), counts))

    def health(self, upstream_id: str, now: Mapping[str, UpstreamCounts]) -> UpstreamHealth:
        """From the oldest snapshot until now."""
        at, oldest = self._snapshots[0] if self._snapshots else (self._clock(), {})
        recent = now.get(upstream_id, UpstreamCounts()).since(oldest.get(upstream_id, UpstreamCounts()))
        sent = Counter({outcome: count for outcome, count in recent.outcomes.items() if outcome not in NOT_SENT})
        answered = sent.total() - sent["lost"]
        bounds = sorted(recent.until.items())
        return UpstreamHealth(
            requests=sent.total(),
            requests_per_s=round(sent.total() / max(self._clock() - at, 1.0), 3),
            p50_ms=_percentile_ms(bounds, 0.5),
            p95_ms=_percentile_ms(bounds, 0.95),
            error_rate=(answered - sent["ad"] - sent["no_ad"]) / answered if answered else None,
            fill_rate=sent["ad"] / answered if answered else None,
        )


def _percentile_ms(until: Sequence[tuple[float, int]], part: float) -> float | None:
    """Milliseconds in which that part was done; between two bounds it is taken to be spread evenly."""
    if not until or not until[-1][1]:
        return None
    wanted = until[-1][1] * part
    below_s, below = 0.0, 0
    for bound_s, count in until:
        if count >= wanted:
            # Above the last bound there is none to go by.
            upper_s = bound_s if bound_s < float("inf") else below_s
            share = (wanted - below) / (count - below) if count > below else 0.0
            return round(1000 * (below_s + (upper_s - below_s) * share), 3)
        below_s, below = bound_s, count
    return None


def _samples(families: Iterable[Metric], *names: str) -> Iterator[Sample]:
    return (sample for family in families if family.name in names for sample in family.samples)
