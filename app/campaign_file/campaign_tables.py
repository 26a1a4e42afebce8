"""The campaigns of a campaign file."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.fields import Identifier, NoDuplicates, Word, first_duplicate
from app.campaign_file.price_tables import BudgetsTable, PriceTable
from app.campaign_file.table import LIST_LENGTH_MAX, Table, lax
from app.campaign_file.targeting_table import TargetingTable

CATEGORIES_MAX = 20
"""Categories of one campaign."""


class CapTable(Table):
    """A frequency cap of a campaign."""

    impressions: Annotated[int, Field(ge=1, le=1_000_000)]
    per: Annotated[domain.CapWindow, lax]


class CampaignTable(Table):
    """A campaign."""

    item_type: ClassVar = domain.Campaign

    id: Identifier
    advertiser: Word
    order: Identifier | None = None
    status: Annotated[domain.CampaignStatus, lax] = domain.CampaignStatus.ACTIVE
    currency: fields.Currency
    timezone: fields.Timezone = "UTC"
    starts_at: fields.Moment
    ends_at: fields.Moment
    cpm: fields.Cpm | None = None
    price: Annotated[PriceTable | None, Field(validate_default=True)] = None
    billing: Annotated[domain.Billing | None, lax] = None
    pacing: Annotated[domain.Pacing, lax] = domain.Pacing.ASAP
    front_percent: Annotated[int | None, Field(ge=1, le=100, validate_default=True)] = None
    budgets: BudgetsTable = BudgetsTable()
    frequency_caps: Annotated[list[CapTable], Field(max_length=len(domain.CapWindow))] = []
    upstreams: Annotated[list[Identifier], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    without_user: Annotated[domain.WithoutUser, lax] = domain.WithoutUser.SKIP
    late_impressions: Annotated[domain.LateImpressions, lax] = domain.LateImpressions.IGNORE
    hold_ttl_s: Annotated[int, Field(ge=1, le=604_800)] = 3600
    direct: bool | None = None
    targeting: TargetingTable = TargetingTable()
    priority: Annotated[int, Field(ge=1, le=10)] = 5
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    ads_per_pod: Annotated[int, Field(ge=1, le=domain.POD_SIZE_MAX)] = 1
    categories: Annotated[list[fields.Category], Field(max_length=CATEGORIES_MAX), NoDuplicates] = []

    @field_validator("ends_at")
    @classmethod
    def ends_after_it_starts(cls, ends_at: datetime, info: ValidationInfo) -> datetime:
        """Reject an empty flight."""
        if "starts_at" in info.data and ends_at <= info.data["starts_at"]:
            raise ValueError("must be after starts_at")
        return ends_at

    @field_validator("price")
    @classmethod
    def has_one_price(cls, price: PriceTable | None, info: ValidationInfo) -> PriceTable | None:
        """Reject two prices, and none."""
        if "cpm" in info.data and (info.data["cpm"] is None) == (price is None):
            raise ValueError("is required, or cpm" if price is None else "must not be set beside cpm")
        return price

    @field_validator("billing")
    @classmethod
    def billing_fits_the_price(cls, billing: domain.Billing | None, info: ValidationInfo) -> domain.Billing | None:
        """Reject an event that the price is not for."""
        model = _price_model(info)
        if model is not None and billing is not None and billing not in model.billings:
            allowed = " or ".join(f"'{event}'" for event in model.billings)
            raise ValueError(f"must be {allowed} for a price by {model}, got '{billing}'")
        return billing

    @field_validator("front_percent")
    @classmethod
    def percentage_is_of_front_pacing(cls, front_percent: int | None, info: ValidationInfo) -> int | None:
        """Reject front pacing without a percentage, and a percentage of other pacing."""
        if "pacing" in info.data and (info.data["pacing"] is domain.Pacing.FRONT) == (front_percent is None):
            raise ValueError("is required for pacing 'front'" if front_percent is None else "requires pacing 'front'")
        return front_percent

    @field_validator("budgets")
    @classmethod
    def budgets_count_what_is_sold(cls, budgets: BudgetsTable, info: ValidationInfo) -> BudgetsTable:
        """Reject a limit on something else than what the price is for."""
        if (model := _price_model(info)) is not None:
            budgets.require_units_of(model)
        return budgets

    @field_validator("frequency_caps")
    @classmethod
    def window_has_one_cap(cls, caps: list[CapTable]) -> list[CapTable]:
        """Reject a second cap for a window: the larger one would have no effect."""
        if duplicate := first_duplicate([cap.per for cap in caps]):
            raise ValueError(f"per '{duplicate}' must not be repeated")
        return caps

    @field_validator("ads_per_pod")
    @classmethod
    def upstreams_decide_about_their_pods(cls, ads_per_pod: int, info: ValidationInfo) -> int:
        """Reject a number of creatives for a campaign that has none."""
        if ads_per_pod > 1 and info.data.get("upstreams"):
            raise ValueError("must be 1 for a campaign with upstreams")
        return ads_per_pod

    def to_domain(self) -> domain.Campaign:
        """Return the campaign."""
        price = (self.price or PriceTable(cpm=self.cpm)).to_domain()
        caps = sorted(self.frequency_caps, key=lambda cap: cap.per)
        tables = {"cpm", "price", "billing", "budgets", "frequency_caps", "upstreams", "targeting", "categories"}
        return domain.Campaign(
            **self.model_dump(exclude=tables),
            price=price,
            billing=self.billing or price.model.billings[0],
            budgets={period: budget.to_domain() for period, budget in self.budgets.by_period().items()},
            frequency_caps=tuple(domain.FrequencyCap(cap.impressions, cap.per) for cap in caps),
            upstreams=tuple(self.upstreams),
            targeting=self.targeting.to_domain(),
            categories=tuple(self.categories),
        )


def _price_model(info: ValidationInfo) -> domain.PriceModel | None:
    """Return the model of the price; None if the price has a fault."""
    if not info.data.keys() >= {"cpm", "price"}:
        return None
    price = info.data["price"]
    return domain.PriceModel.CPM if price is None else price.to_domain().model
