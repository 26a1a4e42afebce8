"""What the database refused a moment ago: worth a look before anything is counted.

Without a doubt a group counts its ads at once, and finds out by that whether there was room.
"""

from collections.abc import Callable, Hashable

REFUSALS_MAX = 100_000

CAMPAIGN_TTL_S = 1.0
"""How long a refusal of a campaign, which goes for everybody, is remembered."""

USER_TTL_S = 60.0
"""How long it is remembered that a user is capped."""


class RecentRefusals:
    """A worker's memory of refusals. It decides what is asked first, never what is served."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[Hashable, float] = {}

    def add(self, what: Hashable, seconds: float) -> None:
        """What was refused: a campaign's id, or a user's key with one."""
        if len(self._until) >= REFUSALS_MAX:
            del self._until[next(iter(self._until))]
        self._until[what] = self._clock() + seconds

    def contains(self, *whats: Hashable) -> bool:
        """Whether to look first, because one of these was refused."""
        return bool(self._until) and any(self._is_remembered(what) for what in whats)

    def _is_remembered(self, what: Hashable) -> bool:
        until = self._until.get(what)
        if until is None:
            return False
        if until < self._clock():
            del self._until[what]
            return False
        return True
