"""The sender: publishes events to the queues of webhooks, and posts the first event of each queue.

Every server process runs one. The database lets one of them attempt a delivery at a time. No transaction is open and no
connection is leased while a receiver is awaited, so a dead one delays nothing but its own queue.
"""

import asyncio
import time

import asyncpg
import structlog

from app.errors import StoreUnavailable
from app.observer import Observer
from app.store import outbox
from app.store.connections import Store
from app.store.outbox import Delivery
from app.webhooks.client import CONNECTIONS_MAX, AttemptFailedError, WebhookClient
from app.webhooks.message import message_body, message_headers
from app.webhooks.retries import FAILING_AFTER_S, RetrySchedule

POLL_INTERVAL_S = 1.0
"""Seconds between looks for new events and due deliveries."""

PUBLISHED_MAX = 500
"""Events that one transaction publishes."""

TIMEOUT_S = 10.0
"""Time limit of an attempt."""

LEASE_S = 25.0
"""Seconds after which a delivery is attempted again if its sender has died; well above TIMEOUT_S."""

log = structlog.get_logger()


class WebhookSender:
    """Sends in the running event loop from `start` until `stop`."""

    def __init__(
        self,
        store: Store,
        client: WebhookClient,
        observer: Observer,
        *,
        schedule: RetrySchedule = RetrySchedule(),  # noqa: B008 - frozen
        timeout_s: float = TIMEOUT_S,
        lease_s: float = LEASE_S,
    ) -> None:
        self._store = store
        self._client = client
        self._observer = observer
        self._schedule = schedule
        self._timeout_s = timeout_s
        self._lease_s = lease_s
        self._queues: set[asyncio.Task[None]] = set()
        self._polling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start sending."""
        self._polling = asyncio.create_task(self._poll_forever(), name="webhooks")

    async def stop(self) -> None:
        """Stop sending; an event whose response did not arrive is sent again by the next sender."""
        tasks = [*self._queues, *([self._polling] if self._polling else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _poll_forever(self) -> None:
        while True:
            try:
                await self.poll()
            except (StoreUnavailable, asyncpg.PostgresError) as error:
                log.warning("webhooks_failed", error=str(error))
            await asyncio.sleep(POLL_INTERVAL_S)

    async def poll(self) -> None:
        """Publish new events, and start a task for each webhook whose first delivery is due."""
        async with self._store.transaction() as connection:
            await outbox.publish_events(connection, PUBLISHED_MAX)
        free = CONNECTIONS_MAX - len(self._queues)
        if free <= 0:
            return
        async with self._store.connection() as connection:
            due = await outbox.claim_deliveries(connection, free, self._lease_s)
        for delivery in due:
            task = asyncio.create_task(self._work_off(delivery))
            self._queues.add(task)
            task.add_done_callback(self._queues.discard)

    async def wait(self) -> None:
        """Wait until the tasks that `poll` has started are done."""
        await asyncio.gather(*self._queues)

    async def _work_off(self, delivery: Delivery) -> None:
        """Deliver this event and those that follow it, until an attempt fails or the webhook's queue is empty."""
        try:
            while await self._attempt(delivery):
                async with self._store.connection() as connection:
                    await outbox.acknowledge(connection, delivery)
                    following = await outbox.claim_deliveries(connection, 1, self._lease_s, delivery.webhook_id)
                if not following:
                    return
                delivery = following[0]
        except (StoreUnavailable, asyncpg.PostgresError) as error:
            log.warning("webhooks_failed", error=str(error))

    async def _attempt(self, delivery: Delivery) -> bool:
        """Return whether the receiver accepted the event; record a failure."""
        body = message_body(delivery)
        headers = message_headers(delivery, body, int(time.time()))
        try:
            await self._client.post(delivery.url, headers, body, self._timeout_s)
        except AttemptFailedError as error:
            self._observer.webhook_attempted(delivery.webhook_id, error.outcome)
            await self._record_failure(delivery, error)
            return False
        self._observer.webhook_attempted(delivery.webhook_id, "accepted")
        return True

    async def _record_failure(self, delivery: Delivery, error: AttemptFailedError) -> None:
        async with self._store.connection() as connection:
            failed = await outbox.record_failed_attempt(
                connection,
                delivery,
                str(error),
                retry_s=self._schedule.delay_s(delivery.attempts + 1),
                failing_after_s=FAILING_AFTER_S,
            )
        if failed is None:
            return
        webhook_id, event_id = delivery.webhook_id, delivery.event_id
        log.warning(
            "webhook_attempt_failed",
            webhook_id=webhook_id,
            event_id=event_id,
            attempts=failed.attempts,
            error=str(error),
        )
        if failed.is_failing:
            log.error("webhook_failing", webhook_id=webhook_id, event_id=event_id, attempts=failed.attempts)
