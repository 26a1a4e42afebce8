"""uvicorn's httptools protocol with three changes.

1. Requests for hot paths bypass ASGI: no task, no scope and no messages. The endpoint is called as soon as the request
   has been read, and calls back with the response, so that the responses of a group are written one after another.
2. Each response is one write (app.fast_path.http_transport).
3. A connection has limits in bytes and in time (app.fast_path.connection_limits). These are for security, not speed.

A request is parsed after the previous request on its connection has been answered. Until then its bytes wait in one
block and nothing more is read, so neither requests nor responses accumulate, no matter how much a client sends or how
little it reads.
"""

import asyncio
import re
from itertools import islice
from typing import ClassVar, cast

import structlog
from httptools import HttpParserError
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.fast_path import connection_limits as limits
from app.fast_path import refusals
from app.fast_path.direct_endpoints import DirectAnswer, DirectRequest, Headers, headers_of
from app.fast_path.hot_paths import HotPaths
from app.fast_path.http_cycle import FastPathCycle
from app.fast_path.http_parser import RequestParser, ascii_request_line
from app.fast_path.http_transport import CoalescingTransport
from app.fast_path.refusals import Refused

log = structlog.get_logger()

HEAD_END = b"\r\n\r\n"
HEAD_END_AND_BLANK_LINES = re.compile(rb"\r\n\r\n[\r\n]*")
"""The end of a head, and the blank lines after it, which are ignored (RFC 9112 section 2.2)."""

BODY_HEADERS = (b"content-length", b"transfer-encoding", b"expect")
"""Headers of requests that have a body, or wait for permission to send one."""


class FastPathProtocol(HttpToolsProtocol):
    """One connection."""

    held: ClassVar = limits.HeldBytes()
    """The bytes held by all connections of the process."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, if necessary in place of an idle one."""
        self._hot_paths = self.app if isinstance(self.app, HotPaths) else None
        self._unused_event = asyncio.Event()
        self._unread, self._parsed, self._tail = b"", 0, b""
        self._read_is_scheduled = False
        self._is_ready = False
        """Whether the next request can be parsed on arrival: no part of it has arrived, and no request precedes it."""
        self._head_bytes = self._request_bytes = self._held_bytes = 0
        self._body_left = 0
        """Bytes to come of a body whose length is known."""
        self._is_in_request_line = True
        self.headers = []
        self.parser = RequestParser(self)
        self._output = CoalescingTransport(transport, self.loop)
        has_room = self._make_room()
        super().connection_made(cast(asyncio.Transport, self._output))
        self._request_deadline = self.loop.time() + limits.REQUEST_S
        """Deadline for the complete arrival of the current request, in seconds of the event loop's clock."""
        self._start_request_timer()
        if not has_room:
            self._write_answer(refusals.OVERLOADED, keep_alive=False)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the last request, which refers to its connection; otherwise both wait for the garbage collector."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._output.stop_timer()
        self._drop_request()
        self.cycle = cast(RequestResponseCycle, None)

    def data_received(self, data: bytes) -> None:
        """Parse the data, unless the connection is open only until its client has received the last response.

        The first branch is the usual case: the complete head of one request after the response to another.
        """
        if self._is_ready and len(data) <= limits.SMALL_HEAD_BYTES and data.find(HEAD_END) == len(data) - len(HEAD_END):
            self._is_ready = False
            self._is_in_request_line = True
            self._unset_keepalive_if_required()
            self._feed(data)
            if self.cycle is None or self.cycle.more_body:
                self._request_deadline = self.loop.time() + limits.REQUEST_S
                self._update_state()
        elif not self.transport.is_closing():
            self._unread += data
            self._parse_unread()

    def pause_writing(self) -> None:
        """Wait for the client to read; until then, parse none of its requests."""
        super().pause_writing()
        self._is_ready = False
        self._output.expect_progress()

    def resume_writing(self) -> None:
        """Continue with the requests that waited."""
        super().resume_writing()
        self._output.stop_timer()
        self._parse_unread()

    def timeout_keep_alive_handler(self) -> None:
        """Refuse a request that did not arrive in time, or close the connection without the rest of a response."""
        if self._is_mid_request() and not self.transport.is_closing():
            self._refuse(refusals.REQUEST_TIMEOUT)
        else:
            self._output.abort()

    def is_idle(self) -> bool:
        """Whether no request waits for its response: none has begun, or the current one is incomplete."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _make_room(self) -> bool:
        """Return whether one more connection is allowed; close an idle one for it if necessary."""
        if self.limit_concurrency is None or len(self.connections) < self.limit_concurrency - 1:
            return True
        for other in islice(self.connections, limits.EVICTION_CANDIDATES_MAX):
            if isinstance(other, FastPathProtocol) and other.is_idle():
                self.connections.discard(other)
                other._output.abort()
                return True
        return False

    def _parse_unread(self) -> None:
        """Parse the unread bytes, up to the end of a request that must be answered first."""
        left = limits.READ_BYTES
        while self._unread and self._may_parse():
            if left <= 0:
                self._schedule_read()
                break
            self._unset_keepalive_if_required()
            if not self._is_mid_request():
                self._request_deadline = self.loop.time() + limits.REQUEST_S
                self._is_in_request_line = True
            piece = self._next_piece()
            left -= len(piece)
            self._head_bytes += len(piece)
            self._feed(piece)
        self._output.hold_reading(self._unread != b"")
        self._update_state()

    def _update_state(self) -> None:
        """Update counts, timer and readiness after something was parsed or answered."""
        self._count_held()
        if self.transport.is_closing():
            self._is_ready = False
            return
        is_mid_request = self._is_mid_request()
        if is_mid_request:
            self._start_request_timer()
        self._is_ready = not is_mid_request and not self._unread and self._may_parse()

    def _may_parse(self) -> bool:
        return self.is_idle() and not self.flow.write_paused and not self.transport.is_closing()

    def _schedule_read(self) -> None:
        """Continue in the next event loop iteration, after the other connections."""
        if not self._read_is_scheduled:
            self._read_is_scheduled = True
            self.loop.call_soon(self._run_scheduled_read)

    def _run_scheduled_read(self) -> None:
        self._read_is_scheduled = False
        self._parse_unread()

    def _next_piece(self) -> bytes:
        """Return the bytes up to where a request may end, so that the next is not parsed before this one is answered.

        A request may end with its head, with a chunked body and its trailer, or with a body of known length.
        """
        begin, end = self._parsed, self._parsed + limits.READ_BYTES
        if self._body_left:
            end = min(end, begin + self._body_left)
        else:
            # The end of a head may be split between the previous piece and this one.
            offset = (self._tail + self._unread[begin : begin + 3]).find(HEAD_END)
            if offset >= 0:
                end = begin - len(self._tail) + offset + len(HEAD_END)
            elif found := HEAD_END_AND_BLANK_LINES.search(self._unread, begin, end):
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
        """Parse a piece of a request; refuse an endless head, because the parser would keep all of it."""
        if self._is_in_request_line:
            piece = ascii_request_line(piece)
            self._is_in_request_line = b"\n" not in piece
        try:
            self.parser.feed_data(piece)
            if self._head_bytes and self._is_head_too_large():
                self._refuse(refusals.HEAD_TOO_LARGE)
        except HttpParserError as error:
            refused = error.__context__
            self._refuse(refused.answer if isinstance(refused, Refused) else refusals.INVALID_HTTP)

    def _is_head_too_large(self) -> bool:
        """Whether the head or trailer of the current request exceeds the limits."""
        return self._head_bytes > limits.HEAD_BYTES_MAX or len(self.headers) > limits.HEADERS_MAX

    def _count_held(self) -> None:
        """Update the worker's held bytes, and refuse this connection's request if they exceed the limit."""
        held_bytes = len(self._unread) + self._head_bytes + self._request_bytes
        if held_bytes != self._held_bytes:
            self.held.count += held_bytes - self._held_bytes
            grows, self._held_bytes = held_bytes > self._held_bytes, held_bytes
            if grows and self.held.is_over_limit and not self.transport.is_closing():
                self._refuse(refusals.OVERLOADED)

    def _refuse(self, answer: DirectAnswer) -> None:
        """Answer an incomplete request, if that is still possible, and close the connection.

        A complete request before it is still answered.
        """
        log.debug("request_refused", status=answer.status)
        cycle = self.cycle
        if not self.is_idle():
            cycle.keep_alive = False
            self._drop_unread()
            self._count_held()
            return
        self._output.lingers = True
        if cycle is None or not cycle.response_started:
            self._write_answer(answer, keep_alive=False)
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self._drop_request()
        self._unset_keepalive_if_required()
        self.transport.close()

    def _drop_request(self) -> None:
        """Drop everything received of the current request."""
        self._drop_unread()
        self._head_bytes = self._request_bytes = 0
        self.headers, self.url = [], b""
        self.scope, self.parser = cast(HTTPScope, None), cast(RequestParser, None)
        self._count_held()

    def _is_mid_request(self) -> bool:
        """Whether a part of a request has arrived and the rest has not."""
        return self._head_bytes > 0 or (self.cycle is not None and self.cycle.more_body)

    def _start_request_timer(self) -> None:
        """Refuse the request when its deadline, counted from its first byte, has passed.

        This ends connections of clients that vanished, and of clients that send a byte now and then.
        """
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_at(self._request_deadline, self.timeout_keep_alive_handler)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header, or a field of a trailer."""
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        """Pass a part of a body to the application."""
        self._head_bytes = 0
        if self._body_left:
            self._body_left -= len(body)
        if not self.cycle.response_complete:
            self._request_bytes += len(body)
            super().on_body(body)

    def on_headers_complete(self) -> None:
        """Check the head, and start the request: on the fast path if it is eligible, else as an ASGI task."""
        if self._is_head_too_large():
            raise Refused(refusals.HEAD_TOO_LARGE)
        headers = headers_of(self.headers)
        if len(headers) < len(self.headers) or b"host" not in headers or b"transfer-encoding" in headers:
            self._require_unambiguous_head(headers)
        if self._head_bytes > limits.SMALL_HEAD_BYTES:
            self._request_bytes = self._head_bytes
        self._head_bytes = 0
        if not (self._hot_paths and self._start_fast_path(self._hot_paths, headers)):
            self.expect_100_continue = headers.get(b"expect", b"").lower() == b"100-continue"
            super().on_headers_complete()
            if not self.parser.should_upgrade():
                self._output.lingers = True
                self._body_left = int(headers.get(b"content-length", 0))
                self.headers = []  # Trailer fields (RFC 9110 section 6.5.1) are not headers.

    def on_message_complete(self) -> None:
        """Note that the request is complete, unless the parser only saw an Upgrade header."""
        self._head_bytes = 0
        cycle = self.cycle
        if cycle is not None and cycle.more_body:
            self._output.lingers = False
            cycle.more_body = False
            cycle.message_event.set()
            self._drop_answered()

    def _require_unambiguous_head(self, headers: Headers) -> None:
        """Raise Refused for a head that a proxy might read differently (RFC 9112 sections 3.2 and 6.1)."""
        version = self.parser.get_http_version()
        is_current = version == "1.1"
        hosts = sum(name == b"host" for name, _ in self.headers)
        if version not in ("1.0", "1.1"):
            raise Refused(refusals.INVALID_HTTP)
        if hosts > 1 or (is_current and hosts == 0):
            raise Refused(refusals.NOT_ONE_HOST)
        coding = headers.get(b"transfer-encoding")
        if coding is None:
            return
        if not is_current or coding.rpartition(b",")[2].strip().lower() != b"chunked":
            raise Refused(refusals.AMBIGUOUS_BODY)
        if coding.lower() != b"chunked":
            raise Refused(refusals.UNKNOWN_CODING)

    def _should_upgrade(self) -> bool:
        """Make uvicorn ignore Upgrade; RequestParser parses the head again without it."""
        return True

    def _start_fast_path(self, hot_paths: HotPaths, headers: Headers) -> bool:
        """Start the request without ASGI if it is an eligible request for a hot path; return whether it was."""
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("latin-1")
        endpoint = hot_paths.endpoint(path)
        if endpoint is None or not self._is_fast_path_eligible(headers):
            return False
        cycle = FastPathCycle(self._send_answer, self._unused_event)
        self.cycle = cast(RequestResponseCycle, cycle)
        peer = self.client[0] if self.client else None
        hot_paths.handle(endpoint, DirectRequest(path, query, headers, peer), cycle.respond)
        return True

    def _is_fast_path_eligible(self, headers: Headers) -> bool:
        """Whether it is a GET without a body on a persistent HTTP/1.1 connection; uvicorn handles all others."""
        parser = self.parser
        return (
            parser.get_method() == b"GET"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and headers.keys().isdisjoint(BODY_HEADERS)
            and b"#" not in self.url
        )

    def _send_answer(self, answer: DirectAnswer, keep_alive: bool) -> None:
        """Send the response, unless the client has disconnected."""
        if self.transport.is_closing():
            return
        self._write_answer(answer, keep_alive)
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _write_answer(self, answer: DirectAnswer, keep_alive: bool) -> None:
        # Echoed parts of a request have no control characters, because the parser refuses them.
        headers = (*self.server_state.default_headers, *answer.headers)
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        if not keep_alive:
            lines.append(b"connection: close\r\n")
        self._output.write_response(b"".join((STATUS_LINE[answer.status], *lines, b"\r\n", answer.body)))

    def on_response_complete(self) -> None:
        """Finish a response, and parse the next request."""
        self._output.end_response()
        super().on_response_complete()
        self._drop_answered()
        if self._unread:
            self._parse_unread()
        elif self._held_bytes or self._is_mid_request() or self.cycle is not None:
            self._update_state()
        else:
            self._is_ready = not (self.flow.write_paused or self.transport.is_closing())

    def _drop_answered(self) -> None:
        """Drop a request that is complete and answered; if it was large, its head too."""
        cycle = self.cycle
        if cycle is not None and cycle.response_complete and not cycle.more_body:
            self.cycle = cast(RequestResponseCycle, None)
            if self._request_bytes:
                self._request_bytes, self.headers, self.url = 0, [], b""
                self.scope = cast(HTTPScope, None)
