"""Macros in URLs: names of VAST 4.x in brackets, and the request's own fields in braces."""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import quote

from app.domain import URL_BYTES_MAX
from app.errors import UnusableVast
from app.vast.macro_sources import BRACED, BRACKETED, MacroContext, MacroSource

UNKNOWN = "-1"
WITHHELD = "-2"
"""VAST 4.2 section 6.1: an unknown value, and a known value that is withheld."""

TAG_URLS_MAX = 4096
"""Cached templates: those of configured tag URLs only, because documents can contain any number of URLs."""

_MACRO = re.compile(r"(\[[A-Z]+\]|\{[a-z_]+\})")
_NO_VALUES: Mapping[str, str] = MappingProxyType({})


def expand(url: str, context: MacroContext, extra: Mapping[str, str] = _NO_VALUES) -> str:
    """Return the URL with its macros replaced by percent-encoded values; unknown macros are left unchanged.

    `extra` contains values that do not come from the request, by macro name: `tmax` in ms, `ERRORCODE`.
    """
    parts = list(_compile_cached(url))
    for index in range(1, len(parts), 2):
        parts[index] = _value(parts[index], context, extra)
    return "".join(parts)


def expand_untrusted(url: str, context: MacroContext, extra: Mapping[str, str] = _NO_VALUES) -> str:
    """Return a URL that came in a document with its macros in brackets replaced.

    Fields in braces are left unchanged: they are for the tags that the operator configured, not for untrusted servers.
    Raises UnusableVast if the URL is too long, before or after the replacement.
    """
    _check_length(url)
    expanded = ""
    for index, part in enumerate(_compile(url)):
        expanded += _value(part, context, extra) if index % 2 and part[0] == "[" else part
        # After each part: the values of many macros can be thousands of times as long as the URL.
        _check_length(expanded)
    return expanded


def _check_length(url: str) -> None:
    if len(url.encode()) > URL_BYTES_MAX:
        raise UnusableVast(f"has a URL of more than {URL_BYTES_MAX} bytes")


def cache_key(url: str, context: MacroContext) -> str:
    """Return the URL without the values that vary per request; requests with the same key may share a response."""
    parts = list(_compile_cached(url))
    for index in range(1, len(parts), 2):
        parts[index] = "" if _source(parts[index]).varies_per_request else _value(parts[index], context, _NO_VALUES)
    return "".join(parts)


@lru_cache(TAG_URLS_MAX)
def _compile_cached(url: str) -> tuple[str, ...]:
    return _compile(url)


def _compile(url: str) -> tuple[str, ...]:
    """Split the URL into text and macros, alternately; the text comes first."""
    parts = [""]
    for index, piece in enumerate(_MACRO.split(url)):
        if index % 2 and (piece[1:-1] in BRACKETED or piece[1:-1] in BRACED):
            parts += (piece, "")
        else:
            parts[-1] += piece
    return tuple(parts)


def _source(macro: str) -> MacroSource:
    return (BRACKETED if macro[0] == "[" else BRACED)[macro[1:-1]]


def _value(macro: str, context: MacroContext, extra: Mapping[str, str]) -> str:
    source = _source(macro)
    value = extra.get(macro[1:-1]) or source.read(context)
    if not value:
        return UNKNOWN
    if source.identifies and context.withhold_identity:
        return WITHHELD
    return _encode(value, safe="!'()*," if source.is_list else "!'()*")


def _encode(value: str, safe: str) -> str:
    """Percent-encode as `encodeURIComponent` does; the commas of a list are kept (VAST 4.2 section 6.1)."""
    return quote(value, safe=safe, errors="replace")
