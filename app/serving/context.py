"""SessionContext: what belongs to one request, from its first byte to its last."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self

import structlog

log = structlog.get_logger()

COOKIES = ("uid", "device_id", "publisher_id")
"""The cookies that say who is watching, where the query does not."""


class SessionContext(NamedTuple):
    """Immutable, and closed when its request is over, whatever happened in it.

    `correlator` is the same for all ads of a page view or viewing session, `cachebusting` 8 digits
    (VAST 4.2 section 6.1), `request_id` what the answer's X-Request-Id says. `client_ip` and `client_ua` are the
    viewer's, as far as whoever connected may be believed.
    """

    request_id: str
    timestamp: datetime
    correlator: str
    cachebusting: str
    cookies: Mapping[str, str]
    client_ip: str | None
    client_ua: str | None
    cleanups: list[Callable[[], None]]
    """What `on_close` was given, in that order."""

    def on_close(self, cleanup: Callable[[], None]) -> None:
        """Has `cleanup` called when the request is over; the last one registered is called first."""
        self.cleanups.append(cleanup)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Does what is to be done at the end, once."""
        while self.cleanups:
            cleanup = self.cleanups.pop()
            try:
                cleanup()
            except Exception:
                log.exception("clean-up failed", request_id=self.request_id)


def open_context(
    request_id: str, cookies: Mapping[str, str], client_ip: str | None = None, client_ua: str | None = None
) -> SessionContext:
    """A context for the request that has just arrived."""
    return SessionContext(
        request_id=request_id,
        timestamp=datetime.now(UTC),
        correlator=str(random.getrandbits(53)),
        cachebusting=f"{random.getrandbits(53) % 10**8:08}",
        cookies=cookies,
        client_ip=client_ip,
        client_ua=client_ua,
        cleanups=[],
    )
