"""Our trackers in VAST 1, where what is tracked stands once, with a URL element for each who wants to know."""

from lxml import etree

from app.domain import Event
from app.vast.beacons import event_url
from app.vast.schema import V1_0
from app.vast.tree import Element, children, ensure, place


def add_to_vast_1(content: Element, base_url: str) -> None:
    """Adds Impression, Error, tracking events and click tracking to an InLine or Wrapper of VAST 1."""
    _add_url(ensure(content, "Impression", V1_0), base_url, Event.IMPRESSION)
    if not children(content, "Error"):
        _add_url(place(content, "Error", V1_0), base_url, Event.ERROR)
    tracking_events = ensure(content, "TrackingEvents", V1_0)
    for event in V1_0.linear_events:
        _add_url(_tracking(tracking_events, event), base_url, event)
    for video in children(content, "Video"):
        clicks = ensure(video, "VideoClicks", V1_0)
        _add_url(ensure(clicks, "ClickTracking", V1_0), base_url, Event.CLICK)


def _tracking(tracking_events: Element, event: Event) -> Element:
    for tracking in children(tracking_events, "Tracking"):
        if tracking.get("event") == event:
            return tracking
    tracking = place(tracking_events, "Tracking", V1_0)
    tracking.set("event", event)
    return tracking


def _add_url(element: Element, base_url: str, event: Event) -> None:
    place(element, "URL", V1_0).text = etree.CDATA(event_url(base_url, event))
