"""The limits of serving."""

from dataclasses import dataclass


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
