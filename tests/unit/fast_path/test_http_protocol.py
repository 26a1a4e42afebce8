"""The bytes that a connection writes, and the requests that it refuses."""

import asyncio
import sys

import pytest
from starlette.types import Receive, Scope, Send

from app.fast_path.connection_limits import HEAD_BYTES_MAX
from app.fast_path.http_transport import CoalescingTransport
from tests.unit.fast_path.wire import GET, PROPOSAL, App, Wire, answered, connected, once, turns_of_the_loop, whole


def sending(status: int, *parts: bytes, length: int | None = None) -> App:
    """Answers with these parts of a body, and takes a turn of the event loop before each."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for part in parts:
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def test_head_and_body_leave_together() -> None:
    wire = await answered(once, GET.replace(b"/ ", b"/first "), GET.replace(b"/ ", b"/second "))

    assert wire.writes == [
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n/first",
        b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n/second",
    ]
    assert not wire.closed


async def test_pipelined_answers_leave_one_by_one_in_their_order() -> None:
    wire = await answered(once, GET.replace(b"/ ", b"/first ") + GET.replace(b"/ ", b"/second "))

    assert [write[-7:] for write in wire.writes] == [b"\n/first", b"/second"]


async def test_the_answer_to_head_leaves_though_no_body_follows() -> None:
    wire = await answered(once, GET.replace(b"GET", b"HEAD"), GET)

    assert wire.writes[0] == b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"
    assert wire.writes[1].endswith(b"\r\n\r\n/")


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_leaves(status: int) -> None:
    wire = await answered(sending(status), GET)

    assert b"".join(wire.writes).startswith(b"HTTP/1.1 %d " % status)


async def test_a_stream_leaves_part_by_part() -> None:
    wire = await answered(sending(200, b"one", b"two", length=6), GET)

    assert [write for write in wire.writes if write] == [
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none",
        b"two",
    ]


def test_a_part_that_looks_like_a_head_is_not_kept() -> None:
    wire = Wire()
    joined = CoalescingTransport(wire, asyncio.new_event_loop())
    for part in (b"HTTP/1.1 200 OK\r\n\r\n", b"one", b"HTTP/1.1 200 "):
        joined.write(part)

    assert wire.writes == [b"HTTP/1.1 200 OK\r\n\r\none", b"HTTP/1.1 200 "]


async def test_a_client_that_waits_to_be_told_to_continue_is_told() -> None:
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        seen.extend(wire.writes)
        protocol.data_received(b"x")
        await body
        await once(scope, receive, send)

    protocol, state, wire = connected(app)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    await asyncio.wait(state.tasks)

    assert seen == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert wire.writes[1].endswith(b"\r\n\r\n/")


async def test_what_is_no_http_is_told_so_before_the_connection_ends() -> None:
    wire = await answered(once, b"nonsense\r\n\r\n")

    assert wire.writes[0].startswith(b"HTTP/1.1 400 ")
    assert wire.ended


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: %s\r\n" % (b"a" * 1000)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: %s\r\n" % (b"a" * 1000)),
    ],
    ids=["line", "header", "headers", "trailer"],
)
async def test_a_head_without_an_end_is_refused(begin: bytes, more: bytes) -> None:
    protocol, _, wire = connected(whole)
    protocol.data_received(begin)
    await turns_of_the_loop()
    sent = 0
    while not wire.ended and sent < 2 * HEAD_BYTES_MAX:
        protocol.data_received(more)
        sent += len(more)

    assert HEAD_BYTES_MAX - len(begin) < sent <= HEAD_BYTES_MAX + len(more)
    assert wire.writes[-1].startswith(b"HTTP/1.1 431 ")


async def test_what_was_read_of_one_request_does_not_count_for_the_next() -> None:
    head = GET.replace(b"Host: a", b"Host: a\r\nX: " + b"a" * (HEAD_BYTES_MAX // 2))
    posted = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * HEAD_BYTES_MAX)
    wire = await answered(once, head, head, head, posted, b"x" * HEAD_BYTES_MAX, b"x" * HEAD_BYTES_MAX, head)

    assert [write.startswith(b"HTTP/1.1 200 ") for write in wire.writes] == [True] * 5
    assert not wire.closed


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 4\r\n\r\nbody", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("cut", [1, 40, 140, 1000])
async def test_who_proposes_another_protocol_is_heard_to_the_end_in_this_one(framing: bytes, cut: int) -> None:
    async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": body})

    sent = b"POST / HTTP/1.1\r\n" + PROPOSAL + framing
    protocol, state, wire = connected(echo)
    for part in (sent[:cut], sent[cut:], sent):
        protocol.data_received(part)
    while state.tasks:
        await asyncio.wait(state.tasks)
    assert [write[-8:] for write in wire.writes] == [b"\r\n\r\nbody"] * 2


async def test_many_proposals_at_once_are_passed_over_one_by_one() -> None:
    proposing = GET.replace(b"Host: a\r\n", PROPOSAL)
    wire = await answered(once, proposing * sys.getrecursionlimit())
    assert len(wire.writes) == sys.getrecursionlimit()


async def test_a_tunnel_is_refused() -> None:
    wire = await answered(once, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wire.writes[0].startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"GET / HTTP/1.1\r\n"],
        [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", b"x"],
    ],
    ids=["silence", "a part of a head", "a part of a body"],
)
async def test_who_begins_a_request_and_vanishes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, parts: list[bytes]
) -> None:
    monkeypatch.setattr("app.fast_path.connection_limits.REQUEST_S", 0)
    monkeypatch.setattr("app.fast_path.http_transport.LINGER_S", 0)
    protocol, _, wire = connected(whole)
    for part in parts:
        protocol.data_received(part)
    await turns_of_the_loop()
    assert wire.closed
    assert [write[:12] for write in wire.writes] == ([b"HTTP/1.1 408"] if parts else [])


async def test_a_request_must_be_here_in_time_however_often_a_piece_of_it_comes() -> None:
    protocol, _, _ = connected(once)

    def due() -> float:
        assert protocol.timeout_keep_alive_task is not None
        return protocol.timeout_keep_alive_task.when()

    silent = due()
    protocol.data_received(b"GET / HT")
    first = due()
    for piece in (b"TP/1.1\r\n", b"Ho"):
        protocol.data_received(piece)
        assert due() == first
    protocol.data_received(b"st: a\r\n\r\n")
    await turns_of_the_loop()
    protocol.data_received(b"POST / HTTP/1.1\r\n")
    second = due()
    for piece in (b"Host: a\r\nContent-Length: 3\r\n\r\n", b"x"):
        protocol.data_received(piece)
        assert due() == second
    assert silent < first < second


async def test_an_application_that_breaks_off_loses_its_connection() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        raise RuntimeError("broken off")

    assert (await answered(app, GET)).closed


TARGET = "/vast?title=Café&genre=ü".encode()
ENCODED = b"title=Caf%C3%A9&genre=%C3%BC"


async def query_string(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers with the query that it was asked."""
    headers = [(b"content-length", str(len(scope["query_string"])).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["query_string"]})


@pytest.mark.parametrize("cut", [None, 10, 18, 19, 28, 40])
async def test_bytes_above_127_in_the_request_line_are_read_wherever_it_is_cut(cut: int | None) -> None:
    request = b"GET " + TARGET + b" HTTP/1.1\r\nHost: a\r\nX-Name: Caf\xc3\xa9\r\n\r\n"
    parts = [request] if cut is None else [request[:cut], request[cut:]]
    wire = await answered(query_string, *parts, request)

    assert [write.partition(b"\r\n\r\n")[2] for write in wire.writes] == [ENCODED, ENCODED]


async def test_bytes_above_127_elsewhere_stay_as_they_are() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        body = dict(scope["headers"])[b"x-name"] + (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": body})

    head = b"POST / HTTP/1.1\r\nHost: a\r\nX-Name: Caf\xc3\xa9\r\nContent-Length: 5\r\n\r\n"
    wire = await answered(echo, head + b"\xff\xfe\n\xfd\xfc")

    assert wire.writes[0].endswith(b"\r\n\r\nCaf\xc3\xa9\xff\xfe\n\xfd\xfc")
