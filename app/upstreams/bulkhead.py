"""A limit on the requests in flight to each upstream, so that a slow one cannot use up the server's resources."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from app.domain import Upstream
from app.errors import UpstreamFailed
from app.upstreams.failures import FailureKind


class Bulkhead:
    """Counts the requests in flight of this process."""

    def __init__(self) -> None:
        self._in_flight: Counter[str] = Counter()

    @property
    def in_flight(self) -> Mapping[str, int]:
        """Requests in flight, by upstream."""
        return self._in_flight

    @contextmanager
    def slot(self, upstream: Upstream) -> Iterator[None]:
        """Hold a slot for one request; raise UpstreamFailed without waiting if all `max_in_flight` are taken."""
        if self._in_flight[upstream.id] >= upstream.max_in_flight:
            raise UpstreamFailed(upstream.id, FailureKind.BULKHEAD)
        self._in_flight[upstream.id] += 1
        try:
            yield
        finally:
            self._in_flight[upstream.id] -= 1
