from app.upstreams.latencies import Latencies


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_p95_of_what_was_recorded() -> None:
    latencies = Latencies(Clock())
    for index in range(100):
        latencies.record("primary", 0.010 if index < 90 else 0.300)
    p95_s = latencies.p95_s("primary")
    assert p95_s is not None
    assert 0.3 <= p95_s <= 0.33
    assert latencies.p95_s("other") is None


def test_forgets_what_is_older_than_five_minutes() -> None:
    clock = Clock()
    latencies = Latencies(clock)
    for _ in range(30):
        latencies.record("primary", 0.3)
    clock.now = 200
    for _ in range(30):
        latencies.record("primary", 0.01)
    assert (latencies.p95_s("primary") or 0) >= 0.3
    clock.now = 301
    assert 0.01 <= (latencies.p95_s("primary") or 0) <= 0.011
    clock.now = 511
    assert latencies.p95_s("primary") is None


def test_the_p95_needs_enough_answers_and_is_kept_for_a_second() -> None:
    clock = Clock()
    latencies = Latencies(clock)
    for _ in range(19):
        latencies.record("primary", 0.1)
    assert latencies.p95_s("primary") is None
    latencies.record("primary", 0.1)
    assert latencies.p95_s("primary") is None
    clock.now = 1.5
    assert 0.1 <= (latencies.p95_s("primary") or 0) <= 0.11


def test_a_busy_upstream_takes_no_more_memory_than_an_idle_one() -> None:
    latencies = Latencies(Clock())
    for index in range(100_000):
        latencies.record("primary", index / 1_000_000)
    (part,) = latencies._slices["primary"]
    assert len(part.latencies) < 120
