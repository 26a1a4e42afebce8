"""A document that is not in the encoding that it says, and whose Content-Type knows better."""

import re

from httpx import Response

UNICODE_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
"""Byte order marks: what begins with one is read as it says (RFC 7303 section 3)."""

HEAD_BYTES = 200
"""Within so many an XML declaration ends."""

_DECLARED = re.compile(rb"""\s*<\?xml\s[^>]*?\bencoding\s*=\s*["']([\w.-]+)["']""")
_READ = re.compile(r"utf-?8|us-ascii|iso-8859-\d{1,2}|windows-125\d", re.ASCII)
"""Encodings that XML on the web comes in, in which ASCII is ASCII."""


def in_utf8(body: bytes, response: Response) -> bytes:
    """The body as it is, if it is in the encoding that it says; else in UTF-8, if it is in the header's.

    By RFC 7303 section 3.2 the header goes before the declaration. But many servers send one that they were never
    told to change, with documents that are right.
    """
    charset = (response.charset_encoding or "").strip().lower()
    if not _READ.fullmatch(charset) or body.lstrip().startswith(UNICODE_MARKS):
        return body
    declared = _DECLARED.match(body, 0, HEAD_BYTES)
    if not _is_wrong(body, declared[1].decode("ascii").lower() if declared else "utf-8"):
        return body
    try:
        text = body.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return body
    if declared:
        text = f"{text[: declared.start(1)]}UTF-8{text[declared.end(1) :]}"
    return text.encode()


def _is_wrong(body: bytes, encoding: str) -> bool:
    """Whether the body is not in the encoding that it says; in UTF-16 it could not even have been asked."""
    if encoding.startswith("utf-16"):
        return True
    try:
        if _READ.fullmatch(encoding):
            body.decode(encoding)
    except UnicodeDecodeError:
        return True
    except LookupError:
        return False
    return False
