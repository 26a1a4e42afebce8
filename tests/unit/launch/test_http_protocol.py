"""What leaves a connection at once."""

import asyncio
import gc
import sys
import weakref
from dataclasses import dataclass, field

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.launch.http_protocol import HEAD_BYTES_MAX, HeadWithBody, OneWriteProtocol
from app.web.direct import DirectAnswer, DirectRequest, Respond
from app.web.hot_paths import HotPaths
from tests.unit.launch.wire import App, Wire, connected

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_HOT = b"GET /hot?q=1 HTTP/1.1\r\nHost: a\r\nOrigin: b\r\n\r\n"


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


async def answered(app: App, *requests: bytes) -> Wire:
    """The wire after these requests were received, one after the other, and every answer was given."""
    protocol, state, wire = connected(app)
    for request in requests:
        protocol.data_received(request)
        while state.tasks:
            await asyncio.wait(state.tasks)
    return wire


async def once(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its path, as the hot paths do: one body, known at once."""
    body = scope["path"].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


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
    joined = HeadWithBody(wire)
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
    assert wire.closed


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: a\r\n" * 100),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: a\r\n" * 100),
    ],
    ids=["line", "header", "headers", "trailer"],
)
async def test_a_head_without_an_end_is_refused(begin: bytes, more: bytes) -> None:
    protocol, state, wire = connected(once)
    protocol.data_received(begin)
    while state.tasks:
        await asyncio.wait(state.tasks)
    sent = 0
    while not wire.closed and sent < 2 * HEAD_BYTES_MAX:
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


PROPOSAL = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"


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

    sent = b"POST / HTTP/1.1\r\nHost: a\r\n" + PROPOSAL + framing
    protocol, state, wire = connected(echo)
    for part in (sent[:cut], sent[cut:], sent):
        protocol.data_received(part)
    while state.tasks:
        await asyncio.wait(state.tasks)
    assert [write[-8:] for write in wire.writes] == [b"\r\n\r\nbody"] * 2


async def test_who_proposes_another_protocol_on_a_hot_path_is_answered_and_so_is_who_comes_behind() -> None:
    hot = Hot(at_once=True)
    _, state, wire = await asking(hot, GET_HOT.replace(b"Host: a\r\n", PROPOSAL) + GET_HOT.replace(b"q=1", b"q=2"))
    assert wire.writes[0].endswith(b"q=1")

    await asyncio.wait(state.tasks)
    assert [write[-3:] for write in wire.writes] == [b"q=1", b"q=2"]


async def test_many_proposals_at_once_are_passed_over_one_by_one() -> None:
    proposing = GET.replace(b"Host: a\r\n", PROPOSAL)
    wire = await answered(once, proposing * sys.getrecursionlimit())
    assert len(wire.writes) == sys.getrecursionlimit()


async def test_a_tunnel_is_refused() -> None:
    wire = await answered(once, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wire.writes[0].startswith(b"HTTP/1.1 400 ")


async def turns_of_the_loop() -> None:
    """More of them than a timer that is due takes to be called."""
    for _ in range(10):
        await asyncio.sleep(0)


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
    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await once(scope, receive, send)

    monkeypatch.setattr("app.launch.worker.KEEP_ALIVE_S", 0)
    protocol, _, wire = connected(reading)
    for part in parts:
        protocol.data_received(part)
    await turns_of_the_loop()
    assert wire.closed


async def test_a_request_that_is_whole_is_waited_for_however_long_its_answer_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.launch.worker.KEEP_ALIVE_S", 0)
    hot = Hot()
    _, _, wire = await asking(hot, GET_HOT[:20], GET_HOT[20:])
    await turns_of_the_loop()
    assert not wire.closed

    hot.answer(0)
    await turns_of_the_loop()
    assert wire.closed


async def test_an_application_that_breaks_off_loses_its_connection() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        raise RuntimeError("broken off")

    assert (await answered(app, GET)).closed


@dataclass
class Hot:
    """An endpoint that answers when it is told to, or at once."""

    at_once: bool = False
    asked: list[tuple[DirectRequest, Respond]] = field(default_factory=list)

    def __call__(self, request: DirectRequest, respond: Respond) -> None:
        self.asked.append((request, respond))
        if self.at_once:
            self.answer(-1)

    def answer(self, no: int) -> None:
        """Answers a request, with its query."""
        request, respond = self.asked[no]
        respond(DirectAnswer(200, ((b"content-length", b"%d" % len(request.query)),), request.query))


async def asking(hot: Hot, *requests: bytes) -> tuple[OneWriteProtocol, ServerState, Wire]:
    """A connection on which these were received, whose endpoint was asked and has not answered yet."""
    protocol, state, wire = connected(HotPaths(once, {"/hot": hot}))
    for request in requests:
        protocol.data_received(request)
    while state.tasks:
        await asyncio.wait(state.tasks)
    await asyncio.sleep(0)
    return protocol, state, wire


async def test_a_hot_path_is_asked_without_a_task_and_its_answer_leaves_in_one_write() -> None:
    hot = Hot()
    protocol, state, wire = await asking(hot, GET_HOT)
    assert [(request.path, request.query, request.headers[b"origin"]) for request, _ in hot.asked] == [
        ("/hot", b"q=1", b"b")
    ]
    assert (state.tasks, wire.writes) == (set(), [])

    hot.answer(0)
    protocol.data_received(GET_HOT.replace(b"q=1", b"q=22"))
    await asyncio.sleep(0)
    hot.answer(1)
    assert wire.writes == [
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nq=1",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nq=22",
    ]
    assert (wire.closed, state.total_requests) == (False, 2)


@pytest.mark.parametrize(
    "request_",
    [
        GET_HOT.replace(b"GET", b"HEAD"),
        GET_HOT.replace(b"HTTP/1.1", b"HTTP/1.0"),
        GET_HOT.replace(b"Origin: b", b"Connection: close"),
        GET_HOT.replace(b"Origin: b", b"Content-Length: 1") + b"x",
        GET_HOT.replace(b"Origin: b", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        GET_HOT.replace(b"?q=1", b"#q=1"),
        GET_HOT.replace(b"hot", b"cold"),
    ],
)
async def test_what_is_no_plain_get_of_a_hot_path_is_answered_as_asgi_has_it(request_: bytes) -> None:
    protocol, state, wire = connected(HotPaths(once, {"/hot": Hot(at_once=True)}))
    protocol.data_received(request_)
    assert len(state.tasks) == 1
    await asyncio.wait(state.tasks)
    assert wire.writes[0].startswith(b"HTTP/1.1 200 ")


async def test_what_is_pipelined_behind_a_hot_path_waits_for_its_answer() -> None:
    hot = Hot()
    _, state, wire = await asking(hot, GET_HOT + GET.replace(b"/ ", b"/second "))
    assert wire.writes == []

    hot.answer(0)
    await asyncio.wait(state.tasks)
    assert [write[-7:] for write in wire.writes] == [b"\r\n\r\nq=1", b"/second"]


async def test_what_the_server_says_in_every_answer_is_in_those_of_hot_paths_too() -> None:
    hot = Hot()
    _, state, wire = await asking(hot, GET_HOT)
    state.default_headers = [(b"date", b"today")]
    hot.answer(0)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 3\r\n\r\nq=1"]


async def test_the_last_of_pipelined_requests_may_close_the_connection() -> None:
    hot = Hot()
    last = GET.replace(b"/ ", b"/last ").replace(b"Host: a", b"Host: a\r\nConnection: close")
    _, state, wire = await asking(hot, GET_HOT + last)
    hot.answer(0)
    assert (wire.writes, wire.closed) == ([b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nq=1"], False)

    await asyncio.wait(state.tasks)
    assert wire.writes[1].endswith(b"connection: close\r\n\r\n/last")
    assert wire.closed


async def test_a_hot_path_pipelined_behind_another_request_waits_for_its_answer() -> None:
    protocol, state, wire = connected(HotPaths(once, {"/hot": Hot(at_once=True)}))
    protocol.data_received(GET.replace(b"/ ", b"/first ") + GET_HOT)
    while state.tasks:
        await asyncio.wait(state.tasks)
    assert [write[-7:] for write in wire.writes] == [b"\n/first", b"\r\n\r\nq=1"]


async def test_a_player_that_does_not_read_is_answered_by_asgi_which_waits_for_it() -> None:
    protocol, state, _ = connected(HotPaths(once, {"/hot": Hot()}))
    protocol.pause_writing()
    protocol.data_received(GET_HOT)
    await asyncio.sleep(0)
    assert len(state.tasks) == 1
    for task in state.tasks:
        task.cancel()


@pytest.mark.parametrize("broken", [b"b\r\n c", b"b\nX: c", b"b\rX: c", b"b\x00", b"b\x0bc", b"b\x7f"])
async def test_a_header_that_would_break_the_head_of_an_answer_that_echoes_it_is_refused(broken: bytes) -> None:
    hot = Hot()
    _, _, wire = await asking(hot, GET_HOT.replace(b"Origin: b", b"Origin: " + broken))
    assert hot.asked == []
    assert wire.writes[0].startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("requests", [GET_HOT, GET_HOT + GET_HOT], ids=["one request", "another behind it"])
async def test_who_has_hung_up_is_not_answered(requests: bytes) -> None:
    hot = Hot()
    protocol, state, wire = await asking(hot, requests)
    wire.close()
    protocol.connection_lost(None)
    hot.answer(0)
    assert (wire.writes, state.connections) == ([], set())


async def test_a_connection_that_has_ended_is_freed_at_once() -> None:
    hot = Hot(at_once=True)
    protocol, _, wire = await asking(hot, GET_HOT)
    wire.close()
    protocol.connection_lost(None)
    hot.asked.clear()
    left = weakref.ref(protocol)
    gc.disable()
    try:
        del protocol
        assert left() is None
    finally:
        gc.enable()


async def test_a_server_that_stops_answers_first_and_then_closes_the_connection() -> None:
    hot = Hot()
    protocol, _, wire = await asking(hot, GET_HOT)
    protocol.shutdown()
    assert not wire.closed

    hot.answer(0)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nq=1"]
    assert wire.closed
