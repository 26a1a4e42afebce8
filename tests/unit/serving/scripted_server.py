"""An ad server whose transactions are scripted, to test what it does with their results."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain import AdRequest, Catalog, NoFillReason
from app.errors import Conflict, UpstreamFailed
from app.observer import Observer
from app.serving import group_runner
from app.serving.adserver import AdServer
from app.serving.candidates import CandidateResolver
from app.serving.choice import Choice
from app.serving.context import SessionContext, open_context
from app.serving.group_fetch import PendingFetch
from app.serving.group_result import GroupResult
from app.serving.limits import ServingLimits
from app.serving.outcomes import Served
from app.serving.pending import PendingRequest
from app.targeting.viewer import ViewerReader
from tests.unit.serving.pending_requests import Results, campaign, catalog

FAR_LONGER_S = 20
FAR_AWAY_S = 3600.0
KNOWN = catalog(campaign("own", direct=True), campaign("network", direct=True, upstreams=("u",)))
Attempt = Callable[[list[PendingRequest]], Awaitable[GroupResult]]


class ScriptedServer:
    """An ad server whose transactions are scripted: each attempt takes the next function of `attempts`."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.taken = asyncio.Event()
        """Set when a group waits in `hold`."""
        self.released = asyncio.Event()
        self.reloading, self.loaded = asyncio.Event(), asyncio.Event()
        """The first is set when the server reloads the catalog, which waits for the second."""
        self.loaded.set()
        self.current = KNOWN
        self.results = Results()
        resolver = CandidateResolver(self, SimpleNamespace(allow=lambda *_: True), b"key", ViewerReader())  # type: ignore[arg-type]
        store = SimpleNamespace(serving_connection=self.connection, connection=self.connection)
        ads = SimpleNamespace(cached=lambda *_: None)
        limits = ServingLimits(FAR_AWAY_S, 1, 1, group_max=8, queue_max=2, serve_connections=1, fetch_connections=1)
        self.adserver = AdServer(store, self, resolver, ads, Observer(), None, limits)  # type: ignore[arg-type]

    async def reload(self, seen: Catalog) -> None:
        """Wait until a test lets the catalog be loaded, which has not changed."""
        self.reloading.set()
        await self.loaded.wait()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[object]:
        async def fetch(*_: object) -> list[object]:
            return []

        yield SimpleNamespace(is_closed=lambda: False, fetch=fetch)

    async def serve(self, group: list[PendingRequest], _span: object) -> GroupResult:
        """The transaction of the next attempt."""
        return await self.attempts.pop(0)(group)

    def submit(self, campaign_id: str = "own", min_ads: int = 1) -> SessionContext:
        context = open_context("r", {})
        request = AdRequest(campaign_id=campaign_id, pod_size=min_ads, min_ads=min_ads)
        self.adserver.submit(request, context, self.results)
        return context

    @staticmethod
    def with_campaign(campaign_id: str) -> Catalog:
        """A newer catalog that has this campaign."""
        return replace(catalog(campaign(campaign_id, direct=True)), revision=KNOWN.revision + 1)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds."""
        async with asyncio.timeout(FAR_LONGER_S):
            while not condition():  # noqa: ASYNC110 - the server sets no event
                await asyncio.sleep(0)

    async def hold(self, group: list[PendingRequest]) -> GroupResult:
        """Keep the group until it is released, and then serve it."""
        self.taken.set()
        await self.released.wait()
        return await serve(group)


async def serve(group: list[PendingRequest]) -> GroupResult:
    return GroupResult(served=[(request, Served(request.request_key, None, ())) for request in group])  # type: ignore[arg-type]


async def defer(group: list[PendingRequest]) -> GroupResult:
    return GroupResult(deferred=group)


async def refuse(group: list[PendingRequest]) -> GroupResult:
    for request in group:
        request.confirm_revision()
        for campaign_id in request.remaining:
            request.refuse(campaign_id, NoFillReason.BUDGET)
    return GroupResult(unresolved=group)


async def resolve_nothing(group: list[PendingRequest]) -> GroupResult:
    return GroupResult(unresolved=group)


async def fail(group: list[PendingRequest]) -> GroupResult:
    return GroupResult(failed=[(request, Conflict("another request")) for request in group])


def raising(error: Exception) -> Attempt:
    async def attempt(_group: list[PendingRequest]) -> GroupResult:
        raise error

    return attempt


def fetching(fetch: Callable[[], Awaitable[Any]]) -> Attempt:
    """The group commits while its upstream ads are fetched."""

    async def attempt(group: list[PendingRequest]) -> GroupResult:
        result = GroupResult()
        for request in group:
            request.confirm_revision()
            choice = Choice(request, KNOWN.campaigns["network"], "network", (), None, counted=False)
            result.awaiting_fetch[request] = [PendingFetch(choice, asyncio.ensure_future(fetch()))]  # type: ignore[arg-type]
        return result

    return attempt


async def no_ad() -> None:
    raise UpstreamFailed("u", "no_ad")


async def an_ad() -> object:
    return SimpleNamespace(document=SimpleNamespace(ads=()))


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch, *attempts: Attempt) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    server.attempts += attempts
    monkeypatch.setattr(group_runner, "GroupTransaction", lambda *_: server)
    server.adserver.start()
    yield server
    await server.adserver.stop()
    assert server.attempts == []
