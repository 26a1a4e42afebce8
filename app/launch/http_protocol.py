"""uvicorn's HTTP protocol, except that the head of an answer leaves together with its body.

uvicorn writes them one after the other, and the event loop sends at once what is written: two system calls, two packets
and two awakenings of the player. The second cost a fifth of a worker's CPU. ASGI forbids it anyway: nothing is to be
sent before the first part of the body is known ("Response Start" in the ASGI specification).
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

FINAL_HEADS = (b"HTTP/1.1 2", b"HTTP/1.1 3", b"HTTP/1.1 4", b"HTTP/1.1 5")
"""How the head of an answer begins; `100 Continue` is none, because the player waits for it with its body."""


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


class OneWriteProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection."""
        self._joined = HeadWithBody(transport)
        super().connection_made(cast(asyncio.Transport, self._joined))

    def on_response_complete(self) -> None:
        """An answer is over."""
        self._joined.end_answer()
        super().on_response_complete()
