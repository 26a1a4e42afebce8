"""The parts that exist for speed beside their plain alternatives: `python -m bench.fast_path`, in one process.

Prints CPU time for each operation, and the median ratio of alternating rounds. It needs no database, and other programs
on the machine affect both sides of a round alike. The sockets are Unix socket pairs, so that system calls count.
"""

import asyncio
import os
import socket
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable

import uvicorn
import uvloop
from prometheus_client import CollectorRegistry, Counter, values
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.fast_path import BatchedCounter, DirectAnswer, DirectRequest, HotPaths, Respond, uvicorn_protocol
from app.serving.keys import DriverUUID

ROUNDS = 15
REQUESTS = 4000
CONNECTIONS = 32
OPERATIONS = 50_000
REQUEST = b"GET /vast?placement_id=preroll&user_id=u HTTP/1.1\r\nHost: a\r\nUser-Agent: p\r\nOrigin: https://a.example\r\n\r\n"
BODY = b"x" * 2000
ANSWER = DirectAnswer(200, ((b"content-type", b"application/xml"), (b"content-length", b"2000")), BODY)

Round = Callable[[], Awaitable[float]]
"""Returns the CPU time of one operation, in microseconds."""


async def main() -> None:
    """Print a line for each part."""
    endpoints = HotPaths(_not_found, {"/vast": _endpoint})
    await _compare(
        "HTTP request: fast path | plain uvicorn",
        _http(uvicorn_protocol(), endpoints),
        _http(HttpToolsProtocol, endpoints),
    )
    await _compare(
        "HTTP request, fast protocol: hot path | ASGI",
        _http(uvicorn_protocol(), endpoints),
        _http(uvicorn_protocol(), _asgi),
    )
    with tempfile.TemporaryDirectory() as folder:
        await _compare("count: batched | prometheus_client", *_counters(folder))
    key = os.urandom(16)
    await _compare(
        "UUID: driver's | standard", _repeated(lambda: DriverUUID(key)), _repeated(lambda: uuid.UUID(bytes=key))
    )


async def _compare(title: str, fast: Round, plain: Round) -> None:
    pairs = [(await fast(), await plain()) for _ in range(ROUNDS)]
    fast_us, plain_us = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(plain_time / fast_time for fast_time, plain_time in pairs)
    print(f"{title:46} {fast_us:8.2f} {plain_us:8.2f} µs   {ratio:5.2f} times")


def _http(protocol: type[asyncio.Protocol], app: object) -> Round:
    """Requests on several connections; the clients are bare sockets, and what they cost is in both sides."""

    async def run() -> float:
        loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            app, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False
        )  # type: ignore[arg-type]
        config.load()
        state = ServerState()
        clients = []
        for _ in range(CONNECTIONS):
            client, server = socket.socketpair()
            client.setblocking(False)
            await loop.connect_accepted_socket(lambda: protocol(config, state, {}), server)  # type: ignore[call-arg]
            clients.append(client)
        began = time.process_time()
        await asyncio.gather(*(_ask(client, REQUESTS // CONNECTIONS) for client in clients))
        spent = time.process_time() - began
        for client in clients:
            client.close()
        return 1e6 * spent / REQUESTS

    return run


async def _ask(client: socket.socket, count: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.sock_sendall(client, REQUEST)
        received = b""
        while not received.endswith(BODY):
            received += await loop.sock_recv(client, 65_536)


def _endpoint(_request: DirectRequest, respond: Respond) -> None:
    respond(ANSWER)


async def _asgi(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": ANSWER.status, "headers": ANSWER.headers})
    await send({"type": "http.response.body", "body": BODY})


async def _not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("only the hot path is requested")


def _counters(folder: str) -> tuple[Round, Round]:
    """A counter whose values are in a file, as in the workers of a server."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    values.ValueClass = values.MultiProcessValue()
    family = Counter("requests", "Requests", ["outcome"], registry=CollectorRegistry())
    batched = BatchedCounter(family)
    return _repeated(lambda: batched.add(("served",))), _repeated(lambda: family.labels("served").inc())


def _repeated(operation: Callable[[], object]) -> Round:
    async def run() -> float:
        began = time.process_time()
        for _ in range(OPERATIONS):
            operation()
        return 1e6 * (time.process_time() - began) / OPERATIONS

    return run


if __name__ == "__main__":
    uvloop.run(main())
