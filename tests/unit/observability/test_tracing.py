"""Exported spans show the host of an upstream and nothing else of its URL, even if the request fails."""

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.errors import UpstreamFailed
from app.observability.tracing import Tracing
from app.upstreams.client import FetchLimits, UpstreamClient
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import UpstreamServer

TAG = "/vast?uid=alice"
LIMITS = FetchLimits(timeout_s=5.0, max_body_bytes=100_000, max_redirects=3)


@pytest.mark.parametrize(
    ("behavior", "kind"),
    [
        (faults.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "protocol"),
        (faults.raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"), "protocol"),
        (faults.reset, "reset"),
        (faults.redirect("ftp://127.0.0.1/?uid=alice"), "url"),
        (faults.redirect("//:80/?uid=alice"), "url"),
    ],
)
async def test_spans_of_a_request_that_failed_do_not_name_the_viewer(behavior: faults.Behavior, kind: str) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter)
    client = UpstreamClient(wrap=tracing.wrap_transport)
    async with UpstreamServer(behavior) as upstream:
        with pytest.raises(UpstreamFailed, match=kind), tracing.group("fetch", []):
            await client.get_tag("primary", upstream.url + TAG, {}, LIMITS)
        await client.aclose()
    tracing.close()
    spans = exporter.get_finished_spans()
    assert {span.name for span in spans} == {"GET", "group"}
    assert not [span.to_json() for span in spans if "alice" in span.to_json()]
