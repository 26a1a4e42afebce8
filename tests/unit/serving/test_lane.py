"""A lane's queue and the groups that connections take from it, by a clock that only the tests advance."""

import pytest

from app.domain import NoFillReason
from app.serving.lane import Lane
from app.serving.lifecycle import State, Trigger
from app.serving.outcomes import NoFill
from app.serving.pending import PendingRequest
from tests.fake_clock import FakeClock
from tests.unit.serving.pending_requests import Results, pending_request

BUSY = [NoFill(NoFillReason.BUSY)]
QUEUE_MAX, GROUP_MAX = 4, 3


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lane(clock: FakeClock) -> Lane:
    return Lane("serve", clock, queue_max=QUEUE_MAX, group_max=GROUP_MAX, held_up_s=1, linger_max_s=0)


def queued(lane: Lane, clock: FakeClock, within_s: float = 60, min_ads: int = 1) -> PendingRequest:
    pending = pending_request("own", deadline=clock.time() + within_s, on_done=Results(), min_ads=min_ads)
    lane.put(pending)
    return pending


def results(pending: PendingRequest) -> list[object]:
    assert isinstance(pending.on_done, Results)
    return pending.on_done


async def isolated(lane: Lane, clock: FakeClock) -> PendingRequest:
    """A request that was put back because its group failed, and is served alone."""
    pending = queued(lane, clock)
    assert await lane.take_group() == [pending]
    pending.record_failure(may_have_been_served=True, isolate=True)
    lane.put_back(pending, Trigger.RETRIED)
    return pending


async def test_a_group_is_all_that_waits_up_to_the_maximum(lane: Lane, clock: FakeClock) -> None:
    requests = [queued(lane, clock) for _ in range(QUEUE_MAX)]
    assert await lane.take_group() == requests[:GROUP_MAX]
    assert await lane.take_group() == requests[GROUP_MAX:]
    assert await lane.take_group() == []


async def test_past_the_bound_of_the_queue_a_request_is_declined(lane: Lane, clock: FakeClock) -> None:
    requests = [queued(lane, clock) for _ in range(QUEUE_MAX + 1)]
    assert [results(pending) for pending in requests] == [*([[]] * QUEUE_MAX), BUSY]
    assert lane.waiting == QUEUE_MAX


async def test_a_request_that_is_put_back_goes_first_even_if_the_queue_is_full(lane: Lane, clock: FakeClock) -> None:
    first = queued(lane, clock)
    await lane.take_group()
    for _ in range(QUEUE_MAX):
        queued(lane, clock)
    lane.put_back(first, Trigger.DEFERRED)
    assert lane.waiting == QUEUE_MAX + 1
    assert (await lane.take_group())[0] is first


async def test_an_isolated_request_is_a_group_of_its_own(lane: Lane, clock: FakeClock) -> None:
    alone = await isolated(lane, clock)
    others = [queued(lane, clock) for _ in range(2)]
    assert await lane.take_group() == [alone]
    assert await lane.take_group() == others


async def test_a_request_that_may_be_rolled_back_is_a_group_of_its_own(lane: Lane, clock: FakeClock) -> None:
    first, whole, last = queued(lane, clock), queued(lane, clock, min_ads=2), queued(lane, clock)
    assert [await lane.take_group() for _ in range(3)] == [[first], [whole], [last]]


async def test_a_request_that_is_done_is_not_taken(lane: Lane, clock: FakeClock) -> None:
    left, waiting = queued(lane, clock), queued(lane, clock)
    left.abandon()
    assert await lane.take_group() == [waiting]
    assert waiting.progress.state is State.IN_GROUP


async def test_a_deadline_passes_behind_a_request_that_was_put_back_and_has_longer(
    lane: Lane, clock: FakeClock
) -> None:
    younger = queued(lane, clock, within_s=3600)
    await lane.take_group()
    older = queued(lane, clock, within_s=1)
    lane.put_back(younger, Trigger.DEFERRED)
    lane.decline_overdue()
    assert (results(older), results(younger)) == ([], [])
    await clock.advance(1)
    lane.decline_overdue()
    assert (results(older), results(younger)) == (BUSY, [])


async def test_a_deadline_passes_while_the_group_runs(lane: Lane, clock: FakeClock) -> None:
    pending = queued(lane, clock, within_s=1)
    group = await lane.take_group()
    with lane.running(group):
        await clock.advance(1)
        lane.decline_overdue()
    assert results(pending) == BUSY


async def test_a_lane_that_stops_declines_what_waits_and_what_comes(lane: Lane, clock: FakeClock) -> None:
    in_group = queued(lane, clock)
    group = await lane.take_group()
    waiting = queued(lane, clock)
    with lane.running(group):
        lane.stop()
        assert (results(waiting), results(in_group)) == (BUSY, []), "a group that runs goes on"
        lane.put_back(in_group, Trigger.RETRIED)
    assert results(in_group) == BUSY
    assert results(queued(lane, clock)) == BUSY
    assert await lane.wait_until_ready() is False
