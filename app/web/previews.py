"""Previews of creatives: `GET /preview` for those who have a signed link, and the admin API's endpoint for links."""

from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.domain import CatalogSource, VastVersion
from app.errors import InvalidRequest
from app.serving.previews import PreviewLinks, Previews, find_creative
from app.web.bearer_auth import BearerAuth
from app.web.bodies import read_object
from app.web.catalog_reload import reload_catalog
from app.web.client_limits import ClientLimits
from app.web.cors import CorsMiddleware
from app.web.players import NO_STORE, TIMING, XML

PREVIEW_PATH = "/preview"
BODY_BYTES_MAX = 4096


class PreviewEndpoint:
    """`GET /preview`, for players of every origin."""

    def __init__(
        self,
        links: PreviewLinks,
        previews: Previews,
        catalogs: CatalogSource,
        client_limits: ClientLimits,
        deadline_s: float,
    ) -> None:
        self._links = links
        self._previews = previews
        self._catalogs = catalogs
        self._client_limits = client_limits
        self._deadline_s = deadline_s

    def routes(self) -> list[BaseRoute]:
        """Return the route of `/preview`."""
        cors = [Middleware(CorsMiddleware)]
        return [Route(PREVIEW_PATH, self._preview, methods=["GET", "HEAD", "OPTIONS"], middleware=cors)]

    async def _preview(self, request: Request) -> Response:
        self._client_limits.check("preview", request.scope)
        ref = self._links.read(request.query_params.get("t", ""), datetime.now(UTC))
        await reload_catalog(self._catalogs, self._deadline_s)
        response = Response(self._previews.document(ref, self._catalogs.current))
        response.raw_headers += [XML, NO_STORE, TIMING]
        return response


class PreviewLinkEndpoint:
    """`POST /v1/creatives/{id}/preview`, which requires the admin token."""

    def __init__(self, links: PreviewLinks, catalogs: CatalogSource, admin: BearerAuth) -> None:
        self._links = links
        self._catalogs = catalogs
        self._admin = admin

    def routes(self) -> list[BaseRoute]:
        """Return the route of `/v1/creatives/{id}/preview`."""
        return [Route("/v1/creatives/{id}/preview", self._admin.protect(self._make_link), methods=["POST"])]

    async def _make_link(self, request: Request) -> Response:
        version = _version(await read_object(request, BODY_BYTES_MAX))
        await self._catalogs.reload(self._catalogs.current)
        creative = find_creative(self._catalogs.current, request.path_params["id"])
        link = self._links.link(creative, version, datetime.now(UTC))
        body = {"url": link.url, "vast_version": version, "expires_at": link.expires_at}
        return Response(orjson.dumps(body), media_type="application/json", headers={"Cache-Control": "no-store"})


def _version(body: dict[str, Any]) -> VastVersion:
    for name in body:
        if name != "vast_version":
            raise InvalidRequest(name, "unknown field")
    try:
        return VastVersion(body.get("vast_version", VastVersion.V4_2))
    except ValueError:
        raise InvalidRequest("vast_version", f"must be one of {', '.join(VastVersion)}") from None
