"""The catalog: everything that is set up, as frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, Protocol

from app.domain.caps import CapRules, FrequencyCap, cap_rules
from app.domain.creatives import Creative
from app.domain.targeting import Targeting
from app.domain.terms import (
    Billing,
    BreakType,
    BudgetPeriod,
    CampaignStatus,
    Competitors,
    InvalidTraffic,
    LateImpressions,
    OutboxEvent,
    Pacing,
    PriceModel,
    WebhookStatus,
    WithoutUser,
)


@dataclass(frozen=True, slots=True)
class Price:
    """An amount in the currency of the campaign, for the unit that the model names."""

    model: PriceModel
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits on spend and on what is sold in one period; None means no limit."""

    amount: Decimal | None = None
    impressions: int | None = None
    """The number of ads, or of the clicks or completed views that the campaign is sold by."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An external ad server: its tag URL, and the limits for requests to it."""

    id: str
    tag_url: str
    timeout_ms: int = 300
    max_body_bytes: int = 262_144
    max_redirects: int = 3
    cache_ttl_s: int = 0
    stale_while_revalidate_s: int = 0
    stale_if_error_s: int = 0
    max_qps: int | None = None
    max_in_flight: int = 64
    breaker_failures: int = 5
    breaker_reset_s: int = 60
    hedge: bool = False


@dataclass(frozen=True, slots=True)
class Advertiser:
    """A company that pays for campaigns; `billing_details` is free text for invoices."""

    id: str
    name: str
    billing_details: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A purchase of an advertiser; its campaigns share `budget` and `impressions`, which are None for no limit."""

    id: str
    advertiser: str
    currency: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    budget: Decimal | None = None
    impressions: int | None = None
    prepaid: bool = False
    """Whether no more may be spent than what was credited."""
    purchase_order: str | None = None

    @property
    def has_limit(self) -> bool:
        """Whether anything limits what its campaigns may spend or serve together."""
        return self.prepaid or self.budget is not None or self.impressions is not None


@dataclass(frozen=True, slots=True)
class Campaign:
    """Ads of an advertiser, sold at one price."""

    id: str
    advertiser: str
    status: CampaignStatus
    currency: str
    timezone: str
    starts_at: datetime
    ends_at: datetime
    price: Price
    billing: Billing = Billing.SERVE
    pacing: Pacing = Pacing.ASAP
    front_percent: int | None = None
    """Percent by which spend may be ahead of even pacing, if pacing is front."""
    budgets: Mapping[BudgetPeriod, Budget] = field(default_factory=dict)
    frequency_caps: tuple[FrequencyCap, ...] = ()
    upstreams: tuple[str, ...] = ()
    without_user: WithoutUser = WithoutUser.SKIP
    late_impressions: LateImpressions = LateImpressions.IGNORE
    hold_ttl_s: int = 3600
    direct: bool | None = None
    """Whether a request may select the campaign by `campaign_id`; None only in a draft that keeps the current value."""
    targeting: Targeting = field(default_factory=Targeting)
    order: str | None = None
    """The order whose budget the campaign shares."""
    priority: int = 5
    """From 1, which is served first, to 10; for targeted placements."""
    weight: int = 1
    """Its share of the ads of its priority, in comparison with the weights of the other campaigns."""
    categories: tuple[str, ...] = ()
    """Ids of a content taxonomy of the IAB: what is advertised."""
    ads_per_pod: int = 1
    """The maximum number of its creatives in a pod."""

    @property
    def has_goal(self) -> bool:
        """Whether its ads are due over time: pacing spreads a budget, or a number of ads is due until it ends."""
        lifetime = self.budgets.get(BudgetPeriod.LIFETIME)
        if lifetime is not None and lifetime.impressions is not None:
            return True
        return self.pacing is not Pacing.ASAP and any(period is not BudgetPeriod.HOUR for period in self.budgets)


TARGETED: Final = "targeted"
"""Replaces the list of campaigns of a placement: every campaign may serve whose targeting matches."""


@dataclass(frozen=True, slots=True)
class AdBreak:
    """An ad break of a placement; `time_offset` has the format of VMAP 1.0.1 section 2.3.1."""

    id: str
    time_offset: str
    pod_size: int = 1
    pod_duration_s: int | None = None
    min_ads: int = 1
    competitors: Competitors = Competitors.APART
    break_type: BreakType = BreakType.LINEAR
    repeat_every: str | None = None
    """Time in the same format after which the break is repeated."""
    placement_id: str | None = None
    """The placement whose campaigns fill the break; None for its own."""


@dataclass(frozen=True, slots=True)
class Placement:
    """An ad slot of a publisher; a list of campaigns is in the order in which they are tried."""

    id: str
    publisher_id: str
    campaigns: tuple[str, ...] | Literal["targeted"]
    ad_breaks: tuple[AdBreak, ...] = ()
    blocked_advertisers: tuple[str, ...] = ()
    blocked_categories: tuple[str, ...] = ()

    @property
    def listed_campaigns(self) -> tuple[str, ...]:
        """The ids of its list; none if it is targeted."""
        return () if self.campaigns == TARGETED else self.campaigns


@dataclass(frozen=True, slots=True)
class Publisher:
    """An owner of placements. `requests_per_s` limits requests from its players; None means no limit."""

    id: str
    name: str
    revenue_share: Decimal = Decimal(0)
    """The part of the price of each ad that the publisher earns, from 0 to 1."""
    requests_per_s: int | None = None
    burst: int | None = None
    invalid_traffic: InvalidTraffic = InvalidTraffic.SERVE


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL of another system that receives the `events`, or all events if it names no type, signed with the secret."""

    id: str
    url: str
    secret: str | None = field(default=None, repr=False)
    """The signing secret; None only in a draft that keeps the current value."""
    events: tuple[OutboxEvent, ...] = ()
    status: WebhookStatus = WebhookStatus.ACTIVE


CatalogItem = Publisher | Advertiser | Order | Upstream | Campaign | Creative | Placement | Webhook
"""An item of the catalog, identified by its type and id."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All campaigns and related items, at one `revision` of the database."""

    revision: int
    created_at: datetime | None
    """Creation time of the revision, which distinguishes equal revision numbers; None if it was not recorded."""
    campaigns: Mapping[str, Campaign]
    creatives: Mapping[str, tuple[Creative, ...]]
    """Creatives by campaign id, each list in id order."""
    upstreams: Mapping[str, Upstream]
    placements: Mapping[str, Placement]
    publishers: Mapping[str, Publisher]
    advertisers: Mapping[str, Advertiser] = field(default_factory=dict)
    orders: Mapping[str, Order] = field(default_factory=dict)
    webhooks: Mapping[str, Webhook] = field(default_factory=dict)

    cap_rules: Mapping[str, CapRules] = field(init=False, repr=False)
    """The rules of the campaigns with frequency caps, by campaign id."""

    def __post_init__(self) -> None:
        """Find the caps that apply to each campaign."""
        object.__setattr__(self, "cap_rules", cap_rules(self.campaigns.values()))

    def advertiser_name(self, campaign: Campaign) -> str:
        """Return the name of the campaign's advertiser."""
        return self.advertisers[campaign.advertiser].name

    def upstreams_of(self, campaign: Campaign) -> list[Upstream]:
        """Return the campaign's upstreams in the order in which they are tried."""
        return [self.upstreams[upstream_id] for upstream_id in campaign.upstreams]


class CatalogSource(Protocol):
    """The source of a worker's current catalog."""

    current: Catalog

    async def reload(self, seen: Catalog) -> None:
        """Replace the catalog `seen` if the database has a newer one."""
