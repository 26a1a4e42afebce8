"""gzip where it pays: bodies that no longer fit in the few packets that a new connection may send at once."""

import gzip

from app.web.clients import Headers

BYTES_MIN = 4096
LEVEL = 1

GZIPPED = (b"content-encoding", b"gzip")
VARIES = (b"vary", b"Accept-Encoding")


def accepts_gzip(headers: Headers) -> bool:
    """Whether the player takes gzip: RFC 9110 section 12.5.3, but for the ordering of preferences."""
    return any(
        coding.partition(b";")[0].strip() == b"gzip" and b"q=0" not in coding.replace(b"q=0.", b"")
        for coding in headers.get(b"accept-encoding", b"").lower().split(b",")
    )


def compressed(body: bytes, headers: Headers) -> bytes | None:
    """The body in gzip; None where that would not pay or was not asked for."""
    if len(body) < BYTES_MIN or not accepts_gzip(headers):
        return None
    return gzip.compress(body, LEVEL, mtime=0)
