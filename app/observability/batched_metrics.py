"""Counts that are plain numbers until they are flushed: writing to a file shared by all workers, once for many."""

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import Counter, Histogram

Labels = tuple[str, ...]


class AddableHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """Adds so many observations to each bucket, and their sum; the last count is of those above every bound."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class BatchedCounter:
    """A counter; `add` costs a dictionary look-up."""

    def __init__(self, family: Counter) -> None:
        self._family = family
        self._pending: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Counts `amount` more."""
        self._pending[labels] = self._pending.get(labels, 0) + amount

    def flush(self) -> None:
        """Hands over what was counted since the last time."""
        for labels, amount in self._pending.items():
            counter = self._family.labels(*labels) if labels else self._family
            counter.inc(amount)
        self._pending.clear()


class BatchedHistogram:
    """A histogram over fixed upper bounds; `observe` costs a look-up and a bisection."""

    def __init__(self, family: AddableHistogram, bounds: Sequence[float]) -> None:
        self._family = family
        self._bounds = bounds
        self._pending: dict[Labels, tuple[list[int], list[float]]] = {}

    def observe(self, labels: Labels, *values: float) -> None:
        """Counts so many observations."""
        pending = self._pending.get(labels)
        if pending is None:
            pending = self._pending[labels] = ([0] * (len(self._bounds) + 1), [0.0])
        counts, total = pending
        for value in values:
            counts[bisect_left(self._bounds, value)] += 1
            total[0] += value

    def flush(self) -> None:
        """Hands over what was observed since the last time."""
        for labels, (counts, total) in self._pending.items():
            self._family.labels(*labels).add(counts, total[0])
        self._pending.clear()
