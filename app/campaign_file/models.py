"""The tables of a campaign file, as strict models that reject unknown keys.

The admin API uses the same models for its request bodies. Each model returns the domain object, with lists in the order
in which the database returns them.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.creative_tables import CreativeTable
from app.campaign_file.fields import Duration, Identifier, NoDuplicates, Url, Word, first_duplicate
from app.campaign_file.table import LIST_LENGTH_MAX, Table
from app.campaign_file.targeting_table import TargetingTable

_lax = Field(strict=False)
"""Enums are not strict, because their values are written as text."""


class PublisherTable(Table):
    """A publisher: its part of the price of each ad, and its limit on requests."""

    item_type: ClassVar = domain.Publisher

    id: Identifier
    name: Word | None = None
    revenue_share: fields.Share = Decimal(0)
    requests_per_s: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @field_validator("burst")
    @classmethod
    def burst_has_a_rate(cls, burst: int | None, info: ValidationInfo) -> int | None:
        """Reject a burst without a rate."""
        if burst is not None and info.data.get("requests_per_s", 1) is None:
            raise ValueError("requires requests_per_s")
        return burst

    def to_domain(self) -> domain.Publisher:
        """Return the publisher, by default with its id as its name."""
        return domain.Publisher(**self.model_dump() | {"name": self.name or self.id})


class AdvertiserTable(Table):
    """A company that pays for campaigns."""

    item_type: ClassVar = domain.Advertiser

    id: Word
    name: Word | None = None
    billing_details: fields.Lines | None = None

    def to_domain(self) -> domain.Advertiser:
        """Return the advertiser, by default with its id as its name."""
        return domain.Advertiser(**self.model_dump() | {"name": self.name or self.id})


class OrderTable(Table):
    """An order of an advertiser, whose budget its campaigns share."""

    item_type: ClassVar = domain.Order

    id: Identifier
    advertiser: Word
    currency: fields.Currency
    starts_at: fields.Moment | None = None
    ends_at: fields.Moment | None = None
    budget: fields.Amount | None = None
    impressions: Annotated[int, Field(ge=0, le=domain.BUDGET_IMPRESSIONS_MAX)] | None = None
    prepaid: bool = False
    purchase_order: Word | None = None

    @field_validator("ends_at")
    @classmethod
    def ends_after_it_starts(cls, ends_at: datetime | None, info: ValidationInfo) -> datetime | None:
        """Reject an empty span of time."""
        return fields.require_later(ends_at, info.data.get("starts_at"))

    def to_domain(self) -> domain.Order:
        """Return the order."""
        return domain.Order(**self.model_dump())


class UpstreamTable(Table):
    """An external ad server and its limits."""

    item_type: ClassVar = domain.Upstream

    id: Identifier
    tag_url: Url
    timeout_ms: Annotated[int, Field(ge=1, le=30_000)] = 300
    max_body_bytes: Annotated[int, Field(ge=1, le=16_777_216)] = 262_144
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 3
    cache_ttl_s: Annotated[int, Field(ge=0, le=604_800)] = 0
    stale_while_revalidate_s: Annotated[int, Field(ge=0, le=604_800)] = 0
    stale_if_error_s: Annotated[int, Field(ge=0, le=604_800)] = 0
    max_qps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    breaker_failures: Annotated[int, Field(ge=1, le=10_000)] = 5
    breaker_reset_s: Annotated[int, Field(ge=1, le=86_400)] = 60
    hedge: bool = False

    def to_domain(self) -> domain.Upstream:
        """Return the upstream."""
        return domain.Upstream(**self.model_dump())


class CapTable(Table):
    """A frequency cap of a campaign."""

    impressions: Annotated[int, Field(ge=1, le=1_000_000)]
    per: Annotated[domain.CapWindow, _lax]


class BudgetTable(Table):
    """A budget of a campaign for one period."""

    amount: fields.Amount | None = None
    impressions: Annotated[int, Field(ge=0, le=domain.BUDGET_IMPRESSIONS_MAX)] | None = None

    @model_validator(mode="after")
    def limits_something(self) -> Self:
        """Reject a budget without any limit."""
        if self.amount is None and self.impressions is None:
            raise ValueError("must have amount, impressions or both")
        return self

    def to_domain(self) -> domain.Budget:
        """Return the budget."""
        return domain.Budget(self.amount, self.impressions)


def _as_table(value: object) -> object:
    """Return an amount as a table with that amount."""
    return value if isinstance(value, dict) else {"amount": fields.validate_amount(value)}


PeriodBudget = Annotated[BudgetTable, BeforeValidator(_as_table, json_schema_input_type=fields.Amount | BudgetTable)]
"""A budget, as a table or as the amount alone."""


class BudgetsTable(Table):
    """The budgets of a campaign."""

    hour: PeriodBudget | None = None
    day: PeriodBudget | None = None
    lifetime: PeriodBudget | None = None

    def to_domain(self) -> dict[domain.BudgetPeriod, domain.Budget]:
        """Return the budgets by period."""
        periods = {period: getattr(self, period) for period in sorted(domain.BudgetPeriod)}
        return {period: budget.to_domain() for period, budget in periods.items() if budget is not None}


class CampaignTable(Table):
    """A campaign."""

    item_type: ClassVar = domain.Campaign

    id: Identifier
    advertiser: Word
    order: Identifier | None = None
    status: Annotated[domain.CampaignStatus, _lax] = domain.CampaignStatus.ACTIVE
    currency: fields.Currency
    timezone: fields.Timezone = "UTC"
    starts_at: fields.Moment
    ends_at: fields.Moment
    cpm: fields.Cpm
    billing: Annotated[domain.Billing, _lax] = domain.Billing.SERVE
    pacing: Annotated[domain.Pacing, _lax] = domain.Pacing.ASAP
    budgets: BudgetsTable = BudgetsTable()
    frequency_caps: Annotated[list[CapTable], Field(max_length=len(domain.CapWindow))] = []
    upstreams: Annotated[list[Identifier], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    without_user: Annotated[domain.WithoutUser, _lax] = domain.WithoutUser.SKIP
    late_impressions: Annotated[domain.LateImpressions, _lax] = domain.LateImpressions.IGNORE
    hold_ttl_s: Annotated[int, Field(ge=1, le=604_800)] = 3600
    direct: bool | None = None
    targeting: TargetingTable = TargetingTable()

    @field_validator("ends_at")
    @classmethod
    def ends_after_it_starts(cls, ends_at: datetime, info: ValidationInfo) -> datetime:
        """Reject an empty flight."""
        if "starts_at" in info.data and ends_at <= info.data["starts_at"]:
            raise ValueError("must be after starts_at")
        return ends_at

    @field_validator("frequency_caps")
    @classmethod
    def window_has_one_cap(cls, caps: list[CapTable]) -> list[CapTable]:
        """Reject a second cap for a window: the larger one would have no effect."""
        if duplicate := first_duplicate([cap.per for cap in caps]):
            raise ValueError(f"per '{duplicate}' must not be repeated")
        return caps

    def to_domain(self) -> domain.Campaign:
        """Return the campaign."""
        caps = sorted(self.frequency_caps, key=lambda cap: cap.per)
        return domain.Campaign(
            **self.model_dump(exclude={"budgets", "frequency_caps", "upstreams", "targeting"}),
            budgets=self.budgets.to_domain(),
            frequency_caps=tuple(domain.FrequencyCap(cap.impressions, cap.per) for cap in caps),
            upstreams=tuple(self.upstreams),
            targeting=self.targeting.to_domain(),
        )


class AdBreakTable(Table):
    """An ad break of a placement."""

    id: Identifier
    time_offset: fields.TimeOffset
    pod_size: Annotated[int, Field(ge=1, le=domain.POD_SIZE_MAX)] = 1
    pod_duration_s: Duration | None = None


class PlacementTable(Table):
    """A placement and its campaigns in priority order."""

    item_type: ClassVar = domain.Placement

    id: Identifier
    publisher_id: Identifier
    campaigns: Annotated[list[Identifier], Field(min_length=1, max_length=LIST_LENGTH_MAX), NoDuplicates]
    ad_breaks: Annotated[list[AdBreakTable], Field(max_length=LIST_LENGTH_MAX)] = []

    @field_validator("ad_breaks")
    @classmethod
    def ad_break_ids_are_unique(cls, ad_breaks: list[AdBreakTable]) -> list[AdBreakTable]:
        """Reject a repeated id: players identify breaks by id."""
        if duplicate := first_duplicate([ad_break.id for ad_break in ad_breaks]):
            raise ValueError(f"id {duplicate!r} must not be repeated")
        return ad_breaks

    def to_domain(self) -> domain.Placement:
        """Return the placement."""
        return domain.Placement(
            id=self.id,
            publisher_id=self.publisher_id,
            campaigns=tuple(self.campaigns),
            ad_breaks=tuple(domain.AdBreak(**ad_break.model_dump()) for ad_break in self.ad_breaks),
        )


class WebhookTable(Table):
    """A URL of another system that receives events."""

    item_type: ClassVar = domain.Webhook

    id: Identifier
    url: Url
    secret: fields.SigningSecret | None = None
    events: Annotated[list[Annotated[domain.OutboxEvent, _lax]], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    status: Annotated[domain.WebhookStatus, _lax] = domain.WebhookStatus.ACTIVE

    def to_domain(self) -> domain.Webhook:
        """Return the webhook."""
        return domain.Webhook(**self.model_dump() | {"events": tuple(self.events)})


ItemTable = (
    PublisherTable
    | AdvertiserTable
    | OrderTable
    | UpstreamTable
    | CampaignTable
    | CreativeTable
    | PlacementTable
    | WebhookTable
)
"""An entry of one of the file's lists."""

TABLES: Mapping[str, type[ItemTable]] = {
    "publishers": PublisherTable,
    "advertisers": AdvertiserTable,
    "orders": OrderTable,
    "upstreams": UpstreamTable,
    "campaigns": CampaignTable,
    "creatives": CreativeTable,
    "placements": PlacementTable,
    "webhooks": WebhookTable,
}
"""The lists of a file, ordered so that entries refer only to entries of earlier lists."""
