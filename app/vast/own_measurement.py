"""The measurement of own creatives by others: their trackers, and the code of verification vendors.

Macros in their URLs stay as they are: the player that requests a URL replaces them (VAST 4.2 section 6).
"""

from collections.abc import Iterable
from decimal import Decimal

from app.domain import AdVerification, Creative, Event, Tracker, VastVersion, ViewableImpression
from app.vast.durations import format_duration
from app.vast.schema import Schema
from app.vast.tracking_events import event_name
from app.vast.tracking_urls import click_url, event_url
from app.vast.xml_writer import cdata, in_order, xml_element


def url_elements(name: str, urls: Iterable[str]) -> str:
    """Return an element for each URL."""
    return "".join(xml_element(name, cdata(url)) for url in urls)


def measurement_elements(creative: Creative, schema: Schema, base_url: str) -> dict[str, str]:
    """Return the children of InLine that measure, this server's own first."""
    elements = creative.elements
    error_urls = [event_url(base_url, Event.ERROR), *(() if schema.has_single_error else elements.error_urls)]
    children = {
        "Error": url_elements("Error", error_urls),
        "Impression": url_elements("Impression", [event_url(base_url, Event.IMPRESSION), *elements.impression_urls]),
    }
    if elements.viewable_impression != ViewableImpression():
        children["ViewableImpression"] = _viewable_impression(elements.viewable_impression, schema)
    if elements.ad_verifications:
        verifications = xml_element("AdVerifications", *map(_verification, elements.ad_verifications))
        if schema.version >= VastVersion.V4_1:
            children["AdVerifications"] = verifications
        else:
            # Where the vendors look for it before 4.1, whose AdVerifications was the first with parameters.
            children["Extensions"] = xml_element(
                "Extensions", xml_element("Extension", verifications, type="AdVerifications")
            )
    return children


def _viewable_impression(urls: ViewableImpression, schema: Schema) -> str:
    children = {
        "Viewable": url_elements("Viewable", urls.viewable),
        "NotViewable": url_elements("NotViewable", urls.not_viewable),
        "ViewUndetermined": url_elements("ViewUndetermined", urls.view_undetermined),
    }
    return xml_element("ViewableImpression", in_order(schema.child_orders["ViewableImpression"], children))


def _verification(verification: AdVerification) -> str:
    content = [
        xml_element("ExecutableResource", cdata(program.url), apiFramework=program.api_framework, type=program.type)
        for program in verification.executable_resources
    ]
    content += [
        xml_element(
            "JavaScriptResource",
            cdata(script.url),
            apiFramework=script.api_framework,
            browserOptional=str(script.browser_optional).lower(),
        )
        for script in verification.javascript_resources
    ]
    if verification.not_executed_urls:
        trackers = (
            xml_element("Tracking", cdata(url), event="verificationNotExecuted")
            for url in verification.not_executed_urls
        )
        content.append(xml_element("TrackingEvents", *trackers))
    if verification.parameters is not None:
        content.append(xml_element("VerificationParameters", cdata(verification.parameters)))
    return xml_element("Verification", *content, vendor=verification.vendor)


def tracking_events(creative: Creative, schema: Schema, base_url: str) -> str:
    """Return the TrackingEvents of a linear ad."""
    own = (xml_element("Tracking", cdata(event_url(base_url, event)), event=event) for event in schema.linear_events)
    others = (_tracking(tracker, schema.version) for tracker in creative.elements.tracking)
    return xml_element("TrackingEvents", *own, *others)


def _tracking(tracker: Tracker, version: VastVersion) -> str:
    name, offset = event_name(tracker.event, version), tracker.offset
    if name is None:
        return ""
    if offset is not None and not offset.endswith("%"):
        offset = format_duration(Decimal(offset))
    return xml_element("Tracking", cdata(tracker.url), event=name, offset=offset)


def video_clicks(creative: Creative, schema: Schema, base_url: str) -> str:
    """Return the VideoClicks, or nothing for an ad without any."""
    if creative.click_through is None and not creative.elements.click_tracking_urls:
        return ""
    children = {"ClickTracking": url_elements("ClickTracking", creative.elements.click_tracking_urls)}
    if creative.click_through is not None:
        children["ClickThrough"] = xml_element("ClickThrough", cdata(click_url(base_url)))
    return xml_element("VideoClicks", in_order(schema.child_orders["VideoClicks"], children))
