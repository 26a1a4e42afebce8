"""A load generator on asyncio and uvloop, where wrk is missing or cannot keep a rate. Run as a process of its own.

    python -m bench.client closed URL PLAYERS SECONDS < paths
    python -m bench.client paced  URL PLAYERS SECONDS RATE < paths

Paths are read from standard input, one a line, and asked in turn. `closed`: every player asks again as soon as it has
its answer. `paced`: so many requests a second are sent, whatever becomes of the earlier ones, and a request's latency
counts from when it was due, not from when a connection was free for it. Prints one line of JSON.
"""

import asyncio
import json
import sys
import time
from collections import deque
from itertools import cycle
from typing import cast
from urllib.parse import urlsplit

import uvloop

TICK_S = 0.001
"""Requests fall due at whole ticks: libuv's timers know no finer ones."""


class Connection(asyncio.Protocol):
    """One keep-alive connection of one player, with one request at a time."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self._transport: asyncio.Transport
        self._due = 0.0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._crowd.free(self)

    def ask(self, path: str, due: float) -> None:
        self._due = due
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: {self._crowd.host}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return
        self._received = b""
        self._crowd.answered(self._due, filled=head.startswith(b"HTTP/1.1 200") and b"x-no-fill-reason" not in head)
        self._crowd.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.lost()


class Crowd:
    """All players, what they are to ask, and what they have heard."""

    def __init__(self, host: str, paths: list[str], *, paced: bool) -> None:
        self.host = host
        self._paths = cycle(paths)
        self._paced = paced
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._ended = False
        self.latencies_s: list[float] = []
        self.failures = 0

    def due(self, at: float) -> None:
        """A request falls due; the player that has been idle for longest sends it."""
        if self._idle:
            self._idle.popleft().ask(next(self._paths), at)
        else:
            self._due.append(at)

    def free(self, connection: Connection) -> None:
        if self._ended:
            return
        if not self._paced:
            connection.ask(next(self._paths), time.perf_counter())
        elif self._due:
            connection.ask(next(self._paths), self._due.popleft())
        else:
            self._idle.append(connection)

    def answered(self, due: float, *, filled: bool) -> None:
        if not self._ended:
            self.latencies_s.append(time.perf_counter() - due)
            self.failures += not filled

    def lost(self) -> None:
        self.failures += not self._ended

    def end(self) -> None:
        """Nothing counts any more; what was due and not answered is a failure."""
        self._ended = True
        self.failures += len(self._due)


async def keep_pace(crowd: Crowd, rate: float, seconds: float) -> None:
    """Lets requests fall due at this rate."""
    start = time.perf_counter()
    sent = 0
    while (tick := time.perf_counter() - start) < seconds:
        for number in range(sent, wanted := int(tick * rate)):
            crowd.due(start + number // (rate * TICK_S) * TICK_S)
        sent = max(sent, wanted)
        await asyncio.sleep(TICK_S)


async def run(mode: str, url: str, players: int, seconds: float, rate: float) -> None:
    """Loads the server, and prints what came of it."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    crowd = Crowd(f"{host}:{port}", sys.stdin.read().split(), paced=mode == "paced")
    loop = asyncio.get_running_loop()
    connecting = (loop.create_connection(lambda: Connection(crowd), host, port) for _ in range(players))
    await asyncio.gather(*connecting)
    await (keep_pace(crowd, rate, seconds) if mode == "paced" else asyncio.sleep(seconds))
    crowd.end()
    latencies = sorted(crowd.latencies_s) or [seconds]
    percentiles = {
        f"p{percent}_ms": round(1000 * latencies[len(latencies) * percent // 100], 3) for percent in (50, 90, 99)
    }
    print(json.dumps({"requests_per_s": len(crowd.latencies_s) / seconds, "failures": crowd.failures, **percentiles}))


if __name__ == "__main__":
    uvloop.run(
        run(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]) if sys.argv[5:] else 0)
    )
