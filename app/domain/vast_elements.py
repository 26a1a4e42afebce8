"""The parts of an ad besides its film: trackers, verification, companions, icons, captions and the like."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class TrackingEvent(StrEnum):
    """The tracking events of VAST 4.2 (section 3.14.1)."""

    MUTE = "mute"
    UNMUTE = "unmute"
    PAUSE = "pause"
    RESUME = "resume"
    REWIND = "rewind"
    SKIP = "skip"
    PLAYER_EXPAND = "playerExpand"
    PLAYER_COLLAPSE = "playerCollapse"
    LOADED = "loaded"
    START = "start"
    FIRST_QUARTILE = "firstQuartile"
    MIDPOINT = "midpoint"
    THIRD_QUARTILE = "thirdQuartile"
    COMPLETE = "complete"
    PROGRESS = "progress"
    CLOSE_LINEAR = "closeLinear"
    CREATIVE_VIEW = "creativeView"
    ACCEPT_INVITATION = "acceptInvitation"
    AD_EXPAND = "adExpand"
    AD_COLLAPSE = "adCollapse"
    MINIMIZE = "minimize"
    CLOSE = "close"
    OVERLAY_VIEW_DURATION = "overlayViewDuration"
    OTHER_AD_INTERACTION = "otherAdInteraction"
    INTERACTIVE_START = "interactiveStart"


@dataclass(frozen=True, slots=True)
class Tracker:
    """A URL of somebody else that the player requests at an event."""

    event: TrackingEvent
    url: str
    offset: str | None = None
    """When `progress` happens: seconds, or a part of the duration such as `25%`."""


@dataclass(frozen=True, slots=True)
class ViewableImpression:
    """URLs that the player requests once it knows whether the ad could be seen."""

    viewable: tuple[str, ...] = ()
    not_viewable: tuple[str, ...] = ()
    view_undetermined: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JavaScriptResource:
    """A script of a verification vendor."""

    url: str
    api_framework: str = "omid"
    browser_optional: bool = False
    """Whether it also runs where there is no browser."""


@dataclass(frozen=True, slots=True)
class ExecutableResource:
    """A program of a verification vendor that is not a script."""

    url: str
    api_framework: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class AdVerification:
    """The measurement of one vendor."""

    vendor: str
    javascript_resources: tuple[JavaScriptResource, ...] = ()
    executable_resources: tuple[ExecutableResource, ...] = ()
    not_executed_urls: tuple[str, ...] = ()
    """URLs that the player requests if it does not run the vendor's code."""
    parameters: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayResource:
    """A file, a page in a frame, or HTML; exactly one is set."""

    static_url: str | None = None
    static_type: str | None = None
    iframe_url: str | None = None
    html: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion(DisplayResource):
    """A banner that is shown beside the player."""

    width: int
    height: int
    id: str | None = None
    alt_text: str | None = None
    click_through: str | None = None
    click_tracking_urls: tuple[str, ...] = ()
    creative_view_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Icon(DisplayResource):
    """An icon over the film, such as that of AdChoices."""

    program: str
    width: int
    height: int
    x_position: str
    y_position: str
    offset_s: int | None = None
    duration_s: int | None = None
    click_through: str | None = None
    click_tracking_urls: tuple[str, ...] = ()
    view_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClosedCaption:
    """A file of captions in one language."""

    url: str
    type: str
    language: str


@dataclass(frozen=True, slots=True)
class InteractiveCreative:
    """A SIMID creative, which runs over the film."""

    url: str
    type: str = "text/html"
    variable_duration: bool = False
    """Whether it may pause the film, so that the ad takes longer."""


@dataclass(frozen=True, slots=True)
class UniversalAdId:
    """The id of a creative in a registry."""

    id: str
    registry: str


@dataclass(frozen=True, slots=True)
class AdCategory:
    """A category of an ad, in the taxonomy of an authority."""

    authority: str
    code: str


@dataclass(frozen=True, slots=True)
class VastElements:
    """The parts of an ad that VAST has elements for and that this server only passes on."""

    impression_urls: tuple[str, ...] = ()
    error_urls: tuple[str, ...] = ()
    click_tracking_urls: tuple[str, ...] = ()
    tracking: tuple[Tracker, ...] = ()
    viewable_impression: ViewableImpression = ViewableImpression()
    ad_verifications: tuple[AdVerification, ...] = ()
    companions: tuple[Companion, ...] = ()
    icons: tuple[Icon, ...] = ()
    closed_captions: tuple[ClosedCaption, ...] = ()
    interactive: InteractiveCreative | None = None
    universal_ad_ids: tuple[UniversalAdId, ...] = ()
    categories: tuple[AdCategory, ...] = ()
    ad_parameters: str | None = None

    def to_table(self) -> dict[str, Any]:
        """Return them as a campaign file has them, without keys that have no value."""
        table: dict[str, Any] = _without_empty(asdict(self))
        return table


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        filled = {key: _without_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in filled.items() if inner not in (None, [], {})}
    return [_without_empty(inner) for inner in value] if isinstance(value, tuple) else value


NO_ELEMENTS = VastElements()
