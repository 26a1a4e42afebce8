"""Incremental decoding of content codings, recognized by the body's first bytes, because headers are often wrong."""

import zlib
from collections.abc import Set as AbstractSet
from typing import Protocol

GZIP_MAGIC = b"\x1f\x8b"
"""RFC 1952 section 2.3.1. No XML document begins with these bytes, in any encoding."""

GZIP = zlib.MAX_WBITS | 16
ZLIB = zlib.MAX_WBITS
RAW_DEFLATE = -zlib.MAX_WBITS

MEMBERS_MAX = 1000
"""Members of one gzip body. Each costs some microseconds, even an empty one."""

TEXT_PREFIXES = (b"<", b" ", b"\t", b"\r", b"\n", b"\0", b"\xef\xbb", b"\xff\xfe", b"\xfe\xff")
"""The possible beginnings of XML: markup, white space, a byte order mark, or half of a UTF-16 character."""


class DecodingError(Exception):
    """The body does not match its content coding, or is truncated."""


class BodyTooLargeError(Exception):
    """The decoded body is larger than allowed."""


class _Codec(Protocol):
    """The interface of `zlib.decompressobj`."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Verbatim:
    """Returns bytes unchanged."""

    eof = False
    unused_data = b""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return data[:max_length]


class _Ignored(_Verbatim):
    """Drops the bytes after the last member of a gzip body."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return b""


class ContentDecoder:
    """Decodes gzip of one or more members (RFC 1952 section 2.2), zlib and raw deflate; returns other bytes unchanged.

    `codings` are those of the Content-Encoding header, in lower case. gzip is recognized even if it is not among them.
    """

    def __init__(self, codings: AbstractSet[str], max_bytes: int) -> None:
        self._codings = codings
        self._remaining = max_bytes
        self._pending = b""
        self._codec: _Codec | None = None
        self._members = 0

    def feed(self, data: bytes) -> bytes:
        """Decode the next bytes; raise DecodingError, or BodyTooLargeError above `max_bytes` in total."""
        data = self._pending + data
        self._pending = b""
        decoded = bytearray()
        while data:
            if self._codec is None:
                if self._members:
                    data = data.lstrip(b"\0")  # a member may be padded with zeros
                if len(data) < len(GZIP_MAGIC):
                    self._pending = data
                    break
                self._codec = self._begin(data)
            decoded += self._decompress(self._codec, data)
            if not self._codec.eof:
                break
            data, self._codec = self._codec.unused_data, None
        return bytes(decoded)

    def finish(self) -> bytes:
        """Return the rest at the end of the body; raise DecodingError if it is truncated."""
        if self._codec is None:
            return b"" if self._members else self._pending
        if isinstance(self._codec, _Verbatim):
            return b""
        raise DecodingError("compressed body is truncated")

    def _begin(self, data: bytes) -> _Codec:
        """Return the codec for data that begins with these bytes."""
        if data.startswith(GZIP_MAGIC):
            self._members += 1
            if self._members > MEMBERS_MAX:
                raise DecodingError(f"gzip of more than {MEMBERS_MAX} members")
            return zlib.decompressobj(GZIP)
        if self._members:
            return _Ignored()
        if not self._codings & {"gzip", "x-gzip", "deflate"}:
            return _Verbatim()
        self._members += 1
        if _has_zlib_header(data):
            return zlib.decompressobj(ZLIB)
        if "deflate" in self._codings:
            return zlib.decompressobj(RAW_DEFLATE)
        if data.startswith(TEXT_PREFIXES):
            return _Verbatim()
        raise DecodingError("content encoding is gzip, but the body is not gzip")

    def _decompress(self, codec: _Codec, data: bytes) -> bytes:
        try:
            decoded = codec.decompress(data, self._remaining + 1)
        except zlib.error as error:
            raise DecodingError("compressed body is corrupt") from error
        self._remaining -= len(decoded)
        if self._remaining < 0:
            raise BodyTooLargeError
        return decoded


def _has_zlib_header(data: bytes) -> bool:
    """Whether the data begins with a zlib header (RFC 1950 section 2.2); deflate without one is raw."""
    return data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
