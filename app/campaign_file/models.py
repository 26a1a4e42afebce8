"""What a campaign file may say, table by table: strict, and without keys that are not known.

The same models read the bodies of the admin API. Each gives the domain's object, with its lists in the order in
which the database gives them back.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.fields import Duration, Identifier, LowerWord, NoRepeats, Prose, Url, Word, first_repeated
from app.countries import alpha_2

MANY = 1000
"""The longest list within one thing."""

_lax = Field(strict=False)
"""For enums: their words come as text."""


class Table(BaseModel):
    """A table of the file; what is not known in it is refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PublisherTable(Table):
    """`[[publishers]]`."""

    kind: ClassVar = domain.Publisher

    id: Identifier
    requests_per_s: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @field_validator("burst")
    @classmethod
    def burst_has_a_rate(cls, burst: int | None, info: ValidationInfo) -> int | None:
        """A burst is what goes beyond a rate."""
        if burst is not None and info.data.get("requests_per_s", 1) is None:
            raise ValueError("needs requests_per_s beside it")
        return burst

    def thing(self) -> domain.Publisher:
        """The publisher."""
        return domain.Publisher(**self.model_dump())


class UpstreamTable(Table):
    """`[[upstreams]]`."""

    kind: ClassVar = domain.Upstream

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

    def thing(self) -> domain.Upstream:
        """The upstream."""
        return domain.Upstream(**self.model_dump())


class CapTable(Table):
    """One of a campaign's `frequency_caps`."""

    impressions: Annotated[int, Field(ge=1, le=1_000_000)]
    per: Annotated[domain.CapWindow, _lax]


class BudgetTable(Table):
    """One of a campaign's `budgets`."""

    amount: fields.Amount | None = None
    impressions: Annotated[int, Field(ge=0, le=domain.BUDGET_IMPRESSIONS_MAX)] | None = None

    @model_validator(mode="after")
    def limits_something(self) -> Self:
        """A budget is of money, of impressions, or of both."""
        if self.amount is None and self.impressions is None:
            raise ValueError("must have an amount, impressions or both")
        return self

    def thing(self) -> domain.Budget:
        """The budget."""
        return domain.Budget(self.amount, self.impressions)


def _with_its_amount(value: object) -> object:
    return value if isinstance(value, dict) else {"amount": fields.read_amount(value)}


PeriodBudget = Annotated[
    BudgetTable, BeforeValidator(_with_its_amount, json_schema_input_type=fields.Amount | BudgetTable)
]
"""A table, or the amount alone."""


class BudgetsTable(Table):
    """A campaign's `budgets`."""

    hour: PeriodBudget | None = None
    day: PeriodBudget | None = None
    lifetime: PeriodBudget | None = None

    def things(self) -> dict[domain.BudgetPeriod, domain.Budget]:
        """The budgets by period."""
        given = {period: getattr(self, period) for period in sorted(domain.BudgetPeriod)}
        return {period: budget.thing() for period, budget in given.items() if budget is not None}


class TargetingTable(Table):
    """A campaign's `targeting`, in lower case, which is what requests are compared in."""

    countries: Annotated[list[fields.Country], Field(max_length=MANY), NoRepeats] = []
    device_types: Annotated[list[LowerWord], Field(max_length=MANY), NoRepeats] = []
    content_genres: Annotated[list[LowerWord], Field(max_length=MANY), NoRepeats] = []

    def thing(self) -> domain.Targeting:
        """The targeting."""
        # A country has one code, however the file writes it.
        countries = dict.fromkeys(alpha_2(code).lower() for code in self.countries)
        return domain.Targeting(tuple(countries), tuple(self.device_types), tuple(self.content_genres))


class CampaignTable(Table):
    """`[[campaigns]]`."""

    kind: ClassVar = domain.Campaign

    id: Identifier
    advertiser: Word
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
    upstreams: Annotated[list[Identifier], Field(max_length=MANY), NoRepeats] = []
    without_user: Annotated[domain.WithoutUser, _lax] = domain.WithoutUser.SKIP
    late_impressions: Annotated[domain.LateImpressions, _lax] = domain.LateImpressions.IGNORE
    hold_ttl_s: Annotated[int, Field(ge=1, le=604_800)] = 3600
    direct: bool | None = None
    targeting: TargetingTable = TargetingTable()

    @field_validator("ends_at")
    @classmethod
    def ends_after_it_starts(cls, ends_at: datetime, info: ValidationInfo) -> datetime:
        """A flight has a length."""
        if "starts_at" in info.data and ends_at <= info.data["starts_at"]:
            raise ValueError("must be after starts_at")
        return ends_at

    @field_validator("frequency_caps")
    @classmethod
    def a_window_has_one_cap(cls, caps: list[CapTable]) -> list[CapTable]:
        """Of two caps on one window the larger would never be met."""
        if repeated := first_repeated([cap.per for cap in caps]):
            raise ValueError(f"must not have two caps per {repeated}")
        return caps

    def thing(self) -> domain.Campaign:
        """The campaign."""
        caps = sorted(self.frequency_caps, key=lambda cap: cap.per)
        return domain.Campaign(
            **self.model_dump(exclude={"budgets", "frequency_caps", "upstreams", "targeting"}),
            budgets=self.budgets.things(),
            frequency_caps=tuple(domain.FrequencyCap(cap.impressions, cap.per) for cap in caps),
            upstreams=tuple(self.upstreams),
            targeting=self.targeting.thing(),
        )


class MediaFileTable(Table):
    """One of a creative's `media_files`."""

    url: Url
    type: fields.MimeType
    width: Annotated[int, Field(ge=1, le=65_535)]
    height: Annotated[int, Field(ge=1, le=65_535)]
    bitrate_kbps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    delivery: Literal["progressive", "streaming"] = "progressive"
    codec: Word | None = None


class CreativeTable(Table):
    """`[[creatives]]`."""

    kind: ClassVar = domain.Creative

    id: Identifier
    campaign_id: Identifier
    title: Prose
    duration_s: Duration
    media_files: Annotated[list[MediaFileTable], Field(min_length=1, max_length=100)]
    click_through: Url | None = None
    skip_offset_s: Annotated[int, Field(ge=0)] | None = None
    universal_ad_id: Word | None = None
    universal_ad_id_registry: Word = "unknown"
    mezzanine_url: Url | None = None
    description: Prose | None = None

    @field_validator("skip_offset_s")
    @classmethod
    def is_skipped_before_its_end(cls, skip_offset_s: int | None, info: ValidationInfo) -> int | None:
        """An ad that is over cannot be skipped."""
        if skip_offset_s is not None and skip_offset_s > info.data.get("duration_s", skip_offset_s):
            raise ValueError("must not be more than duration_s")
        return skip_offset_s

    def thing(self) -> domain.Creative:
        """The creative."""
        return domain.Creative(
            **self.model_dump(exclude={"media_files"}),
            media_files=tuple(domain.MediaFile(**media.model_dump()) for media in self.media_files),
        )


class AdBreakTable(Table):
    """One of a placement's `ad_breaks`."""

    id: Identifier
    time_offset: fields.TimeOffset
    pod_size: Annotated[int, Field(ge=1, le=domain.POD_SIZE_MAX)] = 1
    pod_duration_s: Duration | None = None


class PlacementTable(Table):
    """`[[placements]]`."""

    kind: ClassVar = domain.Placement

    id: Identifier
    publisher_id: Identifier
    campaigns: Annotated[list[Identifier], Field(min_length=1, max_length=MANY), NoRepeats]
    ad_breaks: Annotated[list[AdBreakTable], Field(max_length=MANY)] = []

    @field_validator("ad_breaks")
    @classmethod
    def breaks_have_their_own_ids(cls, ad_breaks: list[AdBreakTable]) -> list[AdBreakTable]:
        """A player tells breaks apart by their ids."""
        if repeated := first_repeated([ad_break.id for ad_break in ad_breaks]):
            raise ValueError(f"must not have two breaks with the id {repeated}")
        return ad_breaks

    def thing(self) -> domain.Placement:
        """The placement."""
        return domain.Placement(
            id=self.id,
            publisher_id=self.publisher_id,
            campaigns=tuple(self.campaigns),
            ad_breaks=tuple(domain.AdBreak(**ad_break.model_dump()) for ad_break in self.ad_breaks),
        )


Entry = PublisherTable | UpstreamTable | CampaignTable | CreativeTable | PlacementTable
"""An entry of one of the file's lists."""

TABLES: Mapping[str, type[Entry]] = {
    "publishers": PublisherTable,
    "upstreams": UpstreamTable,
    "campaigns": CampaignTable,
    "creatives": CreativeTable,
    "placements": PlacementTable,
}
"""The lists of a file, in the order in which their entries refer to each other."""
