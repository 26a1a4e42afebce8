import pytest

from app.serving.fetch_wait import FetchWaitLimiter


def test_the_last_connection_waits_for_nobody_that_all_others_wait_for() -> None:
    limiter = FetchWaitLimiter(0.06, connections=3)
    with limiter.waiting({"slow"}) as first, limiter.waiting({"slow"}) as second:
        assert (first, second) == ({"slow"}, {"slow"})
        with limiter.waiting({"slow", "quick"}) as third:
            assert third == {"quick"}
    with limiter.waiting({"slow"}) as again:
        assert again == {"slow"}


def test_an_error_ends_the_waiting() -> None:
    limiter = FetchWaitLimiter(0.06, connections=2)
    with pytest.raises(TimeoutError), limiter.waiting({"slow"}):
        raise TimeoutError
    with limiter.waiting({"slow"}) as allowed:
        assert allowed == {"slow"}


def test_a_single_connection_may_wait() -> None:
    with FetchWaitLimiter(0.06, connections=1).waiting({"slow"}) as allowed:
        assert allowed == {"slow"}
