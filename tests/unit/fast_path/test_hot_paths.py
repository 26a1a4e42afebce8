"""Endpoints of hot paths are called directly, and their responses obey the order and rules of HTTP."""

import asyncio
import gc
import weakref
from dataclasses import dataclass, field

import pytest
from uvicorn.server import ServerState

from app.fast_path.direct_endpoints import DirectAnswer, DirectRequest, Respond
from app.fast_path.hot_paths import HotPaths
from app.fast_path.http_protocol import FastPathProtocol
from tests.unit.fast_path.wire import GET, GET_HOT, PROPOSAL, Wire, connected, once, turns_of_the_loop


@dataclass
class Hot:
    """An endpoint that answers when a test calls `answer`, or immediately."""

    immediately: bool = False
    asked: list[tuple[DirectRequest, Respond]] = field(default_factory=list)

    def __call__(self, request: DirectRequest, respond: Respond) -> None:
        self.asked.append((request, respond))
        if self.immediately:
            self.answer(-1)

    def answer(self, index: int) -> None:
        """Answers a request, with its query."""
        request, respond = self.asked[index]
        respond(DirectAnswer(200, ((b"content-length", b"%d" % len(request.query)),), request.query))


async def asking(hot: Hot, *requests: bytes) -> tuple[FastPathProtocol, ServerState, Wire]:
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
    protocol, state, wire = connected(HotPaths(once, {"/hot": Hot(immediately=True)}))
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
    protocol, state, wire = connected(HotPaths(once, {"/hot": Hot(immediately=True)}))
    protocol.data_received(GET.replace(b"/ ", b"/first ") + GET_HOT)
    while state.tasks:
        await asyncio.wait(state.tasks)
    assert [write[-7:] for write in wire.writes] == [b"\n/first", b"\r\n\r\nq=1"]


async def test_a_request_of_a_player_that_does_not_read_waits_until_it_does() -> None:
    hot = Hot(immediately=True)
    protocol, _, wire = await asking(hot)
    protocol.pause_writing()
    protocol.data_received(GET_HOT)
    await turns_of_the_loop()
    assert hot.asked == []

    protocol.resume_writing()
    await turns_of_the_loop()
    assert [write[-7:] for write in wire.writes] == [b"\r\n\r\nq=1"]


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
    hot = Hot(immediately=True)
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


async def test_who_proposes_another_protocol_on_a_hot_path_is_answered_and_so_is_who_comes_behind() -> None:
    hot = Hot(immediately=True)
    _, _, wire = await asking(hot, GET_HOT.replace(b"Host: a\r\n", PROPOSAL) + GET_HOT.replace(b"q=1", b"q=2"))
    await turns_of_the_loop()
    assert [write[-3:] for write in wire.writes] == [b"q=1", b"q=2"]


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
