"""How each upstream has been doing over the last minutes: latency, errors, fill."""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from app.upstreams.failures import NOT_ASKED, FailureKind

SLICE_S = 10
SLICES = 30
"""Five minutes, forgotten ten seconds at a time."""

BOUNDS_MS = tuple(round(0.5 * 1.1**step, 3) for step in range(116))
"""Upper bounds of the latency histogram: 0.5 ms to 29 s, each a tenth above the one before."""

P95_SAMPLES_MIN = 20
"""Fewer answers say nothing about the 95th percentile."""

AD = "ad"
LOST = "lost"
"""The outcome of an attempt that was cancelled, because another upstream's ad was first or the player gave up."""


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """Of one upstream over the last five minutes, in this process; rates are parts of 1, None without requests."""

    upstream_id: str
    requests: int
    p50_ms: float | None
    p95_ms: float | None
    error_rate: float | None
    fill_rate: float | None
    requests_per_s: float


@dataclass(slots=True)
class _Slice:
    began: float
    outcomes: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)


class Health:
    """Remembers outcomes and latencies in time slices, so that a busy upstream costs no more than an idle one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slices: dict[str, deque[_Slice]] = {}
        self._p95_s: dict[str, tuple[float, float | None]] = {}

    def record(self, upstream_id: str, outcome: str, seconds: float) -> None:
        """An attempt ended with `ad`, `lost` or a FailureKind; a lost one took at least `seconds`."""
        if outcome in NOT_ASKED:
            return
        now = self._clock()
        slices = self._slices.setdefault(upstream_id, deque(maxlen=SLICES))
        if not slices or now - slices[-1].began >= SLICE_S:
            slices.append(_Slice(now))
        slices[-1].outcomes[outcome] += 1
        slices[-1].latencies[bisect_left(BOUNDS_MS, 1000 * seconds)] += 1

    def p95_s(self, upstream_id: str) -> float | None:
        """The 95th percentile of its answers, in seconds, at most a second old; None while there are too few."""
        now = self._clock()
        at, known = self._p95_s.get(upstream_id, (float("-inf"), None))
        if now - at < 1:
            return known
        latencies = self._latencies(upstream_id)
        p95_ms = _percentile(latencies, 0.95) if latencies.total() >= P95_SAMPLES_MIN else None
        p95_s = None if p95_ms is None else p95_ms / 1000
        self._p95_s[upstream_id] = (now, p95_s)
        return p95_s

    def status(self, upstream_id: str) -> UpstreamHealth:
        """What `GET /v1/upstreams/status` shows."""
        outcomes: Counter[str] = Counter()
        for part in self._recent(upstream_id):
            outcomes.update(part.outcomes)
        answered = outcomes.total() - outcomes[LOST]
        fine = outcomes[AD] + outcomes[FailureKind.NO_AD]
        latencies = self._latencies(upstream_id)
        return UpstreamHealth(
            upstream_id=upstream_id,
            requests=outcomes.total(),
            p50_ms=_percentile(latencies, 0.5),
            p95_ms=_percentile(latencies, 0.95),
            error_rate=(answered - fine) / answered if answered else None,
            fill_rate=outcomes[AD] / answered if answered else None,
            requests_per_s=self._requests_per_s(upstream_id),
        )

    def _requests_per_s(self, upstream_id: str) -> float:
        recent = list(self._recent(upstream_id))
        if not recent:
            return 0.0
        seconds = max(self._clock() - recent[0].began, 1.0)
        return sum(part.outcomes.total() for part in recent) / seconds

    def _latencies(self, upstream_id: str) -> Counter[int]:
        merged: Counter[int] = Counter()
        for part in self._recent(upstream_id):
            merged.update(part.latencies)
        return merged

    def _recent(self, upstream_id: str) -> Iterator[_Slice]:
        oldest = self._clock() - SLICE_S * SLICES
        return (part for part in self._slices.get(upstream_id, ()) if part.began > oldest)


def _percentile(latencies: Counter[int], part: float) -> float | None:
    """The upper bound, in milliseconds, of the bucket in which that part of the answers had arrived."""
    left = latencies.total() * part
    for bucket in sorted(latencies):
        left -= latencies[bucket]
        if left <= 0:
            return BOUNDS_MS[min(bucket, len(BOUNDS_MS) - 1)]
    return None
