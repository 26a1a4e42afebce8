"""A look after the books from time to time, for the alerts: spend, disagreements, partitions."""

import asyncio

import asyncpg
import structlog

from app.errors import StoreUnavailable
from app.observability.leader_lock import Turn
from app.observability.metrics import Metrics
from app.store import ledger_checks, partitions
from app.store.connections import Store
from app.store.finance_reports import read_campaign_spend

log = structlog.get_logger()

INTERVAL_S = 30.0

CAMPAIGNS_MAX = 5000
"""Campaigns whose spend is shown: each is a time series."""


class BooksWatch:
    """One worker of a server watches; start it in the running event loop."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._turn = Turn("books")
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Watches from now on."""
        self._watching = asyncio.create_task(self._watch(), name="books-watch")

    async def stop(self) -> None:
        """Watches no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._turn.end()

    async def _watch(self) -> None:
        while True:
            if self._turn.take():
                try:
                    await self.look()
                except (StoreUnavailable, asyncpg.PostgresError) as error:
                    log.warning("books not watched", error=str(error))
            await asyncio.sleep(INTERVAL_S)

    async def look(self) -> None:
        """Sets the gauges once; raises StoreUnavailable."""
        async with self._store.connection() as connection:
            spend = await read_campaign_spend(connection, CAMPAIGNS_MAX)
            disagreements = await ledger_checks.count_wrong_budgets(connection)
            ahead_days = await partitions.count_days_ahead(connection)
            misplaced = await partitions.has_misplaced_rows(connection)
        for campaign in spend:
            self._metrics.spend(campaign.campaign_id, campaign.currency, float(campaign.spent), float(campaign.held))
        self._metrics.books(disagreements, ahead_days, misplaced=misplaced)
