"""The interface of tracing, and the tracer that is used while tracing is off."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class GroupSpan(Protocol):
    """The span of one group's transaction."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """Return a span for a part of the transaction: `cap check`, `fetch` or `spend`."""


class RequestTracer(Protocol):
    """Makes the spans of requests and groups."""

    def request(self) -> object:
        """Return the trace of the current HTTP request, for its pending request to keep."""

    def group(self, lane: str, requests: Sequence[object]) -> AbstractContextManager[GroupSpan]:
        """Return a span for a group's transaction; `requests` has the traces of its requests."""

    def fetch(self, request: object) -> AbstractContextManager[object]:
        """Return a span for the fetch of an upstream ad, in the trace of its request."""


class _NoTracer:
    """Makes spans that record nothing."""

    def request(self) -> object:
        """Return None."""
        return None

    def group(self, _lane: str, _requests: Sequence[object]) -> AbstractContextManager[GroupSpan]:
        """Return a span that does nothing."""
        return nullcontext(self)

    def fetch(self, _request: object) -> AbstractContextManager[object]:
        """Return a span that does nothing."""
        return nullcontext()

    def step(self, _name: str) -> AbstractContextManager[object]:
        """Return a span that does nothing."""
        return nullcontext()


NO_TRACER: RequestTracer = _NoTracer()
