"""Limits how long groups wait for upstreams, and on how many connections they wait for each upstream."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager


class FetchWaitLimiter:
    """Shared by all groups of a worker.

    A slow upstream must never keep every connection waiting. The groups on the last connection therefore do not wait
    for it: the ads that they need from it are handled as if `max_wait_s` had passed.
    """

    def __init__(self, max_wait_s: float, connections: int) -> None:
        self.max_wait_s = max_wait_s
        self._waiters_max = max(1, connections - 1)
        self._waiters: Counter[str] = Counter()

    @contextmanager
    def waiting(self, upstream_ids: Collection[str]) -> Iterator[Collection[str]]:
        """Yield the upstreams that one more connection may wait for, and count it as a waiter inside the block."""
        allowed = {upstream_id for upstream_id in upstream_ids if self._waiters[upstream_id] < self._waiters_max}
        self._waiters.update(allowed)
        try:
            yield allowed
        finally:
            self._waiters.subtract(allowed)
