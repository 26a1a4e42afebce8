"""The result of a group's transaction."""

from dataclasses import dataclass, field

from app.serving.group_fetch import PendingFetch
from app.serving.outcomes import Served
from app.serving.pending import PendingRequest


@dataclass(slots=True)
class GroupResult:
    """The requests of a group by what follows for them after COMMIT."""

    served: list[tuple[PendingRequest, Served]] = field(default_factory=list)
    failed: list[tuple[PendingRequest, Exception]] = field(default_factory=list)
    deferred: list[PendingRequest] = field(default_factory=list)
    """Not decided: the group has another request with the same id, user or session."""
    unresolved: list[PendingRequest] = field(default_factory=list)
    """Without an ad. They try the candidates that remain."""
    awaiting_fetch: dict[PendingRequest, list[PendingFetch]] = field(default_factory=dict)
    """Without an ad, and with a fetch that is still running."""
