"""What players report: `GET /event/{event}` and `GET /click`."""

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
    headers_of,
    peer_of,
    run_as_asgi,
    send_answer,
    then_close,
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

CLICK_PATIENCE_S = 0.1
"""How long a viewer who clicked waits for the click's commit; it is counted in any case."""

ERROR_CODE_MIN, ERROR_CODE_MAX = 100, 999
"""VAST error codes (VAST 4.2 section 2.3.6.3)."""

BODY_BYTES_MAX = 65_536
"""Of a beacon that is posted; its connection is closed after a longer one, and after one that does not say."""

EVENT_PREFIX = "/event/"

_EVENTS: Mapping[str, Event] = {event.value: event for event in Event}


class BeaconCounter(Protocol):
    """Where beacons are counted."""

    def put(self, beacon: Beacon, counted: Callable[[], None]) -> None:
        """Calls `counted` when the beacon is committed, or when its sender has waited long enough; never twice."""


class BeaconEndpoints:
    """The beacon and the click URLs."""

    def __init__(
        self, signer: TokenSigner, counter: BeaconCounter, client_limits: ClientLimits, observer: Observer
    ) -> None:
        self._event = _EventUrl(signer, counter, client_limits, observer)
        self._click = _ClickUrl(signer, counter, client_limits, observer)

    def routes(self) -> list[BaseRoute]:
        """`/event/{event}` and `/click`."""
        return [Route(EVENT_PREFIX + "{event}", self._event), Route("/click", self._click)]

    def hot_paths(self) -> Mapping[str, DirectEndpoint]:
        """A path for each event."""
        return {EVENT_PREFIX + event: self._event.handle for event in Event}


class _EventUrl:
    """Answers every request with a pixel, counted or not: a player can do nothing about a beacon that is refused.

    GET and POST count: `navigator.sendBeacon` and some players post. HEAD is what proxies and link checkers send.
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
            # The token says everything. The body is not waited for, so that it cannot hold up the count.
            await run_as_asgi(self.handle, scope, send if _has_small_body(scope) else then_close(send))
        elif method == "OPTIONS":
            await send_preflight(scope, send)
        elif method == "HEAD":
            cors = cors_headers(origin_of(scope["headers"]))
            await send_answer(send, DirectAnswer(200, (*PIXEL_HEADERS, *cors), b""))
        else:
            await not_allowed("GET", "HEAD", "POST", "OPTIONS")(scope, receive, send)

    def handle(self, asked: DirectRequest, respond: Respond) -> None:
        """Counts the event of the path."""
        pixel = DirectAnswer(200, (*PIXEL_HEADERS, *cors_headers(asked.headers.get(b"origin"))), GIF)
        try:
            if not self._client_limits.allows("beacon", asked.peer, asked.headers):
                self._observer.beacons_handled("limited", 1)
                respond(pixel)
                return
            beacon = self._beacon(asked.path.removeprefix(EVENT_PREFIX), asked.query)
            if beacon is not None:
                self._counter.put(beacon, partial(respond, pixel))
                return
            self._observer.beacons_handled("refused", 1)
        except Exception:
            log.exception("request_failed", path=asked.path)
        respond(pixel)

    def _beacon(self, name: str, query: bytes) -> Beacon | None:
        event = _EVENTS.get(name)
        ref = None if event is None else self._signer.verify(_parameter(query, b"t="), event, datetime.now(UTC))
        if event is None or ref is None:
            return None
        error_code = _error_code(_parameter(query, b"code=")) if event is Event.ERROR else None
        return _beacon(ref, event, error_code)


class _ClickUrl:
    """Counts a click and redirects to where its token says, and never anywhere else."""

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
        response = await self._answer(scope, counts=method == "GET")
        response.raw_headers += cors_headers(origin_of(scope["headers"]))
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, *, counts: bool) -> Response:
        ref = self._signer.read(_parameter(scope["query_string"], b"t="), Event.CLICK)
        if ref is None:
            self._observer.beacons_handled("refused", 1)
            return problem(400, "is missing or was altered", field="t")
        if ref.destination is None:
            return problem(400, "leads nowhere", field="t")
        # A viewer who clicks hours later still wants to go there.
        if ref.expires_at <= datetime.now(UTC):
            self._observer.beacons_handled("refused", 1)
        elif not self._client_limits.allows("click", peer_of(scope), headers_of(scope["headers"])):
            self._observer.beacons_handled("limited", 1)
        elif counts:
            await self._count(_beacon(ref, Event.CLICK))
        return RedirectResponse(ref.destination, status_code=302, headers={"Cache-Control": "no-store"})

    async def _count(self, beacon: Beacon) -> None:
        counted = asyncio.Event()
        self._counter.put(beacon, counted.set)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLICK_PATIENCE_S):
                await counted.wait()


def _beacon(ref: ServeRef, event: Event, error_code: int | None = None) -> Beacon:
    return Beacon(ref.request_key, ref.slot, ref.served_on, ref.campaign_id, event.value, error_code)


def _has_small_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" not in headers and length.isdigit() and int(length) <= BODY_BYTES_MAX


def _parameter(query: bytes, prefix: bytes) -> str:
    """The value of the first parameter that begins with `prefix`, or nothing."""
    for pair in query.split(b"&"):
        if pair.startswith(prefix):
            value = pair[len(prefix) :]
            return (unquote_to_bytes(value) if b"%" in value else value).decode("latin-1")
    return ""


def _error_code(text: str) -> int | None:
    """The code that a player reports; None for none, also for a macro that it did not replace."""
    code = int(text) if len(text) == 3 and text.isascii() and text.isdigit() else 0
    return code if ERROR_CODE_MIN <= code <= ERROR_CODE_MAX else None
