"""Outcomes of this worker's requests for finance, added to the database every few seconds."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import asyncpg
import structlog

from app.errors import StoreUnavailable
from app.observer import FinishedRequest, Observer
from app.store import request_counts
from app.store.connections import Store

log = structlog.get_logger()

INTERVAL_S = 10.0
"""A worker that is killed loses the counts of this time; they are statistics, not part of the ledger."""


class RequestCounts(Observer):
    """Counts requests by outcome; start it in the running event loop, and stop it before its store is closed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start writing every INTERVAL_S."""
        self._task = asyncio.create_task(self._write_forever(), name="request-counts")

    async def stop(self) -> None:
        """Write for the last time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.write()

    def requests_finished(self, requests: Sequence[FinishedRequest]) -> None:
        """Count these requests by outcome."""
        for _finished_at, _request_id, _status, outcome, _seconds in requests:
            self._counts[outcome] += 1

    async def write(self) -> None:
        """Add the counts to the totals of the day; if the database fails, keep them for the next call."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        written = False
        try:
            async with self._store.connection() as connection:
                await request_counts.add(connection, counts)
            written = True
        except (StoreUnavailable, asyncpg.PostgresError) as error:
            log.warning("request_counts_not_written", error=str(error))
        finally:
            if not written:
                self._counts += counts

    async def _write_forever(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.write()
