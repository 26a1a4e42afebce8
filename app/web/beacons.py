"""Beacons of players: `/event/{event}` and `/click`."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Protocol
from urllib.parse import unquote_to_bytes

import structlog
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app.domain import Event
from app.fast_path import (
    DirectAnswer,
    DirectEndpoint,
    DirectRequest,
    Respond,
    closing_connection,
    headers_of,
    peer_of,
    run_as_asgi,
    send_answer,
)
from app.observer import Observer
from app.serving.tokens import ServeRef, TokenSigner
from app.store.holds import Beacon
from app.web.client_limits import ClientLimits
from app.web.cors import cors_headers, origin_of, send_preflight
from app.web.problems import not_allowed, problem

log = structlog.get_logger()

GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b")
"""One transparent pixel."""

NO_STORE = (b"cache-control", b"no-store")
PIXEL_HEADERS = (
    (b"content-type", b"image/gif"),
    (b"content-length", str(len(GIF)).encode()),
    NO_STORE,
    # A player may measure how long its beacons take (Resource Timing section 4.5.1).
    (b"timing-allow-origin", b"*"),
)

CLICK_WAIT_S = 0.1
"""Maximum time that the redirect waits for the click's commit; the click is counted even if that takes longer."""

ERROR_CODE_MIN, ERROR_CODE_MAX = 100, 999
"""VAST error codes (VAST 4.2 section 2.3.6.3)."""

BODY_BYTES_MAX = 65_536
"""Maximum body of a posted beacon; after a longer body, or one of unknown length, the connection is closed."""

EVENT_PREFIX = "/event/"

_EVENTS: Mapping[str, Event] = {event.value: event for event in Event}


class BeaconCounter(Protocol):
    """The queue in which beacons wait to be counted."""

    def put(self, beacon: Beacon, counted: Callable[[], None]) -> None:
        """Queue a beacon, and call `counted` once: at its commit, or when its sender has waited long enough."""


class BeaconEndpoints:
    """The beacon and click URLs."""

    def __init__(
        self, signer: TokenSigner, counter: BeaconCounter, client_limits: ClientLimits, observer: Observer
    ) -> None:
        self._event = _EventEndpoint(signer, counter, client_limits, observer)
        self._click = _ClickEndpoint(signer, counter, client_limits, observer)

    def routes(self) -> list[BaseRoute]:
        """Return the routes of `/event/{event}` and `/click`."""
        return [Route(EVENT_PREFIX + "{event}", self._event), Route("/click", self._click)]

    def hot_paths(self) -> Mapping[str, DirectEndpoint]:
        """Return the path of each event with its endpoint."""
        return {EVENT_PREFIX + event: self._event.handle for event in Event}


class _EventEndpoint:
    """Responds to every request with a pixel, because a player cannot handle a refused beacon.

    GET and POST count, because `navigator.sendBeacon` and some players post. HEAD comes from proxies and link checkers.
    """

    def __init__(
        self, signer: TokenSigner, counter: BeaconCounter, client_limits: ClientLimits, observer: Observer
    ) -> None:
        self._signer = signer
        self._counter = counter
        self._client_limits = client_limits
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "GET":
            await run_as_asgi(self.handle, scope, send)
        elif method == "POST":
            # The query has all data, so the beacon counts without waiting for the body.
            await run_as_asgi(self.handle, scope, send if _has_small_body(scope) else closing_connection(send))
        elif method == "OPTIONS":
            await send_preflight(scope, send)
        elif method == "HEAD":
            cors = cors_headers(origin_of(scope["headers"]))
            await send_answer(send, DirectAnswer(200, (*PIXEL_HEADERS, *cors), b""))
        else:
            await not_allowed("GET", "HEAD", "POST", "OPTIONS")(scope, receive, send)

    def handle(self, request: DirectRequest, respond: Respond) -> None:
        """Count the event that the path names."""
        pixel = DirectAnswer(200, (*PIXEL_HEADERS, *cors_headers(request.headers.get(b"origin"))), GIF)
        try:
            if not self._client_limits.allows("beacon", request.peer, request.headers):
                self._observer.beacons_handled("limited", 1)
                respond(pixel)
                return
            beacon = self._beacon(request.path.removeprefix(EVENT_PREFIX), request.query)
            if beacon is not None:
                self._counter.put(beacon, partial(respond, pixel))
                return
            self._observer.beacons_handled("refused", 1)
        except Exception:
            log.exception("request_failed", path=request.path)
        respond(pixel)

    def _beacon(self, name: str, query: bytes) -> Beacon | None:
        event = _EVENTS.get(name)
        ref = None if event is None else self._signer.verify(_parameter(query, b"t="), event, datetime.now(UTC))
        if event is None or ref is None:
            return None
        error_code = _error_code(_parameter(query, b"code=")) if event is Event.ERROR else None
        return _beacon(ref, event, error_code)


class _ClickEndpoint:
    """Counts a click and redirects to the destination in its token, never to any other."""

    def __init__(
        self, signer: TokenSigner, counter: BeaconCounter, client_limits: ClientLimits, observer: Observer
    ) -> None:
        self._signer = signer
        self._counter = counter
        self._client_limits = client_limits
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            await send_preflight(scope, send)
            return
        if method not in ("GET", "HEAD"):
            await not_allowed("GET", "HEAD", "OPTIONS")(scope, receive, send)
            return
        response = await self._redirect(scope, is_click=method == "GET")
        response.raw_headers += cors_headers(origin_of(scope["headers"]))
        await response(scope, receive, send)

    async def _redirect(self, scope: Scope, *, is_click: bool) -> Response:
        ref = self._signer.read(_parameter(scope["query_string"], b"t="), Event.CLICK)
        if ref is None:
            self._observer.beacons_handled("refused", 1)
            return problem(400, "is missing or invalid", field="t")
        if ref.destination is None:
            return problem(400, "has no destination", field="t")
        # A late click does not count, but still leads to its destination.
        if ref.expires_at <= datetime.now(UTC):
            self._observer.beacons_handled("refused", 1)
        elif not self._client_limits.allows("click", peer_of(scope), headers_of(scope["headers"])):
            self._observer.beacons_handled("limited", 1)
        elif is_click:
            await self._count(_beacon(ref, Event.CLICK))
        return RedirectResponse(ref.destination, status_code=302, headers={"Cache-Control": "no-store"})

    async def _count(self, beacon: Beacon) -> None:
        counted = asyncio.Event()
        self._counter.put(beacon, counted.set)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLICK_WAIT_S):
                await counted.wait()


def _beacon(ref: ServeRef, event: Event, error_code: int | None = None) -> Beacon:
    return Beacon(ref.request_key, ref.slot, ref.served_on, ref.campaign_id, event.value, error_code)


def _has_small_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" not in headers and length.isdigit() and int(length) <= BODY_BYTES_MAX


def _parameter(query: bytes, prefix: bytes) -> str:
    """Return the value of the first parameter that starts with `prefix`, or ""."""
    for pair in query.split(b"&"):
        if pair.startswith(prefix):
            value = pair[len(prefix) :]
            return (unquote_to_bytes(value) if b"%" in value else value).decode("latin-1")
    return ""


def _error_code(text: str) -> int | None:
    """Return the error code that a player reports; None if it is missing, out of range or an unexpanded macro."""
    code = int(text) if len(text) == 3 and text.isascii() and text.isdigit() else 0
    return code if ERROR_CODE_MIN <= code <= ERROR_CODE_MAX else None
