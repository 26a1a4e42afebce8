"""Periodic samples for alerts: spend, disagreements of the books, partitions, pending webhook deliveries."""

import asyncio

import asyncpg
import structlog

from app.errors import StoreUnavailable
from app.observability.leader_lock import LeaderLock
from app.observability.metrics import Metrics
from app.store import ledger_checks, outbox, partitions
from app.store.connections import Store
from app.store.finance_reports import read_campaign_spend
from app.webhooks.retries import FAILING_AFTER_S

log = structlog.get_logger()

INTERVAL_S = 30.0

CAMPAIGNS_MAX = 5000
"""Maximum number of campaigns whose spend is exported; each is a time series."""

WEBHOOKS_MAX = 1000
"""Maximum number of webhooks whose backlog is exported."""


class LedgerHealthSampler:
    """Samples in one worker of a server; start it in the running event loop."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._lock = LeaderLock("ledger-health")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start sampling every INTERVAL_S."""
        self._task = asyncio.create_task(self._sample_forever(), name="ledger-health")

    async def stop(self) -> None:
        """Stop sampling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._lock.release()

    async def _sample_forever(self) -> None:
        while True:
            if self._lock.try_acquire():
                try:
                    await self.sample()
                except (StoreUnavailable, asyncpg.PostgresError) as error:
                    log.warning("ledger_check_failed", error=str(error))
            await asyncio.sleep(INTERVAL_S)

    async def sample(self) -> None:
        """Set the gauges, and record an event if the books began or ceased to disagree; raises StoreUnavailable."""
        async with self._store.connection() as connection:
            spend = await read_campaign_spend(connection, CAMPAIGNS_MAX)
            disagreements = await ledger_checks.count_wrong_budgets(connection)
            ahead_days = await partitions.count_days_ahead(connection)
            misplaced = await partitions.has_misplaced_rows(connection)
            if await outbox.record_books_state(connection, disagreements):
                log.warning("books_changed", disagreements=disagreements)
            backlog = await outbox.read_backlog(connection, FAILING_AFTER_S, WEBHOOKS_MAX)
        for campaign in spend:
            self._metrics.set_campaign_spend(
                campaign.campaign_id, campaign.currency, float(campaign.spent), float(campaign.held)
            )
        for webhook in backlog:
            self._metrics.set_webhook_backlog(webhook.webhook_id, webhook.oldest_s, failing=webhook.is_failing)
        self._metrics.set_ledger_health(disagreements, ahead_days, misplaced=misplaced)
