"""An upstream that misbehaves on cue, in the event loop of the bench: a server with a behavior for each path."""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from itertools import count
from math import log
from typing import cast

from bench.processes import HOST
from bench.upstream import BODY

WELL_MS, LATE_MS = 5, 50
TAIL_P50_MS, TAIL_P99_MS = 50, 400
NORMAL_P99 = 2.326
"""Standard deviations of a normal distribution below which 99 of 100 values lie."""
SLOW_EVERY, SLOW_S = 20, 1.0
GARBAGE = b"<html><body><br>It works!</body></html>"


class Behavior(StrEnum):
    """What an upstream does with a request; the values are headings of the table."""

    WELL = "well"
    HANG = "hangs"
    RESET = "resets"
    ERROR = "500"
    GARBAGE = "garbage"
    SLOW = "5% slow"
    LATE = "50 ms"
    TAIL = "long tail"


def document(title: str) -> bytes:
    """The InLine that an upstream answers with, which says whose it is."""
    return BODY.replace(b"<AdTitle>an ad<", b"<AdTitle>%s<" % title.encode())


def _answer(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


PRIMARY, FALLBACK = "primary", "fallback"
ANSWERS = {title: _answer(document(title)) for title in (PRIMARY, FALLBACK)}


class Stagehand:
    """Gives the cues, and counts who was asked for what; a path without a cue is well."""

    def __init__(self) -> None:
        self.url = ""
        self.cues: dict[str, Behavior] = {}
        self.asked: Counter[str] = Counter()
        """Requests by path."""
        self.targets: set[str] = set()
        """What was asked for, with its query."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """The server, while the block lasts."""
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), HOST, 0, backlog=1024)
        self.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield


class _Connection(asyncio.Protocol):
    """One connection; clients send their next request when they have the answer to the last."""

    _numbers = count(1)

    def __init__(self, stagehand: Stagehand) -> None:
        self._stagehand = stagehand
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            target = self._received.split(b" ", 2)[1].decode()
            self._received = b""
            self._behave(target)

    def _behave(self, target: str) -> None:
        path = target.partition("?")[0]
        self._stagehand.asked[path] += 1
        self._stagehand.targets.add(target)
        well = ANSWERS[FALLBACK if path == f"/{FALLBACK}" else PRIMARY]
        match self._stagehand.cues.get(path, Behavior.WELL):
            case Behavior.HANG:
                return
            case Behavior.RESET:
                peer: socket.socket = self._transport.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._transport.abort()
            case Behavior.ERROR:
                self._after(WELL_MS / 1000, _answer(b"out of order", "500 Internal Server Error"))
            case Behavior.GARBAGE:
                self._after(WELL_MS / 1000, _answer(GARBAGE))
            case Behavior.SLOW if next(self._numbers) % SLOW_EVERY == 0:
                self._after(SLOW_S, well)
            case Behavior.LATE:
                self._after(LATE_MS / 1000, well)
            case Behavior.TAIL:
                sigma = log(TAIL_P99_MS / TAIL_P50_MS) / NORMAL_P99
                self._after(TAIL_P50_MS / 1000 * random.lognormvariate(0, sigma), well)
            case _:
                self._after(WELL_MS / 1000, well)

    def _after(self, seconds: float, data: bytes) -> None:
        self._loop.call_later(seconds, self._send, data)

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)
