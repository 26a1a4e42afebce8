"""The parts of a creative that VAST has elements for, as a campaign file has them."""

import re
from decimal import Decimal
from typing import Annotated, Self

import orjson
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app import domain
from app.campaign_file import fields
from app.campaign_file.fields import Identifier, Lines, MimeType, NoDuplicates, Url, Word, matching
from app.campaign_file.table import Table

ELEMENTS_BYTES_MAX = 262_144
"""JSON of all these parts of a creative, which are in each of its documents."""

_PERCENT = re.compile(r"(100|\d{1,2}(\.\d{1,3})?)%", re.ASCII)
_POSITION_X = re.compile(r"\d{1,5}|left|right", re.ASCII)
_POSITION_Y = re.compile(r"\d{1,5}|top|bottom", re.ASCII)
_OFFSET = "seconds such as 7.5, or a part such as 25%"
_ELEMENTS = TypeAdapter(domain.VastElements)


def _offset(value: object) -> str:
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return value
    return f"{fields.validate_seconds(value, _OFFSET):f}"


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Urls = Annotated[list[Url], Field(max_length=100), NoDuplicates]
Size = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[int, Field(ge=0, le=domain.DURATION_MAX_S)]
PositionX = Annotated[
    str,
    BeforeValidator(_number_as_text, json_schema_input_type=int | str),
    AfterValidator(matching(_POSITION_X, "must be pixels, left or right")),
]
PositionY = Annotated[
    str,
    BeforeValidator(_number_as_text, json_schema_input_type=int | str),
    AfterValidator(matching(_POSITION_Y, "must be pixels, top or bottom")),
]


class TrackerTable(Table):
    """A tracker of an event."""

    event: Annotated[domain.TrackingEvent, Field(strict=False)]
    url: Url
    offset: Annotated[str, BeforeValidator(_offset, json_schema_input_type=Decimal | str)] | None = Field(
        None, validate_default=True
    )

    @field_validator("offset")
    @classmethod
    def progress_alone_has_an_offset(cls, offset: str | None, info: ValidationInfo) -> str | None:
        """Reject `progress` without an offset, and an offset of another event."""
        event = info.data.get("event")
        if event is not None and (event is domain.TrackingEvent.PROGRESS) != (offset is not None):
            raise ValueError("is required for progress" if offset is None else "is for progress only")
        return offset

    @property
    def offset_s(self) -> Decimal | None:
        """The offset, if it is in seconds."""
        return None if self.offset is None or self.offset.endswith("%") else Decimal(self.offset)


class ViewableImpressionTable(Table):
    """The trackers of viewability."""

    viewable: Urls = []
    not_viewable: Urls = []
    view_undetermined: Urls = []


class JavaScriptResourceTable(Table):
    """A script of a verification vendor."""

    url: Url
    api_framework: Word = "omid"
    browser_optional: bool = False


class ExecutableResourceTable(Table):
    """A program of a verification vendor."""

    url: Url
    api_framework: Word | None = None
    type: Word | None = None


class AdVerificationTable(Table):
    """The measurement of one vendor."""

    vendor: Word
    javascript_resources: Annotated[list[JavaScriptResourceTable], Field(max_length=10)] = []
    executable_resources: Annotated[list[ExecutableResourceTable], Field(max_length=10)] = []
    not_executed_urls: Urls = []
    parameters: Lines | None = None

    @model_validator(mode="after")
    def has_code(self) -> Self:
        """Reject a vendor without code, who could not measure anything."""
        if not (self.javascript_resources or self.executable_resources):
            raise ValueError("must have javascript_resources or executable_resources")
        return self


class DisplayResourceTable(Table):
    """The resource of a companion or an icon: exactly one."""

    static_url: Url | None = None
    static_type: MimeType | None = Field(None, validate_default=True)
    iframe_url: Url | None = None
    html: Lines | None = None

    @field_validator("static_type")
    @classmethod
    def static_resource_has_a_type(cls, static_type: str | None, info: ValidationInfo) -> str | None:
        """Reject a file without a type, and a type without a file."""
        if "static_url" in info.data and (info.data["static_url"] is None) != (static_type is None):
            raise ValueError("is required with static_url" if static_type is None else "requires static_url")
        return static_type

    @model_validator(mode="after")
    def shows_one_resource(self) -> Self:
        """Reject several resources: some versions of VAST have one only."""
        if [self.static_url, self.iframe_url, self.html].count(None) != 2:
            raise ValueError("must have exactly one of static_url, iframe_url and html")
        return self


class CompanionTable(DisplayResourceTable):
    """A banner beside the player."""

    width: Size
    height: Size
    id: Identifier | None = None
    alt_text: Word | None = None
    click_through: Url | None = None
    click_tracking_urls: Urls = []
    creative_view_urls: Urls = []


class IconTable(DisplayResourceTable):
    """An icon over the film."""

    program: Word
    width: Size
    height: Size
    x_position: PositionX
    y_position: PositionY
    offset_s: Seconds | None = None
    duration_s: Annotated[int, Field(ge=1, le=domain.DURATION_MAX_S)] | None = None
    click_through: Url | None = None
    click_tracking_urls: Urls = []
    view_urls: Urls = []


class ClosedCaptionTable(Table):
    """A file of captions."""

    url: Url
    type: MimeType
    language: Word


class InteractiveTable(Table):
    """A SIMID creative."""

    url: Url
    type: MimeType = "text/html"
    variable_duration: bool = False


class UniversalAdIdTable(Table):
    """The id of a creative in a registry."""

    id: Word
    registry: Word


class CategoryTable(Table):
    """A category of an ad."""

    authority: Url
    code: Word


class VastElementsTable(Table):
    """The keys of a creative that become elements of its documents."""

    impression_urls: Urls = []
    error_urls: Urls = []
    click_tracking_urls: Urls = []
    tracking: Annotated[list[TrackerTable], Field(max_length=200)] = []
    viewable_impression: ViewableImpressionTable = ViewableImpressionTable()
    ad_verifications: Annotated[list[AdVerificationTable], Field(max_length=20)] = []
    companions: Annotated[list[CompanionTable], Field(max_length=20)] = []
    icons: Annotated[list[IconTable], Field(max_length=10)] = []
    closed_captions: Annotated[list[ClosedCaptionTable], Field(max_length=100)] = []
    interactive: InteractiveTable | None = None
    universal_ad_ids: Annotated[list[UniversalAdIdTable], Field(max_length=10)] = []
    categories: Annotated[list[CategoryTable], Field(max_length=100)] = []
    ad_parameters: Lines | None = None

    @model_validator(mode="after")
    def elements_are_not_too_long(self) -> Self:
        """Reject more than a player should have to read with each ad."""
        if len(orjson.dumps(self.elements().to_table())) > ELEMENTS_BYTES_MAX:
            raise ValueError(f"must have at most {ELEMENTS_BYTES_MAX} bytes of trackers, companions and the like")
        return self

    def elements(self) -> domain.VastElements:
        """Return these keys."""
        keys = VastElementsTable.model_fields.keys() & self.model_fields_set
        return _ELEMENTS.validate_python(self.model_dump(include=keys)) if keys else domain.NO_ELEMENTS
