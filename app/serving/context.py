"""SessionContext: the data and the cleanups of one request, from its first byte to its last."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from app.domain import Client

log = structlog.get_logger()

COOKIES = ("uid", "device_id", "publisher_id")
"""Cookies that identify the viewer or the publisher if the query does not."""


UNKNOWN_CLIENT = Client()


class SessionContext(NamedTuple):
    """An immutable context, which is closed when its request ends, successfully or not.

    `request_id` is the X-Request-Id of the answer. `correlator` is the same for all ads of a page view or viewing
    session, and `cachebusting` has 8 digits (VAST 4.2 section 6.1).
    """

    request_id: str
    timestamp: datetime
    correlator: str
    cachebusting: str
    cookies: Mapping[str, str]
    client: Client
    cleanups: list[Callable[[], None]]
    """The callables registered with `on_close`, in that order."""

    def on_close(self, cleanup: Callable[[], None]) -> None:
        """Call `cleanup` when the request ends; the last one registered is called first."""
        self.cleanups.append(cleanup)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Call every cleanup once, and log those that fail."""
        while self.cleanups:
            cleanup = self.cleanups.pop()
            try:
                cleanup()
            except Exception:
                log.exception("cleanup_failed", request_id=self.request_id)


def open_context(request_id: str, cookies: Mapping[str, str], client: Client = UNKNOWN_CLIENT) -> SessionContext:
    """Return a context for a request that has just arrived."""
    return SessionContext(
        request_id=request_id,
        timestamp=datetime.now(UTC),
        correlator=str(random.getrandbits(53)),
        cachebusting=f"{random.getrandbits(53) % 10**8:08}",
        cookies=cookies,
        client=client,
        cleanups=[],
    )
