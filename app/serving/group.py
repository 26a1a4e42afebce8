"""What became of a group of requests."""

import asyncio
from dataclasses import dataclass, field

from app.serving.outcomes import FetchedAd, Served
from app.serving.pending import Choice, PendingRequest

Late = tuple[Choice, "asyncio.Task[FetchedAd]"]
"""A choice whose ad was still on its way when patience ran out."""


@dataclass(slots=True)
class Group:
    """What became of a group, to be told after COMMIT."""

    served: list[tuple[PendingRequest, Served]] = field(default_factory=list)
    failed: list[tuple[PendingRequest, Exception]] = field(default_factory=list)
    undecided: list[PendingRequest] = field(default_factory=list)
    """To be tried again, with what was learned in their `refusals`."""
    late: dict[PendingRequest, list[Late]] = field(default_factory=dict)
    again: list[PendingRequest] = field(default_factory=list)
    """Not touched: their request, user or session stood in the group already."""
