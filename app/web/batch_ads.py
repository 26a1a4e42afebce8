"""What server-side stitchers ask for: many ads in one call (`POST /v1/ads`), answered as they are decided."""

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any, NamedTuple

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import BaseRoute, Route

from app.errors import AdServerError, InvalidRequest, Unauthorized
from app.fast_path import Headers, headers_of, peer_of
from app.serving.keys import new_request_key
from app.web.ad_requests import AdRequestHandler, Answer
from app.web.bearer_auth import BearerAuth
from app.web.bodies import read_json
from app.web.clients import ClientReader, fill_from_headers
from app.web.parameters import PARAMETERS, REQUIRED_IDS, read_parameter
from app.web.problems import status_of
from app.web.query import ParameterReader

log = structlog.get_logger()

BATCH_PATH = "/v1/ads"
NDJSON = "application/x-ndjson"
HOW_TO_AUTHORIZE = (
    "the Bearer token is missing or wrong: ADSERVER_STITCHER_TOKEN or ADSERVER_ADMIN_TOKEN, unless the address is in"
    " ADSERVER_TRUSTED_PROXIES"
)

AHEAD_MAX = 64
"""Requests of one batch that are decided or being decided, and whose lines the stitcher has not taken yet."""


class _BatchRequest(NamedTuple):
    """One of many: its parameters, or what is wrong with them."""

    request_id: str | None
    values: dict[str, str]
    error: InvalidRequest | None = None


class BatchAdsEndpoint:
    """`POST /v1/ads`."""

    def __init__(
        self,
        handler: AdRequestHandler,
        clients: ClientReader,
        token: BearerAuth,
        *,
        max_body_bytes: int,
        batch_max: int,
    ) -> None:
        self._handler = handler
        self._clients = clients
        self._token = token
        self._max_body_bytes = max_body_bytes
        self._batch_max = batch_max

    def routes(self) -> list[BaseRoute]:
        """`/v1/ads`."""
        return [Route(BATCH_PATH, self._ads, methods=["POST"])]

    def _authorize(self, request: Request) -> None:
        sender = self._clients.sender(peer_of(request.scope), headers_of(request.scope["headers"]))
        if sender is not None and self._clients.trusts(sender):
            return
        if not self._token.is_sent_with(request):
            raise Unauthorized(HOW_TO_AUTHORIZE)

    async def _ads(self, request: Request) -> StreamingResponse:
        """A line of JSON for each request, in the order in which they are decided."""
        self._authorize(request)
        headers = headers_of(request.scope["headers"])
        asked = _requests(await read_json(request, self._max_body_bytes), self._batch_max, headers)
        client = self._clients.read(peer_of(request.scope), headers)
        return StreamingResponse(self._lines(asked, client), media_type=NDJSON, headers={"Cache-Control": "no-store"})

    async def _lines(self, asked: list[_BatchRequest], client: tuple[str | None, str | None]) -> AsyncIterator[bytes]:
        """A request is begun when a line before it was taken: a stitcher that does not read costs few ads."""
        decided: asyncio.Queue[bytes] = asyncio.Queue()
        waiting = iter(enumerate(asked))
        tasks: set[asyncio.Task[None]] = set()

        async def decide(index: int, one: _BatchRequest) -> None:
            decided.put_nowait(await self._line(index, one, client))

        def begin(count: int) -> None:
            for index, one in islice(waiting, count):
                tasks.add(task := asyncio.create_task(decide(index, one)))
                task.add_done_callback(tasks.discard)

        begin(AHEAD_MAX)
        try:
            for _ in asked:
                yield await decided.get()
                begin(1)
        finally:
            for task in tasks:
                task.cancel()

    async def _line(self, index: int, one: _BatchRequest, client: tuple[str | None, str | None]) -> bytes:
        """A request's line, also if it fails, because the other requests' ads are paid for and must arrive."""
        request_id = one.request_id or str(new_request_key())
        line = {"request_id": request_id, "index": index} | await self._result(one, request_id, client)
        return orjson.dumps(line) + b"\n"

    async def _result(
        self, one: _BatchRequest, request_id: str, client: tuple[str | None, str | None]
    ) -> dict[str, object]:
        if one.error is not None:
            return _problem(one.error)
        try:
            return _ad(await self._handler.answer(one.values, request_id, client, stitched=True))
        except AdServerError as error:
            return _problem(error)
        except Exception:
            log.exception("request_failed", path=BATCH_PATH)
            return {"status": 500, "reason": "something went wrong here"}


def _requests(body: object, batch_max: int, headers: Headers) -> list[_BatchRequest]:
    """The list of requests, alone or under `requests`."""
    asked = body.get("requests") if isinstance(body, dict) else body
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise InvalidRequest("requests", "must be a list of objects")
    if not 0 < len(asked) <= batch_max:
        raise InvalidRequest("requests", f"must be 1 to {batch_max} requests")
    return [_read(one, headers) for one in asked]


def _read(one: dict[str, Any], headers: Headers) -> _BatchRequest:
    """A request of the batch, without the JSON that it came in; the headers of the whole count for each."""
    request_id = read_parameter("request_id", _written(one.get("request_id")))
    try:
        values = _values(one)
    except InvalidRequest as error:
        return _BatchRequest(request_id, {}, error.with_traceback(None))
    fill_from_headers(values, headers)
    return _BatchRequest(request_id, values)


def _values(one: dict[str, Any]) -> dict[str, str]:
    """An ad request's parameters as the query string would have them; null and "" are none."""
    reader = ParameterReader()
    for name, value in one.items():
        if name not in PARAMETERS:
            raise InvalidRequest(name, "is not a parameter of an ad request")
        if name in REQUIRED_IDS and not isinstance(value, str | int | None):
            raise InvalidRequest(name, "must be text or a whole number")
        reader.add(name, _written(value))
    return reader.finish()


def _written(value: object) -> str:
    """A parameter's value as the query string would have it; nothing for what cannot be one."""
    return str(int(value) if isinstance(value, bool) else value) if isinstance(value, str | int | float) else ""


def _ad(answer: Answer) -> dict[str, object]:
    return {
        "status": 200,
        "filled": answer.reason is None,
        "no_fill_reason": answer.reason,
        "vast": answer.body.decode(),
    }


def _problem(error: AdServerError) -> dict[str, object]:
    status = status_of(error)
    if isinstance(error, InvalidRequest):
        return {"status": status, "field": error.field, "reason": error.reason}
    return {"status": status, "reason": str(error)}
