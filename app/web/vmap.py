"""`GET /vmap`: the ad breaks of a placement, each with the tag URL to ask, or with its ads in it."""

import asyncio
from collections.abc import Mapping
from hashlib import blake2b
from urllib.parse import urlencode

import structlog
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.domain import ID_LENGTH_MAX, AdBreak, NoFillReason, VastVersion
from app.errors import AdServerError, InvalidRequest, StoreUnavailable
from app.fast_path import Headers, headers_of, peer_of
from app.serving.catalogs import CatalogHolder
from app.serving.keys import new_request_key
from app.vast.render import empty
from app.vast.vmap import vmap
from app.web.ad_requests import AdRequestHandler
from app.web.client_limits import ClientLimits
from app.web.clients import (
    ClientReader,
    fill_from_cookies,
    fill_from_headers,
    read_cookies,
)
from app.web.compression import GZIPPED, VARIES, compressed
from app.web.cors import CorsMiddleware
from app.web.parameters import REQUEST_ID, read_flag
from app.web.players import NO_STORE, TIMING
from app.web.query import ad_request, read_query

log = structlog.get_logger()

VMAP_PATH = "/vmap"
EMBED = "embed"

BREAK_PARAMETERS = ("pod_size", "pod_duration_s")
"""Parameters that each break has its own of: a player's would have more ads served than the break may show."""


class VmapEndpoint:
    """VMAP 1.0.1 documents."""

    def __init__(
        self,
        handler: AdRequestHandler,
        catalogs: CatalogHolder,
        clients: ClientReader,
        client_limits: ClientLimits,
        base_url: str,
        deadline_s: float,
    ) -> None:
        self._handler = handler
        self._catalogs = catalogs
        self._clients = clients
        self._client_limits = client_limits
        self._base_url = base_url
        self._deadline_s = deadline_s

    def routes(self) -> list[BaseRoute]:
        """`/vmap`."""
        return [
            Route(VMAP_PATH, self._vmap, methods=["GET", "HEAD", "OPTIONS"], middleware=[Middleware(CorsMiddleware)])
        ]

    async def _vmap(self, request: Request) -> Response:
        """With `embed=1` the breaks' ads are served now; a HEAD serves none."""
        headers = headers_of(request.scope["headers"])
        values = _in_common(request.scope["query_string"])
        fill_from_headers(values, headers)
        embeds = any(map(read_flag, request.query_params.getlist(EMBED)))
        version = ad_request(values).vast_version
        if not self._client_limits.allows("vmap", peer_of(request.scope), headers):
            return _no_breaks(version)
        breaks = await self._breaks(values)
        asked = _of_breaks(values, breaks)
        sources: list[str] | list[bytes]
        if embeds and request.method == "GET":
            sources = await self._embedded(asked, headers, peer_of(request.scope), version)
        else:
            sources = [f"{self._base_url}/vast?{urlencode(of_break)}" for of_break in asked]
        body = vmap(list(zip(breaks, sources, strict=True)), version)
        packed = compressed(body, headers)
        response = Response(packed or body, media_type="application/xml")
        response.raw_headers += [NO_STORE, TIMING, *([GZIPPED, VARIES] if packed else [])]
        return response

    async def _breaks(self, values: Mapping[str, str]) -> tuple[AdBreak, ...]:
        placement_id = values.get("placement_id")
        if placement_id is None:
            raise InvalidRequest("placement_id", "must be there")
        placement = self._catalogs.current.placements.get(placement_id)
        if placement is None:
            await self._look_for_new()
            placement = self._catalogs.current.placements.get(placement_id)
        if placement is None:
            raise InvalidRequest("placement_id", "is not known")
        return placement.ad_breaks

    async def _look_for_new(self) -> None:
        """Loads what was set up since; raises StoreUnavailable if that takes longer than a player waits."""
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._catalogs.reload(self._catalogs.current)
        except TimeoutError:
            raise StoreUnavailable("the catalog cannot be read in time") from None

    async def _embedded(
        self, asked: list[dict[str, str]], headers: Headers, peer: str | None, version: VastVersion
    ) -> list[bytes]:
        """The breaks' documents; a request that is asked again by its id gets the same ads in each."""
        client = self._clients.read(peer, headers)
        cookies = read_cookies(headers)
        for of_break in asked:
            fill_from_cookies(of_break, cookies)
        return await asyncio.gather(*(self._document(of_break, client, cookies, version) for of_break in asked))

    async def _document(
        self,
        asked: Mapping[str, str],
        client: tuple[str | None, str | None],
        cookies: Mapping[str, str],
        version: VastVersion,
    ) -> bytes:
        """A break's document; an empty one if it fails, because the other breaks' ads are paid for and must arrive."""
        request_id = asked.get("request_id") or str(new_request_key())
        try:
            answered = await self._handler.answer(asked, request_id, client, cookies)
        except AdServerError:
            return empty(version)
        except Exception:
            log.exception("request_failed", path=VMAP_PATH)
            return empty(version)
        return answered.body


def _no_breaks(version: VastVersion) -> Response:
    """The answer to a client above its limit: no breaks, and why."""
    response = Response(vmap([], version), media_type="application/xml")
    response.raw_headers += [NO_STORE, TIMING, (b"x-no-fill-reason", NoFillReason.RATE_LIMIT.encode())]
    return response


def _in_common(query: bytes) -> dict[str, str]:
    """The parameters that all breaks have in common."""
    return {name: value for name, value in read_query(query).items() if name not in BREAK_PARAMETERS}


def _of_breaks(values: Mapping[str, str], breaks: tuple[AdBreak, ...]) -> list[dict[str, str]]:
    """The breaks' ad requests; raises InvalidRequest if one of them could not be served, before any is."""
    asked = [_of_break(values, ad_break) for ad_break in breaks]
    for of_break in asked:
        ad_request(of_break)
    return asked


def _of_break(values: Mapping[str, str], ad_break: AdBreak) -> dict[str, str]:
    """The ad request of one break: the VMAP's own parameters, its pod, and a request id of its own."""
    asked = dict(values)
    if ad_break.pod_size > 1:
        asked["pod_size"] = str(ad_break.pod_size)
    if ad_break.pod_duration_s is not None:
        asked["pod_duration_s"] = str(ad_break.pod_duration_s)
    if "request_id" in asked:
        asked["request_id"] = _request_id(asked["request_id"], ad_break)
    return asked


def _request_id(request_id: str, ad_break: AdBreak) -> str:
    """The request id of a break; a hash stands in for what a request id has no room or no characters for."""
    readable = f"{request_id}:{ad_break.id}"
    if REQUEST_ID.fullmatch(readable):
        return readable
    digest = blake2b(readable.encode(), digest_size=16).hexdigest()
    return f"{request_id[: ID_LENGTH_MAX - len(digest) - 1]}:{digest}"
