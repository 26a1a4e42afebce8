"""What tracing sees of requests and groups: nothing, unless somebody listens."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class GroupSpan(Protocol):
    """The parts of one group's transaction."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """To be entered for the `cap check`, the `fetch` and the `spend`."""


class RequestTracer(Protocol):
    """Who traces."""

    def request(self) -> object:
        """What ties the request that is being handled to its trace; its pending keeps it."""

    def group(self, lane: str, requests: Sequence[object]) -> AbstractContextManager[GroupSpan]:
        """To be entered for a group's transaction, with what `request` gave for each of its requests."""

    def fetch(self, request: object) -> AbstractContextManager[object]:
        """To be entered for what is asked of upstreams for a request, with what `request` gave for it."""


class _NoTracer:
    """Nobody listens."""

    def request(self) -> object:
        """Nothing to keep."""
        return None

    def group(self, _lane: str, _requests: Sequence[object]) -> AbstractContextManager[GroupSpan]:
        """Nothing to enter."""
        return nullcontext(self)

    def fetch(self, _request: object) -> AbstractContextManager[object]:
        """Nothing to enter."""
        return nullcontext()

    def step(self, _name: str) -> AbstractContextManager[object]:
        """Nothing to enter."""
        return nullcontext()


NO_TRACER: RequestTracer = _NoTracer()
