"""A pending is one ad request on its way through the lanes; an outcome is how it ends.

    queued          in the lane of its next candidates, which are its `run`
    in a group      whose transaction is under way, and after which it is
      served        and told of its ad
      refused       by its whole run: queued again with what is `remaining`, or told why there is nothing
      late          its ad is still being fetched: queued again when it is `serve`
      put off       because the group has somebody it cannot be with: queued again as it was
      put back      because the group failed: queued again, maybe to be `alone`, after so many `attempts` told `busy`
    over            answered, past its deadline or abandoned: whoever finds it somewhere passes over it

`lanes` has them queued and put back, `transaction` decides groups, and `adserver` leads from one to the other.
"""

from dataclasses import dataclass, field
from uuid import UUID

from app.domain import AdRequest, Campaign, Creative, NoFillReason
from app.serving.context import SessionContext
from app.serving.outcomes import Completion, FetchedAd, NoFill, Outcome, ServedAd


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One request, its candidates in priority order, and what was learned of them so far."""

    request: AdRequest
    context: SessionContext
    request_key: UUID
    user_key: UUID | None
    fingerprint: int
    correlator: str
    candidates: tuple[str, ...]
    revision: int
    """Of the catalog that its candidates, and what was refused of them, are by."""
    deadline: float
    """When the answer is due, by the event loop's clock, in seconds."""
    on_done: Completion
    """Called once, with how the request ends; it must not raise."""
    may_have_been_served: bool
    """Whether to look for an earlier serve: the player named the request, or a COMMIT's answer was lost."""
    refusals: dict[str, NoFillReason] = field(default_factory=dict)
    in_hand: dict[str, FetchedAd] = field(default_factory=dict)
    """Upstream ads that are already here, by campaign."""
    attempted: tuple[ServedAd, ...] = ()
    """What the last transaction that paid for it served: it counts if that turns out to be committed."""
    trace: object = None
    """What ties it to its trace, if somebody traces."""
    run: tuple[str, ...] = ()
    """The candidates that the present lane may try."""
    repeats_allowed: bool = False
    """Whether a creative that its session has seen may be served again, nothing else being left."""
    queued_at: float = 0.0
    """When it last began to wait, by the event loop's clock, in seconds."""
    heard: bool = False
    """Whether the database has said by which catalog it was decided: only then is a refusal final."""
    attempts: int = 0
    alone: bool = False
    """Whether it is to be served in a group of its own, because its group failed."""
    over: bool = False
    """Whether it was answered, or nobody waits for the answer any more."""

    @property
    def remaining(self) -> tuple[str, ...]:
        """Candidates that were not refused yet."""
        if not self.refusals:
            return self.candidates
        return tuple(campaign_id for campaign_id in self.candidates if campaign_id not in self.refusals)

    def settle(self, outcome: Outcome) -> None:
        """Answers the player, unless the deadline has."""
        self._end(outcome)

    def fail(self, error: Exception) -> None:
        """Ends the request with an error that belongs to the player's request itself."""
        self._end(error)

    def abandon(self) -> None:
        """Nobody waits for the answer any more: what was not paid for by now is not."""
        self.over = True

    def _end(self, how: Outcome | Exception) -> None:
        if not self.over:
            self.over = True
            self.on_done(how)

    def give_up(self) -> None:
        """Ends the request with the reason of the first candidate, or `no_candidate`."""
        reasons = [self.refusals[campaign_id] for campaign_id in self.candidates if campaign_id in self.refusals]
        self.settle(NoFill(reasons[0] if reasons else NoFillReason.NO_CANDIDATE))


@dataclass(slots=True, eq=False)
class Choice:
    """A candidate chosen for a request: an own creative, which is one Ad, or what its upstreams answer."""

    pending: PendingRequest
    campaign: Campaign
    creative: Creative | None
    fetched: FetchedAd | None
    counted: bool
    """Whether frequency caps count its ads."""
    ads_max: int = 1
    """How many Ads of the answer it may be, which is what the caps count before the answer is known."""
    short_windows: dict[str, int] = field(default_factory=dict)
    """Cap windows with too little room, and how many ads each of them counted."""
    ads_paid: int = 0

    def refuse(self, reason: NoFillReason) -> None:
        """Takes the campaign out of what its request may still try."""
        self.pending.refusals[self.campaign.id] = reason

    @property
    def has_ad(self) -> bool:
        """Whether there is an ad to serve."""
        return self.creative is not None or self.fetched is not None

    @property
    def ads_allowed(self) -> int:
        """How many Ads of it the caps have room for."""
        return min(self.short_windows.values()) if self.short_windows else self.ads_max


@dataclass(slots=True, eq=False)
class Selection:
    """One Ad of a choice, to be paid for and served; `position` is its place in an upstream's document."""

    choice: Choice
    slot: int
    position: int = 0
    paid: bool = False

    @property
    def served_ad(self) -> ServedAd:
        """What the player gets."""
        choice = self.choice
        return ServedAd(self.slot, choice.campaign.id, choice.creative, choice.fetched, self.position)
