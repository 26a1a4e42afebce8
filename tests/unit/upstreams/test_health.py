from app.upstreams.health import Health


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rates_and_percentiles() -> None:
    health = Health(Clock())
    for no in range(100):
        outcome = "ad" if no < 60 else "no_ad" if no < 90 else "timeout"
        health.record("primary", outcome, 0.010 if no < 90 else 0.300)
    status = health.status("primary")
    assert status.requests == 100
    assert status.fill_rate == 0.6
    assert status.error_rate == 0.1
    assert status.p50_ms is not None
    assert 10 <= status.p50_ms <= 11
    assert status.p95_ms is not None
    assert 300 <= status.p95_ms <= 330


def test_an_upstream_that_was_not_asked_has_no_rates() -> None:
    status = Health(Clock()).status("primary")
    assert (status.requests, status.p50_ms, status.error_rate, status.fill_rate) == (0, None, None, None)


def test_what_was_not_sent_is_not_counted() -> None:
    health = Health(Clock())
    for kind in ("breaker_open", "quota", "bulkhead", "deadline"):
        health.record("primary", kind, 0.0)
    assert health.status("primary").requests == 0


def test_a_lost_attempt_is_slow_but_no_error() -> None:
    health = Health(Clock())
    for _ in range(90):
        health.record("primary", "ad", 0.01)
    for _ in range(10):
        health.record("primary", "lost", 0.5)
    status = health.status("primary")
    assert (status.error_rate, status.fill_rate) == (0, 1)
    assert status.p95_ms is not None
    assert status.p95_ms >= 500


def test_forgets_what_is_older_than_five_minutes() -> None:
    clock = Clock()
    health = Health(clock)
    health.record("primary", "timeout", 0.3)
    clock.now = 200
    health.record("primary", "ad", 0.01)
    assert health.status("primary").error_rate == 0.5
    clock.now = 301
    assert health.status("primary").error_rate == 0
    clock.now = 501
    assert health.status("primary").requests == 0


def test_p95_needs_enough_answers_and_is_kept_for_a_second() -> None:
    clock = Clock()
    health = Health(clock)
    for _ in range(19):
        health.record("primary", "ad", 0.1)
    assert health.p95_s("primary") is None
    health.record("primary", "ad", 0.1)
    assert health.p95_s("primary") is None
    clock.now = 1.5
    assert health.p95_s("primary") is not None
    assert 0.1 <= health.p95_s("primary") <= 0.11  # type: ignore[operator]


def test_a_busy_upstream_takes_no_more_memory_than_an_idle_one() -> None:
    health = Health(Clock())
    for no in range(100_000):
        health.record("primary", "ad", no / 1_000_000)
    (part,) = health._slices["primary"]
    assert len(part.latencies) < 120


def test_requests_a_second() -> None:
    clock = Clock()
    health = Health(clock)
    for _ in range(50):
        health.record("primary", "ad", 0.01)
        clock.now += 0.2
    assert 4.5 <= health.status("primary").requests_per_s <= 5.5
