"""A ticket is one ad request on its way through the lanes; an outcome is how it ends.

    queued          in the lane of its next candidates, which are its `run`
    in a group      whose transaction is under way, and after which it is
      served        and told of its ad
      refused       by its whole run: queued again with what is `remaining`, or told why there is nothing
      late          its ad is still being fetched: queued again when it is `in_hand`
      put off       because the group has somebody it cannot be with: queued again as it was
      put back      because the group failed: queued again, maybe to be `alone`, after so many `attempts` told `busy`
    over            answered, past its deadline or abandoned: whoever finds it somewhere passes over it

`lanes` has them queued and put back, `transaction` decides groups, and `adserver` leads from one to the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from app.domain import AdRequest, Campaign, Creative, NoFillReason, VastVersion
from app.serving.context import SessionContext
from app.vast.template import Template


class UpstreamDocument(Protocol):
    """An upstream's document with our trackers, compiled."""

    @property
    def version(self) -> VastVersion:
        """The version that it is in."""

    @property
    def whole(self) -> Template:
        """The document as a whole."""

    @property
    def fits_pods(self) -> bool:
        """Whether its Ads can stand beside others."""

    @property
    def advertisers(self) -> frozenset[str]:
        """Who advertises in it, as far as it says."""

    @property
    def creative_ids(self) -> frozenset[str]:
        """What tells its creatives from others."""

    @property
    def duration_s(self) -> float | None:
        """How long it plays; None if it does not know."""

    def ads(self, version: VastVersion) -> Sequence[Template]:
        """Its Ads one by one, for a pod of that version, which is not earlier than its own."""


class FetchedAd(Protocol):
    """An upstream's ad, ready to be served."""

    @property
    def upstream_id(self) -> str:
        """Where it came from."""

    @property
    def document(self) -> UpstreamDocument:
        """What the player gets."""

    @property
    def body(self) -> bytes:
        """The document as it came, kept for requests that may be asked again."""


class ServedAd(NamedTuple):
    """One ad of an answer: an own creative, or an upstream's document."""

    slot: int
    campaign_id: str
    creative: Creative | None
    fetched: FetchedAd | None


@dataclass(slots=True)
class Served:
    """The request was paid for; `repeat` when that happened the first time it was asked."""

    request_key: UUID
    served_at: datetime
    ads: tuple[ServedAd, ...]
    repeat: bool = False
    vast: bytes = b""
    """The document for the player."""
    fault: Exception | None = None
    """Why there is no document, if it could not be rendered."""


class NoFill(NamedTuple):
    """Nothing was served and nothing was spent; `reason` is that of the candidate with the highest priority."""

    reason: NoFillReason


Outcome = Served | NoFill

Tell = Callable[[Outcome | Exception], None]
"""Takes a request's outcome, or the error that it ended with."""


@dataclass(slots=True, eq=False)
class Ticket:
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
    tell: Tell
    """Called once, with how the request ends; it must not raise."""
    may_be_served: bool
    """Whether to look for an earlier serve: the player named the request, or a COMMIT's answer was lost."""
    refusals: dict[str, NoFillReason] = field(default_factory=dict)
    in_hand: dict[str, FetchedAd] = field(default_factory=dict)
    """Upstream ads that are already here, by campaign."""
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
            self.tell(how)

    def give_up(self) -> None:
        """Ends the request with the reason of the first candidate, or `no_candidate`."""
        reasons = [self.refusals[campaign_id] for campaign_id in self.candidates if campaign_id in self.refusals]
        self.settle(NoFill(reasons[0] if reasons else NoFillReason.NO_CANDIDATE))


@dataclass(slots=True, eq=False)
class Choice:
    """A candidate chosen for one slot of a request."""

    ticket: Ticket
    slot: int
    campaign: Campaign
    creative: Creative | None
    fetched: FetchedAd | None
    counted: bool
    """Whether frequency caps count this ad."""
    full_windows: list[str] = field(default_factory=list)
    """Cap windows that turned out to have no room for it, and so did not count it."""
    paid: bool = False

    def refuse(self, reason: NoFillReason) -> None:
        """Takes the campaign out of what its request may still try."""
        self.ticket.refusals[self.campaign.id] = reason

    @property
    def in_hand(self) -> bool:
        """Whether there is an ad to serve."""
        return self.creative is not None or self.fetched is not None
