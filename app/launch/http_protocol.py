"""uvicorn's HTTP protocol, but for this: hot paths are asked directly, an answer leaves in one write, a head must end.

A request for a hot path needs no task, no scope and no messages: its endpoint is called as soon as it is read, and
calls back with the answer, so that a group's answers leave one after the other.

uvicorn writes the head and the body of an answer one after the other, and the event loop sends at once what is written:
two system calls, two packets and two awakenings of the player. The second cost a fifth of a worker's CPU. ASGI forbids
it anyway: nothing is to be sent before a part of the body is known ("Response Start" in the ASGI specification).
"""

import asyncio
from collections.abc import Callable
from typing import cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.launch.http_parser import RequestParser
from app.web.clients import Headers
from app.web.direct import DirectAnswer, DirectRequest
from app.web.hot_paths import HotPaths

FINAL_HEADS = (b"HTTP/1.1 2", b"HTTP/1.1 3", b"HTTP/1.1 4", b"HTTP/1.1 5")
"""How the head of an answer begins; `100 Continue` is none, because the player waits for it with its body."""

HEAD_BYTES_MAX = 65_536
"""Of what the parser keeps until it is whole: a request's line and headers, or the trailer behind a body in chunks."""

TOO_LONG = DirectAnswer(431, ((b"content-length", b"0"),), b"")

NOT_SIMPLE = (b"content-length", b"transfer-encoding", b"expect")
"""Headers of requests that have a body, or want to be told to send it."""


class HeadWithBody:
    """A transport that keeps the head of an answer until something is written after it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._expects_head = True
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.write_whole = transport.write

    def write(self, data: bytes) -> None:
        """Keeps a head, and sends everything else, behind the head if one was kept."""
        if self._head:
            self._transport.write(self._head + data)
            self._head = b""
        elif self._expects_head and data.startswith(FINAL_HEADS):
            self._head, self._expects_head = data, False
        else:
            self._transport.write(data)

    def end_answer(self) -> None:
        """Sends the head of an answer that has no body; the next one may come."""
        if self._head:
            self.write(b"")
        self._expects_head = True

    def close(self) -> None:
        """Closes the connection once everything is sent."""
        self.end_answer()
        self._transport.close()


class DirectCycle:
    """A request that its endpoint was asked for directly; for uvicorn it stands in for its RequestResponseCycle."""

    __slots__ = ("_send", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")

    def __init__(self, send: Callable[[DirectAnswer, bool], None], message_event: asyncio.Event) -> None:
        self._send = send
        self.message_event = message_event
        self.more_body = False
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    def respond(self, answer: DirectAnswer) -> None:
        """Has the answer sent; uvicorn may hold the cycle of a later request by now."""
        self.response_complete = True
        self._send(answer, self.keep_alive)


class OneWriteProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection."""
        self._hot_paths = self.app if isinstance(self.app, HotPaths) else None
        self._nobody_waits = asyncio.Event()
        self._kept_bytes = 0
        self.parser = RequestParser(self)
        self._joined = HeadWithBody(transport)
        super().connection_made(cast(asyncio.Transport, self._joined))
        self._due = self.loop.time() + self.timeout_keep_alive
        """When the request that has begun must be here, by the event loop's clock, in seconds."""
        self._wait_for_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of the last request, which knows its connection: else both would wait for the garbage collector."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.cycle = cast(RequestResponseCycle, None)

    def data_received(self, data: bytes) -> None:
        """Reads on; who sends a head without an end is told so, because the parser would keep all of it."""
        if not self._is_amid_request():
            self._due = self.loop.time() + self.timeout_keep_alive
        self._kept_bytes += len(data)
        super().data_received(data)
        if self._kept_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._send_whole(TOO_LONG, keep_alive=False)
        elif self._is_amid_request():
            self._wait_for_more()

    def _is_amid_request(self) -> bool:
        """Whether a part of a request is here, and the rest is to come."""
        return self._kept_bytes > 0 or (self.cycle is not None and self.cycle.more_body)

    def _wait_for_more(self) -> None:
        """A request has as long from its first byte as there may be between two: then its connection is closed.

        So who vanished without a word is not waited for, nor who sends a byte now and then.
        """
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_at(self._due, self.timeout_keep_alive_handler)

    def on_body(self, body: bytes) -> None:
        """A part of a body is here, which the application takes."""
        self._kept_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """The head of a request is here: without a body, that is all of it."""
        self._kept_bytes = 0
        if not (self._hot_paths and self._ask_directly(self._hot_paths)):
            super().on_headers_complete()

    def _should_upgrade(self) -> bool:
        """To uvicorn, that a head which proposes another protocol is none of its business: it is read again without."""
        return True

    def _ask_directly(self, hot_paths: HotPaths) -> bool:
        """Whether that could be done."""
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("latin-1")
        endpoint = hot_paths.endpoint(path)
        headers = dict(self.headers)
        if endpoint is None or not self._is_simple(headers):
            return False
        cycle = DirectCycle(self._send_whole, self._nobody_waits)
        self.cycle = cast(RequestResponseCycle, cycle)
        peer = self.client[0] if self.client else None
        hot_paths.ask(endpoint, DirectRequest(path, query, headers, peer), cycle.respond)
        return True

    def _is_simple(self, headers: Headers) -> bool:
        """Whether it is a plain GET that nothing stands before; all others are uvicorn's."""
        parser = self.parser
        return (
            parser.get_method() == b"GET"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and headers.keys().isdisjoint(NOT_SIMPLE)
            and b"#" not in self.url
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and (self.limit_concurrency is None or len(self.connections) < self.limit_concurrency)
        )

    def _send_whole(self, answer: DirectAnswer, keep_alive: bool) -> None:
        """Sends it, unless the player has hung up."""
        if self.transport.is_closing():
            return
        # What is echoed of a request has no control characters: the parser refuses them.
        headers = (*self.server_state.default_headers, *answer.headers)
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        if not keep_alive:
            lines.append(b"connection: close\r\n")
        self._joined.write_whole(b"".join((STATUS_LINE[answer.status], *lines, b"\r\n", answer.body)))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """An answer is over."""
        self._joined.end_answer()
        super().on_response_complete()
