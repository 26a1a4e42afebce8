"""The place of each candidate in the pod of a request, or the reason why it has none, as lines of text."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from app.domain import Campaign, Catalog, Competitors
from app.serving.chooser import Chooser, pod_room
from app.serving.pending import PendingRequest
from app.serving.pod_filling import PodAd, competitor_keys, duration_ms
from app.serving.selection import select


class PodFacts:
    """The pod that the server's chooser makes of the candidates `ids`, which may serve."""

    def __init__(
        self, setup: Catalog, pending: PendingRequest, ids: Sequence[str], played: Collection[str], now: datetime
    ) -> None:
        self._request = pending.request
        self._ids = ids if self._request.pod_size > 1 else ()
        progress = replace(pending.progress, lane_candidates=tuple(ids), refusals={}, repeats_allowed=True)
        self._pending = replace(pending, progress=progress)
        self._played = played
        self._chooser = Chooser(setup, now)
        self._choices = self._chooser.choose(self._pending, played) or [] if self._ids else []
        self._ads = [
            PodAd(choice.campaign, creative) for choice in self._choices for creative in choice.creatives or [None]
        ]
        self._room = pod_room(self._request).less(self._ads)

    @property
    def is_empty(self) -> bool:
        """Whether there are candidates for a pod, and yet no pod."""
        return bool(self._ids) and not self._ads

    def of_campaign(self, campaign: Campaign) -> Iterator[str]:
        """Yield the facts about a campaign, if it may serve in a pod."""
        if campaign.id in self._ids:
            places = self._places(campaign)
            yield from (f"pod: {place}" for place in places)
            if not places:
                yield f"pod: left out, because {self._reason(campaign)}"

    def _places(self, campaign: Campaign) -> list[str]:
        """Return the places of the campaign's ads."""
        own = [choice for choice in self._choices if choice.creatives]
        places = [
            f"{selection.creative.id} is ad {selection.slot + 1} of {len(self._ads)}, "
            f"with {selection.creative.duration_s} s"
            for selection in (select(own) if own else [])
            if selection.choice.campaign is campaign and selection.creative is not None
        ]
        fetched = [choice for choice in self._choices if choice.campaign is campaign and not choice.creatives]
        return [*places, *(f"its upstreams fill up to {choice.ads_max} slots" for choice in fetched)]

    def _reason(self, campaign: Campaign) -> str:
        """Return the reason why the campaign has no ad in the pod."""
        if not self._ads:
            return f"there are fewer than {self._request.min_ads} ads, or only a bumper"
        if rival := self._rival(campaign):
            return f"{rival.id} is a competitor"
        if self._room.slots == 0:
            return f"all {self._request.pod_size} slots are taken"
        candidate = self._chooser.candidate(self._pending, campaign.id, self._played)
        free = self._room.with_free_position(candidate.creatives if candidate else ())
        if not free:
            return "its creatives were played, or have a position in the pod that is taken"
        shortest_s, left_s = min(map(duration_ms, free)) / 1000, self._room.time_ms / 1000
        return f"its shortest creative has {shortest_s:g} s, and the others, which are worth more, leave {left_s:g} s"

    def _rival(self, campaign: Campaign) -> Campaign | None:
        """Return a campaign of the pod that keeps this one out."""
        if self._request.competitors is Competitors.TOGETHER:
            return None
        keys = set(competitor_keys(campaign))
        return next((ad.campaign for ad in self._ads if not keys.isdisjoint(competitor_keys(ad.campaign))), None)
