"""The campaigns of a campaign file."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.fields import Identifier, NoDuplicates, Word, first_duplicate
from app.campaign_file.price_tables import BudgetsTable, PriceTable
from app.campaign_file.table import LIST_LENGTH_MAX, Table, lax
from app.campaign_file.targeting_table import TargetingTable

CATEGORIES_MAX = 20
"""Categories of one campaign."""


class CapTable(Table):
    """A frequency cap of a campaign, over a window of the calendar or of any length."""

    impressions: Annotated[int, Field(ge=1, le=1_000_000)]
    per: Annotated[domain.CapWindow, lax] | None = None
    every: fields.WindowLength | None = None
    level: Annotated[domain.CapLevel, lax] = domain.CapLevel.CAMPAIGN

    @model_validator(mode="after")
    def has_one_window(self) -> Self:
        """Reject a cap without a window, or with two."""
        if (self.per is None) == (self.every is None):
            raise ValueError("must have either per or every")
        return self

    def to_domain(self) -> domain.FrequencyCap:
        """Return the cap."""
        return domain.FrequencyCap(self.impressions, self.per, self.every, self.level)


def _name(cap: CapTable) -> str:
    """Return what distinguishes a cap from the others of its campaign."""
    window = f"per '{cap.per}'" if cap.per is not None else f"every '{cap.every}'"
    return window if cap.level is domain.CapLevel.CAMPAIGN else f"{window} of level '{cap.level}'"


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
    frequency_caps: Annotated[list[CapTable], Field(max_length=domain.CAPS_MAX)] = []
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
        price = _price(info)
        if price is not None and billing is not None and billing not in price.model.billings:
            allowed = " or ".join(f"'{event}'" for event in price.model.billings)
            raise ValueError(f"must be {allowed} for a price by {price.model}, got '{billing}'")
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
        if (price := _price(info)) is not None and "pacing" in info.data:
            budgets.require_fit(price, info.data["pacing"])
        return budgets

    @field_validator("frequency_caps")
    @classmethod
    def caps_are_distinct(cls, caps: list[CapTable], info: ValidationInfo) -> list[CapTable]:
        """Reject a second cap for a level and window, which would have no effect, and a level without an order."""
        if duplicate := first_duplicate([_name(cap) for cap in caps]):
            raise ValueError(f"{duplicate} must not be repeated")
        if info.data.get("order") is None and any(cap.level is domain.CapLevel.ORDER for cap in caps):
            raise ValueError("level 'order' requires the campaign to have an order")
        return caps

    @field_validator("targeting")
    @classmethod
    def dayparts_are_in_the_flight(cls, targeting: TargetingTable, info: ValidationInfo) -> TargetingTable:
        """Reject hours of the week that a short flight does not have."""
        keys = ("starts_at", "ends_at", "timezone")
        if info.data.keys() >= {*keys} and not targeting.may_match_between(*(info.data[key] for key in keys)):
            raise ValueError("dayparts have no time between starts_at and ends_at")
        return targeting

    @field_validator("ads_per_pod")
    @classmethod
    def upstreams_decide_about_their_pods(cls, ads_per_pod: int, info: ValidationInfo) -> int:
        """Reject a number of creatives for a campaign that has none."""
        if ads_per_pod > 1 and info.data.get("upstreams"):
            raise ValueError("must be 1 for a campaign with upstreams")
        return ads_per_pod

    @field_validator("upstreams")
    @classmethod
    def creatives_can_be_counted(cls, upstreams: list[str], info: ValidationInfo) -> list[str]:
        """Reject a cap on each creative of a campaign that has none of its own."""
        caps = info.data.get("frequency_caps", [])
        if upstreams and any(cap.level is domain.CapLevel.CREATIVE for cap in caps):
            raise ValueError("must be empty, because a frequency cap has level 'creative'")
        return upstreams

    def to_domain(self) -> domain.Campaign:
        """Return the campaign."""
        price = _one_price(self.cpm, self.price)
        caps = sorted((cap.to_domain() for cap in self.frequency_caps), key=lambda cap: (cap.level, cap.window))
        tables = {"cpm", "price", "billing", "budgets", "frequency_caps", "upstreams", "targeting", "categories"}
        return domain.Campaign(
            **self.model_dump(exclude=tables),
            price=price,
            billing=self.billing or price.model.billings[0],
            budgets={period: budget.to_domain() for period, budget in self.budgets.by_period().items()},
            frequency_caps=tuple(caps),
            upstreams=tuple(self.upstreams),
            targeting=self.targeting.to_domain(),
            categories=tuple(self.categories),
        )


def _price(info: ValidationInfo) -> domain.Price | None:
    """Return the price; None if it has a fault."""
    if not info.data.keys() >= {"cpm", "price"}:
        return None
    return _one_price(info.data["cpm"], info.data["price"])


def _one_price(cpm: Decimal | None, price: PriceTable | None) -> domain.Price:
    return (price or PriceTable(cpm=cpm)).to_domain()
