"""Everything that exists only for speed. Other packages import from here, never from a submodule.

Without this package the server is an ordinary ASGI application. docs/adr/0005 to 0010 say for each part what it gains
and how to remove it; tests/acceptance/test_plain_uvicorn.py runs the application without the HTTP protocol.
"""

import asyncio

from app.fast_path.batched_metrics import AddableHistogram, BatchedCounter, BatchedHistogram
from app.fast_path.connection_limits import CONNECTIONS_MAX, FILES_RESERVED, KEEP_ALIVE_S
from app.fast_path.direct_endpoints import (
    FORWARDED,
    DirectAnswer,
    DirectEndpoint,
    DirectRequest,
    Headers,
    Respond,
    closing_connection,
    headers_of,
    peer_of,
    run_as_asgi,
    send_answer,
)
from app.fast_path.hot_paths import HotPaths

__all__ = [
    "CONNECTIONS_MAX",
    "FILES_RESERVED",
    "FORWARDED",
    "KEEP_ALIVE_S",
    "AddableHistogram",
    "BatchedCounter",
    "BatchedHistogram",
    "DirectAnswer",
    "DirectEndpoint",
    "DirectRequest",
    "Headers",
    "HotPaths",
    "Respond",
    "closing_connection",
    "headers_of",
    "peer_of",
    "run_as_asgi",
    "send_answer",
    "uvicorn_protocol",
]


def uvicorn_protocol() -> type[asyncio.Protocol]:
    """Return the class for uvicorn's `http` option.

    It is imported on the first call, so that other ASGI servers run the application without uvicorn's private modules.
    """
    from app.fast_path.http_protocol import FastPathProtocol

    return FastPathProtocol
