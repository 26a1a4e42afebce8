"""Endpoints for operators and their tools: health, readiness, metrics, statistics and upstreams."""

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
"""Fields of `/readyz` for operators alone, because they name upstreams and versions."""


class HealthEndpoints:
    """`/healthz` and `/readyz`, for load balancers and supervisors."""

    def __init__(self, readiness: Readiness, operators: OperatorAccess) -> None:
        self._readiness = readiness
        self._operators = operators

    def routes(self) -> list[BaseRoute]:
        """Return the routes of `/healthz` and `/readyz`."""
        return [Route("/healthz", self._healthz), Route("/readyz", self._readyz)]

    async def _healthz(self, _request: Request) -> Response:
        """Respond while the process runs; `/readyz` reports whether it can serve."""
        return _json({"status": "ok"})

    async def _readyz(self, request: Request) -> Response:
        report = asdict(await self._readiness.check())
        status = 200 if report["ready"] else 503
        if not self._operators.is_allowed(request):
            report = {name: value for name, value in report.items() if name not in DETAILS}
        return _json(report, status)


class OperationsEndpoints:
    """`/metrics`, `/v1/stats` and `/v1/upstreams/status`; no response identifies a viewer or contains a tag URL."""

    def __init__(self, metrics: Metrics, upstreams: UpstreamMonitor, operators: OperatorAccess) -> None:
        self._metrics = metrics
        self._upstreams = upstreams
        self._operators = operators

    def routes(self) -> list[BaseRoute]:
        """Return the routes, which require access to operational data."""
        return [
            Route("/metrics", self._operators.protect(self._exposition)),
            Route("/v1/stats", self._operators.protect(self._stats)),
            Route("/v1/upstreams/status", self._operators.protect(self._upstream_statuses)),
        ]

    async def _exposition(self, _request: Request) -> Response:
        return Response(await self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _stats(self, _request: Request) -> Response:
        return _json(asdict(stats(await self._metrics.collect())))

    async def _upstream_statuses(self, _request: Request) -> Response:
        statuses = [asdict(status) for status in await self._upstreams.statuses()]
        return _json({"upstreams": statuses})


def _json(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json", headers={"Cache-Control": "no-store"})
