"""Fetches of upstream ads: together for a group, each for one choice."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from app.domain import Catalog, NoFillReason
from app.errors import UpstreamFailed
from app.serving.choice import Choice
from app.serving.fetch_wait import FetchWaitLimiter
from app.serving.spans import RequestTracer
from app.serving.upstream_ads import UpstreamAds
from app.upstreams.fetched_ad import FetchedAd

log = structlog.get_logger()


class PendingFetch(NamedTuple):
    """A choice whose ad is on the way."""

    choice: Choice
    task: asyncio.Task[FetchedAd]

    @property
    def first_upstream_id(self) -> str:
        """The upstream that is asked first."""
        return self.choice.campaign.upstreams[0]

    async def finish(self) -> None:
        """Wait for the ad and give it to the choice, or refuse the campaign if there is no ad."""
        try:
            self.choice.receive(await self.task)
        except UpstreamFailed:
            self.choice.refuse(NoFillReason.UPSTREAM)
        except Exception:
            log.exception("fetch_failed", campaign_id=self.choice.campaign.id)
            self.choice.refuse(NoFillReason.UPSTREAM)

    def cancel(self) -> None:
        """Stop fetching."""
        self.task.cancel()


class GroupFetch:
    """Fetches the missing ads of groups that were decided with one catalog."""

    def __init__(
        self, catalog: Catalog, ads: UpstreamAds, wait_limiter: FetchWaitLimiter, tracer: RequestTracer
    ) -> None:
        self._catalog = catalog
        self._ads = ads
        self._wait_limiter = wait_limiter
        self._tracer = tracer

    async def fetch(self, choices: Sequence[Choice]) -> list[PendingFetch]:
        """Fetch the ads of these choices together; return the fetches that still run when the wait is over."""
        fetches = [PendingFetch(choice, asyncio.create_task(self._fetch_ad(choice))) for choice in choices]
        try:
            with self._wait_limiter.waiting({fetch.first_upstream_id for fetch in fetches}) as allowed:
                awaited = [fetch.task for fetch in fetches if fetch.first_upstream_id in allowed]
                if awaited:
                    await asyncio.wait(awaited, timeout=self._wait_limiter.max_wait_s)
        except BaseException:
            for fetch in fetches:
                fetch.cancel()
            raise
        running: list[PendingFetch] = []
        for fetch in fetches:
            if fetch.task.done():
                await fetch.finish()
            else:
                running.append(fetch)
        return running

    async def _fetch_ad(self, choice: Choice) -> FetchedAd:
        with self._tracer.fetch(choice.pending.trace):
            return await self._ads.fetch(choice.pending, self._catalog.upstreams_of(choice.campaign))
