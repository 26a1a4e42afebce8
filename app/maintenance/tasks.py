"""Maintenance tasks, which every server runs periodically and `adserver maintain` runs immediately.

One server at a time runs a task. A failed task runs again after its interval. No task delays serving: rows are removed
in small batches, each in its own transaction.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import asyncpg
import structlog

from app.beacons import settlement
from app.errors import StoreUnavailable
from app.store import (
    budget_periods,
    caps,
    connections,
    delivery,
    flat_prices,
    maintenance,
    outbox,
    partitions,
    rollup,
    serves,
    sessions,
)
from app.store.connections import Store

AHEAD_DAYS = 7
"""Days for which partitions are created ahead: maintenance may fail this long before rows go to default partitions."""

DOCUMENTS_DAYS = 3
"""Days for which upstream documents are kept; a request can be repeated for 24 hours."""

EVENT_DAYS = 14
"""Days for which events are kept. For as long, the key of an event prevents that it is recorded again."""

UNDELIVERED_DAYS = 30
"""Days after which an event that a webhook has not accepted is dropped."""

BUDGET_DAYS = 35
"""Days after which ended budget periods are archived, unless a setting says otherwise."""

SWEEP_LIMIT = 500
"""Rows that one sweep statement removes."""

SWEEP_PAGES = 256
"""Pages of `frequency_caps` that one sweep statement reads."""

CHECK_INTERVAL_S = 1.0
"""Seconds between checks for tasks that are due."""

CLAIM_FRACTION = 0.9
"""Fraction of a task's interval during which no other server can claim it."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MaintenanceTask:
    """A periodic task."""

    run: Callable[[], Awaitable[int]]
    """Do the work and return the number of affected rows or tables."""
    interval_s: float


class Maintenance:
    """The periodic tasks, by name."""

    def __init__(self, store: Store, retention_days: int, budget_days: int = BUDGET_DAYS) -> None:
        self._store = store
        self._retention_days = retention_days
        self._budget_days = budget_days
        self._running: asyncio.Task[None] | None = None
        self.tasks: Mapping[str, MaintenanceTask] = {
            "partitions created": MaintenanceTask(self._make_partitions, 3600),
            "partitions dropped": MaintenanceTask(self._drop_partitions, 3600),
            "holds released": MaintenanceTask(self._release_holds, 5),
            "sessions removed": MaintenanceTask(self._sweep_sessions, 60),
            "counts removed": MaintenanceTask(self._sweep_caps, 600),
            "claims removed": MaintenanceTask(self._sweep_midnight_requests, 3600),
            "days rolled up": MaintenanceTask(lambda: self._roll_up(rollup.roll_up), 60),
            "hours rolled up": MaintenanceTask(lambda: self._roll_up(delivery.roll_up_delivery), 60),
            "flat prices booked": MaintenanceTask(self._book_flat_prices, 60),
            "hours removed": MaintenanceTask(self._sweep_hours, 3600),
            "flights ended": MaintenanceTask(self._record_ended_flights, 30),
            "events removed": MaintenanceTask(self._sweep_events, 3600),
            "budget periods archived": MaintenanceTask(self._archive_periods, 3600),
        }

    def start(self) -> None:
        """Start the tasks in the running event loop."""
        self._running = asyncio.create_task(self.run_forever())

    async def stop(self) -> None:
        """Cancel the running task; an uncommitted batch is rolled back. Must be called before the store is closed."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def run_forever(self) -> None:
        """Run each task at its interval, unless another server has run it."""
        clock = asyncio.get_running_loop().time
        due = dict.fromkeys(self.tasks, clock())
        while True:
            for name, task in self.tasks.items():
                if clock() >= due[name]:
                    due[name] = clock() + task.interval_s
                    await self._run_claimed(name, task)
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def run_all(self) -> Mapping[str, int | None]:
        """Run every task now, even if another server has just run it. Return the results by name; None is a failure."""
        results: dict[str, int | None] = {}
        for name, task in self.tasks.items():
            try:
                results[name] = await task.run()
            except (StoreUnavailable, asyncpg.PostgresError) as error:
                log.warning("maintenance_failed", task=name, error=str(error))
                results[name] = None
        return results

    async def _run_claimed(self, name: str, task: MaintenanceTask) -> None:
        try:
            async with self._store.connection() as connection:
                claimed = await maintenance.claim_task(connection, name, task.interval_s * CLAIM_FRACTION)
            if claimed:
                await task.run()
        except (StoreUnavailable, asyncpg.PostgresError) as error:
            log.warning("maintenance_failed", task=name, error=str(error))

    async def _make_partitions(self) -> int:
        created = 0
        # One day at a time, so that no transaction locks the tables of several days.
        for days in range(AHEAD_DAYS + 1):
            async with self._store.connection() as connection:
                created += await partitions.make_partitions(connection, days)
        return created

    async def _drop_partitions(self) -> int:
        dropped = 0
        # Serves go first: reconciliation expects the events and releases of every serve that exists.
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
        return await self._sweep_all(sessions.delete_expired)

    async def _sweep_midnight_requests(self) -> int:
        return await self._sweep_all(serves.delete_midnight_requests)

    async def _book_flat_prices(self) -> int:
        async with self._store.connection() as connection:
            campaign_ids = await flat_prices.find_due_campaigns(connection)
            booked = 0
            for campaign_id in campaign_ids:
                while day := await flat_prices.book_due_day(connection, campaign_id):
                    if not day.is_booked:
                        log.warning("flat_price_exceeds_budget", campaign_id=campaign_id)
                        break
                    booked += 1
        return booked

    async def _record_ended_flights(self) -> int:
        async with self._store.connection() as connection:
            return await outbox.record_ended_flights(connection, EVENT_DAYS - 1)

    async def _sweep_events(self) -> int:
        dropped = await self._sweep_all(
            lambda connection, limit: outbox.delete_old_deliveries(connection, UNDELIVERED_DAYS, limit)
        )
        if dropped:
            log.warning("events_dropped", deliveries=dropped)
        return dropped + await self._sweep_all(
            lambda connection, limit: outbox.delete_old_events(connection, EVENT_DAYS, limit)
        )

    async def _sweep_hours(self) -> int:
        removed = await self._sweep_all(delivery.delete_old_delivery)
        return removed + await self._sweep_all(delivery.delete_old_requests)

    async def _archive_periods(self) -> int:
        return await self._sweep_all(
            lambda connection, limit: budget_periods.archive_periods(connection, self._budget_days, limit)
        )

    async def _sweep_all(self, sweep: "Callable[[asyncpg.Connection[asyncpg.Record], int], Awaitable[int]]") -> int:
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

    async def _roll_up(self, roll_up: "Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[bool | None]]") -> int:
        steps = 0
        more: bool | None = True
        while more:
            async with self._store.transaction() as connection:
                await connections.disable_timeouts(connection)
                more = await roll_up(connection)
            steps += more is not None
        return steps
