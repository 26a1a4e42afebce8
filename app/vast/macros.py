"""Macros in upstream tag URLs: VAST 4.x names in brackets, and the request's own fields in braces."""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import quote

from app.domain import URL_BYTES_MAX
from app.errors import UnusableVast
from app.vast.macro_sources import BRACED, BRACKETED, MacroContext, Source

UNKNOWN = "-1"
WITHHELD = "-2"
"""VAST 4.2 section 6.1: for a value that nobody knows, and for one that is known but not told."""

TAG_URLS_MAX = 4096
"""Tag URLs kept compiled: only those that were set up, because there is no end of what documents can hold."""

_MACRO = re.compile(r"(\[[A-Z]+\]|\{[a-z_]+\})")
_NOTHING: Mapping[str, str] = MappingProxyType({})


def expand(url: str, context: MacroContext, also: Mapping[str, str] = _NOTHING) -> str:
    """The URL to ask, each value percent-encoded; brackets that are no macro of the list stay as they are.

    `also` has values, by macro name, of what is not the request's: `tmax` in ms, `ERRORCODE`.
    """
    parts = list(_kept(url))
    for at in range(1, len(parts), 2):
        parts[at] = _value(parts[at], context, also)
    return "".join(parts)


def expand_untrusted(url: str, context: MacroContext, also: Mapping[str, str] = _NOTHING) -> str:
    """The same for a URL that came in somebody's document: only the macros of the list are replaced.

    What braces name is between the operator and the upstreams that were set up; no stranger is to ask for it.
    Raises UnusableVast for a URL that is too long, as it came or with its macros replaced.
    """
    _check_length(url)
    expanded = ""
    for no, part in enumerate(_compile(url)):
        expanded += _value(part, context, also) if no % 2 and part[0] == "[" else part
        # After each: the values of a short URL's many macros can be thousands of times as long as it is.
        _check_length(expanded)
    return expanded


def _check_length(url: str) -> None:
    if len(url.encode()) > URL_BYTES_MAX:
        raise UnusableVast(f"has a URL of more than {URL_BYTES_MAX} bytes")


def cache_key(url: str, context: MacroContext) -> str:
    """The URL without what changes with every request: two requests with the same key may share an answer."""
    parts = list(_kept(url))
    for at in range(1, len(parts), 2):
        parts[at] = "" if _source(parts[at]).always_new else _value(parts[at], context, _NOTHING)
    return "".join(parts)


@lru_cache(TAG_URLS_MAX)
def _kept(url: str) -> tuple[str, ...]:
    return _compile(url)


def _compile(url: str) -> tuple[str, ...]:
    """Text and macros in turn."""
    parts = [""]
    for no, piece in enumerate(_MACRO.split(url)):
        if no % 2 and (piece[1:-1] in BRACKETED or piece[1:-1] in BRACED):
            parts += (piece, "")
        else:
            parts[-1] += piece
    return tuple(parts)


def _source(macro: str) -> Source:
    return (BRACKETED if macro[0] == "[" else BRACED)[macro[1:-1]]


def _value(macro: str, context: MacroContext, also: Mapping[str, str]) -> str:
    source = _source(macro)
    value = also.get(macro[1:-1]) or source.read(context)
    if not value:
        return UNKNOWN
    if source.identifies and context.withhold_identity:
        return WITHHELD
    return _encode(value, safe="!'()*," if source.is_list else "!'()*")


def _encode(value: str, safe: str) -> str:
    """What `encodeURIComponent` makes of it; the commas of a list stay (VAST 4.2 section 6.1)."""
    return quote(value, safe=safe, errors="replace")
