"""The bytes before a document's root element: byte order marks, white space and comments, in any order."""

import re

UTF_8_BOM = b"\xef\xbb\xbf"

PROLOG_BYTES_MAX = 65_536
"""Bodies with more bytes before their root are parsed unchanged."""

_LEAD = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n](?!\0))*")
_UTF_16_LEADS = {
    b"\xff\xfe": re.compile(rb"(?:\xff\xfe|[ \t\r\n]\0)*"),
    b"\xfe\xff": re.compile(rb"(?:\xfe\xff|\0[ \t\r\n])*"),
}
"""Byte order marks and white space in UTF-16, by byte order mark."""

_LABELED_UTF_16 = re.compile(rb"""<\?xml\s[^>]{0,100}?\bencoding\s*=\s*["'](?:utf-?16|ucs-?2)""", re.IGNORECASE)

_ONLY_PROLOG = re.compile(rb"(?:\s++|<!--(?:(?!-->).)*+-->|<\?(?:(?!\?>).)*+\?>)*+", re.DOTALL)
"""White space, comments and processing instructions; possessive, so that it takes linear time."""


def clean_prolog(body: bytes) -> bytes:
    """Return the body without leading white space, and with a byte order mark only where a parser needs one.

    An 8-bit document may be declared as UTF-16 because a program converted it as a string; a UTF-8 byte order mark
    overrides the declaration. Trailing NUL characters, which terminate strings in C, are dropped.
    """
    body = body[_end(_LEAD, body) :]
    bom = _utf_16_bom(body)
    if bom:
        return bom + body[_end(_UTF_16_LEADS[bom], body) :]
    body = body.rstrip(b"\0")
    return UTF_8_BOM + body if _LABELED_UTF_16.match(body) else body


def _end(lead: re.Pattern[bytes], body: bytes) -> int:
    found = lead.match(body, 0, PROLOG_BYTES_MAX)
    return found.end() if found else 0


def _utf_16_bom(body: bytes) -> bytes:
    """Return the byte order mark for a body in UTF-16, whether it has one or not; nothing for other encodings."""
    if body[:2] in _UTF_16_LEADS:
        return body[:2]
    if len(body) < 2 or bool(body[0]) == bool(body[1]):
        return b""
    return b"\xff\xfe" if body[0] else b"\xfe\xff"


def has_no_element(body: bytes) -> bool:
    """Whether a cleaned body has only white space, comments and processing instructions, which means "no ad"."""
    if len(body) > PROLOG_BYTES_MAX:
        return False
    if body[:2] in _UTF_16_LEADS:
        body = body.decode("utf-16", "replace").encode()
    return _ONLY_PROLOG.fullmatch(body.removeprefix(UTF_8_BOM)) is not None
