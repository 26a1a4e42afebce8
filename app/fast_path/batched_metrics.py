"""Metrics that are plain numbers until they are flushed: one write to the workers' shared file for many counts."""

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import Counter, Histogram

Labels = tuple[str, ...]


class AddableHistogram(Histogram):
    """A histogram that accepts many observations in one call."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add a number of observations to each bucket, and their sum; the last count is of those above every bound."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class BatchedCounter:
    """A counter whose `add` costs one dictionary look-up."""

    def __init__(self, family: Counter) -> None:
        self._family = family
        self._pending: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Count `amount` more."""
        self._pending[labels] = self._pending.get(labels, 0) + amount

    def flush(self) -> None:
        """Write the counts since the last flush."""
        for labels, amount in self._pending.items():
            counter = self._family.labels(*labels) if labels else self._family
            counter.inc(amount)
        self._pending.clear()


class BatchedHistogram:
    """A histogram over fixed upper bounds whose `observe` costs a look-up and a bisection."""

    def __init__(self, family: AddableHistogram, bounds: Sequence[float]) -> None:
        self._family = family
        self._bounds = bounds
        self._pending: dict[Labels, tuple[list[int], list[float]]] = {}

    def observe(self, labels: Labels, *values: float) -> None:
        """Count these observations."""
        pending = self._pending.get(labels)
        if pending is None:
            pending = self._pending[labels] = ([0] * (len(self._bounds) + 1), [0.0])
        counts, total = pending
        for value in values:
            counts[bisect_left(self._bounds, value)] += 1
            total[0] += value

    def flush(self) -> None:
        """Write the observations since the last flush."""
        for labels, (counts, total) in self._pending.items():
            self._family.labels(*labels).add(counts, total[0])
        self._pending.clear()
