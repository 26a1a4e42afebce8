"""A choice is a candidate chosen for a request; a selection is one Ad of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain import ANY_ORDER, Campaign, Creative, NoFillReason, creative_counter, is_creative_counter
from app.serving.outcomes import ServedAd
from app.serving.pending import PendingRequest
from app.upstreams.fetched_ad import FetchedAd


@dataclass(slots=True, eq=False)
class Choice:
    """A candidate chosen for a request: its own creatives, each of which is one Ad, or the answer of its upstreams."""

    pending: PendingRequest
    campaign: Campaign
    advertiser_name: str
    """The name that an upstream's ad of the same advertiser has too."""
    creatives: tuple[Creative, ...]
    """The own creatives, one for each Ad; none if upstreams have the ad."""
    fetched: FetchedAd | None
    counted: bool
    """Whether frequency caps count its ads."""
    ads_max: int = 1
    """The number of Ads that the caps count before the upstream's answer is known."""
    short_windows: dict[tuple[str, str], int] = field(default_factory=dict)
    """Cap windows with too little room, by counter and window, and the number of ads that each of them counted."""
    ads_paid: int = 0
    paid_creative_ids: list[str] = field(default_factory=list)

    def refuse(self, reason: NoFillReason) -> None:
        """Take the campaign out of the candidates that remain for the request."""
        self.pending.refuse(self.campaign.id, reason)

    def receive(self, fetched: FetchedAd) -> None:
        """Take the ad that an upstream answered with."""
        self.fetched = fetched
        self.pending.keep_ready_ad(self.campaign.id, fetched)

    @property
    def has_ad(self) -> bool:
        """Whether there is an ad to serve."""
        return bool(self.playable_creatives) or self.fetched is not None

    @property
    def playable_creatives(self) -> Sequence[Creative]:
        """The own creatives without those that the user has seen as often as a cap on each creative allows."""
        if not self.short_windows:
            return self.creatives
        refusals = self.pending.progress.refusals
        return [creative for creative in self.creatives if creative_counter(creative.id) not in refusals]

    @property
    def ads_allowed(self) -> int:
        """The number of its Ads that the caps have room for."""
        if not self.short_windows:
            return self.ads_max
        shared = min(
            (ads for (key, _), ads in self.short_windows.items() if not is_creative_counter(key)), default=self.ads_max
        )
        return min(shared, len(self.playable_creatives)) if self.creatives else shared

    def pay(self, creative: Creative | None) -> None:
        """Record that one of its Ads was paid for."""
        self.ads_paid += 1
        if creative is not None:
            self.paid_creative_ids.append(creative.id)


@dataclass(slots=True, eq=False)
class Selection:
    """One Ad of a choice, to be paid for and served: a creative, or the Ad at `position` in an upstream's document."""

    choice: Choice
    slot: int
    creative: Creative | None
    position: int = 0

    @property
    def pod_order(self) -> int:
        """Its place in the order of the ads in a pod."""
        return ANY_ORDER if self.creative is None else self.creative.pod_order

    @property
    def served_ad(self) -> ServedAd:
        """The Ad for the player."""
        choice = self.choice
        return ServedAd(self.slot, choice.campaign.id, self.creative, choice.fetched, self.position)
