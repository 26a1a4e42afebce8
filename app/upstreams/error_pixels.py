"""Error URLs of documents, requested in the background and bounded in number and time."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from app.errors import UnusableVast, UpstreamFailed
from app.upstreams.client import FetchLimits, UpstreamClient
from app.upstreams.request_values import RequestValues

IN_FLIGHT_MAX = 200
"""Requests in flight; further ones are dropped, because ads matter more than reports about missing ads."""
URLS_MAX = 50
"""URLs requested for one failure; a document may contain more."""
LIMITS = FetchLimits(timeout_s=2.0, max_body_bytes=4096, max_redirects=3)


class ErrorPixelSender:
    """Requests Error URLs that came in documents, as untrusted URLs."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client
        self._in_flight: set[asyncio.Task[None]] = set()

    def report(self, urls: Sequence[str], code: int, values: RequestValues) -> None:
        """Request the Error URLs of a document, with `code` for [ERRORCODE]."""
        for url in urls[:URLS_MAX]:
            with suppress(UnusableVast):
                self.send(values.error_url(url, code))

    def send(self, url: str) -> None:
        """Request the URL in the background and ignore its response."""
        if len(self._in_flight) < IN_FLIGHT_MAX:
            task = asyncio.create_task(self._get(url))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _get(self, url: str) -> None:
        try:
            await self._client.get_untrusted("error", url, {}, LIMITS)
        except UpstreamFailed:
            return

    async def aclose(self) -> None:
        """Wait for the requests in flight; this takes no longer than the timeout of one request."""
        await asyncio.gather(*self._in_flight, return_exceptions=True)
