"""`GET /vmap`: the ad breaks of a placement, each with a tag URL or with its ads embedded."""

import asyncio
from collections.abc import Mapping
from hashlib import blake2b
from urllib.parse import urlencode

import structlog
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.domain import ID_LENGTH_MAX, AdBreak, Client, Competitors, NoFillReason, VastVersion
from app.errors import AdServerError, InvalidRequest
from app.fast_path import Headers, headers_of, peer_of
from app.serving.catalogs import CatalogHolder
from app.serving.keys import new_request_key
from app.vast.own_ads import empty_document
from app.vast.vmap import render_vmap
from app.web.ad_requests import AdRequestHandler
from app.web.catalog_reload import reload_catalog
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

BREAK_PARAMETERS = ("pod_size", "pod_duration_s", "min_ads", "competitors")
"""Parameters that each break sets itself, so that a player's cannot exceed the break."""


class VmapEndpoint:
    """Responds with VMAP 1.0.1 documents."""

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
        """Return the route of `/vmap`."""
        return [
            Route(VMAP_PATH, self._vmap, methods=["GET", "HEAD", "OPTIONS"], middleware=[Middleware(CorsMiddleware)])
        ]

    async def _vmap(self, request: Request) -> Response:
        """Respond with the breaks; `embed=1` serves their ads now, except for HEAD."""
        headers = headers_of(request.scope["headers"])
        values = _shared_values(request.scope["query_string"])
        fill_from_headers(values, headers)
        embeds = any(map(read_flag, request.query_params.getlist(EMBED)))
        version = ad_request(values).vast_version
        if not self._client_limits.allows("vmap", peer_of(request.scope), headers):
            return _no_breaks(version)
        breaks = await self._breaks(values)
        requests = _break_requests(values, breaks)
        sources: dict[str, str | bytes] = {
            ad_break.id: f"{self._base_url}/vast?{urlencode(request_values)}"
            for ad_break, request_values in zip(breaks, requests, strict=True)
        }
        if embeds and request.method == "GET":
            embedded = {
                ad_break.id: request_values
                for ad_break, request_values in zip(breaks, requests, strict=True)
                # Ads of a repeated break that are embedded would play more often than they are paid for.
                if ad_break.repeat_every is None
            }
            sources |= await self._embedded(embedded, headers, peer_of(request.scope), version)
        body = render_vmap([(ad_break, sources[ad_break.id]) for ad_break in breaks], version)
        gzipped = compressed(body, headers)
        response = Response(gzipped or body, media_type="application/xml")
        response.raw_headers += [NO_STORE, TIMING, *([GZIPPED, VARIES] if gzipped else [])]
        return response

    async def _breaks(self, values: Mapping[str, str]) -> tuple[AdBreak, ...]:
        placement_id = values.get("placement_id")
        if placement_id is None:
            raise InvalidRequest("placement_id", "is required")
        placement = self._catalogs.current.placements.get(placement_id)
        if placement is None:
            await reload_catalog(self._catalogs, self._deadline_s)
            placement = self._catalogs.current.placements.get(placement_id)
        if placement is None:
            raise InvalidRequest("placement_id", "unknown placement_id")
        return placement.ad_breaks

    async def _embedded(
        self, requests: Mapping[str, dict[str, str]], headers: Headers, peer: str | None, version: VastVersion
    ) -> dict[str, bytes]:
        """Return the documents of the breaks by their ids; a repeated request_id gets the same ads in each."""
        client = self._clients.read(peer, headers)
        cookies = read_cookies(headers)
        for values in requests.values():
            fill_from_cookies(values, cookies)
        documents = [self._document(values, client, cookies, version) for values in requests.values()]
        return dict(zip(requests, await asyncio.gather(*documents), strict=True))

    async def _document(
        self,
        values: Mapping[str, str],
        client: Client,
        cookies: Mapping[str, str],
        version: VastVersion,
    ) -> bytes:
        """Return a break's document, empty if it fails, because the ads of the others are paid for and must arrive."""
        request_id = values.get("request_id") or str(new_request_key())
        try:
            answered = await self._handler.answer(values, request_id, client, cookies)
        except AdServerError:
            return empty_document(version)
        except Exception:
            log.exception("request_failed", path=VMAP_PATH)
            return empty_document(version)
        return answered.body


def _no_breaks(version: VastVersion) -> Response:
    """Return the response to a client above its limit."""
    response = Response(render_vmap([], version), media_type="application/xml")
    response.raw_headers += [NO_STORE, TIMING, (b"x-no-fill-reason", NoFillReason.RATE_LIMIT.encode())]
    return response


def _shared_values(query: bytes) -> dict[str, str]:
    """Return the parameters that all breaks share."""
    return {name: value for name, value in read_query(query).items() if name not in BREAK_PARAMETERS}


def _break_requests(values: Mapping[str, str], breaks: tuple[AdBreak, ...]) -> list[dict[str, str]]:
    """Return the parameters of each break's ad request; raises InvalidRequest if any of them is invalid."""
    requests = [_break_request(values, ad_break) for ad_break in breaks]
    for break_values in requests:
        ad_request(break_values)
    return requests


def _break_request(values: Mapping[str, str], ad_break: AdBreak) -> dict[str, str]:
    """Return the parameters of one break's ad request: the shared ones, its pod and its own request id."""
    request = dict(values)
    if ad_break.pod_size > 1:
        request["pod_size"] = str(ad_break.pod_size)
    if ad_break.pod_duration_s is not None:
        request["pod_duration_s"] = str(ad_break.pod_duration_s)
    if ad_break.min_ads > 1:
        request["min_ads"] = str(ad_break.min_ads)
    if ad_break.competitors is not Competitors.APART:
        request["competitors"] = ad_break.competitors
    if ad_break.placement_id is not None:
        request["placement_id"] = ad_break.placement_id
    request_id = request.pop("request_id", None)
    # Each repetition of a break is a request of its own.
    if request_id is not None and ad_break.repeat_every is None:
        request["request_id"] = _request_id(request_id, ad_break)
    return request


def _request_id(request_id: str, ad_break: AdBreak) -> str:
    """Return the request id of a break, hashed if it would be too long or have characters that are not allowed."""
    readable = f"{request_id}:{ad_break.id}"
    if REQUEST_ID.fullmatch(readable):
        return readable
    digest = blake2b(readable.encode(), digest_size=16).hexdigest()
    return f"{request_id[: ID_LENGTH_MAX - len(digest) - 1]}:{digest}"
