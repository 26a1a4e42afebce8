"""Logs: JSON, one line each, written by a thread of their own so that a reader who is slow holds up nobody.

A request's line is put together by hand, because at thousands a second a logging library would show in the
throughput; everything else goes through structlog, to the same writer.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import BinaryIO, cast

import orjson
import stamina.instrumentation
import structlog
from structlog.typing import Processor

from app.observer import FinishedRequest, Observer

LEVELS = logging.getLevelNamesMapping()

WRITE_INTERVAL_S = 0.25
"""How long a line may wait; a killed process loses so much of its log."""

LINES_MAX = 100_000
"""Lines that wait for a reader; more are dropped, and counted."""

CLOSE_S = 2.0
"""How long the last lines may take."""

STDERR = 2

QUIET_LIBRARIES = ("httpx", "httpcore", "aiohttp", "asyncpg", "alembic", "opentelemetry")
"""Libraries that would log URLs, and so viewers' ids, at the level `info`."""


class LineWriter:
    """Takes lines at once, and writes them from a thread. Close it, or the last lines are lost."""

    def __init__(self, descriptor: int = STDERR) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_forever, name="log", daemon=True)
        self._thread.start()
        self._dropped = 0

    def write(self, line: bytes) -> None:
        """Takes a line, its end included."""
        if len(self._lines) >= LINES_MAX:
            self._dropped += 1
            return
        self._lines.append(line)
        if self._closing.is_set():
            self._write_waiting()

    def take_dropped(self) -> int:
        """Lines that nobody took in time, since this was last asked."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def flush(self) -> None:
        """Does nothing: lines are written in their own time."""

    def close(self) -> None:
        """Writes what waits, unless nobody reads it; lines that come later are written at once."""
        self._closing.set()
        self._thread.join(CLOSE_S)

    def _write_forever(self) -> None:
        while not self._closing.wait(WRITE_INTERVAL_S):
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        block = memoryview(b"".join(lines))
        while block:
            try:
                block = block[os.write(self._descriptor, block) :]
            except OSError:
                # The reader has gone, and there is nowhere else to say so.
                self._dropped += len(lines)
                return


class RequestLog(Observer):
    """Writes one line for each request; docs/operations.md explains the fields."""

    def __init__(self, writer: LineWriter, level: str) -> None:
        self._write = writer.write
        self._is_on = LEVELS["INFO"] >= LEVELS[level.upper()]

    def requests_finished(self, requests: Sequence[FinishedRequest]) -> None:
        """Write the lines of these requests, unless the log level is above `info`."""
        if not self._is_on:
            return
        for finished_at, request_id, status, outcome, seconds in requests:
            line = {
                "timestamp": finished_at,
                "level": "info",
                "event": "request",
                "request_id": request_id,
                "status": status,
                "outcome": outcome,
                "duration_ms": round(1000 * seconds, 3),
            }
            self._write(orjson.dumps(line, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))


class _LibraryLines(logging.Handler):
    """Writes what libraries log through the standard library."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._write = writer.write

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record that was formatted."""
        self._write(self.format(record).encode() + b"\n")


def configure(level: str, writer: LineWriter) -> None:
    """Has everything that is logged from `level` on written as JSON, by this program and by its libraries.

    Tracebacks are text, without the values of variables: those may say who a viewer is.
    """
    number = LEVELS[level.upper()]
    steps: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*steps, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(file=cast(BinaryIO, writer)),
        cache_logger_on_first_use=False,
    )
    handler = _LibraryLines(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=steps,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=number, force=True)
    # Where uvicorn was started with a logging of its own, its lines are JSON all the same.
    uvicorn = logging.getLogger("uvicorn")
    uvicorn.handlers.clear()
    uvicorn.propagate = True
    for library in QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(max(number, logging.WARNING))
    # It would log and count every retry by itself; what becomes of an attempt is counted once, where it ends.
    stamina.instrumentation.set_on_retry_hooks(())


def _json(entry: object, **_: object) -> bytes:
    return orjson.dumps(entry, default=str)
