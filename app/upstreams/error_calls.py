"""Telling ad servers of errors in the background: nobody waits for it, and it is bounded in number and time."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from app.errors import UnusableVast, UpstreamFailed
from app.upstreams.client import Limits, UpstreamClient

CALLS_MAX = 200
"""Calls under way; more than these are not made, because an ad is worth more than the word that there was none."""
URLS_MAX = 50
"""Called for one failure; a document may name more."""
LIMITS = Limits(within_s=2.0, max_body_bytes=4096, max_redirects=3)


class ErrorValues(Protocol):
    """What a request tells those whose Error URLs came in a document."""

    def error_url(self, template: str, code: int) -> str:
        """The URL to call, with its macros replaced; raises UnusableVast for one that is too long."""


class ErrorCalls:
    """GETs of Error URLs that came in documents, as the client's `stranger`."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client
        self._under_way: set[asyncio.Task[None]] = set()

    def call(self, url: str) -> None:
        """Calls the URL when it can; whether that succeeds is its owner's business."""
        if len(self._under_way) < CALLS_MAX:
            task = asyncio.create_task(self._call(url))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    def report(self, urls: Sequence[str], code: int, values: ErrorValues) -> None:
        """Calls Error URLs as they stand in a document, with `code` for [ERRORCODE]."""
        for url in urls[:URLS_MAX]:
            with suppress(UnusableVast):
                self.call(values.error_url(url, code))

    async def _call(self, url: str) -> None:
        try:
            await self._client.stranger("error", url, {}, LIMITS)
        except UpstreamFailed:
            return

    async def aclose(self) -> None:
        """Waits for the calls under way, which takes no longer than one may take."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
