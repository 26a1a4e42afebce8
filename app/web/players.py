"""The tag URL of players: `GET /vast`, the hot path of the server."""

import time

import structlog
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app.domain import NoFillReason
from app.errors import AdServerError
from app.fast_path import DirectAnswer, DirectRequest, Headers, Respond, run_as_asgi, send_answer
from app.observer import Observer
from app.serving.keys import new_request_key
from app.web.ad_requests import AdRequestHandler, Answer, no_ad
from app.web.client_limits import ClientLimits
from app.web.clients import ClientReader, fill_from_cookies, fill_from_headers, read_cookies
from app.web.compression import GZIPPED, VARIES, compressed
from app.web.cors import Header, cors_headers, origin_of, send_preflight
from app.web.problems import not_allowed, problem, problem_of
from app.web.query import read_parameters

log = structlog.get_logger()

TAG_PATH = "/vast"

XML: Header = (b"content-type", b"application/xml; charset=utf-8")
NO_STORE: Header = (b"cache-control", b"no-store")
# Allows pages to measure how long their ads take to load (Resource Timing section 4.5.1).
TIMING: Header = (b"timing-allow-origin", b"*")


class VastEndpoint:
    """`GET /vast`, called directly on the hot path; as an ASGI application it also answers HEAD and OPTIONS."""

    def __init__(
        self,
        handler: AdRequestHandler,
        clients: ClientReader,
        client_limits: ClientLimits,
        observer: Observer,
    ) -> None:
        self._handler = handler
        self._clients = clients
        self._client_limits = client_limits
        self._observer = observer

    def routes(self) -> list[BaseRoute]:
        """Return the route of the tag URL."""
        return [Route(TAG_PATH, self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET with VAST, HEAD with the headers of an answer, OPTIONS for CORS; only GET serves an ad."""
        if scope["method"] == "GET":
            await run_as_asgi(self.handle, scope, send)
        else:
            await _answer_without_ad(scope, receive, send)

    def handle(self, request: DirectRequest, respond: Respond) -> None:
        """Serve an ad; call `respond` once with the answer, even if something fails."""
        started = time.perf_counter()
        request_id = ""
        values: dict[str, str] = {}
        client = self._clients.read(request.peer, request.headers)

        def on_done(result: Answer | Exception) -> None:
            status, outcome, headers, body = _response_parts(result, request)
            headers += (
                TIMING,
                (b"x-request-id", request_id.encode()),
                (b"content-length", str(len(body)).encode()),
                *cors_headers(request.headers.get(b"origin")),
            )
            respond(DirectAnswer(status, tuple(headers), body))
            self._observer.request_finished(request_id, status, outcome, time.perf_counter() - started, values, client)

        try:
            is_allowed = self._client_limits.allows("ad_request", request.peer, request.headers)
            reader = read_parameters(request.query)
            if reader.ignored:
                self._observer.parameters_ignored(reader.ignored)
            values = reader.values
            request_id = values.get("request_id") or str(new_request_key())
            fill_from_headers(values, request.headers)
            cookies = read_cookies(request.headers)
            if cookies:
                fill_from_cookies(values, cookies)
            if not is_allowed:
                on_done(no_ad(values, NoFillReason.RATE_LIMIT))
                return
            self._handler.handle(values, request_id, client, cookies, on_done)
        except Exception as error:  # noqa: BLE001 - logged, and answered like errors that come later
            request_id = request_id or str(new_request_key())
            on_done(error)


def _response_parts(result: Answer | Exception, request: DirectRequest) -> tuple[int, str, list[Header], bytes]:
    """Return the status, the outcome for metrics and logs, the headers of this result, and the encoded body."""
    if not isinstance(result, Exception):
        return 200, result.outcome, *_encode_body(result, request.headers)
    response = _problem_response(result, request.path)
    headers = [header for header in response.raw_headers if header[0] != b"content-length"]
    return response.status_code, "error", headers, bytes(response.body)


def _problem_response(error: Exception, path: str) -> Response:
    """Return the problem document for an error, and log it if the server is at fault."""
    if isinstance(error, AdServerError):
        return problem_of(error)
    log.error("request_failed", path=path, exc_info=error)
    return problem(500, "internal error")


async def _answer_without_ad(scope: Scope, receive: Receive, send: Send) -> None:
    match scope["method"]:
        case "HEAD":
            request_id = (b"x-request-id", str(new_request_key()).encode())
            cors = cors_headers(origin_of(scope["headers"]))
            await send_answer(send, DirectAnswer(200, (XML, NO_STORE, TIMING, request_id, *cors), b""))
        case "OPTIONS":
            await send_preflight(scope, send)
        case _:
            await not_allowed("GET", "HEAD", "OPTIONS")(scope, receive, send)


def _encode_body(answer: Answer, headers: Headers) -> tuple[list[Header], bytes]:
    """Return the headers of an answer, and its body, compressed if the client accepts that."""
    if answer.reason is not None:
        return [XML, NO_STORE, (b"x-no-fill-reason", answer.reason.encode())], answer.body
    packed = compressed(answer.body, headers)
    if packed is not None:
        return [XML, NO_STORE, GZIPPED, VARIES], packed
    return [XML, NO_STORE], answer.body
