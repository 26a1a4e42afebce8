"""Companions and icons of own creatives: banners beside the player, and small images over the film."""

from app.domain import Companion, Creative, DisplayResource, Icon, VastVersion
from app.vast.durations import format_duration
from app.vast.own_measurement import url_elements
from app.vast.schema import Schema
from app.vast.xml_writer import cdata, escaped_text, in_order, xml_element


def companion_ads(creative: Creative, schema: Schema) -> str:
    """Return the CompanionAds, or nothing for an ad without any."""
    companions = creative.elements.companions
    if not companions:
        return ""
    return xml_element("CompanionAds", *(_companion(companion, schema) for companion in companions))


def _companion(companion: Companion, schema: Schema) -> str:
    children = _resource(companion)
    if companion.click_through is not None:
        children["CompanionClickThrough"] = url_elements("CompanionClickThrough", [companion.click_through])
    # Earlier versions have them in Wrappers only, and 4.x requires an id.
    if schema.version >= VastVersion.V4_0:
        children["CompanionClickTracking"] = "".join(
            xml_element("CompanionClickTracking", cdata(url), id=number)
            for number, url in enumerate(companion.click_tracking_urls, start=1)
        )
    if companion.alt_text is not None:
        children["AltText"] = xml_element("AltText", escaped_text(companion.alt_text))
    if companion.creative_view_urls:
        views = (xml_element("Tracking", cdata(url), event="creativeView") for url in companion.creative_view_urls)
        children["TrackingEvents"] = xml_element("TrackingEvents", *views)
    content = in_order(schema.child_orders["Companion"], children)
    return xml_element("Companion", content, id=companion.id, width=companion.width, height=companion.height)


def icons(creative: Creative, schema: Schema) -> str:
    """Return the Icons, or nothing for an ad without any."""
    shown = creative.elements.icons[: schema.icons_max]
    return xml_element("Icons", *(_icon(icon, schema) for icon in shown)) if shown else ""


def _icon(icon: Icon, schema: Schema) -> str:
    children = _resource(icon)
    clicks = {"IconClickTracking": url_elements("IconClickTracking", icon.click_tracking_urls)}
    if icon.click_through is not None:
        clicks["IconClickThrough"] = url_elements("IconClickThrough", [icon.click_through])
    if any(clicks.values()):
        children["IconClicks"] = xml_element("IconClicks", in_order(schema.child_orders["IconClicks"], clicks))
    children["IconViewTracking"] = url_elements("IconViewTracking", icon.view_urls)
    return xml_element(
        "Icon",
        in_order(schema.child_orders["Icon"], children),
        program=icon.program,
        width=icon.width,
        height=icon.height,
        xPosition=icon.x_position,
        yPosition=icon.y_position,
        offset=None if icon.offset_s is None else format_duration(icon.offset_s),
        duration=None if icon.duration_s is None else format_duration(icon.duration_s),
    )


def _resource(shown: DisplayResource) -> dict[str, str]:
    if shown.static_url is not None:
        static = xml_element("StaticResource", cdata(shown.static_url), creativeType=shown.static_type)
        return {"StaticResource": static}
    if shown.iframe_url is not None:
        return {"IFrameResource": xml_element("IFrameResource", cdata(shown.iframe_url))}
    return {"HTMLResource": xml_element("HTMLResource", cdata(shown.html or ""))}
