"""An ASGI application behind a real socket, in the event loop of the test."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from app.observability.metrics import Metrics
from app.web.bearer_auth import BearerAuth, TokenFailures
from app.web.client_limits import ClientLimits
from app.web.clients import ClientReader


def no_client_limits() -> ClientLimits:
    """Lets every client ask as often as it likes."""
    return ClientLimits(ClientReader([]), Metrics(), requests_per_s=0, workers=1)


def accepted_token(token: str) -> BearerAuth:
    """A token of a server that limits nobody."""
    return BearerAuth(token, failures=TokenFailures(ClientReader([]), no_client_limits(), Metrics()))


@asynccontextmanager
async def served(app: ASGIApp, lifespan: Literal["on", "off"] = "off") -> AsyncIterator[str]:
    """The base URL of the application while it is served."""
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app, loop="none", http="httptools", access_log=False, log_level="warning", lifespan=lifespan)
        )
        # The test's own signal handlers stay.
        serving = asyncio.create_task(server._serve(sockets=[listener]))
        listener.listen()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
