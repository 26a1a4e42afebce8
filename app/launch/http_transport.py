"""A transport for uvicorn's protocol: an answer leaves in one write, and a client that does not read is dropped.

uvicorn writes the head and the body of an answer one after the other, and the event loop sends at once what is written:
two system calls, two packets and two awakenings of the player. The second cost a fifth of a worker's CPU. ASGI forbids
it anyway: nothing is to be sent before a part of the body is known ("Response Start" in the ASGI specification).
"""

import asyncio

from app.launch.connection_limits import LINGER_S, WRITE_BUFFER_BYTES, WRITE_BYTES_MIN, WRITE_S

FINAL_HEADS = (b"HTTP/1.1 2", b"HTTP/1.1 3", b"HTTP/1.1 4", b"HTTP/1.1 5")
"""How the head of an answer begins; `100 Continue` is none, because the player waits for it with its body."""


class CoalescingTransport:
    """Keeps the head of an answer until something is written after it, and drops a client that does not read."""

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
        self.write_whole = transport.write
        self.abort = transport.abort
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)

    def write(self, data: bytes) -> None:
        """Keeps a head, and sends everything else, behind the head if one was kept; nothing once the client is gone.

        uvloop raises RuntimeError for a write after one that failed, of which the protocol hears a moment later.
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

    def end_answer(self) -> None:
        """Sends the head of an answer that has no body; the next one may come."""
        if self._head:
            self.write(b"")
        self._expects_head = True

    def pause_reading(self) -> None:
        """Stops reading, because the application has not taken the body that is here."""
        self._is_full = True
        self._pause_or_resume()

    def resume_reading(self) -> None:
        """Ends what `pause_reading` began."""
        self._is_full = False
        self._pause_or_resume()

    def hold_reading(self, is_held: bool) -> None:
        """Stops reading while the connection has bytes that it has not parsed; `pause_reading` is independent of it."""
        if is_held is not self._is_held:
            self._is_held = is_held
            self._pause_or_resume()

    def close(self) -> None:
        """Closes the connection once everything is sent, or once the client has stopped reading.

        A client that still sends must have its answer first (RFC 9112 section 9.6): closing at once would reset the
        connection, and the reset may overtake the answer. So only our side is closed, until the client closes its own.
        """
        if self.is_closing():
            return
        self.end_answer()
        if self.lingers:
            self.is_closing = _true
            self._resume()
            self._transport.write_eof()
            self._replace_timer(self._loop.call_later(LINGER_S, self._transport.abort))
        else:
            self._transport.close()
            self.expect_progress()

    def expect_progress(self) -> None:
        """Drops the client if it does not read on; call it when the kernel takes no more of an answer."""
        self._unsent = self._transport.get_write_buffer_size()
        self._replace_timer(self._loop.call_later(WRITE_S, self._check_progress))

    def stop_timer(self) -> None:
        """Expects nothing more of the client: it has read on, or it is gone."""
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
