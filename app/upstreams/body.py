"""Reading a response's body with a limit on what it unpacks to, whatever its headers say of it."""

import asyncio

import httpx

from app.errors import UpstreamFailed
from app.upstreams.failures import FailureKind
from app.upstreams.unpacking import TEXT_STARTS, TooLargeError, Unpacker, UnpackingError

ACCEPT_ENCODING = "gzip"
"""Some servers mean by deflate what zlib has no header around (RFC 9110 section 8.4.1.2): it is not asked for."""

PIECE_BYTES = 16_384
"""Unpacked without a pause: other requests have their turn between two pieces of a body that unpacks slowly."""

KNOWN_CODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})


async def read_body(upstream_id: str, response: httpx.Response, max_bytes: int) -> bytes:
    """The decompressed body; raises UpstreamFailed as soon as it exceeds `max_bytes`, and never holds much more.

    No more is read of a compressed one either, which may go on after its end, or say nothing for ever. A content coding
    that is not known is taken for none, because servers put character sets and other words there.
    """
    codings = frozenset(coding.strip().lower() for coding in response.headers.get("content-encoding", "").split(","))
    try:
        body = await _unpacked(response, codings, max_bytes)
    except TooLargeError as error:
        raise UpstreamFailed(upstream_id, FailureKind.TOO_LARGE, f"more than {max_bytes} bytes") from error
    except UnpackingError as error:
        raise UpstreamFailed(upstream_id, FailureKind.MALFORMED, str(error)) from error
    if body and not codings <= KNOWN_CODINGS and not body.startswith(TEXT_STARTS):
        raise UpstreamFailed(upstream_id, FailureKind.MALFORMED, "has a content encoding that was not asked for")
    return body


async def _unpacked(response: httpx.Response, codings: frozenset[str], max_bytes: int) -> bytes:
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise TooLargeError
    # A proxy may compress what its server has compressed already.
    outer, inner = Unpacker(codings, max_bytes), Unpacker(frozenset(), max_bytes)
    body = bytearray()
    received = 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        if received > max_bytes:
            raise TooLargeError
        for start in range(0, len(chunk), PIECE_BYTES):
            if start:
                await asyncio.sleep(0)
            body += inner.feed(outer.feed(chunk[start : start + PIECE_BYTES]))
    body += inner.feed(outer.finish()) + inner.finish()
    return bytes(body)
