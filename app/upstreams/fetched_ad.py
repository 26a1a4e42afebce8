"""The result of a fetch along the fallback chain."""

from dataclasses import dataclass

from app.upstreams.failures import FailedAttempt
from app.vast.compiled_document import CompiledDocument


@dataclass(frozen=True, slots=True)
class FetchedAd:
    """An upstream's ad, ready to be served."""

    upstream_id: str
    body: bytes
    """The document as the upstream sent it."""
    document: CompiledDocument
    """The document with this server's trackers."""
    attempts: tuple[FailedAttempt, ...] = ()
    """The failed attempts at earlier upstreams of the chain."""
    from_cache: bool = False
    elapsed_ms: float = 0.0
