"""The placements of a campaign file."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.fields import Duration, Identifier, NoDuplicates, Word, first_duplicate, quote
from app.campaign_file.table import LIST_LENGTH_MAX, Table


class AdBreakTable(Table):
    """An ad break of a placement."""

    id: Identifier
    time_offset: fields.TimeOffset
    pod_size: Annotated[int, Field(ge=1, le=domain.POD_SIZE_MAX)] = 1
    pod_duration_s: Duration | None = None
    min_ads: Annotated[int, Field(ge=1, le=domain.POD_SIZE_MAX)] = 1
    competitors: Annotated[domain.Competitors, Field(strict=False)] = domain.Competitors.APART
    break_type: Annotated[domain.BreakType, Field(strict=False)] = domain.BreakType.LINEAR
    repeat_every: fields.RepeatInterval | None = None
    placement_id: Identifier | None = None

    @field_validator("min_ads")
    @classmethod
    def pod_has_room_for_min_ads(cls, min_ads: int, info: ValidationInfo) -> int:
        """Reject more ads than the pod may have."""
        if min_ads > info.data.get("pod_size", min_ads):
            raise ValueError("must not exceed pod_size")
        return min_ads


CampaignList = Annotated[list[Identifier], Field(min_length=1, max_length=LIST_LENGTH_MAX), NoDuplicates]


def _none_if_targeted(value: object) -> object:
    """Return None for "targeted", and a list as it is."""
    if isinstance(value, str) and value == domain.TARGETED:
        return None
    if not isinstance(value, list):
        got = f", got {quote(value)}" if isinstance(value, str) else ""
        # pydantic expects ValueError.
        raise ValueError(f'must be a list or "{domain.TARGETED}"{got}')  # noqa: TRY004
    return value


class PlacementTable(Table):
    """A placement, and its campaigns in the order in which they are tried or None for all that target it."""

    item_type: ClassVar = domain.Placement

    id: Identifier
    publisher_id: Identifier
    campaigns: Annotated[
        CampaignList | None,
        BeforeValidator(_none_if_targeted, json_schema_input_type=CampaignList | Literal["targeted"]),
    ]
    ad_breaks: Annotated[list[AdBreakTable], Field(max_length=LIST_LENGTH_MAX)] = []
    blocked_advertisers: Annotated[list[Word], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    blocked_categories: Annotated[list[fields.Category], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []

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
            campaigns=domain.TARGETED if self.campaigns is None else tuple(self.campaigns),
            ad_breaks=tuple(domain.AdBreak(**ad_break.model_dump()) for ad_break in self.ad_breaks),
            blocked_advertisers=tuple(self.blocked_advertisers),
            blocked_categories=tuple(self.blocked_categories),
        )
