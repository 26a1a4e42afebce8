"""What servers put before a document's root element: byte order marks, white space and comments, in any order."""

import re

UTF_8_MARK = b"\xef\xbb\xbf"

PROLOG_BYTES_MAX = 65_536
"""No more is looked at: what has more before its root is read as it is."""

_LEAD = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n](?!\0))*")
_WIDE_LEADS = {
    b"\xff\xfe": re.compile(rb"(?:\xff\xfe|[ \t\r\n]\0)*"),
    b"\xfe\xff": re.compile(rb"(?:\xfe\xff|\0[ \t\r\n])*"),
}
"""Marks and white space of UTF-16, by the mark of its byte order."""

_LABELED_UTF_16 = re.compile(rb"""<\?xml\s[^>]{0,100}?\bencoding\s*=\s*["'](?:utf-?16|ucs-?2)""", re.IGNORECASE)

_ONLY_PROLOG = re.compile(rb"(?:\s++|<!--(?:(?!-->).)*+-->|<\?(?:(?!\?>).)*+\?>)*+", re.DOTALL)
"""White space, comments and processing instructions; possessive, so that it takes linear time."""


def clean_prolog(body: bytes) -> bytes:
    """The body as an XML parser takes it: no mark and no white space before it but one mark where that is needed.

    A document of one byte a character may call itself UTF-16, because it was a string before it was sent: a mark
    overrules what the declaration says. NUL characters behind the end, which end strings in C, are dropped.
    """
    body = body[_end(_LEAD, body) :]
    mark = _utf_16_mark(body)
    if mark:
        return mark + body[_end(_WIDE_LEADS[mark], body) :]
    body = body.rstrip(b"\0")
    return UTF_8_MARK + body if _LABELED_UTF_16.match(body) else body


def _end(lead: re.Pattern[bytes], body: bytes) -> int:
    found = lead.match(body, 0, PROLOG_BYTES_MAX)
    return found.end() if found else 0


def _utf_16_mark(body: bytes) -> bytes:
    """The mark of its byte order, whether it has one or not; nothing for other encodings."""
    if body[:2] in _WIDE_LEADS:
        return body[:2]
    if len(body) < 2 or bool(body[0]) == bool(body[1]):
        return b""
    return b"\xff\xfe" if body[0] else b"\xfe\xff"


def has_no_element(body: bytes) -> bool:
    """Whether a `readable` body is white space, comments and processing instructions alone: a way to say "no ad"."""
    if len(body) > PROLOG_BYTES_MAX:
        return False
    if body[:2] in _WIDE_LEADS:
        body = body.decode("utf-16", "replace").encode()
    return _ONLY_PROLOG.fullmatch(body.removeprefix(UTF_8_MARK)) is not None
