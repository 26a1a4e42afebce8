"""An upstream that answers every request with the same InLine after 50 ms. Run as a process of its own.

    python -m bench.upstream PORT

Its standard input is a socket to the bench: it says there when it listens, and ends when the bench does.
"""

import asyncio
import os
import sys
from typing import cast

import uvloop

from bench.scale import UPSTREAM_DELAY_MS

LAUNCHER = 0
READY = b"r"

BODY = b"""<?xml version="1.0" encoding="UTF-8"?>
<VAST version="4.2" xmlns="http://www.iab.com/VAST"><Ad id="1"><InLine><AdSystem>bench</AdSystem>
<Impression><![CDATA[http://127.0.0.1:9/imp]]></Impression><AdServingId>s</AdServingId><AdTitle>an ad</AdTitle>
<Creatives><Creative><UniversalAdId idRegistry="unknown">unknown</UniversalAdId><Linear>
<Duration>00:00:15</Duration><MediaFiles><MediaFile delivery="progressive" type="video/mp4" width="640" height="360">
<![CDATA[https://cdn.example/ad.mp4]]></MediaFile></MediaFiles></Linear></Creative></Creatives></InLine></Ad></VAST>"""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Upstream(asyncio.Protocol):
    """One connection; clients send their next request when they have the answer to the last."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            self._received = b""
            self._loop.call_later(UPSTREAM_DELAY_MS / 1000, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def serve(port: int) -> None:
    """Listens until standard input ends."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(LAUNCHER, ended.set)
    server = await loop.create_server(Upstream, "127.0.0.1", port, backlog=1024)
    async with server:
        os.write(LAUNCHER, READY)
        await ended.wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
