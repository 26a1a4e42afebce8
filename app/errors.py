"""Exceptions that the ad server raises deliberately.

AdServerError
├── InvalidInput            invalid input from the caller, with field and reason
│   ├── InvalidRequest      an HTTP request; a 400 problem
│   ├── InvalidFile         a campaign file, with every fault found in it
│   └── InvalidEntry        an argument of an accounting command
├── NotFound                an unknown session, campaign or other resource; a 404 problem
├── Gone                    an expired or ended session; a 410 problem
├── Conflict                a repeated key with different parameters; a 409 problem
├── Unauthorized            a missing or invalid token; a 401 problem
├── RateLimited             too many requests from a client; a 429 problem with Retry-After
├── UpstreamFailed          an upstream that returned no ad, with the kind of failure
├── UnusableVast            a document that is not VAST or not safe to parse
│   └── NoAd                a valid VAST document without an ad
├── StoreUnavailable        a database that cannot be reached or does not answer in time
└── MisconfiguredServer     an invalid setting; the server does not start
"""

from collections.abc import Sequence
from dataclasses import dataclass


class AdServerError(Exception):
    """Base of all exceptions that are raised deliberately."""


class InvalidInput(AdServerError):
    """Invalid input from the caller.

    `field` is the name that the caller used; `reason` states what is accepted, such as "must be positive".
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class InvalidRequest(InvalidInput):
    """An invalid HTTP request."""


class InvalidEntry(InvalidInput):
    """An invalid argument of a correction, a credit, a payout, a month close or a report."""


@dataclass(frozen=True, slots=True)
class FileFault:
    """A fault in a campaign file: the location, such as `campaigns[0].cpm`, and the reason."""

    key: str
    reason: str


class InvalidFile(InvalidInput):
    """An invalid campaign file; `faults` contains every fault, in file order."""

    def __init__(self, file: str, faults: list[FileFault]) -> None:
        super().__init__(faults[0].key, faults[0].reason)
        self.file = file
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(f"{self.file}: {fault.key}: {fault.reason}" for fault in self.faults)


class NotFound(AdServerError):
    """The requested resource does not exist."""


class Gone(AdServerError):
    """The requested resource has expired or was ended."""


class Conflict(AdServerError):
    """The key was already used with different parameters."""


class Unauthorized(AdServerError):
    """The token is missing or invalid."""


class RateLimited(AdServerError):
    """The client exceeds its rate limit; its next request is accepted after `retry_after_s` seconds."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class UpstreamFailed(AdServerError):
    """An upstream returned no ad; `kind` is a fixed word for metrics and logs."""

    def __init__(self, upstream_id: str, kind: str, detail: str = "") -> None:
        super().__init__(f"{upstream_id}: {kind}" + (f": {detail}" if detail else ""))
        self.upstream_id = upstream_id
        self.kind = kind
        self.detail = detail


class UnusableVast(AdServerError):
    """The document is not well-formed, not VAST, or not safe to parse."""


class NoAd(UnusableVast):
    """The document is valid and contains no ad.

    `error_urls` are the error URLs of the root element, which the caller must request. `has_ads` is True if the
    document contains Ad elements, but none with media.
    """

    def __init__(self, reason: str, error_urls: Sequence[str] = (), *, has_ads: bool = False) -> None:
        super().__init__(reason)
        self.error_urls = tuple(error_urls)
        self.has_ads = has_ads


class StoreUnavailable(AdServerError):
    """The database cannot be reached, or a lock or statement timed out."""


class MisconfiguredServer(AdServerError):
    """A setting is invalid, or settings do not fit each other; the message names them."""
