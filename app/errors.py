"""Every exception that the ad server raises on purpose.

AdServerError
├── InvalidInput            the caller sent something wrong: names the field and the reason
│   ├── InvalidRequest      an HTTP request; becomes a 400 problem
│   ├── InvalidFile         a campaign file; carries every fault found in it
│   └── InvalidEntry        a booking, a closing or a report that the books refuse
├── NotFound                a session, campaign or other thing that is not there; a 404 problem
├── Gone                    a session that has expired or was ended; a 410 problem
├── Conflict                the same key again with other parameters; a 409 problem
├── Unauthorized            a missing or wrong admin token; a 401 problem
├── RateLimited             a client that asks too often; a 429 problem that says when to come again
├── UpstreamFailed          one upstream gave no ad, and why
├── UnusableVast            a document that is not VAST, or not safe to parse
│   └── NoAd                it is VAST, and has no Ad: an upstream's way of saying so
├── StoreUnavailable        the database cannot be reached or will not answer in time
└── MisconfiguredServer     a setting that cannot work; the server refuses to start
"""

from collections.abc import Sequence
from dataclasses import dataclass


class AdServerError(Exception):
    """Root of the tree; catch it to catch everything that is raised on purpose."""


class InvalidInput(AdServerError):
    """Something wrong in what the caller sent.

    `field` is the name the caller used, `reason` one sentence fragment: "must be positive".
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class InvalidRequest(InvalidInput):
    """A malformed or impossible HTTP request."""


class InvalidEntry(InvalidInput):
    """A booking, closing or report that the books refuse."""


@dataclass(frozen=True, slots=True)
class FileFault:
    """One thing wrong in a campaign file: where (`campaigns[0].cpm`) and why."""

    key: str
    reason: str


class InvalidFile(InvalidInput):
    """A campaign file that was not applied; `faults` has every fault found, in file order."""

    def __init__(self, file: str, faults: list[FileFault]) -> None:
        super().__init__(faults[0].key, faults[0].reason)
        self.file = file
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(f"{self.file}: {fault.key}: {fault.reason}" for fault in self.faults)


class NotFound(AdServerError):
    """The thing named in the request does not exist."""


class Gone(AdServerError):
    """The thing named in the request existed, and has ended."""


class Conflict(AdServerError):
    """The same key was used before with other parameters."""


class Unauthorized(AdServerError):
    """The admin token is missing or wrong."""


class RateLimited(AdServerError):
    """The client asks more often than it may; after `retry_after_s` seconds one more request passes."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class UpstreamFailed(AdServerError):
    """One upstream gave no ad; `kind` is a short fixed word for metrics and logs."""

    def __init__(self, upstream_id: str, kind: str, detail: str = "") -> None:
        super().__init__(f"{upstream_id}: {kind}" + (f": {detail}" if detail else ""))
        self.upstream_id = upstream_id
        self.kind = kind
        self.detail = detail


class UnusableVast(AdServerError):
    """A document that is not well-formed, not VAST, or not safe to parse."""


class NoAd(UnusableVast):
    """A document without an Ad: there is nothing wrong with it, and nothing in it.

    `error_urls` are those of its root, which are to be called then. With `has_ads` there are Ads in it, but none of
    them has anything to show.
    """

    def __init__(self, reason: str, error_urls: Sequence[str] = (), *, has_ads: bool = False) -> None:
        super().__init__(reason)
        self.error_urls = tuple(error_urls)
        self.has_ads = has_ads


class StoreUnavailable(AdServerError):
    """The database cannot be reached, or a lock or statement timed out."""


class MisconfiguredServer(AdServerError):
    """Settings that cannot work together; the message names them."""
