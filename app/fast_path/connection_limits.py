"""Limits of one connection and of one worker, in bytes and in time.

These limits protect the worker; they are not for speed. docs/operations.md explains them to operators.
"""

from dataclasses import dataclass

CONNECTIONS_MAX = 20_000
"""Per worker, if the limit of open files allows as many."""

FILES_RESERVED = 256
"""Open files that players' connections leave for the database, upstreams, the log and static files."""

EVICTION_CANDIDATES_MAX = 100
"""Connections to check for an idle one that can be closed to accept a new one."""

KEEP_ALIVE_S = 75
"""Between two requests. Longer than a player's pause between two ads of a break, and than most proxies' timeouts."""

REQUEST_S = 30
"""Time for a complete request to arrive, from its first byte, or from the start of the connection for the first one."""

HEAD_BYTES_MAX = 65_536
"""Size of the request line and headers, or of the trailer after a chunked body."""

HEADERS_MAX = 200
"""Header lines: each takes ten times its bytes in memory."""

READ_BYTES = 16_384
"""Bytes parsed for one connection in one event loop iteration, so that other connections get their share."""

SMALL_HEAD_BYTES = 4096
"""A head up to this size does not count as held while its request is being answered."""

HELD_BYTES_MAX = 8 * 1024 * 1024
"""Per worker: incomplete requests, large unanswered ones, and bytes that wait behind them."""

WRITE_BUFFER_BYTES = 16_384
"""Unsent bytes of a response above which nothing more is read from the connection."""

WRITE_S = 20
WRITE_BYTES_MIN = 16_384
"""A client that reads fewer bytes of its response in this many seconds loses its connection."""

LINGER_S = 5
"""Time for which a client may go on sending after its request was refused."""


@dataclass
class HeldBytes:
    """The bytes of requests that a worker holds for all of its connections."""

    bytes_max: int = HELD_BYTES_MAX
    count: int = 0

    @property
    def is_over_limit(self) -> bool:
        """Whether the worker holds more than it may."""
        return self.count > self.bytes_max
