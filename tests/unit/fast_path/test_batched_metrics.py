"""Batched metrics are exposed exactly as prometheus_client's own."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from app.fast_path import AddableHistogram, BatchedCounter, BatchedHistogram

BOUNDS = (0.1, 1.0, 10.0)
VALUES = (0.05, 0.1, 0.5, 1.0, 3.0, 100.0)


def exposed(registry: CollectorRegistry) -> list[str]:
    """The samples, without the times at which they were created."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_a_batched_counter_counts_as_a_counter_does() -> None:
    plain, batched = CollectorRegistry(), CollectorRegistry()
    counter = Counter("ads", "Ads", ["outcome"], registry=plain)
    fast = BatchedCounter(Counter("ads", "Ads", ["outcome"], registry=batched))
    for outcome, amount in (("served", 1), ("served", 2), ("no_fill", 1)):
        counter.labels(outcome).inc(amount)
        fast.add((outcome,), amount)
    assert exposed(batched) != exposed(plain)
    fast.flush()
    assert exposed(batched) == exposed(plain)


def test_a_batched_counter_without_labels_counts_too() -> None:
    plain, batched = CollectorRegistry(), CollectorRegistry()
    Counter("lines", "Lines", registry=plain).inc(3)
    fast = BatchedCounter(Counter("lines", "Lines", registry=batched))
    fast.add((), 3)
    fast.flush()
    assert exposed(batched) == exposed(plain)


def test_a_batched_histogram_observes_as_a_histogram_does() -> None:
    plain, batched = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("seconds", "Seconds", ["lane"], registry=plain, buckets=BOUNDS)
    family = AddableHistogram("seconds", "Seconds", ["lane"], registry=batched, buckets=BOUNDS)
    fast = BatchedHistogram(family, BOUNDS)
    for _ in range(2):
        for value in VALUES:
            histogram.labels("serve").observe(value)
        fast.observe(("serve",), *VALUES)
        fast.flush()
    assert exposed(batched) == exposed(plain)
