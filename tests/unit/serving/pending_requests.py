"""Pending requests, campaigns and creatives for unit tests of serving."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from app.domain import (
    AdRequest,
    Advertiser,
    Campaign,
    CampaignStatus,
    Catalog,
    Client,
    Creative,
    Price,
    PriceModel,
    Upstream,
)
from app.serving.context import open_context
from app.serving.outcomes import Completion, Outcome
from app.serving.pending import PendingRequest, Progress

FLIGHT = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
USER = UUID(int=7)


class Results(list[Outcome | Exception]):
    """The results that a completion has received."""

    def __call__(self, result: Outcome | Exception) -> None:
        self.append(result)


def pending_request(
    *candidates: str,
    user_key: UUID | None = None,
    request_key: UUID | None = None,
    deadline: float = 0.0,
    on_done: Completion | None = None,
    **request: Any,
) -> PendingRequest:
    """A new request for these candidates, all of which its lane may try."""
    progress = Progress(candidates, 1, user_key, "", may_have_been_served=False, lane_candidates=candidates)
    return PendingRequest(
        AdRequest(placement_id="p", **request),
        open_context("r1", {}, Client("203.0.113.9", "TV/1.0")),
        request_key or uuid4(),
        0,
        deadline,
        Results() if on_done is None else on_done,
        None,
        progress,
    )


def campaign(campaign_id: str, **terms: Any) -> Campaign:
    """An active campaign, whose advertiser has its name."""
    free = Price(PriceModel.CPM, Decimal(0))
    made = Campaign(campaign_id, campaign_id, CampaignStatus.ACTIVE, "USD", "UTC", *FLIGHT, free)
    return replace(made, **terms)


def creative(creative_id: str, campaign_id: str, duration_s: int = 15) -> Creative:
    return Creative(creative_id, campaign_id, creative_id, duration_s, ())


def catalog(*campaigns: Campaign, creatives: tuple[Creative, ...] | None = None) -> Catalog:
    """These campaigns; unless `creatives` are given, each without upstreams has one of 15 seconds, named like it."""
    if creatives is None:
        creatives = tuple(creative(made.id, made.id) for made in campaigns if not made.upstreams)
    by_campaign = {
        made.id: tuple(creative for creative in creatives if creative.campaign_id == made.id) for made in campaigns
    }
    upstreams = {name: Upstream(name, f"http://{name}.example/") for made in campaigns for name in made.upstreams}
    advertisers = {made.advertiser: Advertiser(made.advertiser, made.advertiser) for made in campaigns}
    return Catalog(1, None, {made.id: made for made in campaigns}, by_campaign, upstreams, {}, {}, advertisers)
