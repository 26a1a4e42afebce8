"""What operators and their machines ask: health, readiness, metrics, and how requests and upstreams are doing."""

from collections.abc import Mapping
from dataclasses import asdict

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.assembly.readiness import Readiness
from app.assembly.upstream_health import UpstreamStatuses
from app.observing.metrics import Metrics
from app.observing.reading import stats


class Operations:
    """Nothing here needs a token, and nothing here says who a viewer or what a tag URL is."""

    def __init__(self, metrics: Metrics, readiness: Readiness, upstreams: UpstreamStatuses) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._upstreams = upstreams

    def routes(self) -> list[BaseRoute]:
        """`/healthz`, `/readyz`, `/metrics`, `/v1/stats`, `/v1/upstreams/status`."""
        return [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._exposition),
            Route("/v1/stats", self._stats),
            Route("/v1/upstreams/status", self._upstream_statuses),
        ]

    async def _healthz(self, _request: Request) -> Response:
        """The process answers; whether it can serve, /readyz says."""
        return _json({"status": "ok"})

    async def _readyz(self, _request: Request) -> Response:
        look = await self._readiness.look()
        return _json(asdict(look), 200 if look.ready else 503)

    async def _exposition(self, _request: Request) -> Response:
        return Response(await self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _stats(self, _request: Request) -> Response:
        return _json(asdict(stats(await self._metrics.collect())))

    async def _upstream_statuses(self, _request: Request) -> Response:
        statuses = [asdict(status) for status in await self._upstreams.look()]
        return _json({"upstreams": statuses})


def _json(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json", headers={"Cache-Control": "no-store"})
