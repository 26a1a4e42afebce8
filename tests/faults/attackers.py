"""Clients that mean harm: they send without reading, begin without ending, and hang up, on sockets of their own."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Self

BLOCK = 1 << 16
SMALL_WINDOW = 4096


def get(path: str, *headers: str) -> bytes:
    """A request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A request with a body, of which `length` bytes are announced."""
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {length or len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def batch(size: int, placement_id: str) -> bytes:
    """`POST /v1/ads` for so many viewers."""
    return post("/v1/ads", json.dumps([{"placement_id": placement_id}] * size).encode())


class Attackers:
    """Connections to a server on this machine; all are closed at the end of the block."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.answers = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self._sockets:
            each.close()

    async def connect(self, window_bytes: int | None = None) -> socket.socket:
        """One more connection, perhaps of a client with a small receive buffer."""
        connection = socket.socket()
        connection.setblocking(False)
        if window_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        self._sockets.append(connection)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
        return connection

    async def pipeline(self, request: bytes, bytes_: int) -> None:
        """Send a request repeatedly, up to this many bytes, and count the answers."""
        connection = await self.connect()
        self._begin(self._send(connection, request * (bytes_ // len(request))))
        self._begin(self._count_answers(connection))

    async def send_unread(self, connections: int, request: bytes, bytes_: int) -> None:
        """Sends as `pipeline` does, on many connections, and reads nothing."""
        for _ in range(connections):
            connection = await self.connect(SMALL_WINDOW)
            self._begin(self._send(connection, request * max(1, bytes_ // len(request))))

    async def hold(self, connections: int, beginning: bytes) -> None:
        """Begins a request on many connections, and does not end it."""
        for _ in range(connections):
            self._begin(self._send(await self.connect(), beginning))

    def _begin(self, work: "asyncio._CoroutineLike[None]") -> None:
        self._tasks.append(asyncio.ensure_future(work))  # type: ignore[arg-type]

    async def _send(self, connection: socket.socket, data: bytes) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(connection, data)
        except OSError:
            return  # The server has closed the connection, as it should.

    async def _count_answers(self, connection: socket.socket) -> None:
        try:
            while data := await asyncio.get_running_loop().sock_recv(connection, BLOCK):
                self.answers += data.count(b"HTTP/1.1 ")
        except OSError:
            return


async def hang_up(port: int, data: bytes, *, reset: bool, answer_bytes: int = 0) -> None:
    """Sends, perhaps waits for the beginning of an answer, and closes or resets the connection."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(connection, data)
        if answer_bytes:
            await loop.sock_recv(connection, answer_bytes)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def conversation(port: int, parts: Iterable[bytes]) -> bytes:
    """All that the server answers to these parts, up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
        return await reader.read()
    finally:
        writer.close()
