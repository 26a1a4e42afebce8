"""The campaigns of a campaign file."""

from datetime import datetime
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.fields import Identifier, NoDuplicates, Word, first_duplicate
from app.campaign_file.table import LIST_LENGTH_MAX, Table, lax
from app.campaign_file.targeting_table import TargetingTable

CATEGORIES_MAX = 20
"""Categories of one campaign."""


class CapTable(Table):
    """A frequency cap of a campaign."""

    impressions: Annotated[int, Field(ge=1, le=1_000_000)]
    per: Annotated[domain.CapWindow, lax]


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
    status: Annotated[domain.CampaignStatus, lax] = domain.CampaignStatus.ACTIVE
    currency: fields.Currency
    timezone: fields.Timezone = "UTC"
    starts_at: fields.Moment
    ends_at: fields.Moment
    cpm: fields.Cpm
    billing: Annotated[domain.Billing, lax] = domain.Billing.SERVE
    pacing: Annotated[domain.Pacing, lax] = domain.Pacing.ASAP
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
        caps = sorted(self.frequency_caps, key=lambda cap: cap.per)
        return domain.Campaign(
            **self.model_dump(exclude={"cpm", "budgets", "frequency_caps", "upstreams", "targeting", "categories"}),
            price=domain.Price(domain.PriceModel.CPM, self.cpm),
            budgets=self.budgets.to_domain(),
            frequency_caps=tuple(domain.FrequencyCap(cap.impressions, cap.per) for cap in caps),
            upstreams=tuple(self.upstreams),
            targeting=self.targeting.to_domain(),
            categories=tuple(self.categories),
        )
