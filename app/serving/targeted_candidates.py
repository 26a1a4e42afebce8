"""The candidates of targeted placements: campaigns that match a request, in the order in which they are tried.

That order is by priority. Within a priority, the campaigns that are behind their goal come first, the one furthest
behind first of all; then those without a goal, in an order drawn by their weights; then those that are not behind their
goal. The draw depends only on the request's key, so that a retry tries the campaigns in the same order.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from heapq import merge
from itertools import accumulate, pairwise
from math import log

from app.domain import Campaign, CampaignStatus, NoFillReason, Placement
from app.serving.pace import Pace
from app.targeting.campaign_index import CampaignIndex, Tier
from app.targeting.criteria import Facts
from app.targeting.matcher import TargetingMatcher, is_blocked
from app.targeting.viewer import Viewer

_STATE_MIN = 1 << 128
_UNIT = 1 << 53


class Draws:
    """Numbers that a seed determines, each as likely as any other: the digits of its BLAKE2b hash.

    Python's own generator takes longer to be seeded than all other steps of a request's choice together.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._state = 0

    def below(self, limit: int) -> int:
        """Return the next number, from 0 to below the limit, which is much lower than 2 to the power of 64."""
        if self._state <= _STATE_MIN:
            digest = blake2b(f"{self._seed} {self._state}".encode()).digest()
            self._state = int.from_bytes(digest)
        self._state, drawn = divmod(self._state, limit)
        return drawn


class TargetedCandidates:
    """Finds the candidates of the targeted placements of one catalog."""

    def __init__(self, matcher: TargetingMatcher) -> None:
        self._matcher = matcher
        self._campaigns: Mapping[str, Campaign] = matcher.catalog.campaigns
        active = [campaign for campaign in self._campaigns.values() if campaign.status is CampaignStatus.ACTIVE]
        rules = {campaign_id: targeting.include for campaign_id, targeting in matcher.targeted.items()}
        self._index = CampaignIndex(active, rules)

    def choose(
        self, placement: Placement, facts: Facts, viewer: Viewer, moment: datetime, seed: int, pace: Pace, limit: int
    ) -> tuple[str, ...]:
        """Return the first `limit` campaigns in order that may serve the request at this moment."""
        chosen: list[str] = []
        for campaign_id in self.in_order(facts, seed, pace):
            if self.refusal(campaign_id, placement, facts, viewer, moment) is None:
                chosen.append(campaign_id)
                if len(chosen) == limit:
                    break
        return tuple(chosen)

    def found(self, facts: Facts) -> frozenset[str]:
        """Return the campaigns that the index finds."""
        tiers = (tier for found in self._index.find(facts) for tier in found.values())
        return frozenset(campaign_id for tier in tiers for campaign_id in tier.members)

    def refusal(
        self, campaign_id: str, placement: Placement, facts: Facts, viewer: Viewer, moment: datetime
    ) -> NoFillReason | None:
        """Return the reason for which the campaign is no candidate of the request at this moment."""
        campaign = self._campaigns[campaign_id]
        if not campaign.starts_at <= moment < campaign.ends_at:
            return NoFillReason.FLIGHT
        if not self._matcher.accepts(campaign_id, facts, viewer, moment) or is_blocked(campaign, placement):
            return NoFillReason.TARGETING
        return None

    def in_order(self, facts: Facts, seed: int, pace: Pace) -> Iterator[str]:
        """Yield the campaigns that the index finds, each once, in the order in which they are tried."""
        found = self._index.find(facts)
        draws = Draws(seed)
        for priority in sorted({priority for tiers in found for priority in tiers}):
            tiers = [tiers[priority] for tiers in found if priority in tiers]
            orders = [pace.order(tier) for tier in tiers if tier.goals]
            yield from _merged([behind for behind, _ in orders], pace)
            yield from draw_by_weight(tiers, draws)
            yield from _merged([others for _, others in orders], pace)


def _merged(orders: Sequence[Sequence[str]], pace: Pace) -> Iterable[str]:
    """Return one order of several, with each campaign once."""
    return orders[0] if len(orders) == 1 else dict.fromkeys(merge(*orders, key=pace.lead))


def draw_by_weight(tiers: Sequence[Tier], draws: Draws) -> Iterator[str]:
    """Yield each campaign without a goal once: at every step, each of those left is as likely as its weight says.

    Draw from all campaigns, and draw again where one was drawn before, as long as that is rare; then sort those left by
    random numbers that make the same order as likely. The first few of ten thousand campaigns are so drawn without a
    look at the others.
    """
    pools = [tier for tier in tiers if tier.weighted]
    if not pools:
        return
    size = sum(len(tier.weighted) for tier in pools)
    totals = [*accumulate(tier.cumulative_weights[-1] for tier in pools)]
    drawn: set[str] = set()
    for _ in range(size // 2):
        campaign_id = _draw(pools, totals, draws)
        if campaign_id is not None and campaign_id not in drawn:
            drawn.add(campaign_id)
            yield campaign_id
    weights = {campaign_id: weight for tier in pools for campaign_id, weight in _weights(tier)}
    left = (campaign_id for campaign_id in weights if campaign_id not in drawn)
    yield from sorted(left, key=lambda campaign_id: -log(1.0 - draws.below(_UNIT) / _UNIT) / weights[campaign_id])


def _draw(pools: Sequence[Tier], totals: Sequence[int], draws: Draws) -> str | None:
    """Return a campaign, or None for one that is in several pools and was not drawn from the first of them."""
    point = draws.below(totals[-1])
    if len(pools) == 1:
        (tier,) = pools
        return tier.weighted[bisect_right(tier.cumulative_weights, point)]
    index = bisect_right(totals, point)
    tier = pools[index]
    point -= totals[index] - tier.cumulative_weights[-1]
    campaign_id = tier.weighted[bisect_right(tier.cumulative_weights, point)]
    return None if any(campaign_id in earlier.members for earlier in pools[:index]) else campaign_id


def _weights(tier: Tier) -> Iterator[tuple[str, int]]:
    weights = (after - before for before, after in pairwise((0, *tier.cumulative_weights)))
    return zip(tier.weighted, weights, strict=True)
