"""The limits of serving."""

from dataclasses import dataclass

CANDIDATES_MAX = 32
"""Campaigns that are tried for one request of a targeted placement."""

FIRST_CANDIDATES_MAX = 3
"""Those that are looked for at first: most requests need no more, and looking for all takes as long as an ad."""


@dataclass(frozen=True, slots=True)
class ServingLimits:
    """Limits of one worker, from the settings."""

    request_deadline_s: float
    upstream_deadline_s: float
    group_fetch_wait_s: float
    group_max: int
    queue_max: int
    serve_connections: int
    fetch_connections: int
