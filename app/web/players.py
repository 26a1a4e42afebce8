"""What players ask for: `GET /vast`. The hot path: read once, answered from prepared parts."""

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
from app.web.ad_requests import AdRequestHandler, Answered, no_ad
from app.web.client_limits import ClientLimits
from app.web.clients import ClientReader, fill_from_cookies, fill_from_headers, read_cookies
from app.web.compression import GZIPPED, VARIES, compressed
from app.web.cors import Header, cors_headers, origin_of, send_preflight
from app.web.problems import not_allowed, problem, problem_of
from app.web.query import parameters_of

log = structlog.get_logger()

TAG_PATH = "/vast"

XML: Header = (b"content-type", b"application/xml; charset=utf-8")
NO_STORE: Header = (b"cache-control", b"no-store")
# A page may measure how long its ads take (Resource Timing section 4.5.1).
TIMING: Header = (b"timing-allow-origin", b"*")


class VastEndpoint:
    """The tag URL: `handle` takes GET, and the whole is an ASGI application."""

    def __init__(
        self,
        desk: AdRequestHandler,
        clients: ClientReader,
        client_limits: ClientLimits,
        observer: Observer,
    ) -> None:
        self._desk = desk
        self._clients = clients
        self._client_limits = client_limits
        self._observer = observer

    def routes(self) -> list[BaseRoute]:
        """The tag URL."""
        return [Route(TAG_PATH, self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers GET with VAST, HEAD with what GET would say of it, OPTIONS for CORS; only GET serves an ad."""
        if scope["method"] == "GET":
            await run_as_asgi(self.handle, scope, send)
        else:
            await _tell(scope, receive, send)

    def handle(self, asked: DirectRequest, respond: Respond) -> None:
        """Serves an ad."""
        started = time.perf_counter()
        request_id = ""

        def tell(how: Answered | Exception) -> None:
            status, outcome, headers, body = _parts(how, asked)
            headers += (
                TIMING,
                (b"x-request-id", request_id.encode()),
                (b"content-length", str(len(body)).encode()),
                *cors_headers(asked.headers.get(b"origin")),
            )
            respond(DirectAnswer(status, tuple(headers), body))
            self._observer.request_finished(request_id, status, outcome, time.perf_counter() - started)

        try:
            allowed = self._client_limits.allows("ad_request", asked.peer, asked.headers)
            reader = parameters_of(asked.query)
            if reader.ignored:
                self._observer.parameters_ignored(reader.ignored)
            values = reader.values
            request_id = values.get("request_id") or str(new_request_key())
            fill_from_headers(values, asked.headers)
            cookies = read_cookies(asked.headers)
            if cookies:
                fill_from_cookies(values, cookies)
            if not allowed:
                tell(no_ad(values, NoFillReason.RATE_LIMIT))
                return
            client = self._clients.read(asked.peer, asked.headers)
            self._desk.ask(values, request_id, client, cookies, tell)
        except Exception as error:  # noqa: BLE001 - a fault is logged, and answered as elsewhere
            request_id = request_id or str(new_request_key())
            tell(error)


def _parts(how: Answered | Exception, asked: DirectRequest) -> tuple[int, str, list[Header], bytes]:
    """Status, outcome in a word, the answer's own headers, and its body as it is sent."""
    if not isinstance(how, Exception):
        return 200, how.outcome, *_packed(how, asked.headers)
    response = _problem_of(how, asked.path)
    headers = [header for header in response.raw_headers if header[0] != b"content-length"]
    return response.status_code, "error", headers, bytes(response.body)


def _problem_of(error: Exception, path: str) -> Response:
    """What became of a request that was wrong, or of a fault of ours."""
    if isinstance(error, AdServerError):
        return problem_of(error)
    log.error("request failed", path=path, exc_info=error)
    return problem(500, "something went wrong here")


async def _tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request that asks for no ad."""
    match scope["method"]:
        case "HEAD":
            request_id = (b"x-request-id", str(new_request_key()).encode())
            cors = cors_headers(origin_of(scope["headers"]))
            await send_answer(send, DirectAnswer(200, (XML, NO_STORE, TIMING, request_id, *cors), b""))
        case "OPTIONS":
            await send_preflight(scope, send)
        case _:
            await not_allowed("GET", "HEAD", "OPTIONS")(scope, receive, send)


def _packed(answer: Answered, headers: Headers) -> tuple[list[Header], bytes]:
    """An answer's own headers, and its body as it is sent."""
    if answer.reason is not None:
        return [XML, NO_STORE, (b"x-no-fill-reason", answer.reason.encode())], answer.body
    packed = compressed(answer.body, headers)
    if packed is not None:
        return [XML, NO_STORE, GZIPPED, VARIES], packed
    return [XML, NO_STORE], answer.body
