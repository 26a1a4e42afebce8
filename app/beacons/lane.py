"""The beacons' lane: a bounded queue of groups, and a few connections that each count the next one.

Counting is safe to repeat, so a group whose connection broke is simply counted again. Whoever sent a beacon hears
that it arrived when it is committed, or when patience runs out; then it still is counted, as soon as it can be.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from asyncpg import Connection, DeadlockDetectedError, InvalidCachedStatementError, Record

from app.beacons.settlement import Settlement, settle
from app.errors import StoreUnavailable
from app.group_scheduler import HELD_UP_S, LINGER_MAX_S, GroupScheduler
from app.observer import Observer
from app.store.connections import TIMED_OUT, Store, is_lost_connection
from app.store.holds import Beacon

log = structlog.get_logger()

PATIENCE_S = 1.0
"""How long a sender waits for its beacon's commit."""

PATIENCE_CHECK_INTERVAL_S = 0.05
"""How often that is looked at: what patience may be late by."""

RETRY_MIN_S, RETRY_MAX_S = 0.05, 0.5
"""How long a worker waits, at random between these, after a group could not be counted for now."""

DRAIN_S = 5.0
"""How long a lane that is being stopped goes on counting what waits."""

NOT_NOW = (*TIMED_OUT, DeadlockDetectedError, InvalidCachedStatementError)
"""Raised for a group with which nothing is wrong."""


@dataclass(slots=True, eq=False)
class _Batch:
    """Beacons that are counted together."""

    due: float
    """When its senders are answered at the latest, by the event loop's clock, in seconds."""
    beacons: list[Beacon] = field(default_factory=list)
    senders: list[Callable[[], None]] = field(default_factory=list)
    """One for each beacon; none once they are answered."""
    answered: bool = False

    def answer(self) -> None:
        """Tells the senders that they need not wait any more."""
        self.answered = True
        senders, self.senders = self.senders, []
        for tell in senders:
            tell()


class BeaconLane:
    """Start it with `start`, stop it with `stop`."""

    def __init__(self, store: Store, observer: Observer, *, connections: int, queue_max: int, group_max: int) -> None:
        self._store = store
        self._observer = observer
        self._connections = connections
        self._queue_max = queue_max
        self._group_max = group_max
        self._queue: deque[_Batch] = deque()
        self._in_flight: set[_Batch] = set()
        self._waiting = 0
        self._scheduler = GroupScheduler(
            lambda: self._waiting,
            asyncio.get_running_loop(),
            group_max=group_max,
            held_up_s=HELD_UP_S,
            linger_max_s=LINGER_MAX_S,
        )
        self._stopping = False
        self._workers: list[asyncio.Task[None]] = []
        self._patience: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Opens the lane."""
        self._workers = [asyncio.create_task(self._work(), name=f"beacons-{no}") for no in range(self._connections)]
        self._patience = asyncio.create_task(self._lose_patience(), name="beacons-patience")

    async def stop(self) -> None:
        """Counts what waits, for `DRAIN_S` at the most, and closes the lane."""
        self._stopping = True
        self._scheduler.stop()
        if self._workers:
            await asyncio.wait(self._workers, timeout=DRAIN_S)
        tasks = [*self._workers, *([self._patience] if self._patience else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for batch in self._queue:
            self._drop(batch)

    @property
    def waiting(self) -> int:
        """Beacons in the queue."""
        return self._waiting

    def put(self, beacon: Beacon, counted: Callable[[], None]) -> None:
        """Calls `counted` when the beacon is committed, and after `PATIENCE_S` in any case; it must not raise.

        With the queue full the beacon is dropped, which its sender can neither know nor mend.
        """
        if self._waiting >= self._queue_max or self._stopping:
            self._observer.beacons_handled("dropped", 1)
            counted()
            return
        batch = self._open_batch()
        batch.beacons.append(beacon)
        batch.senders.append(counted)
        self._waiting += 1
        self._scheduler.notify_arrival(self._waiting)

    def _open_batch(self) -> _Batch:
        """The last of the queue while it has room, so that everything that waits goes together."""
        if self._queue:
            last = self._queue[-1]
            if len(last.beacons) < self._group_max and not last.answered:
                return last
        batch = _Batch(due=asyncio.get_running_loop().time() + PATIENCE_S)
        self._queue.append(batch)
        return batch

    async def _work(self) -> None:
        """One connection's worker, until the lane stops."""
        while self._queue or not self._stopping:
            try:
                async with self._store.serving_connection() as connection:
                    while await self._scheduler.wait_until_ready():
                        await self._count_next(connection)
            except StoreUnavailable as error:
                log.warning("beacon connection lost", error=str(error))
                await _pause()

    async def _count_next(self, connection: "Connection[Record]") -> None:
        await self._scheduler.linger()
        if not self._queue:
            return
        batch = self._queue.popleft()
        self._waiting -= len(batch.beacons)
        self._in_flight.add(batch)
        try:
            with self._scheduler.running(len(batch.beacons)):
                await self._count(connection, batch)
        except BaseException:
            self._put_back(batch)
            raise
        finally:
            self._in_flight.discard(batch)

    async def _count(self, connection: "Connection[Record]", batch: _Batch) -> None:
        """Raises what the driver raises of a lost connection."""
        try:
            settlement = await settle(connection, batch.beacons)
        except NOT_NOW as error:
            log.warning("beacons not counted yet", error=type(error).__name__, size=len(batch.beacons))
            # At the end of the queue: a lock that one campaign waits for does not hold up the others.
            self._queue.append(batch)
            self._waiting += len(batch.beacons)
            await _pause()
        except Exception as error:
            if is_lost_connection(error):
                raise
            log.exception("beacons failed", size=len(batch.beacons))
            self._isolate(batch)
        else:
            batch.answer()
            self._report(batch.beacons, settlement)

    def _put_back(self, batch: _Batch) -> None:
        self._queue.appendleft(batch)
        self._waiting += len(batch.beacons)

    def _isolate(self, batch: _Batch) -> None:
        """Counts both halves for themselves, until the beacon that is at fault stands alone and is dropped."""
        half = len(batch.beacons) // 2
        if not half:
            self._drop(batch)
            return
        for part in (slice(half), slice(half, None)):
            self._put_back(_Batch(batch.due, batch.beacons[part], batch.senders[part], batch.answered))

    def _drop(self, batch: _Batch) -> None:
        batch.answer()
        self._observer.beacons_handled("dropped", len(batch.beacons))

    def _report(self, beacons: Sequence[Beacon], settlement: Settlement) -> None:
        self._observer.beacons_handled("counted", settlement.first)
        self._observer.beacons_handled("repeat", len(beacons) - settlement.first)
        self._observer.holds_settled(settlement.settled, settlement.released)

    async def _lose_patience(self) -> None:
        """Answers the senders of beacons that the database keeps waiting."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(PATIENCE_CHECK_INTERVAL_S)
            now = clock()
            for batch in (*self._queue, *self._in_flight):
                if batch.due <= now:
                    batch.answer()


async def _pause() -> None:
    await asyncio.sleep(random.uniform(RETRY_MIN_S, RETRY_MAX_S))  # noqa: S311 - jitter
