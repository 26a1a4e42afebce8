"""The latencies of each upstream over the last minutes, from which the delay of a hedge is taken."""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

SLICE_S = 10
SLICES = 30
"""The window is five minutes and moves in steps of ten seconds."""

BOUNDS_MS = tuple(round(0.5 * 1.1**step, 3) for step in range(116))
"""Upper bounds of the histogram's buckets: 0.5 ms to 29 s, each 10 % above the previous one."""

P95_SAMPLES_MIN = 20
"""With fewer samples, the 95th percentile is unknown."""

P95_VALID_S = 1
"""The time for which a computed percentile is reused."""


@dataclass(slots=True)
class _Slice:
    started_at: float
    latencies: Counter[int] = field(default_factory=Counter)
    """Samples by the index of their bucket."""


class Latencies:
    """Histograms of latencies in time slices, so that a busy upstream takes no more memory than an idle one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slices: dict[str, deque[_Slice]] = {}
        self._p95_s: dict[str, tuple[float, float | None]] = {}

    def record(self, upstream_id: str, seconds: float) -> None:
        """Record the duration of an attempt whose request was sent; a canceled one would have taken longer."""
        now = self._clock()
        slices = self._slices.setdefault(upstream_id, deque(maxlen=SLICES))
        if not slices or now - slices[-1].started_at >= SLICE_S:
            slices.append(_Slice(now))
        slices[-1].latencies[bisect_left(BOUNDS_MS, 1000 * seconds)] += 1

    def p95_s(self, upstream_id: str) -> float | None:
        """Return the 95th percentile in seconds, up to a second old; None while there are too few samples."""
        now = self._clock()
        computed_at, p95_s = self._p95_s.get(upstream_id, (float("-inf"), None))
        if now - computed_at < P95_VALID_S:
            return p95_s
        latencies = self._recent(upstream_id)
        p95_s = _percentile_ms(latencies, 0.95) / 1000 if latencies.total() >= P95_SAMPLES_MIN else None
        self._p95_s[upstream_id] = (now, p95_s)
        return p95_s

    def _recent(self, upstream_id: str) -> Counter[int]:
        oldest = self._clock() - SLICE_S * SLICES
        merged: Counter[int] = Counter()
        for time_slice in self._slices.get(upstream_id, ()):
            if time_slice.started_at > oldest:
                merged.update(time_slice.latencies)
        return merged


def _percentile_ms(latencies: Counter[int], fraction: float) -> float:
    """Return the upper bound of the bucket that contains the percentile, in milliseconds."""
    remaining = latencies.total() * fraction
    for bucket in sorted(latencies):
        remaining -= latencies[bucket]
        if remaining <= 0:
            return BOUNDS_MS[min(bucket, len(BOUNDS_MS) - 1)]
    return BOUNDS_MS[-1]
