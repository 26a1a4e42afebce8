"""Requests of a browser for a page that nobody looks at yet."""

import re
from collections.abc import Mapping

PURPOSE_HEADERS = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")
"""Headers in which browsers say so, in lower case: `Sec-Purpose` is the standard's, the others are older."""

_AHEAD = re.compile(rb"\b(?:prefetch|prerender|preview)\b", re.IGNORECASE)


def is_prefetch(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the headers, by their names in lower case, tell of a prefetch, prerender or preview."""
    return any(name in headers and _AHEAD.search(headers[name]) for name in PURPOSE_HEADERS)
