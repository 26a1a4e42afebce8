"""What `GET /v1/upstreams/status` shows: the catalog's upstreams, and what all workers have seen of them."""

import asyncio
from dataclasses import dataclass

import structlog

from app.observability.metric_snapshots import (
    SNAPSHOT_INTERVAL_S,
    UpstreamHealth,
    UpstreamHistory,
    breaker_states,
    upstream_counts,
)
from app.observability.metrics import Metrics
from app.observability.upstream_refusals import SharedRefusals
from app.serving.catalogs import CatalogHolder
from app.upstreams.refusals import Refusal

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """One upstream, as this server has seen it."""

    id: str
    state: str
    """`closed`, `half_open` or `open`: the worst of all workers' breakers."""
    last_minutes: UpstreamHealth
    max_qps: int | None
    quota_used: float | None
    """The part of `max_qps` that this server used, of 1; None where there is no limit."""
    last_refusal: Refusal | None
    """Why its last answer that was of no use was refused, since the server started."""


class UpstreamStatuses:
    """Keeps the last minutes in mind; start it in the running event loop."""

    def __init__(self, metrics: Metrics, catalogs: CatalogHolder, refusals: SharedRefusals) -> None:
        self._metrics = metrics
        self._catalogs = catalogs
        self._refusals = refusals
        self._history = UpstreamHistory(asyncio.get_running_loop().time)
        self._remembering: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Remembers from now on."""
        self._remembering = asyncio.create_task(self._remember(), name="upstream-history")

    async def stop(self) -> None:
        """Remembers no more."""
        if self._remembering is not None:
            self._remembering.cancel()
            await asyncio.gather(self._remembering, return_exceptions=True)

    async def _remember(self) -> None:
        while True:
            try:
                self._history.keep(upstream_counts(await self._metrics.collect()))
            except Exception:
                log.exception("upstream history not kept")
            await asyncio.sleep(SNAPSHOT_INTERVAL_S)

    async def look(self) -> list[UpstreamStatus]:
        """Every upstream of the catalog, in the order of their ids."""
        families = await self._metrics.collect()
        counts, states = upstream_counts(families), breaker_states(families)
        refusals = await self._refusals.last()
        statuses = []
        for upstream_id, upstream in sorted(self._catalogs.current.upstreams.items()):
            health = self._history.health(upstream_id, counts)
            used = None if upstream.max_qps is None else round(health.requests_per_s / upstream.max_qps, 3)
            state = states.get(upstream_id, "closed")
            refusal = refusals.get(upstream_id)
            statuses.append(UpstreamStatus(upstream_id, state, health, upstream.max_qps, used, refusal))
        return statuses
