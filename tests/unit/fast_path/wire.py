"""A connection without a network: a transport that notes every write."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.fast_path.http_protocol import FastPathProtocol
from app.launch.worker import configuration

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_HOT = b"GET /hot?q=1 HTTP/1.1\r\nHost: a\r\nOrigin: b\r\n\r\n"
PROPOSAL = b"Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"

W = TypeVar("W", bound="Wire")

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Wire(asyncio.Transport):
    """Notes what is written, whether it was closed, and whether that was said to be the last of it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self.ended = False
        self.paused = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def write_eof(self) -> None:
        self.ended = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


Connected = tuple[FastPathProtocol, ServerState, W]


def connected(
    app: App, *, wire: W | None = None, connections_max: int | None = None, like: Connected[Any] | None = None
) -> Connected[W]:
    """A connection that has just been made, of the same server as another (`like`) or of one of its own."""
    if like is None:
        config, state = configuration(), ServerState()
        config.load()
        config.limit_concurrency = connections_max or config.limit_concurrency
    else:
        config, state = like[0].config, like[1]
    config.loaded_app = app
    wire = cast(W, Wire()) if wire is None else wire
    protocol = FastPathProtocol(config, state, {})
    protocol.connection_made(wire)
    return protocol, state, wire


async def answered(app: App, *requests: bytes) -> Wire:
    """The wire after these requests were received, one after the other, and every answer was given."""
    protocol, state, wire = connected(app)
    for request in requests:
        protocol.data_received(request)
        await turns_of_the_loop()
        while state.tasks:
            await asyncio.wait(state.tasks)
    return wire


async def once(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its path, as the hot paths do: one body, known immediately."""
    body = scope["path"].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    """As `once`, when the body is here."""
    while (await receive()).get("more_body"):
        pass
    await once(scope, receive, send)


async def turns_of_the_loop(count: int = 10) -> None:
    """By default more of them than a timer that is due takes to be called."""
    for _ in range(count):
        await asyncio.sleep(0)
