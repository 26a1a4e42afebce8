"""A lane: one bounded queue, and a few connections that each take everything that waits as their next group."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, takewhile

import asyncpg
import structlog
from asyncpg import Connection, Record

from app.domain import NoFillReason
from app.errors import StoreUnavailable
from app.group_scheduler import GroupScheduler
from app.serving.outcomes import NoFill
from app.serving.pending import PendingRequest
from app.store.connections import Store, is_lost_connection

log = structlog.get_logger()

RECONNECT_MIN_S, RECONNECT_MAX_S = 0.05, 0.5
"""How long a connection's worker waits, at random between these, before it asks for another connection."""

EXPIRY_INTERVAL_S = 0.02
"""How often requests past their deadline are looked for: what a deadline may be late by."""

DRAIN_S = 5.0
"""How long a lane that is being stopped waits for its groups."""

ATTEMPTS_MAX = 5
"""How often a request is put back because its group failed, before it is answered `busy`."""

ServeGroup = Callable[["Connection[Record]", list[PendingRequest]], Awaitable[None]]
"""Runs the transaction for a group and tells the requests; raises what the driver raises."""


class Lane:
    """Start it with `start`, stop it with `stop`."""

    def __init__(
        self,
        name: str,
        store: Store,
        serve_group: ServeGroup,
        *,
        connections: int,
        queue_max: int,
        group_max: int,
        held_up_s: float,
        linger_max_s: float,
    ) -> None:
        self.name = name
        self._store = store
        self._serve_group = serve_group
        self._connections = connections
        self._queue_max = queue_max
        self._group_max = group_max
        self._queue: deque[PendingRequest] = deque()
        self._scheduler = GroupScheduler(
            self._queue.__len__, group_max=group_max, held_up_s=held_up_s, linger_max_s=linger_max_s
        )
        self._in_flight: set[PendingRequest] = set()
        self._stopping = False
        self._workers: list[asyncio.Task[None]] = []
        self._expiry: asyncio.Task[None] | None = None
        self._clock = asyncio.get_running_loop().time

    def start(self) -> None:
        """Opens the lane."""
        self._workers = [asyncio.create_task(self._work(), name=f"{self.name}-{no}") for no in range(self._connections)]
        self._expiry = asyncio.create_task(self._expire(), name=f"{self.name}-deadlines")

    async def stop(self) -> None:
        """Answers what waits as `busy`, lets groups under way end, for `DRAIN_S` at the most, and closes the lane."""
        self._stopping = True
        for pending in self._queue:
            pending.settle(NoFill(NoFillReason.BUSY))
        self._queue.clear()
        self._scheduler.stop()
        if self._workers:
            await asyncio.wait(self._workers, timeout=DRAIN_S)
        tasks = [*self._workers, *([self._expiry] if self._expiry is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def put(self, pending: PendingRequest) -> None:
        """Queues a request, or answers `busy` at once when the queue is full."""
        if len(self._queue) >= self._queue_max or self._stopping:
            pending.settle(NoFill(NoFillReason.BUSY))
            return
        pending.queued_at = self._clock()
        self._queue.append(pending)
        self._scheduler.notify_arrival(len(self._queue))

    def put_back(self, requests: list[PendingRequest]) -> None:
        """Puts requests back in front: they have waited already."""
        if self._stopping:
            for pending in requests:
                pending.settle(NoFill(NoFillReason.BUSY))
            return
        now = self._clock()
        for pending in requests:
            pending.queued_at = now
        self._queue.extendleft(reversed(requests))
        self._scheduler.notify_arrival(len(self._queue))

    async def _work(self) -> None:
        """One connection's worker, until the lane stops."""
        while not self._stopping:
            try:
                async with self._store.serving_connection() as connection:
                    while await self._scheduler.wait_until_ready():
                        await self._serve_next(connection)
            except StoreUnavailable as error:
                log.warning("serving connection lost", lane=self.name, error=str(error))
                await asyncio.sleep(random.uniform(RECONNECT_MIN_S, RECONNECT_MAX_S))  # noqa: S311 - jitter

    async def _serve_next(self, connection: "Connection[Record]") -> None:
        if connection.is_closed():
            # It ended while nobody used it: no request is to lose an attempt, nor the time, to find that out.
            raise StoreUnavailable("the connection was closed")
        await self._scheduler.linger()
        group = self._next_group()
        if not group:
            return
        self._in_flight.update(group)
        try:
            with self._scheduler.running(len(group)):
                await self._serve_group(connection, group)
        except (asyncpg.UniqueViolationError, asyncpg.InvalidCachedStatementError):
            # The same request was served elsewhere meanwhile, or a migration changed a table under a prepared
            # statement; nothing was committed. Whoever is at fault a second time is told from the others.
            self._retry(group, named=True, alone=any(pending.attempts for pending in group))
        except asyncpg.LockNotAvailableError:
            # Somebody holds a row that one of them needs: the others are not to wait for it a second time.
            log.warning("row held too long", lane=self.name, size=len(group))
            self._retry(group, alone=True)
        except Exception as error:
            if is_lost_connection(error):
                # Whether COMMIT arrived is not known, so the next attempt looks for an earlier serve first.
                self._retry(group, named=True)
                raise
            log.exception("group failed", lane=self.name, size=len(group))
            self._retry(group, named=True, alone=True)
        finally:
            self._in_flight.difference_update(group)

    def _next_group(self) -> list[PendingRequest]:
        """Everything that waits, up to the maximum; a request that is to be alone goes alone."""
        if not self._queue:
            return []
        together = 1
        if not self._queue[0].alone:
            together = len(list(takewhile(lambda pending: not pending.alone, self._first(self._group_max))))
        group = [self._queue.popleft() for _ in range(together)]
        return [pending for pending in group if not pending.over]

    def _first(self, limit: int) -> Iterator[PendingRequest]:
        return (pending for _, pending in zip(range(limit), self._queue, strict=False))

    def _retry(self, group: list[PendingRequest], *, named: bool = False, alone: bool = False) -> None:
        """Puts the group's requests back, unless they have been tried often enough."""
        again: list[PendingRequest] = []
        for pending in group:
            pending.attempts += 1
            pending.may_have_been_served = pending.may_have_been_served or named
            if pending.attempts > ATTEMPTS_MAX or (alone and pending.alone):
                pending.settle(NoFill(NoFillReason.BUSY))
            elif not pending.over:
                pending.alone = alone
                again.append(pending)
        self.put_back(again)

    async def _expire(self) -> None:
        """Answers `busy` to requests past their deadline, whether they wait or their transaction does."""
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL_S)
            now = self._clock()
            # All of them: who was put back in front may have longer left than those behind.
            for pending in chain(self._queue, self._in_flight):
                if pending.deadline <= now:
                    pending.settle(NoFill(NoFillReason.BUSY))
            while self._queue and self._queue[0].over:
                self._queue.popleft()
