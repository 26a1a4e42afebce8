"""Limits on a document's markup, checked by counting bytes before it is parsed.

The time for parsing a document and adding trackers grows with its elements, attributes and namespaces rather than its
bytes, and all other requests of the worker wait meanwhile.
"""

import re

from app.errors import UnusableVast

ELEMENTS_MAX = 10_000
"""Including comments and processing instructions; 200 for each of the 50 Ads of the largest document."""
MARKUP_MAX = 30_000
"""Everything that begins with `<`, including end tags and CDATA sections."""
ATTRIBUTES_MAX = 20_000
REFERENCES_MAX = 50_000
"""Entity and character references."""
NAMESPACES_MAX = 200
"""Declarations; a lookup may visit all of them for every element."""

_PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s++|<!--(?:(?!-->).)*+-->|<\?(?:(?!\?>).)*+\?>)*+", re.DOTALL)
_ENCODING = re.compile(rb"""<\?xml\s[^>]{0,200}?\bencoding\s*=\s*["']([^"']{0,64})["']""")
_ASCII_BASED = re.compile(
    rb"utf-?8|utf-?16.*|ucs-?2|iso-10646-ucs-2|(us-)?ascii|iso-?8859-\d{1,2}|latin-?\d|(windows-|cp)125\d|koi8-[ru]"
    rb"|shift[_-]jis|sjis|euc-(jp|kr|cn|tw)|iso-2022-(jp|kr)|gb2312|gbk|gb18030|big5(-hkscs)?",
    re.IGNORECASE,
)
"""Encodings in which `<` has its ASCII byte, or two bytes in UTF-16, so that the counts match what a parser finds."""


def check_limits(body: bytes) -> None:
    """Raise UnusableVast for a cleaned body that exceeds a limit, has a DOCTYPE, or whose markup cannot be counted."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        body = body[2:].replace(b"\0", b"")
    start = _PROLOG.match(body)
    if start and body[start.end() : start.end() + 9].upper() == b"<!DOCTYPE":
        raise UnusableVast("has a DOCTYPE")
    declared = _ENCODING.match(body)
    if declared and not _ASCII_BASED.fullmatch(declared[1]):
        raise UnusableVast("has an unsupported encoding")
    markup = body.count(b"<")
    _check_at_most(MARKUP_MAX, markup, "tags and CDATA sections")
    _check_at_most(ELEMENTS_MAX, markup - body.count(b"</") - body.count(b"<![CDATA["), "elements")
    _check_at_most(ATTRIBUTES_MAX, body.count(b'="') + body.count(b"='"), "attributes")
    _check_at_most(REFERENCES_MAX, body.count(b"&"), "character references")
    _check_at_most(NAMESPACES_MAX, body.count(b"xmlns"), "namespaces")


def _check_at_most(limit: int, found: int, name: str) -> None:
    if found > limit:
        raise UnusableVast(f"has more than {limit} {name}")
