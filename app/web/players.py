"""What players ask for: `GET /vast`. The hot path: plain ASGI, read once, answered from prepared parts."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app.domain import VastVersion
from app.errors import AdServerError
from app.serving.adserver import AdServer
from app.serving.answers import Answers
from app.serving.context import open_context
from app.serving.keys import new_request_key
from app.serving.tickets import NoFill, Outcome
from app.web.clients import ClientReader, read_cookies
from app.web.compression import GZIPPED, VARIES, compressed
from app.web.cors import cors_headers, preflight_headers
from app.web.problems import problem, problem_of
from app.web.query import ad_request, check, read_query

Header = tuple[bytes, bytes]

XML: Header = (b"content-type", b"application/xml; charset=utf-8")
NO_STORE: Header = (b"cache-control", b"no-store")

COOKIE_PARAMETERS: Mapping[str, str] = {"uid": "user_id", "device_id": "device_id", "publisher_id": "publisher_id"}
"""Cookie, and the parameter that it stands in for where the query has none."""

IdentityCheck = Callable[[Mapping[str, str]], bool]
"""Whether a request's privacy signals allow that its user is told from others."""


class RequestObserver(Protocol):
    """Who counts and logs requests."""

    def request(self, request_id: str, status: int, outcome: str, seconds: float) -> None:
        """A request was answered; `outcome` is `served`, `repeat`, a no-fill reason, or `error`."""


class TagUrl:
    """The tag URL as an ASGI application."""

    def __init__(
        self,
        adserver: AdServer,
        answers: Answers,
        clients: ClientReader,
        may_identify: IdentityCheck,
        observer: RequestObserver,
    ) -> None:
        self._adserver = adserver
        self._answers = answers
        self._clients = clients
        self._may_identify = may_identify
        self._observer = observer

    def routes(self) -> list[BaseRoute]:
        """`/vast`."""
        return [Route("/vast", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers GET with VAST, HEAD with what GET would say of it, OPTIONS for CORS; only GET serves an ad."""
        headers = dict(scope["headers"])
        match scope["method"]:
            case "GET":
                await self._get(scope, headers, send)
            case "HEAD":
                cors = cors_headers(headers.get(b"origin"))
                await _send(send, 200, [XML, NO_STORE, (b"x-request-id", b"-"), *cors], b"")
            case "OPTIONS":
                await _send(send, 204, list(preflight_headers(headers.get(b"origin"))), b"")
            case _:
                response = problem(405, "only GET, HEAD and OPTIONS are answered here")
                response.headers["Allow"] = "GET, HEAD, OPTIONS"
                await response(scope, receive, send)

    async def _get(self, scope: Scope, headers: dict[bytes, bytes], send: Send) -> None:
        started = time.perf_counter()
        request_id = ""
        try:
            values = read_query(scope["query_string"])
            request_id = values.get("request_id") or str(new_request_key())
            status, answer, body, outcome = await self._answer(scope, headers, values, request_id)
        except AdServerError as error:
            request_id = request_id or str(new_request_key())
            response = problem_of(error)
            answer = [header for header in response.raw_headers if header[0] != b"content-length"]
            status, body, outcome = response.status_code, bytes(response.body), "error"
        answer += cors_headers(headers.get(b"origin"))
        answer.append((b"x-request-id", request_id.encode()))
        await _send(send, status, answer, body)
        self._observer.request(request_id, status, outcome, time.perf_counter() - started)

    async def _answer(
        self, scope: Scope, headers: dict[bytes, bytes], values: dict[str, str], request_id: str
    ) -> tuple[int, list[Header], bytes, str]:
        """Status, headers, body, and the outcome's name; raises AdServerError."""
        cookies = read_cookies(headers)
        if cookies:
            _fill_from_cookies(values, cookies)
        request = ad_request(values, identifiable=self._may_identify(values))
        with open_context(request_id, cookies, *self._clients.read(scope, headers)) as context:
            outcome = await self._adserver.serve(request, context)
        body, answer, name = self._rendered(outcome, request.vast_version)
        packed = compressed(body, headers)
        if packed is not None:
            return 200, [*answer, GZIPPED, VARIES], packed, name
        return 200, answer, body, name

    def _rendered(self, outcome: Outcome, version: VastVersion) -> tuple[bytes, list[Header], str]:
        if isinstance(outcome, NoFill):
            reason = outcome.reason.value
            return self._answers.no_fill(version), [XML, NO_STORE, (b"x-no-fill-reason", reason.encode())], reason
        body = self._answers.vast(outcome, version, self._adserver.catalogs.current)
        return body, [XML, NO_STORE], "repeat" if outcome.repeat else "served"


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


async def _send(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
