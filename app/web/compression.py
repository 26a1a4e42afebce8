"""gzip for bodies that are larger than the initial congestion window of a new connection."""

import gzip
import re

from app.fast_path import Headers

BYTES_MIN = 4096
LEVEL = 1

GZIPPED = (b"content-encoding", b"gzip")
VARIES = (b"vary", b"Accept-Encoding")

_REFUSED = re.compile(rb";\s*q=0(\.0*)?\s*$")
"""A weight of zero excludes a coding (RFC 9110 section 12.4.2)."""


def accepts_gzip(headers: Headers) -> bool:
    """Return whether the player accepts gzip (RFC 9110 section 12.5.3, without the order of preferences)."""
    return any(
        coding.partition(b";")[0].strip() == b"gzip" and not _REFUSED.search(coding)
        for coding in headers.get(b"accept-encoding", b"").lower().split(b",")
    )


def compressed(body: bytes, headers: Headers) -> bytes | None:
    """Return the body in gzip; None if it is too small or the player does not accept it."""
    if len(body) < BYTES_MIN or not accepts_gzip(headers):
        return None
    return gzip.compress(body, LEVEL, mtime=0)
