"""Bodies as servers in the field send them: packed twice, in parts or not at all, whatever their headers say."""

import asyncio
import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamFailed
from app.upstreams.client import FetchLimits, UpstreamClient
from app.upstreams.content_coding import MEMBERS_MAX, BodyTooLargeError, ContentDecoder, DecodingError
from tests.faults.upstream_server import Request, UpstreamServer, answer, inline, redirect

LIMITS = FetchLimits(timeout_s=5.0, max_body_bytes=100_000, max_redirects=3)
HALF = len(inline()) // 2
MEMBERS = gzip.compress(inline()[:HALF]) + gzip.compress(inline()[HALF:])


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


READ = {
    "a character set": ("UTF-8", inline()),
    "another character set": ("iso-8859-1", inline()),
    "an unknown word": ("none", inline()),
    "a coding that was taken off on the way": ("br", inline()),
    "nothing": ("", inline()),
    "identity": ("Identity", inline()),
    "several": ("identity, utf-8,", inline()),
    "gzip, and is none": ("gzip", inline()),
    "gzip, and is none, with white space": ("gzip", b"\n" + inline()),
    "gzip": ("GZIP", gzip.compress(inline())),
    "gzip by its old name": ("x-gzip", gzip.compress(inline())),
    "nothing, and is gzip": ("", gzip.compress(inline())),
    "a character set, and is gzip": ("utf-8", gzip.compress(inline())),
    "deflate, and is gzip": ("deflate", gzip.compress(inline())),
    "two members": ("gzip", MEMBERS),
    "two members with zeros between and after": (
        "gzip",
        MEMBERS.replace(b"\x1f\x8b\x08", b"\0\0\x1f\x8b\x08")[2:] + b"\0",
    ),
    "an empty member first": ("gzip", gzip.compress(b"") + MEMBERS),
    "zeros after it": ("gzip", gzip.compress(inline()) + bytes(3)),
    "something after it": ("gzip", gzip.compress(inline()) + b"\r\n--"),
    "packed twice": ("gzip, gzip", gzip.compress(gzip.compress(inline()))),
    "deflate in zlib": ("deflate", zlib.compress(inline())),
    "deflate without a header": ("deflate", raw_deflate(inline())),
    "gzip, and is zlib": ("gzip", zlib.compress(inline())),
}


@pytest.mark.parametrize(("coding", "body"), READ.values(), ids=READ.keys())
async def test_a_body_is_read_whatever_its_header_says(
    client: UpstreamClient, upstream: UpstreamServer, coding: str, body: bytes
) -> None:
    upstream.behavior = answer(body, headers=[f"Content-Encoding: {coding}"])
    assert (await client.get_tag("primary", upstream.url, {}, LIMITS)).strip() == inline()


NO_AD = {
    "no bytes": ("", b""),
    "gzip of no bytes": ("gzip", gzip.compress(b"")),
    "no bytes that are called gzip": ("gzip", b""),
    "no bytes that are called deflate": ("deflate", b""),
    "no bytes of a character set": ("utf-8", b""),
    "white space": ("", b"\r\n \t"),
    "white space in gzip": ("gzip", gzip.compress(b"\n")),
}


@pytest.mark.parametrize(("coding", "body"), NO_AD.values(), ids=NO_AD.keys())
async def test_a_body_with_nothing_in_it_says_that_there_is_no_ad(
    client: UpstreamClient, upstream: UpstreamServer, coding: str, body: bytes
) -> None:
    upstream.behavior = answer(body, headers=[f"Content-Encoding: {coding}"])
    with pytest.raises(UpstreamFailed) as caught:
        await client.get_tag("primary", upstream.url, {}, LIMITS)
    assert caught.value.kind == "no_ad"


REFUSED = {
    "truncated": ("gzip", gzip.compress(inline())[:-20], "truncated"),
    "truncated in its second member": ("gzip", MEMBERS[:-20], "truncated"),
    "corrupt": ("gzip", MEMBERS[:60] + b"\xff" * 20 + MEMBERS[80:], "corrupt"),
    "text that is called gzip": ("gzip", b"no ad", "not gzip"),
    "an unsupported coding": ("br", b"\x8b\x02\x80", "unsupported"),
    "too many members": ("gzip", gzip.compress(b"") * (MEMBERS_MAX + 1), "members"),
}


@pytest.mark.parametrize(("coding", "body", "detail"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_body_that_cannot_be_read_is_malformed_and_says_why(
    client: UpstreamClient, upstream: UpstreamServer, coding: str, body: bytes, detail: str
) -> None:
    upstream.behavior = answer(body, headers=[f"Content-Encoding: {coding}"])
    with pytest.raises(UpstreamFailed) as caught:
        await client.get_tag("primary", upstream.url, {}, LIMITS)
    assert caught.value.kind == "malformed"
    assert detail in caught.value.detail


@pytest.mark.parametrize("status", ["201 Created", "202 Accepted", "203 Non-Authoritative Information"])
async def test_a_success_with_a_body_is_an_answer(
    client: UpstreamClient, upstream: UpstreamServer, status: str
) -> None:
    upstream.behavior = answer(inline(), status)
    assert await client.get_tag("primary", upstream.url, {}, LIMITS) == inline()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("204 No Content", "no_ad"),
        ("205 Reset Content", "no_ad"),
        ("206 Partial Content", "status"),
        ("304 Not Modified", "status"),
        ("404 Not Found", "status"),
        ("410 Gone", "status"),
        ("503 Service Unavailable", "status"),
    ],
)
async def test_other_statuses(client: UpstreamClient, upstream: UpstreamServer, status: str, kind: str) -> None:
    upstream.behavior = answer(b"", status)
    with pytest.raises(UpstreamFailed) as caught:
        await client.get_tag("primary", upstream.url, {}, LIMITS)
    assert caught.value.kind == kind


@pytest.mark.parametrize("size_bytes", [9_000, 16_384])
async def test_headers_may_be_as_long_as_the_longest_url(
    client: UpstreamClient, upstream: UpstreamServer, fallback: UpstreamServer, size_bytes: int
) -> None:
    url = f"{fallback.url}/?gdpr_consent=".ljust(size_bytes, "C")
    upstream.behavior = redirect(url)
    fallback.behavior = answer(inline(), headers=[f"Set-Cookie: {'a' * (size_bytes - 20)}", f"X-Debug: {'b' * 9000}"])
    assert await client.get_tag("primary", upstream.url, {}, LIMITS) == inline()
    assert fallback.requests[0].target == url.removeprefix(fallback.url)


async def test_a_header_longer_than_that_is_refused(client: UpstreamClient, upstream: UpstreamServer) -> None:
    upstream.behavior = redirect(upstream.url + "/" + "x" * 20_000)
    with pytest.raises(UpstreamFailed, match="protocol"):
        await client.get_tag("primary", upstream.url, {}, LIMITS)


def unpacked(packed: bytes, pieces: int, max_bytes: int) -> bytes:
    unpacker = ContentDecoder(frozenset(), max_bytes)
    parts = [unpacker.feed(packed[start : start + pieces]) for start in range(0, len(packed), pieces)]
    return b"".join(parts) + unpacker.finish()


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.integers(1, 50), st.integers(0, 3))
def test_members_are_joined_wherever_the_body_is_cut_into_pieces(members: list[bytes], pieces: int, zeros: int) -> None:
    packed = b"".join(gzip.compress(member) + bytes(zeros) for member in members)
    whole = b"".join(members)
    assert unpacked(packed, pieces, len(whole)) == whole
    if whole:
        with pytest.raises(BodyTooLargeError):
            unpacked(packed, pieces, len(whole) - 1)


@given(st.binary(max_size=50).filter(lambda body: not body.startswith(b"\x1f\x8b")), st.integers(1, 10))
def test_what_is_not_packed_stays_as_it_is(body: bytes, pieces: int) -> None:
    assert unpacked(body, pieces, 50) == body


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_what_unpacks_to_too_much_is_held_in_small_parts(pack: Callable[[bytes], bytes]) -> None:
    unpacker = ContentDecoder(frozenset(["deflate"]), 1000)
    with pytest.raises(BodyTooLargeError):
        unpacker.feed(pack(bytes(10_000_000)))


def test_a_member_that_ends_early_is_noticed() -> None:
    unpacker = ContentDecoder(frozenset(), 1000)
    unpacker.feed(gzip.compress(b"whole") + gzip.compress(b"not whole")[:12])
    with pytest.raises(DecodingError, match="truncated"):
        unpacker.finish()


async def test_a_body_that_unpacks_to_nothing_has_a_limit_too(client: UpstreamClient, upstream: UpstreamServer) -> None:
    """What follows the last member of a gzip body is dropped, so that only what is received can bound it."""

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\n\r\n"
        writer.write(head + gzip.compress(inline()) + b"-" * LIMITS.max_body_bytes)
        await writer.drain()
        writer.close()

    upstream.behavior = behave
    with pytest.raises(UpstreamFailed) as caught:
        await client.get_tag("primary", upstream.url, {}, LIMITS)
    assert caught.value.kind == "too_large"
