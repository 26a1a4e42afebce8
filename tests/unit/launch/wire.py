"""A connection without a network: a transport that notes every write."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.launch.http_protocol import OneWriteProtocol
from app.launch.worker import configuration

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
