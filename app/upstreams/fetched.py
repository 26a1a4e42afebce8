"""What the chain gives, what it needs from the documents' side, and who is told of what happened."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.upstreams.failures import FailedAttempt
from app.vast.compiled_document import CompiledDocument


class RequestValues(Protocol):
    """What a request knows, as tag URLs and headers need it."""

    @property
    def size_bytes(self) -> int:
        """The memory that it takes."""

    def tag_url(self, template: str, remaining_ms: int) -> str:
        """The URL to ask, its macros replaced; `remaining_ms` is how long the answer may take."""

    def cache_key(self, template: str) -> str:
        """The URL without what changes with every request."""

    def headers(self) -> Mapping[str, str]:
        """Headers that say who watches, as far as that may be said."""

    def error_url(self, template: str, code: int) -> str:
        """An Error URL of a document, with its macros replaced; raises UnusableVast for one that is too long."""


class Documents(Protocol):
    """Turns bodies into documents that only need their gaps filled."""

    def compile(self, body: bytes) -> Any:
        """Raises UnusableVast for what is no VAST, and NoAd for one without an Ad."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An upstream's ad, ready to be served."""

    upstream_id: str
    body: bytes
    """The document as it came."""
    document: CompiledDocument
    """The document with our trackers, compiled."""
    attempts: tuple[FailedAttempt, ...] = ()
    """Upstreams of the chain that were tried before, in vain."""
    from_cache: bool = False
    elapsed_ms: float = 0.0
