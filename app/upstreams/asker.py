"""Asking one upstream once, with everything that protects it and us from each other."""

import asyncio
from dataclasses import dataclass
from typing import Any

from app.domain import Upstream
from app.errors import UnusableVast, UpstreamFailed
from app.upstreams.client import Limits, UpstreamClient
from app.upstreams.failures import FailureKind
from app.upstreams.fetched import Documents, RequestValues, UpstreamObserver


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's ad: the body as it came, and compiled."""

    body: bytes
    document: Any


class Asker:
    """Asks upstreams; counts what comes of it."""

    def __init__(self, client: UpstreamClient, documents: Documents, observer: UpstreamObserver) -> None:
        self._client = client
        self._documents = documents
        self._observer = observer

    async def ask(self, upstream: Upstream, context: RequestValues, within_s: float) -> Answer:
        """The upstream's ad; raises UpstreamFailed."""
        clock = asyncio.get_running_loop().time
        started = clock()
        outcome = "lost"
        try:
            answer = await self._ask(upstream, context, within_s)
            outcome = "ad"
        except UpstreamFailed as failure:
            outcome = failure.kind
            raise
        finally:
            self._observer.attempt(upstream.id, outcome, clock() - started)
        return answer

    async def _ask(self, upstream: Upstream, context: RequestValues, within_s: float) -> Answer:
        if within_s <= 0:
            raise UpstreamFailed(upstream.id, FailureKind.DEADLINE)
        limits = Limits(within_s, upstream.max_body_bytes, upstream.max_redirects)
        url = context.tag_url(upstream.tag_url, int(1000 * within_s))
        body = await self._client.tag(upstream.id, url, context.headers(), limits)
        try:
            return Answer(body, self._documents.compile(body))
        except UnusableVast as error:
            raise UpstreamFailed(upstream.id, FailureKind.MALFORMED, str(error)) from error
