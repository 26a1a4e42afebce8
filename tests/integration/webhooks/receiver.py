"""A receiver of webhooks behind a real socket, and senders that retry soon."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.observer import Observer
from app.store.connections import Store
from app.webhooks.client import WebhookClient
from app.webhooks.retries import RetrySchedule
from app.webhooks.sender import WebhookSender
from tests.web_server import served

SECRET = "whsec_WW91ciBvd24gc2VjcmV0LCBub3QgdGhpcyBvbmU="
LOOPBACK = [ip_network("127.0.0.0/8")]
SOON = RetrySchedule(first_s=0.02, max_s=0.1)


@dataclass
class Receiver:
    """Keeps every message; answers with the next of `statuses`, and with 204 when there is no more."""

    statuses: list[int] = field(default_factory=list)
    messages: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answer: Callable[[], "asyncio.Future[None]"] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.messages.append((dict(request.headers), await request.body()))
        if self.answer is not None:
            await self.answer()
        status = self.statuses.pop(0) if self.statuses else 204
        headers = {"Location": "/elsewhere"} if status in range(300, 400) else None
        await Response(status_code=status, headers=headers)(scope, receive, send)

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.messages]

    @property
    def subjects(self) -> list[str]:
        return [orjson.loads(body)["data"]["campaign_id"] for _, body in self.messages]


@asynccontextmanager
async def receiving(store: Store, **keys: object) -> AsyncIterator[Receiver]:
    """A receiver for which the webhook `chat` is set up."""
    receiver = Receiver()
    async with served(receiver) as url:
        await set_up_webhook(store, url=f"{url}/hook", **keys)
        yield receiver


async def set_up_webhook(store: Store, **keys: object) -> None:
    entry = {"id": "chat", "secret": SECRET, **keys}
    await apply(store, read_draft("test.toml", {"webhooks": [entry]}), webhook_networks=LOOPBACK)


@asynccontextmanager
async def sender(
    store: Store, *, timeout_s: float = 5.0, lease_s: float = 25.0, networks: Sequence[object] = LOOPBACK
) -> AsyncIterator[WebhookSender]:
    """A sender that does nothing by itself: tests poll it."""
    client = WebhookClient(networks)  # type: ignore[arg-type]
    opened = WebhookSender(store, client, Observer(), schedule=SOON, timeout_s=timeout_s, lease_s=lease_s)
    yield opened
    await opened.stop()
    await client.aclose()


async def record(store: Store, *subjects: str) -> None:
    """Record an event for each of these campaigns, in transactions of their own."""
    for subject in subjects:
        async with store.connection() as connection:
            await connection.execute(
                "INSERT INTO outbox (event, subject, payload) VALUES ('campaign.over', $1, $2)",
                f"campaign {subject}",
                f'{{"campaign_id": "{subject}"}}',
            )


async def send_until(sender: WebhookSender, condition: Callable[[], bool]) -> None:
    """Poll until the condition is true."""
    async with asyncio.timeout(60):
        while not condition():
            await sender.poll()
            await sender.wait()
            await asyncio.sleep(0.01)


async def pending(store: Store) -> list[tuple[str, int, str | None]]:
    """The campaigns of the pending deliveries, their failed attempts and their latest errors."""
    async with store.connection() as connection:
        rows = await connection.fetch(
            "SELECT o.payload->>'campaign_id' AS subject, attempts, last_error "
            "FROM webhook_deliveries JOIN outbox o ON o.id = event_id ORDER BY position"
        )
    return [tuple(row) for row in rows]
