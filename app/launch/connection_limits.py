"""What one connection may take of a worker, in bytes and in time; docs/operations.md tells operators."""

from dataclasses import dataclass

CONNECTIONS_MAX = 20_000
"""Of one worker, where the limit of open files allows as many."""

FILES_RESERVED = 256
"""Open files that connections of players leave free: the database, upstreams, the log, static files."""

CONNECTIONS_ASKED_MAX = 100
"""How many are looked at, to find an idle one that makes room for another."""

KEEP_ALIVE_S = 75
"""Between two requests. Longer than a player pauses between two ads of a break, and than most proxies wait."""

REQUEST_S = 30
"""A request is whole in this time, from its first byte or, for the first one, from the connection's beginning."""

HEAD_BYTES_MAX = 65_536
"""A request's line and headers, or the trailer behind a body in chunks."""

HEADERS_MAX = 200
"""Lines of headers: each costs ten times its bytes while it is kept."""

READ_BYTES = 16_384
"""What is parsed of one connection in a turn of the event loop, so that the others have theirs."""

SMALL_HEAD_BYTES = 4096
"""A head of this size does not count as held while its request is answered."""

HELD_BYTES_MAX = 8 * 1024 * 1024
"""Of one worker: requests that are not whole, large ones that are not answered, and what waits behind them."""

WRITE_BUFFER_BYTES = 16_384
"""Of an answer that the kernel does not take yet. With more than that, nothing is read from the connection."""

WRITE_S = 20
WRITE_BYTES_MIN = 16_384
"""A client that does not read as many bytes of its answer in as many seconds loses its connection."""

LINGER_S = 5
"""How long a client may go on sending after its request was refused."""


@dataclass
class HeldBytes:
    """How many bytes of requests a worker holds for all of its connections."""

    bytes_max: int = HELD_BYTES_MAX
    count: int = 0

    @property
    def are_too_many(self) -> bool:
        """Whether the worker holds more than it may."""
        return self.count > self.bytes_max
