"""A request on a hot path, in the place that uvicorn has for the request of a connection."""

import asyncio
from collections.abc import Callable

from app.web.direct import DirectAnswer


class DirectCycle:
    """Has the attributes of uvicorn's RequestResponseCycle that its protocol reads; no task and no messages."""

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
