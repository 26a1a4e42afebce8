"""The campaigns beside the candidates of a targeted placement, and the rank of each, as lines of text."""

from collections.abc import Iterator
from datetime import datetime

from app.domain import TARGETED, Campaign, Placement
from app.serving.pace import Pace
from app.serving.pending import PendingRequest
from app.serving.targeted_candidates import TargetedCandidates
from app.targeting.matcher import TargetingMatcher

REFUSED_MAX = 20
"""Refused campaigns that are explained."""


def add_refused(
    pending: PendingRequest, placement: Placement, matcher: TargetingMatcher, now: datetime
) -> tuple[str, ...]:
    """Add some campaigns that are no candidates, each with its refusal; return notes about the others."""
    candidates = TargetedCandidates(matcher)
    facts = matcher.facts(pending.request, pending.viewer)
    chosen = pending.progress.candidates
    refusals = {
        campaign_id: candidates.refusal(campaign_id, placement, facts, pending.viewer, now)
        for campaign_id in sorted(candidates.found(facts).difference(chosen))
    }
    refused = {campaign_id: reason for campaign_id, reason in refusals.items() if reason is not None}
    shown = [*refused][:REFUSED_MAX]
    pending.rebase_on(pending.progress.revision, (*chosen, *shown))
    for campaign_id in shown:
        pending.refuse(campaign_id, refused[campaign_id])
    counts = (
        (len(refusals) - len(refused), f"match and are not tried, because at most {len(chosen)} are"),
        (len(refused) - len(shown), "do not match, or are not in flight"),
        (
            len(matcher.catalog.campaigns) - len(chosen) - len(refusals),
            "are not active, or a list of their targeting has no value of the request",
        ),
    )
    return tuple(f"{count:,} other campaigns {text}" for count, text in counts if count)


class PlacementFacts:
    """The facts about a campaign in a placement, as lines of text; nothing without a placement."""

    def __init__(self, placement: Placement | None, pace: Pace) -> None:
        self._placement = placement
        self._pace = pace

    def of_campaign(self, campaign: Campaign) -> Iterator[str]:
        """Yield its rank if the placement is targeted, and a line for each of its properties that is blocked."""
        placement = self._placement
        if placement is None:
            return
        if placement.campaigns == TARGETED:
            yield f"rank: priority {campaign.priority}, {self._turn(campaign)}"
        if campaign.advertiser in placement.blocked_advertisers:
            yield f"placement: blocks advertiser {campaign.advertiser}"
        for category in campaign.categories:
            if category in placement.blocked_categories:
                yield f"placement: blocks category {category}"

    def _turn(self, campaign: Campaign) -> str:
        if not campaign.has_goal:
            return f"weight {campaign.weight}"
        behind = self._pace.behind.get(campaign.id)
        if behind is None:
            return "the pace of its goal is not known"
        return f"{abs(behind):.1%} of its goal {'behind' if behind > 0 else 'ahead of'} its pace"
