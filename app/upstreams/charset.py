"""Documents that are not in their declared encoding, but in the one of their Content-Type."""

import re

from httpx import Response

BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
"""A byte order mark takes precedence over the Content-Type (RFC 7303 section 3)."""

DECLARATION_BYTES_MAX = 200
"""The first bytes, in which an XML declaration must end."""

_DECLARED_ENCODING = re.compile(rb"""\s*<\?xml\s[^>]*?\bencoding\s*=\s*["']([\w.-]+)["']""")
_SUPPORTED = re.compile(r"utf-?8|us-ascii|iso-8859-\d{1,2}|windows-125\d", re.ASCII)
"""Encodings common in XML on the web, all of them supersets of ASCII."""


def to_utf8(body: bytes, response: Response) -> bytes:
    """Return the body unchanged if it is in its declared encoding; otherwise convert it from the header's to UTF-8.

    By RFC 7303 section 3.2 the header takes precedence over the declaration. But many servers send a default header
    with documents that are declared correctly.
    """
    charset = (response.charset_encoding or "").strip().lower()
    if not _SUPPORTED.fullmatch(charset) or body.lstrip().startswith(BYTE_ORDER_MARKS):
        return body
    declared = _DECLARED_ENCODING.match(body, 0, DECLARATION_BYTES_MAX)
    if not _is_misdeclared(body, declared[1].decode("ascii").lower() if declared else "utf-8"):
        return body
    try:
        text = body.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return body
    if declared:
        text = f"{text[: declared.start(1)]}UTF-8{text[declared.end(1) :]}"
    return text.encode()


def _is_misdeclared(body: bytes, encoding: str) -> bool:
    """Whether the body is not in its declared encoding; a UTF-16 declaration that could be read as ASCII is wrong."""
    if encoding.startswith("utf-16"):
        return True
    try:
        if _SUPPORTED.fullmatch(encoding):
            body.decode(encoding)
    except UnicodeDecodeError:
        return True
    except LookupError:
        return False
    return False
