"""The creatives of a campaign file."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.fields import Identifier, Prose, Url, Word
from app.campaign_file.table import Table
from app.campaign_file.vast_element_tables import VastElementsTable
from app.campaign_file.vast_tag_table import VastTagTable


class MediaFileTable(Table):
    """A media file of a creative."""

    url: Url
    type: fields.MimeType
    width: Annotated[int, Field(ge=1, le=65_535)] | None = Field(None, validate_default=True)
    height: Annotated[int, Field(ge=1, le=65_535)] | None = Field(None, validate_default=True)
    bitrate_kbps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    delivery: Literal["progressive", "streaming"] = "progressive"
    codec: Word | None = None

    @field_validator("width", "height")
    @classmethod
    def video_has_a_size(cls, size: int | None, info: ValidationInfo) -> int | None:
        """Reject a video without a size, and a size of audio."""
        media_type = info.data.get("type")
        if media_type is not None and domain.is_audio(media_type) != (size is None):
            raise ValueError("is required, except for audio" if size is None else "must be left out: audio has no size")
        return size

    def to_domain(self) -> domain.MediaFile:
        """Return the media file."""
        return domain.MediaFile(**self.model_dump())


OF_INLINE = (
    *("click_through", "skip_offset_s", "universal_ad_id", "mezzanine_url", "description", "closed_captions"),
    *("interactive", "universal_ad_ids", "categories", "ad_parameters"),
)
"""Keys of elements that an InLine has, and a Wrapper does not."""


class CreativeTable(VastElementsTable, VastTagTable):
    """A creative of a campaign."""

    item_type: ClassVar = domain.Creative

    id: Identifier
    campaign_id: Identifier
    title: Prose
    duration_s: fields.ExactDuration
    media_files: Annotated[list[MediaFileTable], Field(max_length=100, validate_default=True)] = []
    click_through: Url | None = None
    skip_offset_s: Annotated[int, Field(ge=0)] | None = None
    universal_ad_id: Word | None = None
    universal_ad_id_registry: Word = "unknown"
    mezzanine_url: Url | None = None
    description: Prose | None = None
    status: Annotated[domain.CreativeStatus, Field(strict=False)] = domain.CreativeStatus.ACTIVE
    starts_at: fields.Moment | None = None
    ends_at: fields.Moment | None = None
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    sequence: Annotated[int, Field(ge=1, le=1000)] | None = None
    position: Annotated[domain.PodPosition, Field(strict=False)] = domain.PodPosition.ANY
    bumper: bool = False

    @field_validator("media_files")
    @classmethod
    def has_files_or_a_tag(cls, media_files: list[MediaFileTable], info: ValidationInfo) -> list[MediaFileTable]:
        """Reject a creative with nothing to play, or with both files and a tag."""
        if "vast_tag_url" in info.data and bool(media_files) == (info.data["vast_tag_url"] is not None):
            raise ValueError(
                "must be left out with vast_tag_url" if media_files else "is required without vast_tag_url"
            )
        return media_files

    @field_validator(*OF_INLINE)
    @classmethod
    def wrapper_has_no_inline_elements(cls, value: Any, info: ValidationInfo) -> Any:
        """Reject what players would not receive."""
        if value not in (None, []) and info.data.get("vast_tag_url") is not None:
            raise ValueError("must be left out with vast_tag_url: a Wrapper has no such element")
        return value

    @field_validator("ends_at")
    @classmethod
    def ends_after_it_starts(cls, ends_at: datetime | None, info: ValidationInfo) -> datetime | None:
        """Reject an empty span of time."""
        return fields.require_later(ends_at, info.data.get("starts_at"))

    @field_validator("duration_s")
    @classmethod
    def trackers_within_duration(cls, duration_s: Decimal, info: ValidationInfo) -> Decimal:
        """Reject an ad that ends before a tracker's offset."""
        for index, tracker in enumerate(info.data.get("tracking", ())):
            if tracker.offset_s is not None and tracker.offset_s > duration_s:
                raise ValueError(f"must not be less than tracking[{index}].offset")
        return duration_s

    @field_validator("skip_offset_s")
    @classmethod
    def skip_offset_within_duration(cls, skip_offset_s: int | None, info: ValidationInfo) -> int | None:
        """Reject an offset after the end of the ad."""
        if skip_offset_s is not None and skip_offset_s > info.data.get("duration_s", skip_offset_s):
            raise ValueError("must not exceed duration_s")
        return skip_offset_s

    @field_validator("bumper")
    @classmethod
    def bumper_has_no_other_position(cls, bumper: bool, info: ValidationInfo) -> bool:
        """Reject a position for a bumper, which always opens the pod."""
        if bumper and info.data.get("position", domain.PodPosition.ANY) is not domain.PodPosition.ANY:
            raise ValueError("must not be combined with position, because a bumper opens the pod")
        return bumper

    def to_domain(self) -> domain.Creative:
        """Return the creative."""
        return domain.Creative(
            **self.model_dump(exclude={"media_files", *VastElementsTable.model_fields}),
            media_files=tuple(media_file.to_domain() for media_file in self.media_files),
            elements=self.elements(),
        )
