"""gzip where it pays: bodies that no longer fit in the few packets that a new connection may send at once."""

import gzip
import re

from app.fast_path import Headers

BYTES_MIN = 4096
LEVEL = 1

GZIPPED = (b"content-encoding", b"gzip")
VARIES = (b"vary", b"Accept-Encoding")

_REFUSED = re.compile(rb";\s*q=0(\.0*)?\s*$")
"""A weight of zero says that a coding is not wanted at all (RFC 9110 section 12.4.2)."""


def accepts_gzip(headers: Headers) -> bool:
    """Whether the player takes gzip: RFC 9110 section 12.5.3, but for the ordering of preferences."""
    return any(
        coding.partition(b";")[0].strip() == b"gzip" and not _REFUSED.search(coding)
        for coding in headers.get(b"accept-encoding", b"").lower().split(b",")
    )


def compressed(body: bytes, headers: Headers) -> bytes | None:
    """The body in gzip; None where that would not pay or was not asked for."""
    if len(body) < BYTES_MIN or not accepts_gzip(headers):
        return None
    return gzip.compress(body, LEVEL, mtime=0)
