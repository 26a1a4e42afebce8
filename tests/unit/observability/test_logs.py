import json
import logging
import logging.config
import os
import threading
from collections.abc import Iterator, Sequence

import pytest
import stamina
import structlog
import uvicorn.config
from prometheus_client import REGISTRY

from app.domain import Client
from app.observability import logs
from app.observability.logs import LineWriter, RequestLog, configure
from app.observability.request_buffer import RequestBuffer
from app.observer import FinishedRequest, Observer


class Counted(Observer):
    def __init__(self) -> None:
        self.requests: list[FinishedRequest] = []

    def requests_finished(self, requests: Sequence[FinishedRequest]) -> None:
        self.requests += requests


class Reader:
    """Reads the writing end of a pipe, once it is started."""

    def __init__(self) -> None:
        self._source, self.descriptor = os.pipe()
        self._blocks: list[bytes] = []
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        while block := os.read(self._source, 65536):
            self._blocks.append(block)

    def start(self) -> None:
        self._thread.start()

    def lines(self) -> list[dict[str, object]]:
        """Everything that was written, once the writing end is closed."""
        os.close(self.descriptor)
        self._thread.join()
        os.close(self._source)
        return [json.loads(line) for line in b"".join(self._blocks).splitlines()]


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def configured() -> Iterator[None]:
    """Leaves the logging of other tests as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    stamina.instrumentation.set_on_retry_hooks(None)
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_a_request_is_one_line_and_is_counted(reader: Reader) -> None:
    reader.start()
    counted = Counted()
    writer = LineWriter(reader.descriptor)
    requests = RequestBuffer([RequestLog(writer, "info"), counted])
    requests.request_finished("r-1", 200, "served", 0.0123456, {}, Client())
    requests.flush()
    writer.close()
    (line,) = reader.lines()
    assert line.pop("timestamp")
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "r-1",
        "status": 200,
        "outcome": "served",
        "duration_ms": 12.346,
    }
    assert [request[1:] for request in counted.requests] == [("r-1", 200, "served", 0.0123456, {}, Client())]


async def test_above_info_requests_are_counted_but_not_written(reader: Reader) -> None:
    reader.start()
    counted = Counted()
    writer = LineWriter(reader.descriptor)
    requests = RequestBuffer([RequestLog(writer, "warning"), counted])
    requests.request_finished("r-1", 200, "served", 0.01, {}, Client())
    requests.flush()
    writer.close()
    assert reader.lines() == []
    assert len(counted.requests) == 1


def test_a_reader_that_does_not_read_holds_up_nobody(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LINES_MAX", 1000)
    monkeypatch.setattr(logs, "WRITE_INTERVAL_S", 0.01)
    writer = LineWriter(reader.descriptor)
    line = b'{"filler":"' + b"x" * 1000 + b'"}\n'
    for _ in range(5000):
        writer.write(line)
    dropped = writer.take_dropped()
    assert dropped >= 3000
    assert writer.take_dropped() == 0
    reader.start()
    writer.close()
    assert len(reader.lines()) == 5000 - dropped


def test_the_programs_own_lines_and_those_of_libraries_are_json(reader: Reader, configured: None) -> None:
    reader.start()
    writer = LineWriter(reader.descriptor)
    logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)  # as `uvicorn` itself has it
    configure("info", writer)
    structlog.get_logger().warning("breaker changed", upstream_id="primary")
    structlog.get_logger().debug("not this")
    logging.getLogger("uvicorn.error").info("started %s", 1)
    writer.close()
    first, second = reader.lines()
    assert (first["event"], first["level"], first["upstream_id"]) == ("breaker changed", "warning", "primary")
    assert (second["event"], second["level"]) == ("started 1", "info")


def test_a_retry_is_neither_logged_nor_a_metric_of_its_own(reader: Reader, configured: None) -> None:
    def retries() -> float:
        return sum(s.value for family in REGISTRY.collect() if "retries" in family.name for s in family.samples)

    reader.start()
    writer = LineWriter(reader.descriptor)
    configure("info", writer)
    before = retries()
    for attempt in stamina.retry_context(on=OSError, attempts=2, wait_initial=0, wait_jitter=0):
        with attempt:
            if attempt.num == 1:
                raise OSError
    writer.close()
    assert reader.lines() == []
    assert retries() == before


def test_no_url_and_no_variable_is_logged(reader: Reader, configured: None) -> None:
    """httpx would log every tag URL, and a traceback with variables every viewer's id."""
    reader.start()
    writer = LineWriter(reader.descriptor)
    configure("debug", writer)
    logging.getLogger("httpx").info("HTTP Request: GET http://upstream.example/?uid=alice")

    def fail(user_id: str) -> None:
        raise ValueError("it did not work")

    viewer = "ali" + "ce"
    try:
        fail(viewer)
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("asyncio").exception("failed")
    writer.close()
    lines = reader.lines()
    assert [line["event"] for line in lines] == ["failed", "failed"]
    assert all("it did not work" in str(line["exception"]) for line in lines)
    assert "alice" not in json.dumps(lines)


def test_what_is_logged_after_closing_is_written(reader: Reader) -> None:
    reader.start()
    writer = LineWriter(reader.descriptor)
    writer.close()
    writer.write(b'{"event":"late"}\n')
    assert reader.lines() == [{"event": "late"}]
