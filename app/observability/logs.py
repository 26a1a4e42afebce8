"""Logs as lines of JSON, written by a thread so that a slow reader of the log does not block the server.

RequestLog builds its lines by hand, because at thousands of requests a second a logging library would reduce the
throughput; everything else goes through structlog to the same writer.
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
"""Maximum time a line waits to be written; a killed process loses this much of its log."""

LINES_MAX = 100_000
"""Maximum number of lines that wait to be written; further lines are dropped and counted."""

CLOSE_S = 2.0
"""Maximum time to write the last lines."""

STDERR = 2

QUIET_LIBRARIES = ("httpx", "httpcore", "aiohttp", "asyncpg", "alembic", "opentelemetry")
"""Libraries that log URLs, and so the ids of viewers, at the level `info`."""


class LineWriter:
    """Queues lines without blocking, and writes them from a thread; close it, or the last lines are lost."""

    def __init__(self, descriptor: int = STDERR) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_forever, name="log", daemon=True)
        self._thread.start()
        self._dropped = 0

    def write(self, line: bytes) -> None:
        """Queue a line, which ends with a line feed."""
        if len(self._lines) >= LINES_MAX:
            self._dropped += 1
            return
        self._lines.append(line)
        if self._closing.is_set():
            self._write_queued()

    def take_dropped(self) -> int:
        """Return the number of lines dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def flush(self) -> None:
        """Do nothing; the thread writes the lines. structlog needs this method."""

    def close(self) -> None:
        """Write the queued lines within CLOSE_S; lines that follow are written immediately."""
        self._closing.set()
        self._thread.join(CLOSE_S)

    def _write_forever(self) -> None:
        while not self._closing.wait(WRITE_INTERVAL_S):
            self._write_queued()
        self._write_queued()

    def _write_queued(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        block = memoryview(b"".join(lines))
        while block:
            try:
                block = block[os.write(self._descriptor, block) :]
            except OSError:
                # The reader has closed the descriptor, and there is no other place to report it.
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
        for finished_at, request_id, status, outcome, seconds, _values, _client in requests:
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


class _LibraryHandler(logging.Handler):
    """Writes the records that libraries log through the standard library."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._write = writer.write

    def emit(self, record: logging.LogRecord) -> None:
        """Write the formatted record."""
        self._write(self.format(record).encode() + b"\n")


def configure(level: str, writer: LineWriter) -> None:
    """Write everything that this program and its libraries log at `level` or above as JSON.

    Tracebacks are text without the values of variables, because those may identify a viewer.
    """
    level_number = LEVELS[level.upper()]
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level_number),
        logger_factory=structlog.BytesLoggerFactory(file=cast(BinaryIO, writer)),
        cache_logger_on_first_use=False,
    )
    handler = _LibraryHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level_number, force=True)
    # uvicorn may have configured its own handlers.
    uvicorn = logging.getLogger("uvicorn")
    uvicorn.handlers.clear()
    uvicorn.propagate = True
    for library in QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(max(level_number, logging.WARNING))
    # stamina would log and count every retry; here each attempt is counted once, when it ends.
    stamina.instrumentation.set_on_retry_hooks(())


def _json(entry: object, **_: object) -> bytes:
    return orjson.dumps(entry, default=str)
