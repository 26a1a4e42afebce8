"""How long groups wait for upstreams, and on how many connections at once for each of them."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager


class FetchWaitLimiter:
    """One object for each worker, shared by its groups.

    So that an upstream that is slow never has every connection waiting for it, the groups on the last connection do
    not wait for it at all: what they asked of it is late, as if their `seconds` were over.
    """

    def __init__(self, seconds: float, connections: int) -> None:
        self.seconds = seconds
        self._connections_max = max(1, connections - 1)
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def waiting(self, upstream_ids: Collection[str]) -> Iterator[Collection[str]]:
        """Those of the upstreams that one more connection may wait for, while the block lasts."""
        patient = {upstream_id for upstream_id in upstream_ids if self._waiting[upstream_id] < self._connections_max}
        self._waiting.update(patient)
        try:
            yield patient
        finally:
            self._waiting.subtract(patient)
