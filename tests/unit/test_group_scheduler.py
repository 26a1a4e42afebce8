"""When groups begin, by a clock that only the tests advance."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.group_scheduler import LINGER_FRACTION, LINGER_MIN_SIZE, TIMER_SLACK_S, GroupScheduler
from tests.fake_clock import FakeClock, let_tasks_run

GROUP_MAX = 10
HELD_UP_S = 0.02
LINGER_MAX_S = 0.005


class Lane:
    """A queue that only counts, and its scheduler."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.waiting = 0
        self.scheduler = GroupScheduler(
            lambda: self.waiting,
            self.clock,
            group_max=GROUP_MAX,
            held_up_s=HELD_UP_S,
            linger_max_s=LINGER_MAX_S,
        )

    async def arrive(self, requests: int = 1) -> None:
        for _ in range(requests):
            self.waiting += 1
            self.scheduler.notify_arrival(self.waiting)
        await let_tasks_run()

    @contextmanager
    def group(self) -> Iterator[int]:
        """A group of all that waits runs inside the block."""
        size, self.waiting = self.waiting, 0
        with self.scheduler.running(size):
            yield size

    async def last_group(self, size: int, duration_s: float) -> None:
        """A group has run before."""
        with self.scheduler.running(size):
            await self.clock.advance(duration_s)


@pytest.fixture
def lane() -> Lane:
    return Lane()


async def ready(lane: Lane) -> "asyncio.Task[bool]":
    """A connection that waits until a group may begin."""
    task = asyncio.create_task(lane.scheduler.wait_until_ready())
    await let_tasks_run()
    return task


async def lingering(lane: Lane) -> "asyncio.Task[None]":
    task = asyncio.create_task(lane.scheduler.linger())
    await let_tasks_run()
    return task


async def cancel(task: "asyncio.Task[bool] | asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_in_an_idle_lane_a_single_request_is_a_group(lane: Lane) -> None:
    connection = await ready(lane)
    assert not connection.done()
    await lane.arrive()
    assert connection.done()
    await lane.scheduler.linger()
    with lane.group() as size:
        assert size == 1
    assert lane.clock.time() == FakeClock().time(), "nothing waited"


async def test_requests_that_arrive_while_a_group_runs_are_the_next_group(lane: Lane) -> None:
    await lane.arrive()
    with lane.group():
        other = await ready(lane)
        for _ in range(GROUP_MAX - 1):
            await lane.arrive()
        assert not other.done()
    await let_tasks_run()
    assert other.done()
    assert lane.waiting == GROUP_MAX - 1


async def test_a_full_group_does_not_wait_for_the_one_that_runs(lane: Lane) -> None:
    await lane.arrive()
    with lane.group():
        other = await ready(lane)
        await lane.arrive(GROUP_MAX - 1)
        assert not other.done()
        await lane.arrive()
        assert other.done()


async def test_while_a_group_is_held_up_another_connection_begins_the_next(lane: Lane) -> None:
    await lane.arrive()
    with lane.group():
        other = await ready(lane)
        await lane.arrive()
        await lane.clock.advance(HELD_UP_S - 0.001)
        assert not other.done()
        await lane.clock.advance(0.001 + TIMER_SLACK_S)
        assert other.done()


async def test_a_request_that_arrives_after_the_group_was_held_up_goes_immediately(lane: Lane) -> None:
    await lane.arrive()
    with lane.group():
        await lane.clock.advance(2 * HELD_UP_S)
        other = await ready(lane)
        assert not other.done()
        await lane.arrive()
        assert other.done()


async def test_after_a_large_group_the_next_lingers_until_it_is_as_large(lane: Lane) -> None:
    await lane.last_group(LINGER_MIN_SIZE, duration_s=0.012)
    await lane.arrive(2)
    linger = await lingering(lane)
    await lane.arrive(LINGER_MIN_SIZE - 3)
    assert not linger.done()
    await lane.arrive()
    assert linger.done()


@pytest.mark.parametrize(
    ("last_duration_s", "expected_s"),
    [(0.012, LINGER_FRACTION * 0.012), (1.0, LINGER_MAX_S)],
    ids=["a fraction of the last group's duration", "the maximum"],
)
async def test_lingering_ends_after(lane: Lane, last_duration_s: float, expected_s: float) -> None:
    await lane.last_group(LINGER_MIN_SIZE, last_duration_s)
    await lane.arrive()
    linger = await lingering(lane)
    await lane.clock.advance(0.99 * expected_s)
    assert not linger.done()
    await lane.clock.advance(0.02 * expected_s)
    assert linger.done()


@pytest.mark.parametrize(
    ("last_size", "waiting"),
    [(0, 1), (LINGER_MIN_SIZE - 1, 1), (LINGER_MIN_SIZE, LINGER_MIN_SIZE), (LINGER_MIN_SIZE, GROUP_MAX)],
    ids=["first group", "small last group", "as many wait", "more wait"],
)
async def test_there_is_no_lingering(lane: Lane, last_size: int, waiting: int) -> None:
    if last_size:
        await lane.last_group(last_size, duration_s=1.0)
    await lane.arrive(waiting)
    assert (await lingering(lane)).done()


async def test_no_other_group_begins_while_one_lingers(lane: Lane) -> None:
    await lane.last_group(LINGER_MIN_SIZE, duration_s=1.0)
    await lane.arrive()
    linger = await lingering(lane)
    other = await ready(lane)
    await lane.arrive()
    assert not other.done()
    await cancel(linger)
    assert (await ready(lane)).done(), "a canceled linger is over"
    await cancel(other)


async def test_a_stopping_lane_serves_what_waits_and_then_no_more(lane: Lane) -> None:
    await lane.arrive()
    with lane.group():
        other = await ready(lane)
        await lane.arrive()
        lane.scheduler.stop()
        await let_tasks_run()
        assert other.result() is True
        lane.waiting = 0
        assert await lane.scheduler.wait_until_ready() is False


async def test_a_stop_ends_the_wait_of_an_idle_connection(lane: Lane) -> None:
    connection = await ready(lane)
    lane.scheduler.stop()
    await let_tasks_run()
    assert connection.result() is False


async def test_a_group_that_fails_has_ended_too(lane: Lane) -> None:
    await lane.arrive()
    with pytest.raises(ZeroDivisionError), lane.group():
        raise ZeroDivisionError
    await lane.arrive()
    assert (await ready(lane)).result() is True
