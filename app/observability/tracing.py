"""OpenTelemetry traces, enabled by OTEL_EXPORTER_OTLP_ENDPOINT and configured by OpenTelemetry's other variables.

A group's transaction has its own trace, linked to the requests in it; each request's trace repeats the group's steps
as spans, linked to the group. Spans do not identify viewers: they have no query, no address and no parameters.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport, RequestInfo
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, Tracer
from starlette.types import ASGIApp, Receive, Scope, Send

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

EXPORTED_HEADERS = frozenset({b"traceparent", b"tracestate", b"host"})

ORIGINAL_SCOPE = "adserver.scope"


def is_configured() -> bool:
    """Return whether the environment names an endpoint for traces."""
    return any(os.environ.get(name) for name in ENDPOINTS)


class Tracing:
    """Traces this process; create one in each process, and close it, or the last spans are lost."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": _service_name()}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("adserver")
        self._statements = AsyncPGInstrumentor()  # type: ignore[no-untyped-call]
        self._statements.instrument(tracer_provider=self._provider)

    def wrap_app(self, app: ASGIApp) -> ASGIApp:
        """Return the application with a span for each request."""

        async def with_original_scope(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope[ORIGINAL_SCOPE], receive, send)

        traced = OpenTelemetryMiddleware(
            with_original_scope, tracer_provider=self._provider, exclude_spans=["receive", "send"]
        )

        async def with_exported_scope(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            headers = [header for header in scope["headers"] if header[0] in EXPORTED_HEADERS]
            exported = {**scope, "headers": headers, "query_string": b"", "client": None, ORIGINAL_SCOPE: scope}
            await traced(exported, receive, send)

        return with_exported_scope

    def wrap_transport(self, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        """Return the transport with a span for each request."""
        return AsyncOpenTelemetryTransport(transport, tracer_provider=self._provider, request_hook=_hide_url)

    def request(self) -> SpanContext | None:
        """Return the span context of the current request; None if its trace is not sampled."""
        context = trace.get_current_span().get_span_context()
        return context if context.trace_flags.sampled else None

    @contextmanager
    def group(self, lane: str, requests: Sequence[object]) -> Iterator["GroupSpans"]:
        """Open a span for a group's transaction; `requests` are the results of `request` for its requests."""
        contexts = [context for context in requests if isinstance(context, SpanContext)]
        links = [Link(context) for context in contexts]
        with self._tracer.start_as_current_span("group", links=links) as span:
            span.set_attribute("adserver.lane", lane)
            span.set_attribute("adserver.group_size", len(requests))
            yield GroupSpans(self._tracer, span, contexts)

    @contextmanager
    def fetch(self, request: object) -> Iterator[None]:
        """Open a span for the fetches of one request, in that request's trace."""
        if not isinstance(request, SpanContext):
            yield
            return
        with self._tracer.start_as_current_span("upstreams", _child_of(request)):
            yield

    def close(self) -> None:
        """Export the remaining spans."""
        self._statements.uninstrument()
        self._provider.shutdown()


class GroupSpans:
    """The steps of one group."""

    def __init__(self, tracer: Tracer, group: Span, requests: Sequence[SpanContext]) -> None:
        self._tracer = tracer
        self._link = Link(group.get_span_context())
        self._requests = requests

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Open a span in the group's trace; its copy in each request's trace follows when it ends."""
        started_ns = time.time_ns()
        try:
            with self._tracer.start_as_current_span(name):
                yield
        finally:
            for request in self._requests:
                span = self._tracer.start_span(name, _child_of(request), links=[self._link], start_time=started_ns)
                span.end()


def _child_of(request: SpanContext) -> Context:
    """Return the context in which a new span is a child of the request's."""
    return trace.set_span_in_context(NonRecordingSpan(request))


def _service_name() -> str:
    return os.environ.get("OTEL_SERVICE_NAME", "adserver")


async def _hide_url(span: Span, request: RequestInfo) -> None:
    """Replace the URL by its host: a tag URL identifies the viewer, and the host identifies the upstream."""
    host = httpx.URL(str(request.url)).host
    for name in ("http.url", "url.full"):
        span.set_attribute(name, host)
