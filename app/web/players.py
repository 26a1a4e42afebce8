"""What players ask for: `GET /vast`. The hot path: plain ASGI, read once, answered from prepared parts."""

import time
from collections.abc import Awaitable, Iterable, Mapping

import structlog
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app.errors import AdServerError
from app.serving.keys import new_request_key
from app.web.clients import ClientReader, Headers, read_cookies
from app.web.compression import GZIPPED, VARIES, compressed
from app.web.cors import cors_headers, preflight_headers
from app.web.desk import AdDesk, Answered, RequestObserver
from app.web.problems import problem, problem_of
from app.web.query import check, read_query

log = structlog.get_logger()

Header = tuple[bytes, bytes]

XML: Header = (b"content-type", b"application/xml; charset=utf-8")
NO_STORE: Header = (b"cache-control", b"no-store")
# A page may measure how long its ads take (Resource Timing section 4.5.1).
TIMING: Header = (b"timing-allow-origin", b"*")

COOKIE_PARAMETERS: Mapping[str, str] = {"uid": "user_id", "device_id": "device_id", "publisher_id": "publisher_id"}
"""Cookie, and the parameter that it stands in for where the query has none."""


class TagUrl:
    """The tag URL as an ASGI application."""

    def __init__(self, desk: AdDesk, clients: ClientReader, observer: RequestObserver) -> None:
        self._desk = desk
        self._clients = clients
        self._observer = observer

    def routes(self) -> list[BaseRoute]:
        """`/vast`."""
        return [Route("/vast", self)]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answers GET with VAST, HEAD with what GET would say of it, OPTIONS for CORS; only GET serves an ad."""
        headers = dict(scope["headers"])
        return self._get(scope, headers, send) if scope["method"] == "GET" else _tell(scope, headers, receive, send)

    async def _get(self, scope: Scope, headers: Headers, send: Send) -> None:
        started = time.perf_counter()
        request_id = ""
        try:
            values = read_query(scope["query_string"])
            request_id = values.get("request_id") or str(new_request_key())
            cookies = read_cookies(headers)
            if cookies:
                _fill_from_cookies(values, cookies)
            answered = await self._desk.answer(values, request_id, self._clients.read(scope, headers), cookies)
            status, outcome = 200, answered.outcome
            answer, body = _packed(answered, headers)
        except Exception as error:  # noqa: BLE001 - a fault is logged, and answered as elsewhere
            request_id = request_id or str(new_request_key())
            response = _problem_of(error, scope["path"])
            answer = [header for header in response.raw_headers if header[0] != b"content-length"]
            status, body, outcome = response.status_code, bytes(response.body), "error"
        answer += (
            TIMING,
            (b"x-request-id", request_id.encode()),
            (b"content-length", str(len(body)).encode()),
            *cors_headers(headers.get(b"origin")),
        )
        await _send(send, status, answer, body)
        self._observer.request(request_id, status, outcome, time.perf_counter() - started)


def _problem_of(error: Exception, path: str) -> Response:
    """What became of a request that was wrong, or of a fault of ours, while that is handled."""
    if isinstance(error, AdServerError):
        return problem_of(error)
    log.exception("request failed", path=path)
    return problem(500, "something went wrong here")


async def _tell(scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
    """Answers a request that asks for no ad."""
    match scope["method"]:
        case "HEAD":
            request_id = (b"x-request-id", str(new_request_key()).encode())
            await _send(send, 200, (XML, NO_STORE, TIMING, request_id, *cors_headers(headers.get(b"origin"))))
        case "OPTIONS":
            await _send(send, 204, preflight_headers(headers.get(b"origin")))
        case _:
            response = problem(405, "only GET, HEAD and OPTIONS are answered here")
            response.headers["Allow"] = "GET, HEAD, OPTIONS"
            await response(scope, receive, send)


def _packed(answered: Answered, headers: Headers) -> tuple[list[Header], bytes]:
    """An answer's own headers, and its body as it is sent."""
    if answered.reason is not None:
        return [XML, NO_STORE, (b"x-no-fill-reason", answered.reason.encode())], answered.body
    packed = compressed(answered.body, headers)
    if packed is not None:
        return [XML, NO_STORE, GZIPPED, VARIES], packed
    return [XML, NO_STORE], answered.body


def _fill_from_cookies(values: dict[str, str], cookies: Mapping[str, str]) -> None:
    """A query that names a viewer is not mixed with a cookie that names another."""
    named = "user_id" in values or "device_id" in values
    told = {
        parameter: cookies[cookie]
        for cookie, parameter in COOKIE_PARAMETERS.items()
        if cookie in cookies and parameter not in values and not (named and parameter != "publisher_id")
    }
    try:
        check(told)
    except AdServerError:
        return  # The player did not write its cookies into the URL: it cannot be told that they are wrong.
    values.update(told)


async def _send(send: Send, status: int, headers: Iterable[Header], body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
