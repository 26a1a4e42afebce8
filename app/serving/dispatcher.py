"""Sends each request to the lane that can serve its next candidates."""

from app.domain import TARGETED
from app.serving.candidates import CandidateResolver
from app.serving.catalogs import CatalogHolder
from app.serving.lane import Lane
from app.serving.lifecycle import Trigger
from app.serving.pending import PendingRequest
from app.serving.recent_refusals import RecentRefusals
from app.serving.upstream_ads import UpstreamAds


class Dispatcher:
    """Chooses between two lanes: `serve` for requests whose ads are ready, and `fetch` for all others.

    No request waits for an upstream that only another request needs.
    """

    def __init__(
        self,
        serve: Lane,
        fetch: Lane,
        catalogs: CatalogHolder,
        resolver: CandidateResolver,
        ads: UpstreamAds,
        recent_refusals: RecentRefusals,
    ) -> None:
        self._serve = serve
        self._fetch = fetch
        self._catalogs = catalogs
        self._resolver = resolver
        self._ads = ads
        self._recent_refusals = recent_refusals

    def enqueue(self, pending: PendingRequest) -> None:
        """Queue a new request."""
        self._choose_lane(pending, pending.remaining).put(pending)

    def requeue(self, pending: PendingRequest, trigger: Trigger) -> None:
        """Queue a request again, or decline it if no candidate remains; skip it if it is done."""
        if pending.is_done:
            return
        remaining = pending.remaining
        if not remaining and self._resolver.extend(pending):
            remaining = pending.remaining
        if not remaining and pending.progress.revision_confirmed:
            pending.decline_for_lack_of_candidates()
            return
        self._choose_lane(pending, remaining).put_back(pending, trigger)

    def _choose_lane(self, pending: PendingRequest, remaining: tuple[str, ...]) -> Lane:
        """Return the lane for the request's next attempt, and plan the candidates of that attempt."""
        likely = self._likely_candidates(pending, remaining) if len(remaining) > 1 else remaining
        ready = self._ready_candidates(pending, likely)
        is_ready = ready == likely or (bool(ready) and pending.request.pod_size == 1)
        candidates = ready if is_ready else likely
        pending.plan_attempt(candidates, repeats_allowed=candidates == remaining)
        return self._serve if is_ready else self._fetch

    def _likely_candidates(self, pending: PendingRequest, remaining: tuple[str, ...]) -> tuple[str, ...]:
        """Return the candidates of a targeted placement as far as one that was not refused recently, and others' all.

        A check of that one alone costs a fraction of a check of all. If it cannot serve, the next attempt has all.
        """
        request, progress = pending.request, pending.progress
        placement = self._catalogs.current.placements.get(request.placement_id or "")
        is_targeted = placement is not None and placement.campaigns == TARGETED
        if not is_targeted or progress.refusals or request.pod_size > 1 or request.session_id is not None:
            return remaining
        for index, campaign_id in enumerate(remaining, start=1):
            if not self._recent_refusals.contains(campaign_id, (progress.user_key, campaign_id)):
                return remaining[:index]
        return remaining

    def _ready_candidates(self, pending: PendingRequest, remaining: tuple[str, ...]) -> tuple[str, ...]:
        """Return the leading candidates whose ad is an own creative, has arrived before, or is cached."""
        catalog = self._catalogs.current
        for index, campaign_id in enumerate(remaining):
            campaign = catalog.campaigns[campaign_id]
            if not campaign.upstreams or campaign_id in pending.progress.ready_ads:
                continue
            fetched = self._ads.cached(pending, catalog.upstreams_of(campaign))
            if fetched is None:
                return remaining[:index]
            pending.keep_ready_ad(campaign_id, fetched)
        return remaining
