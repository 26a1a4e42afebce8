"""The placements of a campaign file."""

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.fields import Duration, Identifier, NoDuplicates, first_duplicate
from app.campaign_file.table import LIST_LENGTH_MAX, Table


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
