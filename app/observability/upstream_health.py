"""Status of the catalog's upstreams, from the metrics of all workers, for `GET /v1/upstreams/status`."""

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
    """One upstream from the point of view of this server."""

    id: str
    state: str
    """`closed`, `half_open` or `open`: the worst of all workers' breakers."""
    last_minutes: UpstreamHealth
    max_qps: int | None
    quota_used: float | None
    """Fraction of `max_qps` that this server used; None without a limit."""
    last_refusal: Refusal | None
    """Why its last unusable response was refused, since the server started."""


class UpstreamMonitor:
    """Keeps the counts of the last minutes; create and start it in the running event loop."""

    def __init__(self, metrics: Metrics, catalogs: CatalogHolder, refusals: SharedRefusals) -> None:
        self._metrics = metrics
        self._catalogs = catalogs
        self._refusals = refusals
        self._history = UpstreamHistory(asyncio.get_running_loop().time)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start adding a snapshot every SNAPSHOT_INTERVAL_S."""
        self._task = asyncio.create_task(self._add_snapshots(), name="upstream-history")

    async def stop(self) -> None:
        """Stop adding snapshots."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _add_snapshots(self) -> None:
        while True:
            try:
                self._history.add(upstream_counts(await self._metrics.collect()))
            except Exception:
                log.exception("upstream_snapshot_failed")
            await asyncio.sleep(SNAPSHOT_INTERVAL_S)

    async def statuses(self) -> list[UpstreamStatus]:
        """Return the status of every upstream of the catalog, sorted by id."""
        families = await self._metrics.collect()
        counts, states = upstream_counts(families), breaker_states(families)
        refusals = await self._refusals.latest()
        statuses = []
        for upstream_id, upstream in sorted(self._catalogs.current.upstreams.items()):
            health = self._history.health(upstream_id, counts)
            used = None if upstream.max_qps is None else round(health.requests_per_s / upstream.max_qps, 3)
            state = states.get(upstream_id, "closed")
            refusal = refusals.get(upstream_id)
            statuses.append(UpstreamStatus(upstream_id, state, health, upstream.max_qps, used, refusal))
        return statuses
