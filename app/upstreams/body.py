"""Reading a response's body with a limit on what it unpacks to."""

import zlib

import httpx

from app.errors import UpstreamFailed
from app.upstreams.failures import FailureKind

ACCEPT_ENCODING = "gzip"
"""Some servers mean by deflate what zlib has no header around (RFC 9110 section 8.4.1.2): it is not asked for."""
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
"""zlib tells the two formats apart by their header."""


async def read_body(upstream_id: str, response: httpx.Response, max_bytes: int) -> bytes:
    """The decompressed body; raises UpstreamFailed as soon as it exceeds `max_bytes`, and never holds much more.

    No more is read of a compressed one either, which may go on after its end, or say nothing for ever.
    """
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return await _read_plain(upstream_id, response, max_bytes)
    if coding in ("gzip", "x-gzip", "deflate"):
        return await _read_compressed(upstream_id, response, max_bytes)
    raise UpstreamFailed(upstream_id, FailureKind.MALFORMED, "unknown content encoding")


async def _read_plain(upstream_id: str, response: httpx.Response, max_bytes: int) -> bytes:
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise UpstreamFailed(upstream_id, FailureKind.TOO_LARGE)
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise UpstreamFailed(upstream_id, FailureKind.TOO_LARGE)
    return bytes(body)


async def _read_compressed(upstream_id: str, response: httpx.Response, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(GZIP_OR_ZLIB)
    body = bytearray()
    received = 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        try:
            body += unpacker.decompress(chunk, max_bytes - len(body) + 1)
        except zlib.error as error:
            raise UpstreamFailed(upstream_id, FailureKind.MALFORMED, "not what its encoding says") from error
        if max(received, len(body)) > max_bytes:
            raise UpstreamFailed(upstream_id, FailureKind.TOO_LARGE)
    if not unpacker.eof:
        raise UpstreamFailed(upstream_id, FailureKind.MALFORMED, "compressed body is cut off")
    return bytes(body)
