"""Requests that no endpoint sees: too large, or to be understood in two ways (RFC 9112 sections 3.2, 5, 6 and 7)."""

import json

import pytest
from starlette.types import Receive, Scope, Send

from app.fast_path import DirectAnswer, refusals
from app.fast_path.connection_limits import HEAD_BYTES_MAX, HEADERS_MAX
from app.web.cors import cors_headers
from app.web.problems import problem
from tests.unit.fast_path.wire import GET, answered, once, whole

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def padded(size: int) -> bytes:
    """A request whose head has this size in bytes."""
    begin = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    return begin + b"a" * (size - len(begin) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize(("size", "status"), [(HEAD_BYTES_MAX, 200), (HEAD_BYTES_MAX + 1, 431), (250_000, 431)])
@pytest.mark.parametrize("piece", [1 << 20, 50_000, 1000])
async def test_a_head_has_a_largest_size_however_it_comes(size: int, status: int, piece: int) -> None:
    head = padded(size)
    wire = await answered(once, *(head[begin : begin + piece] for begin in range(0, size, piece)))
    assert wire.writes[0].startswith(b"HTTP/1.1 %d " % status)
    assert wire.ended == (status != 200)


@pytest.mark.parametrize(("count", "status"), [(HEADERS_MAX, 200), (HEADERS_MAX + 1, 431), (8000, 431)])
async def test_a_head_has_so_many_headers_at_the_most(count: int, status: int) -> None:
    wire = await answered(once, GET.replace(b"\r\n\r\n", b"\r\n" + b"X: a\r\n" * (count - 1) + b"\r\n"))
    assert wire.writes[0].startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    "request_",
    [
        GET.replace(b"Host: a", b"Host: a\r\nHost: a"),
        GET.replace(b"Host: a", b"Host: a\r\nhost: b"),
        GET.replace(b"Host: a\r\n", b""),
        GET.replace(b"Host", b"Host "),
        GET.replace(b"Host: a", b"Host: a\r\n b"),
        GET.replace(b"Host: a", b"Host: a\x00"),
        GET.replace(b"Host: a", b"Host: a\r\nX: b\rY: c"),
        GET.replace(b"Host: a", b"Host: a\r\nX\x00: b"),
        GET.replace(b"Host: a", b"Host: a\r\n: b"),
        GET.replace(b"\r\n", b"\n"),
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
        POST + b"Content-Length: 4, 4\r\n\r\nbody",
        POST + b"Content-Length: +4\r\n\r\nbody",
        POST + b"Content-Length: -4\r\n\r\nbody",
        POST + b"Content-Length: 99999999999999999999\r\n\r\nbody",
        POST + b"Transfer-Encoding: identity\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"x\r\n\r\n",
        CHUNKED + b"0x4\r\nbody\r\n0\r\n\r\n",
        CHUNKED + b"-4\r\nbody\r\n0\r\n\r\n",
        CHUNKED + b"4\nbody\n0\n\n",
        CHUNKED + b"4;a\nb\r\nbody\r\n0\r\n\r\n",
        CHUNKED + b"fffffffffffffffff\r\nbody\r\n0\r\n\r\n",
        CHUNKED + b"4\r\nbodyX0\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET /\r\nGET /\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_a_proxy_might_read_in_another_way_is_refused_and_the_connection_with_it(request_: bytes) -> None:
    wire = await answered(whole, request_, GET)
    assert [write[:12] for write in wire.writes] == [b"HTTP/1.1 400"]
    assert wire.ended


async def test_a_transfer_coding_that_is_not_known_is_not_implemented() -> None:
    wire = await answered(whole, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
    assert wire.writes[0].startswith(b"HTTP/1.1 501 ")


async def test_a_refusal_is_a_problem_document_that_pages_may_read() -> None:
    wire = await answered(once, padded(HEAD_BYTES_MAX + 1))
    head, _, body = wire.writes[0].partition(b"\r\n\r\n")
    assert {
        b"content-type: application/problem+json",
        b"access-control-allow-origin: *",
        b"cache-control: no-store",
        b"connection: close",
    } <= set(head.split(b"\r\n"))
    assert json.loads(body)["status"] == 431


def test_refusals_look_like_the_problem_documents_of_endpoints() -> None:
    answers = [value for value in vars(refusals).values() if isinstance(value, DirectAnswer)]
    assert len(answers) == 7
    for answer in answers:
        response = problem(answer.status, json.loads(answer.body)["detail"])
        assert answer.body == response.body
        assert answer.headers == (*response.raw_headers, *cors_headers(None))


async def test_an_http_1_0_request_needs_no_host() -> None:
    wire = await answered(once, b"GET / HTTP/1.0\r\n\r\n")
    assert wire.writes[0].startswith(b"HTTP/1.1 200 ")


async def test_a_field_of_a_trailer_is_no_header() -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        seen.extend(scope["headers"])
        await once(scope, receive, send)

    await answered(app, CHUNKED + b"1\r\na\r\n0\r\nX-Device-IP: 192.0.2.1\r\n\r\n")
    assert seen == [(b"host", b"a"), (b"transfer-encoding", b"chunked")]
