"""Traces as a collector receives them."""

import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.campaigns import campaign, own_campaign, set_up, upstream
from tests.faults.upstream_server import UpstreamServer
from tests.launched import Launched


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.bodies: list[bytes] = []

    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers.get("Content-Encoding") is None
        self.server.bodies.append(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


@pytest.fixture
async def network(database: str) -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer() as server:
        tag_url = server.url + "/vast?uid={user_id}"
        await set_up(
            database,
            upstream("network", tag_url),
            campaign("network", upstreams=["network"], frequency_caps=[{"impressions": 3, "per": "day"}]),
            own_campaign("own"),
        )
        yield server


async def asked(server: Launched, campaign_id: str) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as player:
        answered = await player.get("/vast", params={"campaign_id": campaign_id, "user_id": "alice"})
        assert "<Ad" in answered.text


async def test_a_trace_shows_the_steps_of_a_request_and_its_group(
    app_database: str, network: UpstreamServer, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    with Launched("serve", DATABASE_URL=app_database, SECRET_KEY="a-secret", WORKERS="1") as server:
        server.wait_for("Serving on")
        await asked(server, "network")
        assert server.stop() == 0
    traces: dict[bytes, list[Span]] = defaultdict(list)
    for span in collector.spans():
        traces[span.trace_id].append(span)
    request = next(span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER)
    children = [span for span in traces[request.trace_id] if span.parent_span_id == request.span_id]
    assert {"cap check", "fetch", "spend", "upstreams"} <= {span.name for span in children}
    (upstreams,) = [span for span in children if span.name == "upstreams"]
    assert [span.name for span in traces[request.trace_id] if span.parent_span_id == upstreams.span_id] == ["GET"]

    (link,) = {(link.trace_id, link.span_id) for span in children for link in span.links}
    group = next(span for span in traces[link[0]] if span.span_id == link[1])
    assert group.name == "group"
    assert [(link.trace_id, link.span_id) for link in group.links] == [(request.trace_id, request.span_id)]
    steps = [span for span in traces[group.trace_id] if span.parent_span_id == group.span_id]
    assert [span.name for span in steps if span.name in ("cap check", "fetch", "spend")] == [
        "cap check",
        "fetch",
        "spend",
    ]
    spend = next(span for span in steps if span.name == "spend")
    statements = [span for span in traces[group.trace_id] if span.parent_span_id == spend.span_id]
    assert statements, "the statements of a step are its children"
    assert request.end_time_unix_nano >= spend.end_time_unix_nano

    payload = b"".join(collector.bodies)
    for secret in (b"alice", b"uid=", b"a-secret", b"campaign_id="):
        assert secret not in payload


async def test_without_an_endpoint_nothing_is_traced(
    app_database: str, network: UpstreamServer, collector: Collector
) -> None:
    with Launched("serve", DATABASE_URL=app_database, SECRET_KEY="a-secret", WORKERS="1") as server:
        server.wait_for("Serving on")
        await asked(server, "own")
        assert server.stop() == 0
    assert collector.bodies == []
    assert all("traceparent" not in request.headers for request in network.requests)
