"""A request on a hot path, in the place where uvicorn keeps a connection's current request."""

import asyncio
from collections.abc import Callable

from app.fast_path.direct_endpoints import DirectAnswer


class FastPathCycle:
    """The attributes of uvicorn's RequestResponseCycle that its protocol reads, without a task and messages."""

    __slots__ = ("_send", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")

    def __init__(self, send: Callable[[DirectAnswer, bool], None], message_event: asyncio.Event) -> None:
        self._send = send
        self.message_event = message_event
        self.more_body = False
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    def respond(self, answer: DirectAnswer) -> None:
        """Send the response; by now uvicorn may hold the cycle of a later request."""
        self.response_complete = True
        self._send(answer, self.keep_alive)
