"""The beacon lane: a bounded queue of groups, and a few connections that each count the next group.

Counting is idempotent, so a group whose connection was lost is counted again. Every beacon is acknowledged when its
group is committed, or after `ACK_TIMEOUT_S`; a beacon acknowledged early is still counted as soon as possible.
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

ACK_TIMEOUT_S = 1.0
"""Seconds after which a beacon is acknowledged even if it is not committed."""

ACK_CHECK_INTERVAL_S = 0.05
"""Seconds between checks for overdue acknowledgments."""

RETRY_MIN_S, RETRY_MAX_S = 0.05, 0.5
"""Bounds of the random pause, in seconds, before a worker retries."""

DRAIN_S = 5.0
"""Seconds for which a stopping lane keeps counting queued beacons."""

RETRYABLE_ERRORS = (*TIMED_OUT, DeadlockDetectedError, InvalidCachedStatementError)
"""Errors that say nothing about the beacons of the group."""


@dataclass(slots=True, eq=False)
class _BeaconGroup:
    """Beacons that are counted in one transaction."""

    ack_deadline: float
    """When the beacons must be acknowledged, by the event loop's clock, in seconds."""
    beacons: list[Beacon] = field(default_factory=list)
    on_ack: list[Callable[[], None]] = field(default_factory=list)
    """One callback for each beacon; empty once the group is acknowledged."""
    acknowledged: bool = False

    def acknowledge(self) -> None:
        """Call the callbacks of all beacons, once."""
        self.acknowledged = True
        callbacks, self.on_ack = self.on_ack, []
        for callback in callbacks:
            callback()


class BeaconLane:
    """The queue of beacons and the workers that count them."""

    def __init__(self, store: Store, observer: Observer, *, connections: int, queue_max: int, group_max: int) -> None:
        self._store = store
        self._observer = observer
        self._connections = connections
        self._queue_max = queue_max
        self._group_max = group_max
        self._queue: deque[_BeaconGroup] = deque()
        self._in_flight: set[_BeaconGroup] = set()
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
        self._ack_timer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the workers in the running event loop."""
        self._workers = [
            asyncio.create_task(self._work(), name=f"beacons-{number}") for number in range(self._connections)
        ]
        self._ack_timer = asyncio.create_task(self._ack_overdue(), name="beacons-acks")

    async def stop(self) -> None:
        """Count the queued beacons for at most `DRAIN_S`, then drop the rest and stop the workers."""
        self._stopping = True
        self._scheduler.stop()
        if self._workers:
            await asyncio.wait(self._workers, timeout=DRAIN_S)
        tasks = [*self._workers, *([self._ack_timer] if self._ack_timer else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for group in self._queue:
            self._drop(group)

    @property
    def waiting(self) -> int:
        """Number of beacons in the queue."""
        return self._waiting

    def put(self, beacon: Beacon, on_ack: Callable[[], None]) -> None:
        """Queue a beacon, or drop it if the queue is full: its sender could not do anything about it.

        `on_ack` is called when the beacon is committed or dropped, and after `ACK_TIMEOUT_S` in any case. It must not
        raise.
        """
        if self._waiting >= self._queue_max or self._stopping:
            self._observer.beacons_handled("dropped", 1)
            on_ack()
            return
        group = self._open_group()
        group.beacons.append(beacon)
        group.on_ack.append(on_ack)
        self._waiting += 1
        self._scheduler.notify_arrival(self._waiting)

    def _open_group(self) -> _BeaconGroup:
        """Return the last group of the queue while it has room, or a new one."""
        if self._queue:
            last = self._queue[-1]
            if len(last.beacons) < self._group_max and not last.acknowledged:
                return last
        group = _BeaconGroup(ack_deadline=asyncio.get_running_loop().time() + ACK_TIMEOUT_S)
        self._queue.append(group)
        return group

    async def _work(self) -> None:
        """Count groups over one connection at a time, until the lane stops."""
        while self._queue or not self._stopping:
            try:
                async with self._store.serving_connection() as connection:
                    while await self._scheduler.wait_until_ready():
                        await self._count_next(connection)
            except StoreUnavailable as error:
                log.warning("beacon_connection_lost", error=str(error))
                await _pause()

    async def _count_next(self, connection: "Connection[Record]") -> None:
        await self._scheduler.linger()
        if not self._queue:
            return
        group = self._queue.popleft()
        self._waiting -= len(group.beacons)
        self._in_flight.add(group)
        try:
            with self._scheduler.running(len(group.beacons)):
                await self._count(connection, group)
        except BaseException:
            self._put_back(group)
            raise
        finally:
            self._in_flight.discard(group)

    async def _count(self, connection: "Connection[Record]", group: _BeaconGroup) -> None:
        """Count one group. Raises the driver's error if the connection was lost."""
        try:
            settlement = await settle(connection, group.beacons)
        except RETRYABLE_ERRORS as error:
            log.warning("beacons_not_counted", error=type(error).__name__, size=len(group.beacons))
            # The group goes to the end of the queue, so that a lock on one campaign does not delay the others.
            self._queue.append(group)
            self._waiting += len(group.beacons)
            await _pause()
        except Exception as error:
            if is_lost_connection(error):
                raise
            log.exception("beacons_failed", size=len(group.beacons))
            self._isolate(group)
        else:
            group.acknowledge()
            self._report(group.beacons, settlement)

    def _put_back(self, group: _BeaconGroup) -> None:
        self._queue.appendleft(group)
        self._waiting += len(group.beacons)

    def _isolate(self, group: _BeaconGroup) -> None:
        """Queue the two halves of a failed group separately, down to the beacon at fault, which is dropped."""
        half = len(group.beacons) // 2
        if not half:
            self._drop(group)
            return
        for part in (slice(half), slice(half, None)):
            self._put_back(
                _BeaconGroup(group.ack_deadline, group.beacons[part], group.on_ack[part], group.acknowledged)
            )

    def _drop(self, group: _BeaconGroup) -> None:
        group.acknowledge()
        self._observer.beacons_handled("dropped", len(group.beacons))

    def _report(self, beacons: Sequence[Beacon], settlement: Settlement) -> None:
        self._observer.beacons_handled("counted", settlement.counted)
        self._observer.beacons_handled("repeat", len(beacons) - settlement.counted)
        self._observer.holds_settled(settlement.settled, settlement.released)

    async def _ack_overdue(self) -> None:
        """Acknowledge beacons whose commit takes longer than `ACK_TIMEOUT_S`, until canceled."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(ACK_CHECK_INTERVAL_S)
            now = clock()
            for group in (*self._queue, *self._in_flight):
                if group.ack_deadline <= now:
                    group.acknowledge()


async def _pause() -> None:
    await asyncio.sleep(random.uniform(RETRY_MIN_S, RETRY_MAX_S))  # noqa: S311 - jitter
