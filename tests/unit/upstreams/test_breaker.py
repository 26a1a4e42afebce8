import asyncio
from contextlib import ExitStack

import pytest

from app.domain import Upstream
from app.errors import UpstreamFailed
from app.upstreams.breaker import Breakers
from app.upstreams.failures import NOT_UPSTREAM_FAULT, FailureKind

PRIMARY = Upstream(id="primary", tag_url="http://127.0.0.1:9/", breaker_failures=3, breaker_reset_s=60)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.set_forward_s = 0.0

    def time(self) -> float:
        return self.now + self.set_forward_s

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.upstreams.breaker.time", clock)
    return clock


@pytest.fixture
def changes() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def breakers(changes: list[tuple[str, str, str]], clock: Clock) -> Breakers:
    return Breakers(lambda *change: changes.append(change))


def fail(breakers: Breakers, times: int, kind: str = FailureKind.TIMEOUT) -> None:
    for _ in range(times):
        with pytest.raises(UpstreamFailed, match=kind), breakers.attempt(PRIMARY):
            raise UpstreamFailed("primary", kind)


def is_let_through(breakers: Breakers) -> bool:
    try:
        with breakers.attempt(PRIMARY):
            return True
    except UpstreamFailed as failure:
        if failure.kind != "breaker_open":
            raise
        return False


def test_opens_after_so_many_failures_and_says_so_once(breakers: Breakers, changes: list[tuple[str, str, str]]) -> None:
    fail(breakers, 2)
    assert is_let_through(breakers)
    fail(breakers, 3)
    assert changes == [("primary", "closed", "open")]
    assert not is_let_through(breakers)
    assert breakers.would_reject("primary")
    assert breakers.states == {"primary": "open"}


def test_a_success_starts_the_count_again(breakers: Breakers) -> None:
    fail(breakers, 2)
    assert is_let_through(breakers)
    fail(breakers, 2)
    assert is_let_through(breakers)


def test_no_ad_is_not_a_failure(breakers: Breakers) -> None:
    fail(breakers, 2)
    fail(breakers, 1, FailureKind.NO_AD)
    fail(breakers, 2)
    assert breakers.states["primary"] == "closed"


@pytest.mark.parametrize("kind", sorted(NOT_UPSTREAM_FAULT - {FailureKind.BREAKER_OPEN}))
def test_what_is_of_ours_says_nothing(breakers: Breakers, kind: str) -> None:
    fail(breakers, 2)
    fail(breakers, 5, kind)
    assert breakers.states["primary"] == "closed"
    fail(breakers, 1)
    assert breakers.states["primary"] == "open"


def test_a_cancelled_attempt_says_nothing(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, 3)
    clock.now += 61
    with pytest.raises(asyncio.CancelledError), breakers.attempt(PRIMARY):
        raise asyncio.CancelledError
    assert breakers.states["primary"] == "half_open"
    assert is_let_through(breakers)
    assert breakers.states["primary"] == "closed"


def test_lets_one_trial_through_after_the_reset_time(
    breakers: Breakers, clock: Clock, changes: list[tuple[str, str, str]]
) -> None:
    fail(breakers, 3)
    clock.now += 60
    assert not is_let_through(breakers)
    clock.now += 1
    assert not breakers.would_reject("primary")
    with breakers.attempt(PRIMARY):
        assert breakers.would_reject("primary")
        assert not is_let_through(breakers)
    assert is_let_through(breakers)
    assert changes == [
        ("primary", "closed", "open"),
        ("primary", "open", "half_open"),
        ("primary", "half_open", "closed"),
    ]


def test_a_failed_trial_opens_it_again(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, 3)
    clock.now += 61
    fail(breakers, 1)
    assert not is_let_through(breakers)
    clock.now += 59
    assert not is_let_through(breakers)
    clock.now += 2
    assert is_let_through(breakers)


@pytest.mark.parametrize("set_forward_s", [-3600, 3600])
def test_a_clock_that_is_set_right_neither_keeps_it_open_nor_ends_that(
    set_forward_s: float, breakers: Breakers, clock: Clock
) -> None:
    fail(breakers, 3)
    clock.set_forward_s = set_forward_s
    clock.now += 59
    assert not is_let_through(breakers)
    clock.now += 2
    assert is_let_through(breakers)


def test_an_attempt_from_before_does_not_end_the_trial(breakers: Breakers, clock: Clock) -> None:
    old, trial = ExitStack(), ExitStack()
    old.enter_context(breakers.attempt(PRIMARY))
    fail(breakers, 3)
    clock.now += 61
    trial.enter_context(breakers.attempt(PRIMARY))
    old.close()
    assert breakers.states["primary"] == "half_open"
    trial.close()
    assert breakers.states["primary"] == "closed"


def test_refusing_keeps_no_traceback(breakers: Breakers) -> None:
    fail(breakers, 3)
    caught = []
    for _ in range(10):
        with pytest.raises(UpstreamFailed) as info, breakers.attempt(PRIMARY):
            raise AssertionError
        traceback, depth = info.value.__traceback__, 0
        while traceback:
            traceback, depth = traceback.tb_next, depth + 1
        caught.append(depth)
    assert len(set(caught)) == 1


def test_each_upstream_has_its_own_threshold(breakers: Breakers) -> None:
    other = Upstream(id="other", tag_url="http://127.0.0.1:9/", breaker_failures=1)
    with pytest.raises(UpstreamFailed, match="timeout"), breakers.attempt(other):
        raise UpstreamFailed("other", FailureKind.TIMEOUT)
    assert breakers.states == {"other": "open"}
    fail(breakers, 1)
    assert is_let_through(breakers)
