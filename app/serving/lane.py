"""A lane: one bounded queue of requests, and the groups that connections take from it."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, takewhile

from app.domain import NoFillReason
from app.group_scheduler import Clock, GroupScheduler
from app.serving.lifecycle import Trigger
from app.serving.pending import PendingRequest


class Lane:
    """The queue of the requests that one set of connections serves."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        queue_max: int,
        group_max: int,
        held_up_s: float,
        linger_max_s: float,
    ) -> None:
        self.name = name
        self._clock = clock
        self._queue_max = queue_max
        self._group_max = group_max
        self._queue: deque[PendingRequest] = deque()
        self._in_groups: set[PendingRequest] = set()
        self._scheduler = GroupScheduler(
            self._queue.__len__, clock, group_max=group_max, held_up_s=held_up_s, linger_max_s=linger_max_s
        )
        self._stopping = False

    def stop(self) -> None:
        """Decline the queued requests as `busy`, and accept no more; running groups continue."""
        self._stopping = True
        for pending in self._queue:
            pending.decline(NoFillReason.BUSY)
        self._queue.clear()
        self._scheduler.stop()

    @property
    def waiting(self) -> int:
        """The number of requests in the queue."""
        return len(self._queue)

    def put(self, pending: PendingRequest) -> None:
        """Queue a new request, or decline it as `busy` if the queue is full."""
        if len(self._queue) >= self._queue_max or self._stopping:
            pending.decline(NoFillReason.BUSY)
            return
        pending.enter_queue(Trigger.ENQUEUED, self._clock.time())
        self._queue.append(pending)
        self._scheduler.notify_arrival(len(self._queue))

    def put_back(self, pending: PendingRequest, trigger: Trigger) -> None:
        """Queue a request in front of the others, because it has waited before. The queue's bound does not apply."""
        if self._stopping:
            pending.decline(NoFillReason.BUSY)
            return
        pending.enter_queue(trigger, self._clock.time())
        self._queue.appendleft(pending)
        self._scheduler.notify_arrival(len(self._queue))

    async def wait_until_ready(self) -> bool:
        """Return True when a group may begin, and False when the lane stops and nothing waits."""
        return await self._scheduler.wait_until_ready()

    async def take_group(self) -> list[PendingRequest]:
        """Return the requests of the next group; an empty list if another connection has taken them."""
        await self._scheduler.linger()
        if not self._queue:
            return []
        size = 1
        if not self._queue[0].is_alone:
            size = len(list(takewhile(lambda pending: not pending.is_alone, self._first(self._group_max))))
        group = [pending for pending in (self._queue.popleft() for _ in range(size)) if not pending.is_done]
        for pending in group:
            pending.begin_attempt()
        return group

    def _first(self, limit: int) -> Iterator[PendingRequest]:
        return (pending for _, pending in zip(range(limit), self._queue, strict=False))

    @contextmanager
    def running(self, group: list[PendingRequest]) -> Iterator[None]:
        """Mark a group as running inside the block."""
        self._in_groups.update(group)
        try:
            with self._scheduler.running(len(group)):
                yield
        finally:
            self._in_groups.difference_update(group)

    def decline_overdue(self) -> None:
        """Decline requests past their deadline as `busy`, and remove done requests from the front of the queue."""
        now = self._clock.time()
        # Requests that were put back in front may have later deadlines than those behind them, so look at all.
        for pending in chain(self._queue, self._in_groups):
            if pending.deadline <= now:
                pending.decline(NoFillReason.BUSY)
        while self._queue and self._queue[0].is_done:
            self._queue.popleft()
