"""What the model of what may be sold says of an answer: whether it was allowed, and whether more was due."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations

from tests.invariants.selling_model import Campaign, Creative, Model, Request

Eligible = Mapping[str, Sequence[Creative]]
"""Campaigns that may serve, each with its creatives that may."""
Served = Sequence[tuple[str, str]]
"""The campaign and the creative of each ad of an answer."""


class Judge:
    """Judges the answer to one request, by what was eligible `before` it, and by what still was `after` it.

    Between the two moments, others may have been served, and nothing else has happened: budgets and caps only lost
    room. So who is eligible afterwards was so all the time. If there were no others, `after` is the same as `before`.
    """

    def __init__(self, model: Model, request: Request, before: Eligible, after: Eligible) -> None:
        self._model = model
        self._request = request
        self._ranks = model.ranks(request)
        self._before = before
        self._after = after
        self._is_alone = before is after

    def judge(self, served: Served, played_before: Collection[str]) -> None:
        """Fail if the answer has an ad that may not be served, or lacks one that was due."""
        for campaign_id, creative_id in served:
            assert creative_id in {film.id for film in self._before.get(campaign_id, ())}, (campaign_id, creative_id)
        if self._request.pod_size == 1:
            self._judge_single(served, played_before)
        else:
            self._judge_pod(served)

    def _judge_single(self, served: Served, played: Collection[str]) -> None:
        due = self._after
        if self._request.session is not None:
            if not self._is_alone:
                return
            due = _unplayed(due, played) or due
        if not served:
            assert not due, "an ad was due"
            return
        ((campaign_id, creative_id),) = served
        best = min((self._ranks[other] for other in due), default=self._ranks[campaign_id])
        assert self._ranks[campaign_id] <= best, f"one of {sorted(due)} was due"
        if self._is_alone:
            assert creative_id in {film.id for film in due[campaign_id]}, "a creative that was not played was due"

    def _judge_pod(self, served: Served) -> None:
        request, campaigns = self._request, self._model.campaigns
        films = [self._film(*ad) for ad in served]
        assert not served or request.min_ads <= len(served) <= request.pod_size
        assert len(set(films)) == len(films)
        assert request.pod_duration_s is None or sum(film.duration_s for film in films) <= request.pod_duration_s
        ids = [campaign_id for campaign_id, _ in served]
        assert all(ids.count(campaign_id) <= campaigns[campaign_id].ads_per_pod for campaign_id in ids)
        for one, other in combinations(dict.fromkeys(ids), 2):
            assert request.competitors == "together" or not _compete(campaigns[one], campaigns[other])
        if request.session is None and self._has_room_to_spare():
            assert served or not self._after or request.min_ads > 1, "an ad was due"
            assert not [*self._displaced(served)]

    def _has_room_to_spare(self) -> bool:
        """Return whether every pod is paid for as it was chosen, whichever it is."""
        campaigns = (self._model.campaigns[campaign_id] for campaign_id in self._before)
        dearest = max((campaign.price for campaign in campaigns), default=0)
        return self._is_alone and all(
            self._model.room(campaign, self._request) >= self._request.pod_size
            and self._model.order_room(campaign, dearest) >= self._request.pod_size
            for campaign in map(self._model.campaigns.__getitem__, self._before)
        )

    def _displaced(self, served: Served) -> Iterator[str]:
        """Yield the campaigns that would have had a place, if an ad of a higher rank had not got it."""
        last = max((self._ranks[campaign_id] for campaign_id, _ in served), default=-1)
        for campaign_id, creatives in self._after.items():
            rank, campaign = self._ranks[campaign_id], self._model.campaigns[campaign_id]
            if rank >= last or campaign_id in dict(served):
                continue
            kept = [ad for ad in served if self._ranks[ad[0]] <= rank]
            rivals = [self._model.campaigns[other] for other, _ in kept]
            if self._request.competitors == "apart" and any(_compete(campaign, rival) for rival in rivals):
                continue
            if any(self._share_a_count(campaign, self._model.campaigns[other]) for other, _ in served):
                continue
            longest = self._request.pod_duration_s
            used = sum(self._film(*ad).duration_s for ad in kept)
            if longest is None or min(film.duration_s for film in creatives) <= longest - used:
                yield campaign_id

    def _share_a_count(self, one: Campaign, other: Campaign) -> bool:
        """Return whether both count in one row, so that a pod has only one of them."""
        return not self._model.counters(one).isdisjoint(self._model.counters(other))

    def _film(self, campaign_id: str, creative_id: str) -> Creative:
        return next(film for film in self._model.campaigns[campaign_id].creatives if film.id == creative_id)


def _unplayed(eligible: Eligible, played: Collection[str]) -> Eligible:
    """Return the campaigns with creatives that were not played, each with these."""
    left = {key: [film for film in films if film.id not in played] for key, films in eligible.items()}
    return {key: films for key, films in left.items() if films}


def _compete(one: Campaign, other: Campaign) -> bool:
    return not one.traits.isdisjoint(other.traits)
