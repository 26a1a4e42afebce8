"""Upkeep that every server does by itself, and `adserver maintain` at once: each task by one server at a time.

A task that fails is tried again when its time comes; none holds up serving. Rows leave in small batches, each in a
transaction of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import asyncpg
import structlog

from app.beacons import settlement
from app.errors import StoreUnavailable
from app.store import caps, connections, maintenance, partitions, rollup, serves, sessions
from app.store.connections import Store

AHEAD_DAYS = 7
"""Days for which partitions exist: so long may maintenance fail before rows go to the default partitions."""

DOCUMENTS_DAYS = 3
"""A request may be asked again for 24 hours; then its upstream's document is of no more use."""

SWEEP_LIMIT = 500
SWEEP_PAGES = 256
TICK_S = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be done every so often by one of all servers; `run` returns how much there was to do."""

    run: Callable[[], Awaitable[int]]
    every_s: float


class Maintenance:
    """The tasks, by name; start it with the server and stop it before its store is closed."""

    def __init__(self, store: Store, retention_days: int) -> None:
        self._store = store
        self._retention_days = retention_days
        self._running: asyncio.Task[None] | None = None
        self.tasks: Mapping[str, Task] = {
            "partitions made": Task(self._make_partitions, 3600),
            "partitions dropped": Task(self._drop_partitions, 3600),
            "holds released": Task(self._release_holds, 5),
            "sessions removed": Task(self._sweep_sessions, 60),
            "counts removed": Task(self._sweep_caps, 600),
            "claims removed": Task(self._sweep_midnight_requests, 3600),
            "days rolled up": Task(self._roll_up, 60),
        }

    def start(self) -> None:
        """Begins in the running event loop."""
        self._running = asyncio.create_task(self.run_forever())

    async def stop(self) -> None:
        """Ends what is being done; a batch that was not committed is rolled back."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def run_forever(self) -> None:
        """Does each task when its time comes, unless another server has just done it."""
        clock = asyncio.get_running_loop().time
        due = dict.fromkeys(self.tasks, clock())
        while True:
            for name, task in self.tasks.items():
                if clock() >= due[name]:
                    due[name] = clock() + task.every_s
                    await self._run_claimed(name, task)
            await asyncio.sleep(TICK_S)

    async def run_all(self) -> Mapping[str, int | None]:
        """Does every task at once, whoever has just done it; returns how much each had to do, None if it failed."""
        done: dict[str, int | None] = {}
        for name, task in self.tasks.items():
            try:
                done[name] = await task.run()
            except (StoreUnavailable, asyncpg.PostgresError) as error:
                log.warning("maintenance_failed", task=name, reason=str(error))
                done[name] = None
        return done

    async def _run_claimed(self, name: str, task: Task) -> None:
        try:
            async with self._store.connection() as connection:
                mine = await maintenance.claim_task(connection, name, task.every_s * 0.9)
            if mine:
                await task.run()
        except (StoreUnavailable, asyncpg.PostgresError) as error:
            log.warning("maintenance_failed", task=name, reason=str(error))

    async def _make_partitions(self) -> int:
        made = 0
        # Day by day, so that no transaction locks more than one day's tables.
        for days in range(AHEAD_DAYS + 1):
            async with self._store.connection() as connection:
                made += await partitions.make_partitions(connection, days)
        return made

    async def _drop_partitions(self) -> int:
        dropped = 0
        # Serves first: what became of a serve is not missed when the serve is gone.
        for parent, days in (
            ("ad_serves", self._retention_days),
            ("ad_events", self._retention_days),
            ("hold_releases", self._retention_days),
            ("served_documents", DOCUMENTS_DAYS),
        ):
            while True:
                async with self._store.connection() as connection:
                    name = await partitions.drop_oldest_partition(connection, parent, days)
                if name is None:
                    break
                log.info("partition_dropped", partition=name)
                dropped += 1
        return dropped

    async def _release_holds(self) -> int:
        return await settlement.sweep(self._store)

    async def _sweep_sessions(self) -> int:
        return await self._until_none_is_left(sessions.delete_expired)

    async def _sweep_midnight_requests(self) -> int:
        return await self._until_none_is_left(serves.delete_midnight_requests)

    async def _until_none_is_left(
        self, sweep: "Callable[[asyncpg.Connection[asyncpg.Record], int], Awaitable[int]]"
    ) -> int:
        removed = 0
        while True:
            async with self._store.connection() as connection:
                count = await sweep(connection, SWEEP_LIMIT)
            removed += count
            if count < SWEEP_LIMIT:
                return removed

    async def _sweep_caps(self) -> int:
        async with self._store.connection() as connection:
            pages = await caps.count_pages(connection)
        removed = 0
        for page in range(0, pages, SWEEP_PAGES):
            async with self._store.connection() as connection:
                removed += await caps.delete_expired_counts(connection, page, page + SWEEP_PAGES)
        return removed

    async def _roll_up(self) -> int:
        steps = 0
        more: bool | None = True
        while more:
            async with self._store.transaction() as connection:
                await connections.disable_timeouts(connection)
                more = await rollup.roll_up(connection)
            steps += more is not None
        return steps
