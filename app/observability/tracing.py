"""Traces, if OTEL_EXPORTER_OTLP_ENDPOINT says where to; its other variables (OTEL_TRACES_SAMPLER, ...) count too.

A group's transaction is a trace of its own, linked to the requests in it; each of these has the group's steps as
spans in its own trace, linked to the group. No span says who a viewer is: no query, no address, no parameters.
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

SHOWN_HEADERS = frozenset({b"traceparent", b"tracestate", b"host"})

ORIGINAL = "adserver.scope"


def is_configured() -> bool:
    """Whether the environment says where traces go."""
    return any(os.environ.get(name) for name in ENDPOINTS)


class Tracing:
    """Traces this process from its making on; close it, or the last spans are lost. One for each process."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": _service_name()}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("adserver")
        self._statements = AsyncPGInstrumentor()  # type: ignore[no-untyped-call]
        self._statements.instrument(tracer_provider=self._provider)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, with a span for each request."""

        async def restored(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope[ORIGINAL], receive, send)

        traced = OpenTelemetryMiddleware(restored, tracer_provider=self._provider, exclude_spans=["receive", "send"])

        async def shielded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            headers = [header for header in scope["headers"] if header[0] in SHOWN_HEADERS]
            shown = {**scope, "headers": headers, "query_string": b"", "client": None, ORIGINAL: scope}
            await traced(shown, receive, send)

        return shielded

    def transport(self, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        """The transport, with a span for each request."""
        return AsyncOpenTelemetryTransport(transport, tracer_provider=self._provider, request_hook=_hide_url)

    def request(self) -> SpanContext | None:
        """What ties the request that is being handled to its trace; None if it is not sampled."""
        context = trace.get_current_span().get_span_context()
        return context if context.trace_flags.sampled else None

    @contextmanager
    def group(self, lane: str, requests: Sequence[object]) -> Iterator["GroupSpans"]:
        """A span for a group's transaction; its steps become spans of the requests too."""
        contexts = [context for context in requests if isinstance(context, SpanContext)]
        links = [Link(context) for context in contexts]
        with self._tracer.start_as_current_span("group", links=links) as span:
            span.set_attribute("adserver.lane", lane)
            span.set_attribute("adserver.group_size", len(requests))
            yield GroupSpans(self._tracer, span, contexts)

    @contextmanager
    def fetch(self, request: object) -> Iterator[None]:
        """A span for what is asked of upstreams for one request, in that request's trace."""
        if not isinstance(request, SpanContext):
            yield
            return
        with self._tracer.start_as_current_span("upstreams", _inside(request)):
            yield

    def close(self) -> None:
        """Exports what is left."""
        self._statements.uninstrument()
        self._provider.shutdown()


class GroupSpans:
    """The spans of one group."""

    def __init__(self, tracer: Tracer, group: Span, requests: Sequence[SpanContext]) -> None:
        self._tracer = tracer
        self._link = Link(group.get_span_context())
        self._requests = requests

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A span in the group's trace, and the same in each request's."""
        started_ns = time.time_ns()
        try:
            with self._tracer.start_as_current_span(name):
                yield
        finally:
            for request in self._requests:
                span = self._tracer.start_span(name, _inside(request), links=[self._link], start_time=started_ns)
                span.end()


def _inside(request: SpanContext) -> Context:
    """The context in which a new span is a child of the request's."""
    return trace.set_span_in_context(NonRecordingSpan(request))


def _service_name() -> str:
    return os.environ.get("OTEL_SERVICE_NAME", "adserver")


async def _hide_url(span: Span, request: RequestInfo) -> None:
    """A tag URL carries who watches; its host is enough to know the upstream by."""
    host = httpx.URL(str(request.url)).host
    for name in ("http.url", "url.full"):
        span.set_attribute(name, host)
