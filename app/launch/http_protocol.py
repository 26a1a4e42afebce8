"""uvicorn's HTTP protocol, but hot paths are asked directly, and a connection has limits in bytes and in time.

A request for a hot path needs no task, no scope and no messages: its endpoint is called as soon as it is read, and
calls back with the answer, so that a group's answers leave one after the other.

A request is parsed when the one before it on its connection is answered. What comes in the meantime waits as bytes, in
one block, and nothing more is read: neither requests nor answers pile up, whatever a client sends or does not read.
"""

import asyncio
import re
from itertools import islice
from typing import ClassVar, cast

import structlog
from httptools import HttpParserError
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.launch import connection_limits as limits
from app.launch import refusals
from app.launch.direct_cycle import DirectCycle
from app.launch.http_parser import RequestParser, ascii_request_line
from app.launch.http_transport import CoalescingTransport
from app.launch.refusals import Refused
from app.web.clients import Headers, headers_of
from app.web.direct import DirectAnswer, DirectRequest
from app.web.hot_paths import HotPaths

log = structlog.get_logger()

HEAD_END = b"\r\n\r\n"
MAY_END = re.compile(rb"\r\n\r\n[\r\n]*")
"""The end of a head, and blank lines behind it, which are ignored (RFC 9112 section 2.2)."""

NOT_SIMPLE = (b"content-length", b"transfer-encoding", b"expect")
"""Headers of requests that have a body, or want to be told to send it."""


class OneWriteProtocol(HttpToolsProtocol):
    """One connection."""

    held: ClassVar = limits.HeldBytes()
    """By all connections of the process together."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection, if need be in place of one that nothing is done for."""
        self._hot_paths = self.app if isinstance(self.app, HotPaths) else None
        self._nobody_waits = asyncio.Event()
        self._unread, self._parsed, self._tail = b"", 0, b""
        self._turn_is_due = False
        self._is_quiet = False
        """Whether the next request may be parsed as soon as it comes: nothing is here of it, or stands before it."""
        self._head_bytes = self._request_bytes = self._held_bytes = 0
        self._body_left = 0
        """Of a body whose length is known."""
        self._is_in_request_line = True
        self.headers = []
        self.parser = RequestParser(self)
        self._joined = CoalescingTransport(transport, self.loop)
        has_room = self._make_room()
        super().connection_made(cast(asyncio.Transport, self._joined))
        self._due = self.loop.time() + limits.REQUEST_S
        """When the request that has begun must be here, by the event loop's clock, in seconds."""
        self._wait_for_more()
        if not has_room:
            self._write_answer(refusals.OVERLOADED, keep_alive=False)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of the last request, which knows its connection: else both would wait for the garbage collector."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._joined.stop_timer()
        self._drop_request()
        self.cycle = cast(RequestResponseCycle, None)

    def data_received(self, data: bytes) -> None:
        """Reads on, unless the connection is only open for its client to take the last answer.

        Nearly always it is the head of one request, after the answer to another.
        """
        if self._is_quiet and len(data) <= limits.SMALL_HEAD_BYTES and data.find(HEAD_END) == len(data) - len(HEAD_END):
            self._is_quiet = False
            self._is_in_request_line = True
            self._unset_keepalive_if_required()
            self._feed(data)
            if self.cycle is None or self.cycle.more_body:
                self._due = self.loop.time() + limits.REQUEST_S
                self._settle()
        elif not self.transport.is_closing():
            self._unread += data
            self._read_on()

    def pause_writing(self) -> None:
        """Waits for the client to read, and meanwhile reads no request of its."""
        super().pause_writing()
        self._is_quiet = False
        self._joined.expect_progress()

    def resume_writing(self) -> None:
        """Goes on with the requests that waited."""
        super().resume_writing()
        self._joined.stop_timer()
        self._read_on()

    def timeout_keep_alive_handler(self) -> None:
        """Ends a connection on which nothing came in time; what it has not read by now of an answer is dropped."""
        if self._is_amid_request() and not self.transport.is_closing():
            self._refuse(refusals.NOT_IN_TIME)
        else:
            self._joined.abort()

    def is_idle(self) -> bool:
        """Whether there is no request that waits for its answer: none has begun, or none is whole."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _make_room(self) -> bool:
        """Whether there may be one more connection, perhaps because another was closed for it."""
        if self.limit_concurrency is None or len(self.connections) < self.limit_concurrency - 1:
            return True
        for other in islice(self.connections, limits.CONNECTIONS_ASKED_MAX):
            if isinstance(other, OneWriteProtocol) and other.is_idle():
                self.connections.discard(other)
                other._joined.abort()
                return True
        return False

    def _read_on(self) -> None:
        """Parses what was read, up to the end of a request that must be answered first."""
        left = limits.READ_BYTES
        while self._unread and self._may_parse():
            if left <= 0:
                self._take_another_turn()
                break
            self._unset_keepalive_if_required()
            if not self._is_amid_request():
                self._due = self.loop.time() + limits.REQUEST_S
                self._is_in_request_line = True
            piece = self._next_piece()
            left -= len(piece)
            self._head_bytes += len(piece)
            self._feed(piece)
        self._joined.hold_reading(self._unread != b"")
        self._settle()

    def _settle(self) -> None:
        """Says what comes next, now that something was parsed or answered."""
        self._count_held()
        if self.transport.is_closing():
            self._is_quiet = False
            return
        is_amid_request = self._is_amid_request()
        if is_amid_request:
            self._wait_for_more()
        self._is_quiet = not is_amid_request and not self._unread and self._may_parse()

    def _may_parse(self) -> bool:
        return self.is_idle() and not self.flow.write_paused and not self.transport.is_closing()

    def _take_another_turn(self) -> None:
        """Goes on reading once the other connections had their turn."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self.loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn_is_due = False
        self._read_on()

    def _next_piece(self) -> bytes:
        """Up to where a request may end, so that the next one is not parsed before this one is answered.

        That is the end of a head, of a body in chunks with its trailer, or of a body whose length is known.
        """
        begin, end = self._parsed, self._parsed + limits.READ_BYTES
        if self._body_left:
            end = min(end, begin + self._body_left)
        else:
            seam = (self._tail + self._unread[begin : begin + 3]).find(HEAD_END)
            if seam >= 0:
                end = begin - len(self._tail) + seam + len(HEAD_END)
            elif found := MAY_END.search(self._unread, begin, end):
                end = found.end()
        piece = self._unread[begin:end]
        if end < len(self._unread):
            self._parsed = end
        else:
            self._drop_unread()
        self._tail = piece[-3:]
        return piece

    def _drop_unread(self) -> None:
        self._unread, self._parsed = b"", 0

    def _feed(self, piece: bytes) -> None:
        """Parses a piece of a request; a head without an end is refused, because the parser would keep all of it."""
        if self._is_in_request_line:
            piece = ascii_request_line(piece)
            self._is_in_request_line = b"\n" not in piece
        try:
            self.parser.feed_data(piece)
            if self._head_bytes and self._is_head_too_large():
                self._refuse(refusals.HEAD_TOO_LARGE)
        except HttpParserError as error:
            refused = error.__context__
            self._refuse(refused.answer if isinstance(refused, Refused) else refusals.NO_HTTP)

    def _is_head_too_large(self) -> bool:
        """Whether that of the request that is being read is, or its trailer."""
        return self._head_bytes > limits.HEAD_BYTES_MAX or len(self.headers) > limits.HEADERS_MAX

    def _count_held(self) -> None:
        """Adds to what the worker holds, and refuses this connection's request if that is too much."""
        held_bytes = len(self._unread) + self._head_bytes + self._request_bytes
        if held_bytes != self._held_bytes:
            self.held.count += held_bytes - self._held_bytes
            grows, self._held_bytes = held_bytes > self._held_bytes, held_bytes
            if grows and self.held.are_too_many and not self.transport.is_closing():
                self._refuse(refusals.OVERLOADED)

    def _refuse(self, answer: DirectAnswer) -> None:
        """Answers a request that is not read to its end, as far as that is possible, and closes the connection.

        A request that was read before it still has its answer.
        """
        log.debug("request refused", status=answer.status)
        cycle = self.cycle
        if not self.is_idle():
            cycle.keep_alive = False
            self._drop_unread()
            self._count_held()
            return
        self._joined.lingers = True
        if cycle is None or not cycle.response_started:
            self._write_answer(answer, keep_alive=False)
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self._drop_request()
        self._unset_keepalive_if_required()
        self.transport.close()

    def _drop_request(self) -> None:
        """Lets go of all that is here of the request that was being read."""
        self._drop_unread()
        self._head_bytes = self._request_bytes = 0
        self.headers, self.url = [], b""
        self.scope, self.parser = cast(HTTPScope, None), cast(RequestParser, None)
        self._count_held()

    def _is_amid_request(self) -> bool:
        """Whether a part of a request is here, and the rest is to come."""
        return self._head_bytes > 0 or (self.cycle is not None and self.cycle.more_body)

    def _wait_for_more(self) -> None:
        """A request has a time from its first byte on: then it is refused.

        So who vanished without a word is not waited for, nor who sends a byte now and then.
        """
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_at(self._due, self.timeout_keep_alive_handler)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is here, or a field of a trailer."""
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        """A part of a body is here, which the application takes."""
        self._head_bytes = 0
        if self._body_left:
            self._body_left -= len(body)
        if not self.cycle.response_complete:
            self._request_bytes += len(body)
            super().on_body(body)

    def on_headers_complete(self) -> None:
        """The head of a request is here: without a body, that is all of it."""
        if self._is_head_too_large():
            raise Refused(refusals.HEAD_TOO_LARGE)
        headers = headers_of(self.headers)
        if len(headers) < len(self.headers) or b"host" not in headers or b"transfer-encoding" in headers:
            self._require_sound_head(headers)
        if self._head_bytes > limits.SMALL_HEAD_BYTES:
            self._request_bytes = self._head_bytes
        self._head_bytes = 0
        if not (self._hot_paths and self._ask_directly(self._hot_paths, headers)):
            self.expect_100_continue = headers.get(b"expect", b"").lower() == b"100-continue"
            super().on_headers_complete()
            if not self.parser.should_upgrade():
                self._joined.lingers = True
                self._body_left = int(headers.get(b"content-length", 0))
                self.headers = []  # What a trailer adds (RFC 9110 section 6.5.1) is no header of this request.

    def on_message_complete(self) -> None:
        """The whole request is here, unless the parser only read that it proposes another protocol."""
        self._head_bytes = 0
        cycle = self.cycle
        if cycle is not None and cycle.more_body:
            self._joined.lingers = False
            cycle.more_body = False
            cycle.message_event.set()
            self._forget_answered()

    def _require_sound_head(self, headers: Headers) -> None:
        """Raises Refused for a head that a proxy might read in another way (RFC 9112 sections 3.2 and 6.1)."""
        version = self.parser.get_http_version()
        is_current = version == "1.1"
        hosts = sum(name == b"host" for name, _ in self.headers)
        if version not in ("1.0", "1.1"):
            raise Refused(refusals.NO_HTTP)
        if hosts > 1 or (is_current and hosts == 0):
            raise Refused(refusals.NO_SINGLE_HOST)
        coding = headers.get(b"transfer-encoding")
        if coding is None:
            return
        if not is_current or coding.rpartition(b",")[2].strip().lower() != b"chunked":
            raise Refused(refusals.AMBIGUOUS_BODY)
        if coding.lower() != b"chunked":
            raise Refused(refusals.UNKNOWN_CODING)

    def _should_upgrade(self) -> bool:
        """To uvicorn, that a head which proposes another protocol is none of its business: it is read again without."""
        return True

    def _ask_directly(self, hot_paths: HotPaths, headers: Headers) -> bool:
        """Whether that could be done."""
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("latin-1")
        endpoint = hot_paths.endpoint(path)
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
        )

    def _send_whole(self, answer: DirectAnswer, keep_alive: bool) -> None:
        """Sends it, unless the player has hung up."""
        if self.transport.is_closing():
            return
        self._write_answer(answer, keep_alive)
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _write_answer(self, answer: DirectAnswer, keep_alive: bool) -> None:
        # What is echoed of a request has no control characters: the parser refuses them.
        headers = (*self.server_state.default_headers, *answer.headers)
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        if not keep_alive:
            lines.append(b"connection: close\r\n")
        self._joined.write_whole(b"".join((STATUS_LINE[answer.status], *lines, b"\r\n", answer.body)))

    def on_response_complete(self) -> None:
        """An answer is over: the next request may be parsed."""
        self._joined.end_answer()
        super().on_response_complete()
        self._forget_answered()
        if self._unread:
            self._read_on()
        elif self._held_bytes or self._is_amid_request() or self.cycle is not None:
            self._settle()
        else:
            self._is_quiet = not (self.flow.write_paused or self.transport.is_closing())

    def _forget_answered(self) -> None:
        """Lets go of a request that is whole and answered; if it was large, of its head too."""
        cycle = self.cycle
        if cycle is not None and cycle.response_complete and not cycle.more_body:
            self.cycle = cast(RequestResponseCycle, None)
            if self._request_bytes:
                self._request_bytes, self.headers, self.url = 0, [], b""
                self.scope = cast(HTTPScope, None)
