"""An upstream that misbehaves on cue: a real server on 127.0.0.1, one behavior at a time.

async with UpstreamServer() as upstream:
    upstream.behavior = drip
    ... upstream.url, upstream.requests, await upstream.asked(2)
"""

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

INLINE = b"""<?xml version="1.0" encoding="UTF-8"?>
<VAST version="4.2" xmlns="http://www.iab.com/VAST"><Ad id="1"><InLine><AdSystem>test</AdSystem>
<Error><![CDATA[http://127.0.0.1:9/error?code=[ERRORCODE]]]></Error>
<Impression><![CDATA[http://127.0.0.1:9/imp]]></Impression><AdServingId>s</AdServingId><AdTitle>%s</AdTitle>
<Creatives><Creative><Linear><Duration>00:00:15</Duration>
<MediaFiles><MediaFile delivery="progressive" type="video/mp4" width="640" height="360">
<![CDATA[https://cdn.example/ad.mp4]]></MediaFile></MediaFiles></Linear>
<UniversalAdId idRegistry="unknown">unknown</UniversalAdId></Creative></Creatives></InLine></Ad></VAST>"""
BACKLOG = 5000
"""Thousands may connect together; a client that the kernel refuses retries a second later."""
PATIENCE_S = 30
"""Time that a test waits for an expected request, on a machine that may be busy."""
EMPTY = b'<VAST version="4.2" xmlns="http://www.iab.com/VAST"/>'
HTML = b"<!DOCTYPE html><html><body><br>Bad gateway</body></html>"
ENTITIES = b"""<!DOCTYPE VAST [<!ENTITY a "aaaaaaaaaa">%s]><VAST version="4.2">&z;</VAST>""" % b"".join(
    b'<!ENTITY %c "%s">' % (name, b"&%c;" % (name - 1) * 10) for name in b"bcdefghijklmnopqrstuvwxyz"
)


@dataclass(frozen=True)
class Request:
    """One request as it arrived; `connection` numbers the connections from 1."""

    target: str
    headers: dict[str, str]
    connection: int


Behavior = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def inline(title: str = "an ad") -> bytes:
    """A valid InLine."""
    return INLINE % title.encode()


def wrapper(tag_url: str, attributes: str = "", error_url: str = "http://127.0.0.1:9/error") -> bytes:
    """A Wrapper of that tag; `attributes` such as 'followAdditionalWrappers="false"'."""
    return f"""<VAST version="4.2" xmlns="http://www.iab.com/VAST"><Ad id="w"><Wrapper {attributes}>
<AdSystem>wrapping</AdSystem><Error><![CDATA[{error_url}]]></Error>
<Impression><![CDATA[http://127.0.0.1:9/imp?of=wrapper]]></Impression>
<VASTAdTagURI><![CDATA[{tag_url}]]></VASTAdTagURI></Wrapper></Ad></VAST>""".encode()


def answer(body: bytes, status: str = "200 OK", headers: Sequence[str] = ()) -> Behavior:
    """Answer immediately, and keep the connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def raw(data: bytes) -> Behavior:
    """Sends just these bytes."""

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return behave


def redirect(location: str) -> Behavior:
    """Sends the client elsewhere."""
    return answer(b"", "302 Found", [f"Location: {location}"])


def gzip_bomb(megabytes: int = 256) -> Behavior:
    """A small body that unpacks to a large one."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    spaces = b" " * 2**20
    body = b"".join(packer.compress(spaces) for _ in range(megabytes)) + packer.flush()
    return answer(body, headers=["Content-Encoding: gzip"])


async def hang(_request: Request, _writer: asyncio.StreamWriter) -> None:
    """Takes the request and never answers."""
    await asyncio.Event().wait()


async def reset(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Sends a TCP reset in place of an answer."""
    peer = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def reset_in_body(request: Request, writer: asyncio.StreamWriter) -> None:
    """Sends headers and a part of the body, then a TCP reset."""
    await raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<VAST")(request, writer)
    await reset(request, writer)


async def drip(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Sends one byte a second."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"<")
        await writer.drain()
        await asyncio.sleep(1)


async def gigabyte(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Sends 1 GB without saying so beforehand, for as long as somebody reads it."""
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<VAST>")
    await _send_gigabyte(writer, b" ")


async def gzip_and_gigabyte(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Sends a small compressed body, and 1 GB after its end."""
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(inline()))
    await _send_gigabyte(writer, b" ")


async def gzip_of_nothing(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Sends 1 GB of compressed blocks with nothing in them."""
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10])
    await _send_gigabyte(writer, b"\0\0\0\xff\xff")


async def _send_gigabyte(writer: asyncio.StreamWriter, part: bytes) -> None:
    block = part * (2**20 // len(part))
    for _ in range(1024):
        writer.write(block)
        await writer.drain()


@dataclass
class Gate:
    """Holds answers back until it is opened."""

    then: Behavior
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        await self.opened.wait()
        await self.then(request, writer)


class _Reader(asyncio.StreamReader):
    """A reader that says when its client has gone, also to somebody who is not reading."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.gone.set()


class UpstreamServer:
    """Listens while the `async with` block lasts."""

    def __init__(self, behavior: Behavior | None = None) -> None:
        self.behavior = behavior or answer(inline())
        self.requests: list[Request] = []
        self._connections = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        def protocol() -> asyncio.StreamReaderProtocol:
            reader = _Reader()
            return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._accept(reader, writer))

        self._server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=BACKLOG)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self.connected(0)

    @property
    def url(self) -> str:
        """Its base URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def asked(self, times: int) -> None:
        """Returns when that many requests have arrived."""
        await self._when(lambda: len(self.requests) >= times)

    async def connected(self, number: int) -> None:
        """Returns when exactly that many clients are connected."""
        await self._when(lambda: len(self._open) == number)

    async def _when(self, condition: Callable[[], bool]) -> None:
        async with self._changed, asyncio.timeout(PATIENCE_S):
            await self._changed.wait_for(condition)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _accept(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        self._open.add(writer)
        try:
            await self._tell()
            await self._answer_all(reader, writer, self._connections)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()
            await self._tell()

    async def _answer_all(self, reader: _Reader, writer: asyncio.StreamWriter, number: int) -> None:
        while not writer.transport.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            request = Request(first.split(" ")[1], headers, number)
            self.requests.append(request)
            await self._tell()
            await self._behave(request, reader, writer)
            if headers.get("connection") == "close":
                return

    async def _behave(self, request: Request, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        """Stops behaving when the client has gone."""
        behaving = asyncio.ensure_future(self.behavior(request, writer))
        gone = asyncio.create_task(reader.gone.wait())
        try:
            await asyncio.wait([behaving, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not behaving.cancel():
                behaving.result()
