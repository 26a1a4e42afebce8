"""The pace of goals: how far each campaign with a goal is behind it, as of a moment ago. It only orders candidates."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import structlog

from app.domain import TARGETED, Catalog, CatalogSource
from app.errors import StoreUnavailable
from app.store import goals
from app.store.connections import Store
from app.store.goals import GoalPace
from app.targeting.campaign_index import Tier

REFRESH_INTERVAL_S = 2.0
"""Seconds between two looks at the budgets."""

log = structlog.get_logger()


class Pace:
    """The part of its goal by which each campaign is behind, by id; below 0 if it is ahead."""

    def __init__(self, behind: Mapping[str, float]) -> None:
        self.behind = behind
        self._orders: dict[Tier, tuple[Sequence[str], Sequence[str]]] = {}

    def order(self, tier: Tier) -> tuple[Sequence[str], Sequence[str]]:
        """Return the campaigns that are behind their goal, the one furthest behind first, and the others."""
        order = self._orders.get(tier)
        if order is None:
            goals = sorted(tier.goals, key=self.lead)
            first = bisect_left(goals, 0.0, key=self.lead)
            order = self._orders[tier] = goals[:first], goals[first:]
        return order

    def lead(self, campaign_id: str) -> float:
        """Return the part of its goal by which the campaign is ahead; 0 if that is not known yet."""
        return -self.behind.get(campaign_id, 0.0)


class PaceReader:
    """Reads the pace of all goals again and again. Call `start` in the event loop, and `stop` at the end."""

    def __init__(self, store: Store, catalogs: CatalogSource, on_read: Callable[[GoalPace], None]) -> None:
        self._store = store
        self._catalogs = catalogs
        self._on_read = on_read
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read once, and go on reading."""
        await self.refresh()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def refresh(self) -> None:
        """Read the pace of all goals, if any placement needs it; without a database, the last pace stays in use."""
        if not _has_targeted_placement(self._catalogs.current):
            return
        try:
            async with self._store.connection() as connection:
                found = await goals.read_pace(connection)
        except StoreUnavailable as error:
            log.warning("pace_not_read", error=str(error))
        else:
            self._on_read(found)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_INTERVAL_S)
            await self.refresh()


def _has_targeted_placement(catalog: Catalog) -> bool:
    return any(placement.campaigns == TARGETED for placement in catalog.placements.values())
