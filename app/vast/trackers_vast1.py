"""Trackers in VAST 1, where each tracking element occurs once and contains several URL elements."""

from lxml import etree

from app.domain import Event
from app.vast.element_tree import Element, add_child, children, get_or_add_child
from app.vast.schema import V1_0
from app.vast.tracking_urls import event_url


def add_vast1_trackers(content: Element, base_url: str) -> None:
    """Add Impression, Error, tracking events and click tracking to an InLine or Wrapper of VAST 1."""
    _add_url(get_or_add_child(content, "Impression", V1_0), base_url, Event.IMPRESSION)
    if not children(content, "Error"):
        _add_url(add_child(content, "Error", V1_0), base_url, Event.ERROR)
    tracking_events = get_or_add_child(content, "TrackingEvents", V1_0)
    for event in V1_0.linear_events:
        _add_url(_tracking(tracking_events, event), base_url, event)
    for video in children(content, "Video"):
        clicks = get_or_add_child(video, "VideoClicks", V1_0)
        _add_url(get_or_add_child(clicks, "ClickTracking", V1_0), base_url, Event.CLICK)


def _tracking(tracking_events: Element, event: Event) -> Element:
    for tracking in children(tracking_events, "Tracking"):
        if tracking.get("event") == event:
            return tracking
    tracking = add_child(tracking_events, "Tracking", V1_0)
    tracking.set("event", event)
    return tracking


def _add_url(element: Element, base_url: str, event: Event) -> None:
    add_child(element, "URL", V1_0).text = etree.CDATA(event_url(base_url, event))
