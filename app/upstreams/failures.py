"""The reasons for which an upstream gave no ad, and the translation of the HTTP client's errors into them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import aiohttp
import httpx

from app.errors import UpstreamFailed
from app.upstreams.addresses import ForbiddenAddressError

NOT_ALLOWED = "not a public address, and not in ADSERVER_ALLOWED_NETWORKS"


class FailureKind(StrEnum):
    """The `kind` of UpstreamFailed, as metrics and logs show it."""

    TIMEOUT = "timeout"
    CONNECT = "connect"
    RESET = "reset"
    PROTOCOL = "protocol"
    STATUS = "status"
    REDIRECTS = "redirects"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    NO_AD = "no_ad"
    URL = "url"
    FORBIDDEN_ADDRESS = "forbidden_address"
    WRAPPER_LIMIT = "wrapper_limit"
    WRAPPER_TIMEOUT = "wrapper_timeout"
    BREAKER_OPEN = "breaker_open"
    QUOTA = "quota"
    BULKHEAD = "bulkhead"
    DEADLINE = "deadline"
    SHORT_DEADLINE = "short_deadline"


OUTCOME_AD = "ad"
"""The outcome of a successful attempt in metrics."""

OUTCOME_CANCELED = "canceled"
"""The outcome of an attempt that was canceled in metrics: another ad arrived first, or the player disconnected."""

NOT_SENT = frozenset({FailureKind.BREAKER_OPEN, FailureKind.QUOTA, FailureKind.BULKHEAD, FailureKind.DEADLINE})
"""The kinds of failure for which no request was sent."""

NOT_UPSTREAM_FAULT = NOT_SENT | {FailureKind.SHORT_DEADLINE}
"""The kinds of failure that say nothing about the upstream: no request was sent, or this server had too little time."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One attempt that failed after `elapsed_ms` milliseconds."""

    upstream_id: str
    kind: str
    elapsed_ms: float


class NoResponse(UpstreamFailed):
    """The connection failed before a response began, so that a retry cannot count anything twice."""


class AllUpstreamsFailed(UpstreamFailed):
    """No upstream of the chain gave an ad; `attempts` lists the failures in the order in which they occurred.

    `upstream_id` and `kind` are those of the first failure.
    """

    def __init__(self, attempts: Sequence[FailedAttempt]) -> None:
        first = attempts[0] if attempts else FailedAttempt("", FailureKind.DEADLINE, 0.0)
        super().__init__(first.upstream_id, first.kind, f"{len(attempts)} attempts")
        self.attempts = tuple(attempts)


def http_failure(upstream_id: str, error: Exception, *, response_began: bool) -> UpstreamFailed:
    """Return the failure for an error of httpx or aiohttp; `response_began` is also true after a redirect.

    The transport maps every lost connection to ConnectTimeout, so the kind is taken from the error's cause.
    """
    cause = error.__cause__ or error
    connection_failure = UpstreamFailed if response_began else NoResponse
    if isinstance(cause, TimeoutError | httpx.TimeoutException) and not isinstance(cause, aiohttp.ClientOSError):
        return UpstreamFailed(upstream_id, FailureKind.TIMEOUT)
    if isinstance(cause, aiohttp.ClientConnectorError):
        if isinstance(cause.os_error, ForbiddenAddressError):
            return UpstreamFailed(upstream_id, FailureKind.FORBIDDEN_ADDRESS, NOT_ALLOWED)
        return connection_failure(upstream_id, FailureKind.CONNECT, type(cause.os_error).__name__)
    if isinstance(cause, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
        return connection_failure(upstream_id, FailureKind.RESET)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return UpstreamFailed(upstream_id, FailureKind.URL)
    return UpstreamFailed(upstream_id, FailureKind.PROTOCOL, type(cause).__name__)
