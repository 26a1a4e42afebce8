"""Endpoints that need no task: they are called with a request, and call back with the response.

The HTTP protocol of this package calls them as soon as a request has been read. On any other ASGI server
`run_as_asgi` does.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from starlette.types import Message, Scope, Send

Headers = Mapping[bytes, bytes]
"""A request's headers. For a repeated header it has the last value; the lines of X-Forwarded-For are joined."""

FORWARDED = b"x-forwarded-for"


class DirectRequest(NamedTuple):
    """A GET request without a body."""

    path: str
    query: bytes
    headers: Headers
    peer: str | None
    """The address of the connected client."""


class DirectAnswer(NamedTuple):
    """A complete response; `headers` include the length of the body."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


Respond = Callable[[DirectAnswer], None]

DirectEndpoint = Callable[[DirectRequest, Respond], None]
"""Calls `Respond` exactly once, before or after it returns, and never raises."""


def headers_of(raw: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Return a request's headers as a mapping; the lines of X-Forwarded-For form one list (RFC 9110 section 5.3)."""
    headers = dict(raw)
    if len(headers) < len(raw) and FORWARDED in headers:
        headers[FORWARDED] = b",".join(value for name, value in raw if name == FORWARDED)
    return headers


def peer_of(scope: Scope) -> str | None:
    """Return the address of the connected client, if the server knows it."""
    client = scope.get("client")
    return client[0] if client else None


async def run_as_asgi(endpoint: DirectEndpoint, scope: Scope, send: Send) -> None:
    """Let the endpoint answer an ASGI request."""
    answer: asyncio.Future[DirectAnswer] = asyncio.get_running_loop().create_future()

    def respond(direct: DirectAnswer) -> None:
        if not answer.done():
            answer.set_result(direct)

    endpoint(DirectRequest(scope["path"], scope["query_string"], headers_of(scope["headers"]), peer_of(scope)), respond)
    await send_answer(send, await answer)


def closing_connection(send: Send) -> Send:
    """Wrap `send` so that the server closes the connection after the response, without reading the rest of the body."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return send_and_close


async def send_answer(send: Send, answer: DirectAnswer) -> None:
    """Send a response as ASGI messages."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})
