"""`POST /v1/ads`: many ad requests of a server-side stitcher in one call, answered as they are decided."""

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any, NamedTuple

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import BaseRoute, Route

from app.domain import Client
from app.errors import AdServerError, InvalidRequest, Unauthorized
from app.fast_path import Headers, headers_of, peer_of
from app.serving.keys import new_request_key
from app.web.ad_requests import AdRequestHandler, Answer
from app.web.bearer_auth import BearerAuth
from app.web.bodies import read_json
from app.web.clients import ClientReader, fill_from_headers
from app.web.parameters import REQUIRED_IDS, parameter_name, read_parameter
from app.web.problems import status_of
from app.web.query import ParameterReader

log = structlog.get_logger()

BATCH_PATH = "/v1/ads"
NDJSON = "application/x-ndjson"
UNAUTHORIZED = (
    "the bearer token must be ADSERVER_STITCHER_TOKEN or ADSERVER_ADMIN_TOKEN, unless the client's address is in"
    " ADSERVER_TRUSTED_PROXIES"
)

AHEAD_MAX = 64
"""Maximum number of requests of a batch whose lines the stitcher has not read yet."""


class _BatchRequest(NamedTuple):
    """A request of the batch: its parameters, or the error in them."""

    request_id: str | None
    values: dict[str, str]
    error: InvalidRequest | None = None


class BatchAdsEndpoint:
    """`POST /v1/ads`."""

    def __init__(
        self, handler: AdRequestHandler, clients: ClientReader, auth: BearerAuth, *, max_body_bytes: int, batch_max: int
    ) -> None:
        self._handler = handler
        self._clients = clients
        self._auth = auth
        self._max_body_bytes = max_body_bytes
        self._batch_max = batch_max

    def routes(self) -> list[BaseRoute]:
        """Return the route of `/v1/ads`."""
        return [Route(BATCH_PATH, self._ads, methods=["POST"])]

    def _authorize(self, request: Request) -> None:
        sender = self._clients.sender(peer_of(request.scope), headers_of(request.scope["headers"]))
        if sender is not None and self._clients.trusts(sender):
            return
        if not self._auth.accepts(request):
            raise Unauthorized(UNAUTHORIZED)

    async def _ads(self, request: Request) -> StreamingResponse:
        """Respond with a line of JSON for each request, in the order in which they are decided."""
        self._authorize(request)
        headers = headers_of(request.scope["headers"])
        requests = _requests(await read_json(request, self._max_body_bytes), self._batch_max, headers)
        client = self._clients.read(peer_of(request.scope), headers)._replace(is_trusted=True)
        return StreamingResponse(
            self._lines(requests, client), media_type=NDJSON, headers={"Cache-Control": "no-store"}
        )

    async def _lines(self, requests: list[_BatchRequest], client: Client) -> AsyncIterator[bytes]:
        """Start a request when an earlier line was read, so that a stitcher that does not read costs few ads."""
        decided: asyncio.Queue[bytes] = asyncio.Queue()
        waiting = iter(enumerate(requests))
        tasks: set[asyncio.Task[None]] = set()

        async def decide(index: int, item: _BatchRequest) -> None:
            decided.put_nowait(await self._line(index, item, client))

        def start(count: int) -> None:
            for index, item in islice(waiting, count):
                tasks.add(task := asyncio.create_task(decide(index, item)))
                task.add_done_callback(tasks.discard)

        start(AHEAD_MAX)
        try:
            for _ in requests:
                yield await decided.get()
                start(1)
        finally:
            for task in tasks:
                task.cancel()

    async def _line(self, index: int, item: _BatchRequest, client: Client) -> bytes:
        """Return a request's line even if it fails, because the ads of the others are paid for and must arrive."""
        request_id = item.request_id or str(new_request_key())
        line = {"request_id": request_id, "index": index} | await self._result(item, request_id, client)
        return orjson.dumps(line) + b"\n"

    async def _result(self, item: _BatchRequest, request_id: str, client: Client) -> dict[str, object]:
        if item.error is not None:
            return _problem_line(item.error)
        try:
            return _ad_line(await self._handler.answer(item.values, request_id, client, stitched=True))
        except AdServerError as error:
            return _problem_line(error)
        except Exception:
            log.exception("request_failed", path=BATCH_PATH)
            return {"status": 500, "reason": "internal error"}


def _requests(body: object, batch_max: int, headers: Headers) -> list[_BatchRequest]:
    """Return the requests from a list, or from an object with the key `requests`."""
    items = body.get("requests") if isinstance(body, dict) else body
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidRequest("requests", "must be a list of objects")
    if not 0 < len(items) <= batch_max:
        raise InvalidRequest("requests", f"must have between 1 and {batch_max} items")
    return [_read(item, headers) for item in items]


def _read(item: dict[str, Any], headers: Headers) -> _BatchRequest:
    """Read a request of the batch; the headers of the HTTP request apply to each."""
    request_id = read_parameter("request_id", _as_text(item.get("request_id")))
    try:
        values = _values(item)
    except InvalidRequest as error:
        return _BatchRequest(request_id, {}, error.with_traceback(None))
    fill_from_headers(values, headers)
    return _BatchRequest(request_id, values)


def _values(item: dict[str, Any]) -> dict[str, str]:
    """Return the parameters as a query string would have them; null and "" count as absent."""
    reader = ParameterReader()
    for key, value in item.items():
        name = parameter_name(key)
        if name is None:
            raise InvalidRequest(key, "unknown parameter")
        if name in REQUIRED_IDS and not isinstance(value, str | int | None):
            raise InvalidRequest(name, "must be a string or an integer")
        reader.add(name, _as_text(value))
    return reader.finish()


def _as_text(value: object) -> str:
    """Return a value as a query string would have it; "" for a type that no parameter has."""
    return str(int(value) if isinstance(value, bool) else value) if isinstance(value, str | int | float) else ""


def _ad_line(answer: Answer) -> dict[str, object]:
    return {
        "status": 200,
        "filled": answer.reason is None,
        "no_fill_reason": answer.reason,
        "vast": answer.body.decode(),
    }


def _problem_line(error: AdServerError) -> dict[str, object]:
    status = status_of(error)
    if isinstance(error, InvalidRequest):
        return {"status": status, "field": error.field, "reason": error.reason}
    return {"status": status, "reason": str(error)}
