"""Why an upstream gave no ad: fixed words, and the translation of the HTTP client's errors in one place."""

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
    HURRIED = "hurried"


AD = "ad"
LOST = "lost"
"""What metrics call an attempt that succeeded, and one that was cancelled: another ad was first, or the player left."""

NOT_ASKED = frozenset({FailureKind.BREAKER_OPEN, FailureKind.QUOTA, FailureKind.BULKHEAD, FailureKind.DEADLINE})
"""Kinds for which no request was sent."""

OF_OURS = NOT_ASKED | {FailureKind.HURRIED}
"""Kinds that say nothing of the upstream: it was not asked, or we came late and could not wait as long as usual."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One upstream that was tried without success, for `ms` milliseconds."""

    upstream_id: str
    kind: str
    ms: float


class NotAnswered(UpstreamFailed):
    """The connection failed before an answer began: asking again cannot count anything twice."""


class AllUpstreamsFailed(UpstreamFailed):
    """No upstream of the chain gave an ad; `attempts` in the order in which they failed.

    As an UpstreamFailed it names the first that failed: that is what someone has to look at.
    """

    def __init__(self, attempts: Sequence[FailedAttempt]) -> None:
        first = attempts[0] if attempts else FailedAttempt("", FailureKind.DEADLINE, 0.0)
        super().__init__(first.upstream_id, first.kind, f"{len(attempts)} attempts")
        self.attempts = tuple(attempts)


def http_failure(upstream_id: str, error: Exception, *, answered: bool) -> UpstreamFailed:
    """The failure that an error of httpx or aiohttp amounts to; `answered` once a response has begun, a redirect too.

    The transport maps every lost connection to ConnectTimeout, so the cause says what happened.
    """
    cause = error.__cause__ or error
    lost = UpstreamFailed if answered else NotAnswered
    if isinstance(cause, TimeoutError | httpx.TimeoutException) and not isinstance(cause, aiohttp.ClientOSError):
        return UpstreamFailed(upstream_id, FailureKind.TIMEOUT)
    if isinstance(cause, aiohttp.ClientConnectorError):
        if isinstance(cause.os_error, ForbiddenAddressError):
            return UpstreamFailed(upstream_id, FailureKind.FORBIDDEN_ADDRESS, NOT_ALLOWED)
        return lost(upstream_id, FailureKind.CONNECT, type(cause.os_error).__name__)
    if isinstance(cause, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
        return lost(upstream_id, FailureKind.RESET)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return UpstreamFailed(upstream_id, FailureKind.URL)
    return UpstreamFailed(upstream_id, FailureKind.PROTOCOL, type(cause).__name__)
