"""The elements of each VAST version and their order, from the XML schemas of the IAB Tech Lab."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.domain import Event, VastVersion

NAMESPACE = "http://www.iab.com/VAST"
"""The namespace of VAST 4.x documents; earlier ones have none."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The part of a version's schema that is needed for extending and writing documents."""

    version: VastVersion
    namespace: str | None
    child_orders: Mapping[str, tuple[str, ...]]
    """By element, the order of its children (`xs:sequence`)."""
    linear_events: tuple[Event, ...]
    has_ad_sequence: bool = False
    has_ad_serving_id: bool = False
    has_ad_type: bool = False
    has_universal_ad_id: bool = False
    universal_ad_ids_max: int | None = 1
    icons_max: int | None = None
    """None for no limit."""
    has_allow_multiple_ads: bool = False
    has_single_error: bool = False
    """Whether an Ad may have one Error only, and the root none."""
    has_single_wrapper_click: bool = False
    """Whether a Wrapper's NonLinear may have one NonLinearClickTracking only."""

    def allows_child(self, parent: str, child: str) -> bool:
        """Whether `parent` may have such a child."""
        return child in self.child_orders.get(parent, ())


NONLINEAR_EVENTS = (Event.MUTE, Event.UNMUTE, Event.PAUSE, Event.RESUME)
"""The player operation metrics of VAST 4.2 section 3.14.1, which nonlinear ads share with linear ones."""

_LINEAR_EVENTS_2_0 = (
    Event.START,
    Event.FIRST_QUARTILE,
    Event.MIDPOINT,
    Event.THIRD_QUARTILE,
    Event.COMPLETE,
    *NONLINEAR_EVENTS,
)

_RESOURCES = ("StaticResource", "IFrameResource", "HTMLResource")
_RESOURCES_4 = ("HTMLResource", "IFrameResource", "StaticResource")
_WRAPPER_2 = ("AdSystem", "VASTAdTagURI", "Error", "Impression", "Creatives", "Extensions")
_AD_4 = ("AdSystem", "Error", "Extensions", "Impression", "Pricing", "ViewableImpression")

_COMMON_ORDERS: Mapping[str, tuple[str, ...]] = {
    "NonLinearAds": ("TrackingEvents", "NonLinear"),
    "CompanionAds": ("Companion",),
    "ViewableImpression": ("Viewable", "NotViewable", "ViewUndetermined"),
    "IconClicks": ("IconClickFallbackImages", "IconClickThrough", "IconClickTracking"),
}

V2_0 = Schema(
    version=VastVersion.V2_0,
    namespace=None,
    child_orders={
        **_COMMON_ORDERS,
        "InLine": ("AdSystem", "AdTitle", "Description", "Survey", "Error", "Impression", "Creatives", "Extensions"),
        "Wrapper": _WRAPPER_2,
        "Linear": ("Duration", "TrackingEvents", "AdParameters", "VideoClicks", "MediaFiles"),
        "VideoClicks": ("ClickThrough", "ClickTracking", "CustomClick"),
        "NonLinear": (*_RESOURCES, "NonLinearClickThrough", "AdParameters"),
        "Companion": (*_RESOURCES, "TrackingEvents", "CompanionClickThrough", "AltText", "AdParameters"),
    },
    linear_events=_LINEAR_EVENTS_2_0,
    icons_max=0,
    has_single_error=True,
)

V1_0 = replace(
    V2_0,
    child_orders={
        "InLine": (
            *("AdSystem", "AdTitle", "Description", "Survey", "Error", "Impression", "TrackingEvents", "Video"),
            *("CompanionAds", "NonLinearAds", "Extensions"),
        ),
        "Wrapper": (
            *("AdSystem", "VASTAdTagURL", "Error", "Impression", "TrackingEvents", "CompanionAds", "NonLinearAds"),
            *("VideoClicks", "Extensions"),
        ),
        "Video": ("Duration", "AdID", "VideoClicks", "AdParameters", "MediaFiles"),
        "VideoClicks": ("ClickThrough", "ClickTracking"),
    },
)
"""VAST 1, whose root is VideoAdServingTemplate. Players no longer request it, but some upstreams still send it."""

V3_0 = replace(
    V2_0,
    version=VastVersion.V3_0,
    child_orders={
        **V2_0.child_orders,
        "InLine": (
            *("AdSystem", "AdTitle", "Description", "Advertiser", "Pricing", "Survey", "Error", "Impression"),
            *("Creatives", "Extensions"),
        ),
        "Linear": (
            *("Icons", "CreativeExtensions", "Duration", "TrackingEvents", "AdParameters", "VideoClicks"),
            "MediaFiles",
        ),
        "NonLinear": (
            *(*_RESOURCES, "CreativeExtensions", "NonLinearClickTracking", "NonLinearClickThrough", "AdParameters"),
        ),
        "Companion": (
            *(*_RESOURCES, "CreativeExtensions", "TrackingEvents", "CompanionClickThrough"),
            *("CompanionClickTracking", "AltText", "AdParameters"),
        ),
        "Icon": (*_RESOURCES, "IconClicks", "IconViewTracking"),
        "IconClicks": ("IconClickTracking", "IconClickThrough"),
    },
    linear_events=(*_LINEAR_EVENTS_2_0, Event.SKIP),
    icons_max=None,
    has_ad_sequence=True,
)

V4_0 = replace(
    V3_0,
    version=VastVersion.V4_0,
    namespace=NAMESPACE,
    child_orders={
        **_COMMON_ORDERS,
        "InLine": (
            *_AD_4,
            "AdTitle",
            "AdVerifications",
            "Advertiser",
            "Category",
            "Creatives",
            "Description",
            "Survey",
        ),
        "Wrapper": (*_AD_4, "AdVerifications", "Creatives", "VASTAdTagURI"),
        "Creative": ("CompanionAds", "CreativeExtensions", "Linear", "NonLinearAds", "UniversalAdId"),
        "Linear": ("Icons", "TrackingEvents", "AdParameters", "Duration", "MediaFiles", "VideoClicks"),
        "MediaFiles": ("ClosedCaptionFiles", "MediaFile", "Mezzanine", "InteractiveCreativeFile"),
        "VideoClicks": ("ClickTracking", "CustomClick", "ClickThrough"),
        "NonLinear": (*_RESOURCES_4, "AdParameters", "NonLinearClickThrough", "NonLinearClickTracking"),
        "Companion": (
            *(*_RESOURCES_4, "AdParameters", "AltText", "CompanionClickThrough", "CompanionClickTracking"),
            *("CreativeExtensions", "TrackingEvents"),
        ),
        "Icon": (*_RESOURCES_4, "IconClicks", "IconViewTracking"),
    },
    icons_max=1,
    has_universal_ad_id=True,
    has_allow_multiple_ads=True,
    has_single_error=False,
    has_single_wrapper_click=True,
)

V4_1 = replace(
    V4_0,
    version=VastVersion.V4_1,
    child_orders={
        **V4_0.child_orders,
        "InLine": (
            *(*_AD_4, "AdServingId", "AdTitle", "AdVerifications", "Advertiser", "Category", "Creatives"),
            *("Description", "Expires", "Survey"),
        ),
        "Wrapper": (*_AD_4, "AdVerifications", "BlockedAdCategories", "Creatives", "VASTAdTagURI"),
    },
    has_ad_serving_id=True,
    has_ad_type=True,
)

V4_2 = replace(
    V4_1,
    version=VastVersion.V4_2,
    child_orders={**V4_1.child_orders, "VideoClicks": ("ClickTracking", "ClickThrough", "CustomClick")},
    icons_max=None,
    universal_ad_ids_max=None,
)

SCHEMAS = {schema.version: schema for schema in (V2_0, V3_0, V4_0, V4_1, V4_2)}


def schema_of(declared: str, *, namespaced: bool) -> Schema:
    """Return the schema closest to a document's `version` attribute."""
    try:
        return SCHEMAS[VastVersion(declared)]
    except ValueError:
        if declared.startswith("4") or (namespaced and not declared):
            return V4_2
        return V2_0 if declared.startswith("2") else V3_0
