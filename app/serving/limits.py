"""The limits of serving."""

from dataclasses import dataclass

CANDIDATES_MAX = 32
"""Campaigns that are tried for one request of a targeted placement."""


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
