"""Why each upstream's last unusable response was refused, for operators."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

import structlog

from app.errors import UpstreamFailed
from app.upstreams.failures import NOT_UPSTREAM_FAULT, FailureKind

log = structlog.get_logger()

DETAIL_LENGTH_MAX = 200
LOG_INTERVAL_S = 10.0
"""An upstream that fails thousands of times a second is logged once per interval."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response without an ad that is not one of the regular ways to say "no ad"."""

    at: datetime
    kind: str
    detail: str
    """In this program's words; it never quotes the response, whose URLs and names may identify a viewer."""


class Refusals:
    """Keeps the last refusal of each upstream, and logs refusals at a limited rate."""

    def __init__(self) -> None:
        self._last: dict[str, Refusal] = {}
        self._logged_at: dict[str, float] = {}

    @property
    def last(self) -> Mapping[str, Refusal]:
        """The last refusal, by upstream."""
        return self._last

    def record(self, failure: UpstreamFailed) -> None:
        """Record a failure, unless it says nothing about the upstream or is a regular "no ad"."""
        if failure.kind in NOT_UPSTREAM_FAULT or (failure.kind == FailureKind.NO_AD and not failure.detail):
            return
        refusal = Refusal(datetime.now(UTC), str(failure.kind), failure.detail[:DETAIL_LENGTH_MAX])
        self._last[failure.upstream_id] = refusal
        now = monotonic()
        if now - self._logged_at.get(failure.upstream_id, -LOG_INTERVAL_S) >= LOG_INTERVAL_S:
            self._logged_at[failure.upstream_id] = now
            log.warning("upstream_refused", upstream_id=failure.upstream_id, kind=refusal.kind, detail=refusal.detail)
