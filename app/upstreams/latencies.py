"""How long each upstream has been taking over the last minutes: when a hedge is due."""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

SLICE_S = 10
SLICES = 30
"""Five minutes, forgotten ten seconds at a time."""

BOUNDS_MS = tuple(round(0.5 * 1.1**step, 3) for step in range(116))
"""Upper bounds of the histogram: 0.5 ms to 29 s, each a tenth above the one before."""

P95_SAMPLES_MIN = 20
"""Fewer answers say nothing about the 95th percentile."""


@dataclass(slots=True)
class _Slice:
    began: float
    latencies: Counter[int] = field(default_factory=Counter)


class Latencies:
    """Remembers latencies in time slices, so that a busy upstream costs no more than an idle one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slices: dict[str, deque[_Slice]] = {}
        self._p95_s: dict[str, tuple[float, float | None]] = {}

    def record(self, upstream_id: str, seconds: float) -> None:
        """An attempt that was sent took `seconds`; one that was cancelled took at least that."""
        now = self._clock()
        slices = self._slices.setdefault(upstream_id, deque(maxlen=SLICES))
        if not slices or now - slices[-1].began >= SLICE_S:
            slices.append(_Slice(now))
        slices[-1].latencies[bisect_left(BOUNDS_MS, 1000 * seconds)] += 1

    def p95_s(self, upstream_id: str) -> float | None:
        """The 95th percentile of its answers, in seconds, at most a second old; None while there are too few."""
        now = self._clock()
        at, known = self._p95_s.get(upstream_id, (float("-inf"), None))
        if now - at < 1:
            return known
        latencies = self._recent(upstream_id)
        p95_s = _percentile_ms(latencies, 0.95) / 1000 if latencies.total() >= P95_SAMPLES_MIN else None
        self._p95_s[upstream_id] = (now, p95_s)
        return p95_s

    def _recent(self, upstream_id: str) -> Counter[int]:
        oldest = self._clock() - SLICE_S * SLICES
        merged: Counter[int] = Counter()
        for part in self._slices.get(upstream_id, ()):
            if part.began > oldest:
                merged.update(part.latencies)
        return merged


def _percentile_ms(latencies: Counter[int], part: float) -> float:
    """The upper bound of the bucket in which that part of the answers had arrived."""
    left = latencies.total() * part
    for bucket in sorted(latencies):
        left -= latencies[bucket]
        if left <= 0:
            return BOUNDS_MS[min(bucket, len(BOUNDS_MS) - 1)]
    return BOUNDS_MS[-1]
