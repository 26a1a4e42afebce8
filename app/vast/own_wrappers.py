"""Own creatives whose ad another server has, as Wrappers: the player follows the tag, and reports to both servers."""

from app.domain import Creative, Event
from app.vast.ad_system import AD_SYSTEM_ELEMENT
from app.vast.own_displays import companion_ads, icons
from app.vast.own_measurement import measurement_elements, tracking_events, url_elements
from app.vast.schema import Schema
from app.vast.tracking_urls import event_url
from app.vast.xml_writer import cdata, in_order, xml_element


def own_wrapper(creative: Creative, tag_url: str, schema: Schema, base_url: str) -> str:
    """Return the Wrapper; macros in the tag stay as they are, because the player replaces them."""
    children = measurement_elements(creative, schema, base_url) | {
        "AdSystem": AD_SYSTEM_ELEMENT,
        "VASTAdTagURI": xml_element("VASTAdTagURI", cdata(tag_url)),
        "Creatives": xml_element("Creatives", _creatives(creative, schema, base_url)),
    }
    content = in_order(schema.child_orders["Wrapper"], children)
    return xml_element("Wrapper", content, **_attributes(creative, schema))


def _attributes(creative: Creative, schema: Schema) -> dict[str, str]:
    """Return the attributes, which 4.0 introduced; several Ads are forbidden, because one is paid for."""
    if not schema.has_allow_multiple_ads:
        return {}
    attributes = {
        "followAdditionalWrappers": creative.follow_additional_wrappers,
        "allowMultipleAds": False,
        "fallbackOnNoAd": creative.fallback_on_no_ad,
    }
    return {name: str(value).lower() for name, value in attributes.items() if value is not None}


def _creatives(creative: Creative, schema: Schema, base_url: str) -> str:
    """Return the Creative with the trackers; before 4.0, companions are in a Creative of their own."""
    linear, companions = _linear(creative, schema, base_url), companion_ads(creative, schema)
    if schema.has_universal_ad_id:
        return xml_element("Creative", companions, linear, id=creative.id)
    film = xml_element("Creative", linear, id=creative.id)
    return film + xml_element("Creative", companions) if companions else film


def _linear(creative: Creative, schema: Schema, base_url: str) -> str:
    click_urls = [event_url(base_url, Event.CLICK), *creative.elements.click_tracking_urls]
    children = {
        "Icons": icons(creative, schema),
        "TrackingEvents": tracking_events(creative, schema, base_url),
        "VideoClicks": xml_element("VideoClicks", url_elements("ClickTracking", click_urls)),
    }
    return xml_element("Linear", in_order(schema.child_orders["Linear"], children))
