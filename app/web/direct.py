"""Endpoints that need no task of their own: they are called with a request, and call back with the answer.

The server's own HTTP protocol calls them as soon as a request is read; any other ASGI server does it by `answered`.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from starlette.types import Message, Scope, Send

from app.web.clients import Headers, headers_of, peer_of
from app.web.cors import Header


class DirectRequest(NamedTuple):
    """A GET without a body."""

    path: str
    query: bytes
    headers: Headers
    peer: str | None
    """The address of whoever connected."""


class DirectAnswer(NamedTuple):
    """A whole answer; `headers` has the length of the body too."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


Respond = Callable[[DirectAnswer], None]

DirectEndpoint = Callable[[DirectRequest, Respond], None]
"""Calls `Respond` once, now or later, and never raises."""


async def answered(endpoint: DirectEndpoint, scope: Scope, send: Send) -> None:
    """Has the endpoint answer an ASGI request."""
    answer: asyncio.Future[DirectAnswer] = asyncio.get_running_loop().create_future()

    def respond(direct: DirectAnswer) -> None:
        if not answer.done():
            answer.set_result(direct)

    endpoint(DirectRequest(scope["path"], scope["query_string"], headers_of(scope["headers"]), peer_of(scope)), respond)
    await send_answer(send, await answer)


def closing(send: Send) -> Send:
    """Sends an answer after which the server closes the connection, so that no rest of a body is read."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return send_and_close


async def send_answer(send: Send, answer: DirectAnswer) -> None:
    """Sends an answer as ASGI has it."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})
