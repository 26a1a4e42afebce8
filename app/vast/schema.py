"""What each VAST version knows, and in which order: from the XML schemas of the IAB Tech Lab."""

from dataclasses import dataclass, replace

from app.domain import Event, VastVersion

NAMESPACE = "http://www.iab.com/VAST"
"""Of VAST 4.x documents; earlier ones have none."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The part of one version's schema that matters to whoever adds to a document, or writes one.

    Tuples of names are `xs:sequence`s: children stand in this order.
    """

    version: VastVersion
    namespace: str | None
    inline: tuple[str, ...]
    wrapper: tuple[str, ...]
    linear: tuple[str, ...]
    video_clicks: tuple[str, ...]
    nonlinear: tuple[str, ...]
    linear_events: tuple[Event, ...]
    has_ad_sequence: bool
    has_ad_serving_id: bool
    has_single_error: bool
    """Whether an Ad has room for one Error only, and the root for none."""


_LINEAR_EVENTS_2_0 = (
    Event.START,
    Event.FIRST_QUARTILE,
    Event.MIDPOINT,
    Event.THIRD_QUARTILE,
    Event.COMPLETE,
    Event.MUTE,
    Event.UNMUTE,
    Event.PAUSE,
    Event.RESUME,
)

NONLINEAR_EVENTS = (Event.MUTE, Event.UNMUTE, Event.PAUSE, Event.RESUME)
"""The player operation metrics of VAST 4.2 section 3.14.1, which nonlinear ads share with linear ones."""

_RESOURCES = ("StaticResource", "IFrameResource", "HTMLResource")

V2_0 = Schema(
    version=VastVersion.V2_0,
    namespace=None,
    inline=("AdSystem", "AdTitle", "Description", "Survey", "Error", "Impression", "Creatives", "Extensions"),
    wrapper=("AdSystem", "VASTAdTagURI", "Error", "Impression", "Creatives", "Extensions"),
    linear=("Duration", "TrackingEvents", "AdParameters", "VideoClicks", "MediaFiles"),
    video_clicks=("ClickThrough", "ClickTracking", "CustomClick"),
    nonlinear=(*_RESOURCES, "NonLinearClickThrough", "AdParameters"),
    linear_events=_LINEAR_EVENTS_2_0,
    has_ad_sequence=False,
    has_ad_serving_id=False,
    has_single_error=True,
)

V3_0 = replace(
    V2_0,
    version=VastVersion.V3_0,
    inline=(
        *("AdSystem", "AdTitle", "Description", "Advertiser", "Pricing", "Survey", "Error", "Impression"),
        *("Creatives", "Extensions"),
    ),
    linear=(
        *("Icons", "CreativeExtensions", "Duration", "TrackingEvents", "AdParameters", "VideoClicks", "MediaFiles"),
    ),
    nonlinear=(
        *(*_RESOURCES, "CreativeExtensions", "NonLinearClickTracking", "NonLinearClickThrough", "AdParameters"),
    ),
    linear_events=(*_LINEAR_EVENTS_2_0, Event.SKIP),
    has_ad_sequence=True,
)

_AD_4 = ("AdSystem", "Error", "Extensions", "Impression", "Pricing", "ViewableImpression")

V4_0 = replace(
    V3_0,
    version=VastVersion.V4_0,
    namespace=NAMESPACE,
    inline=(*(*_AD_4, "AdTitle", "AdVerifications", "Advertiser", "Category", "Creatives", "Description", "Survey"),),
    wrapper=(*_AD_4, "AdVerifications", "Creatives", "VASTAdTagURI"),
    linear=("Icons", "TrackingEvents", "AdParameters", "Duration", "MediaFiles", "VideoClicks"),
    video_clicks=("ClickTracking", "CustomClick", "ClickThrough"),
    nonlinear=(*reversed(_RESOURCES), "AdParameters", "NonLinearClickThrough", "NonLinearClickTracking"),
    has_single_error=False,
)

V4_1 = replace(
    V4_0,
    version=VastVersion.V4_1,
    inline=(
        *(*_AD_4, "AdServingId", "AdTitle", "AdVerifications", "Advertiser", "Category", "Creatives"),
        *("Description", "Expires", "Survey"),
    ),
    wrapper=(*_AD_4, "AdVerifications", "BlockedAdCategories", "Creatives", "VASTAdTagURI"),
    has_ad_serving_id=True,
)

V4_2 = replace(V4_1, version=VastVersion.V4_2, video_clicks=("ClickTracking", "ClickThrough", "CustomClick"))

SCHEMAS = {schema.version: schema for schema in (V2_0, V3_0, V4_0, V4_1, V4_2)}


def schema_of(declared: str, *, namespaced: bool) -> Schema:
    """The schema nearest to what a document's `version` attribute says."""
    try:
        return SCHEMAS[VastVersion(declared)]
    except ValueError:
        if declared.startswith("4") or (namespaced and not declared):
            return V4_2
        return V2_0 if declared.startswith("2") else V3_0
