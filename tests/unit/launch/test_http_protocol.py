"""What leaves a connection at once, seen on a transport that notes every write."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.launch.http_protocol import HeadWithBody, OneWriteProtocol
from app.launch.worker import configuration

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Wire(asyncio.Transport):
    """Notes what is written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


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


def connected(app: App) -> tuple[OneWriteProtocol, ServerState, Wire]:
    """A connection that has just been made."""
    config = configuration()
    config.load()
    config.loaded_app = app
    state, wire = ServerState(), Wire()
    protocol = OneWriteProtocol(config, state, {})
    protocol.connection_made(wire)
    return protocol, state, wire


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


async def test_an_application_that_breaks_off_loses_its_connection() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        raise RuntimeError("broken off")

    assert (await answered(app, GET)).closed
