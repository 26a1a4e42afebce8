"""What operators and their machines ask: health, readiness, metrics, and how requests and upstreams are doing."""

from collections.abc import Mapping
from dataclasses import asdict

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.observability.metric_snapshots import stats
from app.observability.metrics import Metrics
from app.observability.readiness import Readiness
from app.observability.upstream_health import UpstreamMonitor
from app.web.ports import OperatorAccess

DETAILS = ("schema", "schema_needed", "breakers")
"""Fields of `/readyz` that name upstreams and versions: load balancers need none of them."""


class OperationsEndpoints:
    """Nothing here says who a viewer or what a tag URL is; figures are for those who may read them."""

    def __init__(
        self, metrics: Metrics, readiness: Readiness, upstreams: UpstreamMonitor, figures: OperatorAccess
    ) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._upstreams = upstreams
        self._figures = figures

    def probes(self) -> list[BaseRoute]:
        """`/healthz` and `/readyz`, for load balancers and whatever restarts processes."""
        return [Route("/healthz", self._healthz), Route("/readyz", self._readyz)]

    def routes(self) -> list[BaseRoute]:
        """`/metrics`, `/v1/stats`, `/v1/upstreams/status`."""
        return [
            Route("/metrics", self._figures.protect(self._exposition)),
            Route("/v1/stats", self._figures.protect(self._stats)),
            Route("/v1/upstreams/status", self._figures.protect(self._upstream_statuses)),
        ]

    async def _healthz(self, _request: Request) -> Response:
        """The process answers; whether it can serve, /readyz says."""
        return _json({"status": "ok"})

    async def _readyz(self, request: Request) -> Response:
        look = asdict(await self._readiness.check())
        status = 200 if look["ready"] else 503
        if not self._figures.is_allowed(request):
            look = {name: value for name, value in look.items() if name not in DETAILS}
        return _json(look, status)

    async def _exposition(self, _request: Request) -> Response:
        return Response(await self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _stats(self, _request: Request) -> Response:
        return _json(asdict(stats(await self._metrics.collect())))

    async def _upstream_statuses(self, _request: Request) -> Response:
        statuses = [asdict(status) for status in await self._upstreams.statuses()]
        return _json({"upstreams": statuses})


def _json(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json", headers={"Cache-Control": "no-store"})
