"""Taking a content coding off a body piece by piece: by its first bytes, because headers are often wrong."""

import zlib
from collections.abc import Set as AbstractSet
from typing import Protocol

GZIP_MAGIC = b"\x1f\x8b"
"""RFC 1952 section 2.3.1. No XML document begins with it, in any encoding."""

GZIP = zlib.MAX_WBITS | 16
ZLIB = zlib.MAX_WBITS
RAW_DEFLATE = -zlib.MAX_WBITS

MEMBERS_MAX = 1000
"""Of one gzip body. Each costs some microseconds, however little is in it."""

TEXT_STARTS = (b"<", b" ", b"\t", b"\r", b"\n", b"\0", b"\xef\xbb", b"\xff\xfe", b"\xfe\xff")
"""What an XML document begins with: markup, white space, a byte order mark, or half a character of UTF-16."""


class UnpackingError(Exception):
    """The body is not what its coding says, or cut off."""


class TooLargeError(Exception):
    """The body unpacks to more than is allowed."""


class _Codec(Protocol):
    """What `zlib.decompressobj` gives."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Verbatim:
    """Leaves bytes as they are."""

    eof = False
    unused_data = b""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return data[:max_length]


class _Ignored(_Verbatim):
    """Drops what follows the last member of a gzip body."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return b""


class Unpacker:
    """Unpacks gzip of one or more members (RFC 1952 section 2.2), zlib and raw deflate; other bytes stay as they are.

    `codings` are those of the Content-Encoding header, in lower case. gzip is recognized whatever they say.
    """

    def __init__(self, codings: AbstractSet[str], max_bytes: int) -> None:
        self._codings = codings
        self._left = max_bytes
        self._pending = b""
        self._codec: _Codec | None = None
        self._members = 0

    def feed(self, data: bytes) -> bytes:
        """What the next bytes unpack to; raises UnpackingError, and TooLargeError beyond `max_bytes` in all."""
        data = self._pending + data
        self._pending = b""
        unpacked = bytearray()
        while data:
            if self._codec is None:
                if self._members:
                    data = data.lstrip(b"\0")  # zeros may pad the end of a member
                if len(data) < len(GZIP_MAGIC):
                    self._pending = data
                    break
                self._codec = self._begin(data)
            unpacked += self._decompress(self._codec, data)
            if not self._codec.eof:
                break
            data, self._codec = self._codec.unused_data, None
        return bytes(unpacked)

    def finish(self) -> bytes:
        """The rest, at the end of the body; raises UnpackingError if it is cut off."""
        if self._codec is None:
            return b"" if self._members else self._pending
        if isinstance(self._codec, _Verbatim):
            return b""
        raise UnpackingError("compressed body is cut off")

    def _begin(self, data: bytes) -> _Codec:
        """The codec for what begins here."""
        if data.startswith(GZIP_MAGIC):
            self._members += 1
            if self._members > MEMBERS_MAX:
                raise UnpackingError(f"gzip of more than {MEMBERS_MAX} members")
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
        if data.startswith(TEXT_STARTS):
            return _Verbatim()
        raise UnpackingError("its content encoding says gzip, which it is not")

    def _decompress(self, codec: _Codec, data: bytes) -> bytes:
        try:
            unpacked = codec.decompress(data, self._left + 1)
        except zlib.error as error:
            raise UnpackingError("compressed body is damaged") from error
        self._left -= len(unpacked)
        if self._left < 0:
            raise TooLargeError
        return unpacked


def _has_zlib_header(data: bytes) -> bool:
    """Whether it begins as RFC 1950 section 2.2 says; what has no such header under the name of deflate is raw."""
    return data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
