"""A transport for uvicorn's protocol: a response is one write, and a client that does not read loses its connection.

uvicorn writes the head and the body of a response separately, and the event loop sends each immediately: two system
calls, two packets, and two wake-ups of the player. The second write took a fifth of a worker's CPU time. ASGI asks for
one write anyway: a server must not send the head before it has a part of the body ("Response Start" in the ASGI
specification).
"""

import asyncio

from app.fast_path.connection_limits import LINGER_S, WRITE_BUFFER_BYTES, WRITE_BYTES_MIN, WRITE_S

FINAL_HEADS = (b"HTTP/1.1 2", b"HTTP/1.1 3", b"HTTP/1.1 4", b"HTTP/1.1 5")
"""Starts of the head of a final response. `100 Continue` is not final: the client sends its body only after it."""


class CoalescingTransport:
    """Keeps the head of a response until its body is written, and drops a client that does not read."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._expects_head = True
        self._is_full = self._is_held = self._is_paused = False
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None
        self.lingers = False
        """Whether the client may still be sending when the connection is closed."""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.write_response = transport.write
        self.abort = transport.abort
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)

    def write(self, data: bytes) -> None:
        """Keep a head; send everything else, after the head that was kept. Do nothing once the client has disconnected.

        uvloop raises RuntimeError for a write after a failed one, before the protocol learns of the failure.
        """
        if self.is_closing():
            self._head = b""
        elif self._head:
            self._transport.write(self._head + data)
            self._head = b""
        elif self._expects_head and data.startswith(FINAL_HEADS):
            self._head, self._expects_head = data, False
        else:
            self._transport.write(data)

    def end_response(self) -> None:
        """Send the head of a response without a body, and expect the next response."""
        if self._head:
            self.write(b"")
        self._expects_head = True

    def pause_reading(self) -> None:
        """Stop reading, because the application has not consumed the received body."""
        self._is_full = True
        self._pause_or_resume()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        self._is_full = False
        self._pause_or_resume()

    def hold_reading(self, is_held: bool) -> None:
        """Stop reading while the connection has unparsed bytes, independently of `pause_reading`."""
        if is_held is not self._is_held:
            self._is_held = is_held
            self._pause_or_resume()

    def close(self) -> None:
        """Close the connection after everything was sent, or after the client has stopped reading.

        A client that is still sending must receive its response first (RFC 9112 section 9.6): an immediate close resets
        the connection, and the reset may overtake the response. So close only this side, and wait for the client.
        """
        if self.is_closing():
            return
        self.end_response()
        if self.lingers:
            self.is_closing = _true
            self._resume()
            self._transport.write_eof()
            self._replace_timer(self._loop.call_later(LINGER_S, self._transport.abort))
        else:
            self._transport.close()
            self.expect_progress()

    def expect_progress(self) -> None:
        """Drop the client if it stops reading; call this when the kernel accepts no more of a response."""
        self._unsent = self._transport.get_write_buffer_size()
        self._replace_timer(self._loop.call_later(WRITE_S, self._check_progress))

    def stop_timer(self) -> None:
        """Stop expecting progress: the client has read on, or has disconnected."""
        self._replace_timer(None)

    def _check_progress(self) -> None:
        if self._unsent - self._transport.get_write_buffer_size() < WRITE_BYTES_MIN:
            self._transport.abort()
        else:
            self.expect_progress()

    def _pause_or_resume(self) -> None:
        if not self.is_closing() and (self._is_full or self._is_held) is not self._is_paused:
            if self._is_paused:
                self._resume()
            else:
                self._is_paused = True
                self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def _replace_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer


def _true() -> bool:
    return True
