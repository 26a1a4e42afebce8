"""Pipelined requests, cut at any byte, are all answered, in the order in which they were sent."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from app.fast_path.direct_endpoints import DirectAnswer, DirectRequest, Respond
from app.fast_path.hot_paths import HotPaths
from tests.unit.fast_path.wire import connected

TURNS_MAX = 3
"""The most event loop iterations that an answer takes."""

ANSWER = re.compile(rb"HTTP/1.1 200 OK\r\n(?:[^\r]+\r\n)+\r\n(\d+)\.")
BODIES = {
    "/hot": b"\r\n",
    "/cold": b"\r\n",
    "/posted": b"Content-Length: 8\r\n\r\n\r\n\r\nbody",
    "/chunked": b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "/early": b"Content-Length: 4\r\n\r\nbody",
}
"""Of requests for each path: the rest of the head, and the body. `/early` is answered without it."""


def request(index: int, path: str, turns: int) -> bytes:
    method = b"GET" if path in ("/hot", "/cold") else b"POST"
    return b"%s %s?%d.%d HTTP/1.1\r\nHost: a\r\n%s" % (method, path.encode(), index, turns, BODIES[path])


def after(turns: int, call: Callable[[], None]) -> None:
    """Call after this number of event loop iterations, immediately for none."""
    if turns:
        asyncio.get_running_loop().call_soon(after, turns - 1, call)
    else:
        call()


def hot(asked: DirectRequest, respond: Respond) -> None:
    """Answers with the query."""
    answer = DirectAnswer(200, ((b"content-length", b"%d" % len(asked.query)),), asked.query)
    after(int(asked.query.partition(b".")[2]), lambda: respond(answer))


async def cold(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the query too."""
    query = scope["query_string"]
    body, more = b"", scope["path"] in ("/posted", "/chunked")
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    assert body in (b"", b"body", b"\r\n\r\nbody")
    for _ in range(int(query.partition(b".")[2])):
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(query))]})
    await send({"type": "http.response.body", "body": query})


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({*(cut % len(data) for cut in cuts), len(data)} - {0})
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


asking = st.lists(st.tuples(st.sampled_from(sorted(BODIES)), st.integers(0, TURNS_MAX)), min_size=1, max_size=6)
cutting = st.lists(st.integers(0, 1000), max_size=4)


async def talk(asked: list[tuple[str, int]], cuts: list[int], hang_up_after: int | None) -> tuple[list[int], list[Any]]:
    """Numbers of the answers as they left, and what went wrong; a player may hang up after so many pieces."""
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    protocol, state, wire = connected(HotPaths(cold, {"/hot": hot}))
    data = b"".join(request(index, path, turns) for index, (path, turns) in enumerate(asked))
    for index, piece in enumerate(pieces(data, cuts)):
        if index == hang_up_after:
            wire.close()
            protocol.connection_lost(None)
            break
        protocol.data_received(piece)
        await asyncio.sleep(0)
    for _ in range(len(asked) * (TURNS_MAX + 4)):
        await asyncio.sleep(0)
    while state.tasks:
        await asyncio.wait(state.tasks)
    return [int(number) for number in ANSWER.findall(b"".join(wire.writes))], faults


@settings(deadline=None)
@given(asking, cutting)
def test_everybody_is_answered_in_order(asked: list[tuple[str, int]], cuts: list[int]) -> None:
    answers, faults = asyncio.run(talk(asked, cuts, None))
    assert answers == list(range(len(asked)))
    assert faults == []


@settings(deadline=None)
@given(asking, cutting, st.integers(0, 4))
def test_who_hangs_up_disturbs_nobody(asked: list[tuple[str, int]], cuts: list[int], hang_up_after: int) -> None:
    answers, faults = asyncio.run(talk(asked, cuts, hang_up_after))
    assert answers == list(range(len(answers)))
    assert faults == []
