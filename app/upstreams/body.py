"""Reading the body of a response, with a limit on its decoded size that does not depend on its headers."""

import asyncio

import httpx

from app.errors import UpstreamFailed
from app.upstreams.content_coding import TEXT_PREFIXES, BodyTooLargeError, ContentDecoder, DecodingError
from app.upstreams.failures import FailureKind

ACCEPT_ENCODING = "gzip"
"""Not deflate, which some servers send without the zlib header (RFC 9110 section 8.4.1.2)."""

CHUNK_BYTES = 16_384
"""Decoded without a pause: between two chunks of a large body, other requests get a turn."""

KNOWN_CODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})


async def read_body(upstream_id: str, response: httpx.Response, max_bytes: int) -> bytes:
    """Return the decoded body; raise UpstreamFailed as soon as it exceeds `max_bytes`, and never hold much more.

    The limit applies to the encoded bytes too, because a compressed body may continue after its end, or decode to
    nothing forever. Unknown content codings are ignored: some servers put character sets and other words there.
    """
    codings = frozenset(coding.strip().lower() for coding in response.headers.get("content-encoding", "").split(","))
    try:
        body = await _decoded_body(response, codings, max_bytes)
    except BodyTooLargeError as error:
        raise UpstreamFailed(upstream_id, FailureKind.TOO_LARGE, f"more than {max_bytes} bytes") from error
    except DecodingError as error:
        raise UpstreamFailed(upstream_id, FailureKind.MALFORMED, str(error)) from error
    if body and not codings <= KNOWN_CODINGS and not body.startswith(TEXT_PREFIXES):
        raise UpstreamFailed(upstream_id, FailureKind.MALFORMED, "has an unsupported content encoding")
    return body


async def _decoded_body(response: httpx.Response, codings: frozenset[str], max_bytes: int) -> bytes:
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise BodyTooLargeError
    # A proxy may compress what its origin server has already compressed.
    outer, inner = ContentDecoder(codings, max_bytes), ContentDecoder(frozenset(), max_bytes)
    body = bytearray()
    received = 0
    async for data in response.aiter_raw():
        received += len(data)
        if received > max_bytes:
            raise BodyTooLargeError
        for start in range(0, len(data), CHUNK_BYTES):
            if start:
                await asyncio.sleep(0)
            body += inner.feed(outer.feed(data[start : start + CHUNK_BYTES]))
    body += inner.feed(outer.finish()) + inner.finish()
    return bytes(body)
