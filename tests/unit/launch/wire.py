"""A connection without a network: a transport that notes every write."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.launch.http_protocol import OneWriteProtocol
from app.launch.worker import configuration

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_HOT = b"GET /hot?q=1 HTTP/1.1\r\nHost: a\r\nOrigin: b\r\n\r\n"
PROPOSAL = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Wire(asyncio.Transport):
    """Notes what is written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def connected(app: App) -> tuple[OneWriteProtocol, ServerState, Wire]:
    """A connection that has just been made."""
    config = configuration()
    config.load()
    config.loaded_app = app
    state, wire = ServerState(), Wire()
    protocol = OneWriteProtocol(config, state, {})
    protocol.connection_made(wire)
    return protocol, state, wire


async def answered(app: App, *requests: bytes) -> Wire:
    """The wire after these requests were received, one after the other, and every answer was given."""
    protocol, state, wire = connected(app)
    for request in requests:
        protocol.data_received(request)
        while state.tasks:
            await asyncio.wait(state.tasks)
    return wire


async def once(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its path, as the hot paths do: one body, known at once."""
    body = scope["path"].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def turns_of_the_loop() -> None:
    """More of them than a timer that is due takes to be called."""
    for _ in range(10):
        await asyncio.sleep(0)
