"""Why each upstream's last answer was refused, for operators who need to know what it sends."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

import structlog

from app.errors import UpstreamFailed
from app.upstreams.failures import OF_OURS, FailureKind

log = structlog.get_logger()

DETAIL_LENGTH_MAX = 200
LOG_INTERVAL_S = 10.0
"""An upstream that fails thousands of times a second is logged once in this time."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that gave no ad although it was none of the ways to say "no ad"."""

    at: datetime
    kind: str
    detail: str
    """In words of this program alone: no part of the answer, whose URLs and names may say who a viewer is."""


class Refusals:
    """Keeps the last one of each upstream, and logs them now and then."""

    def __init__(self) -> None:
        self._last: dict[str, Refusal] = {}
        self._logged_at: dict[str, float] = {}

    @property
    def last(self) -> Mapping[str, Refusal]:
        """By upstream."""
        return self._last

    def record(self, failure: UpstreamFailed) -> None:
        """Takes note of a failure, unless it says nothing of the upstream or is a plain "no ad"."""
        if failure.kind in OF_OURS or (failure.kind == FailureKind.NO_AD and not failure.detail):
            return
        refusal = Refusal(datetime.now(UTC), str(failure.kind), failure.detail[:DETAIL_LENGTH_MAX])
        self._last[failure.upstream_id] = refusal
        now = monotonic()
        if now - self._logged_at.get(failure.upstream_id, -LOG_INTERVAL_S) >= LOG_INTERVAL_S:
            self._logged_at[failure.upstream_id] = now
            log.warning("upstream refused", upstream_id=failure.upstream_id, kind=refusal.kind, detail=refusal.detail)
