"""`GET /vmap`: the ad breaks of a placement, each with the tag URL to ask, or with its ads in it."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.domain import AdBreak, VastVersion
from app.errors import InvalidRequest
from app.serving.catalogs import CatalogHolder
from app.serving.keys import new_request_key
from app.vast.vmap import vmap
from app.web.clients import ClientReader, peer_of
from app.web.compression import GZIPPED, VARIES, compressed
from app.web.cors import CrossOrigin
from app.web.desk import AdDesk
from app.web.players import NO_STORE, TIMING
from app.web.query import ad_request, read_query

EMBED = "embed"


class Vmaps:
    """VMAP 1.0.1 documents."""

    def __init__(self, desk: AdDesk, catalogs: CatalogHolder, clients: ClientReader, base_url: str) -> None:
        self._desk = desk
        self._catalogs = catalogs
        self._clients = clients
        self._base_url = base_url

    def routes(self) -> list[BaseRoute]:
        """`/vmap`."""
        return [Route("/vmap", self._vmap, methods=["GET", "HEAD", "OPTIONS"], middleware=[Middleware(CrossOrigin)])]

    async def _vmap(self, request: Request) -> Response:
        """With `embed=1` the breaks' ads are served now; a HEAD serves none."""
        query = request.scope["query_string"]
        values = read_query(query)
        version = ad_request(values).vast_version
        breaks = await self._breaks(values)
        sources: list[str] | list[bytes]
        if request.query_params.get(EMBED) == "1" and request.method == "GET":
            client = self._clients.read(peer_of(request.scope), dict(request.scope["headers"]))
            sources = await self._embedded(values, breaks, client)
        else:
            sources = [self._tag_url(values, ad_break) for ad_break in breaks]
        body = vmap(list(zip(breaks, sources, strict=True)), VastVersion(version))
        packed = compressed(body, dict(request.scope["headers"]))
        response = Response(packed or body, media_type="application/xml")
        response.raw_headers += [NO_STORE, TIMING, *([GZIPPED, VARIES] if packed else [])]
        return response

    async def _breaks(self, values: Mapping[str, str]) -> tuple[AdBreak, ...]:
        placement_id = values.get("placement_id")
        if placement_id is None:
            raise InvalidRequest("placement_id", "must be there")
        placement = self._catalogs.current.placements.get(placement_id)
        if placement is None:
            await self._catalogs.reload(self._catalogs.current)
            placement = self._catalogs.current.placements.get(placement_id)
        if placement is None:
            raise InvalidRequest("placement_id", "is not known")
        return placement.ad_breaks

    def _tag_url(self, values: Mapping[str, str], ad_break: AdBreak) -> str:
        return f"{self._base_url}/vast?{urlencode(_of_break(values, ad_break))}"

    async def _embedded(
        self, values: Mapping[str, str], breaks: tuple[AdBreak, ...], client: tuple[str | None, str | None]
    ) -> list[bytes]:
        """The breaks' documents; a request that is asked again by its id gets the same ads in each."""
        request_id = values.get("request_id") or str(new_request_key())
        answers = await asyncio.gather(
            *(
                self._desk.answer(_of_break(values, ad_break), f"{request_id}:{ad_break.id}", client)
                for ad_break in breaks
            )
        )
        return [answered.body for answered in answers]


def _of_break(values: Mapping[str, str], ad_break: AdBreak) -> dict[str, str]:
    """The ad request of one break: the VMAP's own parameters, its pod, and a request id of its own."""
    asked = dict(values)
    if ad_break.pod_size > 1:
        asked["pod_size"] = str(ad_break.pod_size)
    if ad_break.pod_duration_s is not None:
        asked["pod_duration_s"] = str(ad_break.pod_duration_s)
    if "request_id" in asked:
        asked["request_id"] = f"{asked['request_id']}:{ad_break.id}"
    return asked
