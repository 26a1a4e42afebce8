"""What a document may have at most, counted in its bytes before any of it is parsed.

Reading a document and adding trackers to it takes time in proportion to its elements, attributes and namespaces, not to
its bytes, and all other requests of the worker wait meanwhile.
"""

import re

from app.errors import UnusableVast

ELEMENTS_MAX = 10_000
"""Comments and processing instructions are among them; the 50 Ads of the largest document may have 200 each."""
MARKUP_MAX = 30_000
"""All that begins with `<`: end tags and CDATA sections too."""
ATTRIBUTES_MAX = 20_000
REFERENCES_MAX = 50_000
"""`&amp;` and its like."""
NAMESPACES_MAX = 200
"""Declarations: each may be looked through for every element."""

_PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s++|<!--(?:(?!-->).)*+-->|<\?(?:(?!\?>).)*+\?>)*+", re.DOTALL)
_ENCODING = re.compile(rb"""<\?xml\s[^>]{0,200}?\bencoding\s*=\s*["']([^"']{0,64})["']""")
_ASCII_BASED = re.compile(
    rb"utf-?8|utf-?16.*|ucs-?2|iso-10646-ucs-2|(us-)?ascii|iso-?8859-\d{1,2}|latin-?\d|(windows-|cp)125\d|koi8-[ru]"
    rb"|shift[_-]jis|sjis|euc-(jp|kr|cn|tw)|iso-2022-(jp|kr)|gb2312|gbk|gb18030|big5(-hkscs)?",
    re.IGNORECASE,
)
"""Encodings in which `<` is the byte that it is in ASCII, or two of them: what is counted is what a parser finds."""


def check(body: bytes) -> None:
    """Raises UnusableVast for a `readable` body that is too much, or that nothing can be counted in."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        body = body[2:].replace(b"\0", b"")
    start = _PROLOG.match(body)
    if start and body[start.end() : start.end() + 9].upper() == b"<!DOCTYPE":
        raise UnusableVast("has a DOCTYPE")
    declared = _ENCODING.match(body)
    if declared and not _ASCII_BASED.fullmatch(declared[1]):
        raise UnusableVast("has an encoding that is not read")
    markup = body.count(b"<")
    _at_most(MARKUP_MAX, markup, "tags and CDATA sections")
    _at_most(ELEMENTS_MAX, markup - body.count(b"</") - body.count(b"<![CDATA["), "elements")
    _at_most(ATTRIBUTES_MAX, body.count(b'="') + body.count(b"='"), "attributes")
    _at_most(REFERENCES_MAX, body.count(b"&"), "character references")
    _at_most(NAMESPACES_MAX, body.count(b"xmlns"), "namespaces")


def _at_most(limit: int, found: int, what: str) -> None:
    if found > limit:
        raise UnusableVast(f"has more than {limit} {what}")
