"""Counts of this worker's requests by outcome and by place, added to the database every few seconds."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import asyncpg
import structlog

from app.errors import StoreUnavailable
from app.observer import FinishedRequest, Observer
from app.store import delivery, request_counts
from app.store.connections import Store
from app.store.delivery import RequestPlace
from app.targeting.viewer import Viewer, ViewerReader

log = structlog.get_logger()

INTERVAL_S = 10.0
"""A worker that is killed loses the counts of this time; they are statistics, not part of the ledger."""

PLACES_MAX = 10_000
"""Places that are counted in this time; requests from any other place are counted as from an unknown one."""

UNKNOWN_PLACE = RequestPlace(None, None, None)

NOT_COUNTED_BY_PLACE = ("repeat", "error")
"""Outcomes of requests that finance's fill rates leave out too."""


class RequestCounts(Observer):
    """Counts requests; start it in the running event loop, and stop it before its store is closed."""

    def __init__(self, store: Store, viewers: ViewerReader) -> None:
        self._store = store
        self._viewers = viewers
        self._outcomes: Counter[str] = Counter()
        self._places: Counter[RequestPlace] = Counter()
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
        """Count these requests by outcome and by place."""
        read = self._viewers.read
        for _finished_at, _request_id, _status, outcome, _seconds, values, client in requests:
            self._outcomes[outcome] += 1
            if outcome not in NOT_COUNTED_BY_PLACE:
                self._count_place(values, read(values, client))

    def _count_place(self, values: Mapping[str, str], viewer: Viewer) -> None:
        place = RequestPlace(values.get("placement_id"), viewer.country, viewer.device_type)
        is_counted = place in self._places or len(self._places) < PLACES_MAX
        self._places[place if is_counted else UNKNOWN_PLACE] += 1

    async def write(self) -> None:
        """Add the counts to the totals of the day and the hour; if the database fails, keep them for the next call."""
        outcomes, self._outcomes = self._outcomes, Counter()
        places, self._places = self._places, Counter()
        if not outcomes:
            return
        written = False
        try:
            async with self._store.transaction() as connection:
                await request_counts.add(connection, outcomes)
                await delivery.add_requests(connection, places)
            written = True
        except (StoreUnavailable, asyncpg.PostgresError) as error:
            log.warning("request_counts_not_written", error=str(error))
        finally:
            if not written:
                self._outcomes += outcomes
                self._places += places

    async def _write_forever(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.write()
