"""Limits of one connection: nothing accumulates, even if its client sends much or reads nothing."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from app.fast_path.connection_limits import READ_BYTES, HeldBytes
from app.fast_path.direct_endpoints import DirectAnswer, DirectRequest, Respond
from app.fast_path.hot_paths import HotPaths
from app.fast_path.http_protocol import FastPathProtocol
from tests.unit.fast_path.wire import GET, GET_HOT, Wire, answered, connected, once, turns_of_the_loop, whole

MANY = 2000


async def never(_scope: Scope, receive: Receive, _send: Send) -> None:
    """Waits until the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def posted(length: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length


@pytest.mark.parametrize("request_", [GET, GET_HOT, posted(2) + b"{}"], ids=["cold", "hot", "posted"])
async def test_of_many_pipelined_requests_one_is_parsed_and_no_more_is_read(request_: bytes) -> None:
    asked: list[DirectRequest] = []
    protocol, state, wire = connected(HotPaths(never, {"/hot": lambda request, _respond: asked.append(request)}))
    protocol.data_received(request_ * MANY)
    await turns_of_the_loop()
    assert len(asked) + len(state.tasks) == 1
    assert not protocol.pipeline
    assert wire.paused

    wire.close()
    protocol.connection_lost(None)
    await turns_of_the_loop()
    assert (protocol._unread, state.tasks) == (b"", set())


async def test_pipelined_requests_are_all_answered_in_turn() -> None:
    wire = await answered(whole, (GET + posted(2) + b"{}") * MANY, *([b""] * MANY))
    assert len(wire.writes) == 2 * MANY
    assert not wire.paused


async def test_a_connection_that_sends_much_leaves_the_others_their_turn() -> None:
    async def take(_scope: Scope, receive: Receive, _send: Send) -> None:
        while True:
            sizes.append(len((await receive())["body"]))

    sizes: list[int] = []
    protocol, state, _ = connected(take)
    protocol.data_received(posted(10 * READ_BYTES) + b"x" * (9 * READ_BYTES))
    await turns_of_the_loop(20)
    assert sum(sizes) == 9 * READ_BYTES
    assert max(sizes) <= READ_BYTES
    for task in state.tasks:
        task.cancel()


@pytest.mark.parametrize(
    "parts",
    [[posted(900), b"x" * 800], [GET[:-2] + b"X: " + b"x" * 800], [GET, GET * 30]],
    ids=["body", "head", "pipeline"],
)
async def test_a_worker_holds_so_much_and_refuses_more(monkeypatch: pytest.MonkeyPatch, parts: list[bytes]) -> None:
    monkeypatch.setattr(FastPathProtocol, "held", held := HeldBytes(1000))
    first, second = connected(never), connected(never)
    for protocol, _, _ in (first, second):
        for part in parts:
            protocol.data_received(part)
    await turns_of_the_loop()
    assert first[2].writes == []
    assert b"".join(second[2].writes)[:12] in (b"HTTP/1.1 503", b"")
    assert second[0]._unread == b""
    assert not held.is_over_limit

    for protocol, _, wire in (first, second):
        wire.close()
        protocol.connection_lost(None)
    assert held == HeldBytes(1000)


async def test_a_large_request_is_not_kept_once_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastPathProtocol, "held", held := HeldBytes())
    protocol, _, wire = connected(once)
    protocol.data_received(GET.replace(b"Host: a", b"Host: a\r\nX: " + b"x" * 50_000))
    assert held != HeldBytes()
    await turns_of_the_loop()
    assert wire.writes
    assert (held, protocol.headers, protocol.scope) == (HeldBytes(), [], None)


async def test_the_connection_that_is_one_too_many_takes_the_place_of_an_idle_one() -> None:
    busy, idle = connected(never, connections_max=3), None
    busy[0].data_received(GET)
    idle = connected(once, like=busy)
    assert not idle[2].closed
    third = connected(never, like=busy)
    assert (busy[2].closed, idle[2].closed, third[2].closed) == (False, True, False)

    third[0].data_received(GET)
    refused = connected(once, like=busy)
    assert refused[2].writes[0].startswith(b"HTTP/1.1 503 ")
    assert refused[2].closed


class Stuck(Wire):
    """A client that reads as much as a test says."""

    unsent = 100_000

    def get_write_buffer_size(self) -> int:
        return self.unsent


async def test_a_client_that_does_not_read_is_dropped_and_one_that_reads_slowly_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.fast_path.http_transport.WRITE_S", 0)
    monkeypatch.setattr("app.fast_path.http_transport.WRITE_BYTES_MIN", 10_000)
    protocol, _, wire = connected(once, wire=Stuck())
    protocol.pause_writing()
    wire.unsent = 90_000
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not wire.closed

    await turns_of_the_loop()
    assert wire.closed


async def test_an_answer_is_given_before_the_connection_ends_that_sent_something_wrong_behind_it() -> None:
    asked: list[Respond] = []
    protocol, _, wire = connected(HotPaths(once, {"/hot": lambda _request, respond: asked.append(respond)}))
    protocol.data_received(GET_HOT + b"nonsense\r\n\r\n")
    await turns_of_the_loop()
    asked[0](DirectAnswer(200, ((b"content-length", b"0"),), b""))
    await turns_of_the_loop()
    assert [write[:12] for write in wire.writes] == [b"HTTP/1.1 200", b"HTTP/1.1 400"]


async def test_who_sends_on_after_an_early_answer_that_closes_the_connection_has_time_to_read_it() -> None:
    close = posted(100_000).replace(b"Host: a", b"Host: a\r\nConnection: close")
    protocol, _, wire = connected(once)
    protocol.data_received(close + b"x" * 100)
    await turns_of_the_loop()
    assert (wire.ended, wire.closed) == (True, False)
    protocol.data_received(b"x" * 1000)
    assert protocol._unread == b""


async def test_a_body_that_is_whole_after_its_answer_leaves_the_connection_to_the_next_request() -> None:
    wire = await answered(once, posted(3) + b"a", b"bc", GET)
    assert [write[:12] for write in wire.writes] == [b"HTTP/1.1 200"] * 2
