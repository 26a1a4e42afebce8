"""A worker's memory of refusals.

If the database refused nothing recently, a group skips the pre-check: the statement that counts its ads reports whether
there was room.
"""

from collections.abc import Callable, Hashable

REFUSALS_MAX = 100_000

CAMPAIGN_TTL_S = 1.0
"""Seconds for which the refusal of a campaign, which applies to every user, is remembered."""

USER_TTL_S = 60.0
"""Seconds for which a user's reached cap is remembered."""


class RecentRefusals:
    """Campaigns, and pairs of user and campaign, that were refused recently.

    They decide whether a group runs the pre-check, and never whether an ad is served.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._expiry: dict[Hashable, float] = {}

    def add(self, key: Hashable, ttl_s: float) -> None:
        """Remember a refusal for `ttl_s` seconds; at the limit, forget the oldest one."""
        if len(self._expiry) >= REFUSALS_MAX:
            del self._expiry[next(iter(self._expiry))]
        self._expiry[key] = self._clock() + ttl_s

    def contains(self, *keys: Hashable) -> bool:
        """Return whether any of the keys was refused recently."""
        return bool(self._expiry) and any(self._is_remembered(key) for key in keys)

    def _is_remembered(self, key: Hashable) -> bool:
        expires_at = self._expiry.get(key)
        if expires_at is None:
            return False
        if expires_at < self._clock():
            del self._expiry[key]
            return False
        return True
