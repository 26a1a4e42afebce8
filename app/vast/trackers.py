"""Our trackers in somebody else's VAST: everything that came stays, and ours stand where its schema wants them."""

from copy import deepcopy
from dataclasses import dataclass

from lxml import etree

from app.domain import Event
from app.vast.beacons import event_url
from app.vast.parse import Parsed, contents
from app.vast.schema import NONLINEAR_EVENTS, Schema
from app.vast.template import Template, gap
from app.vast.tree import Element, children, descendants, ensure, place


def with_trackers(parsed: Parsed, base_url: str) -> Template:
    """The whole document in UTF-8, every Ad of it with our Impression, Error, tracking events and click tracking."""
    tree = _tracked(parsed, base_url)
    return Template.compile(etree.tostring(tree, encoding="UTF-8", xml_declaration=True))


def ad_fragments(parsed: Parsed, base_url: str) -> list[Template]:
    """The Ads one by one, with our trackers, for a pod; from VAST 3.0 on each has a gap `sequence`."""
    fragments = []
    for ad, _ in contents(_tracked(parsed, base_url).getroot()):
        if parsed.schema.has_ad_sequence:
            ad.set("sequence", gap("sequence"))
        fragments.append(Template.compile(bytes(etree.tostring(ad, encoding="UTF-8", with_tail=False))))
    return fragments


def _tracked(parsed: Parsed, base_url: str) -> etree._ElementTree:
    tree = deepcopy(parsed.tree)
    trackers = _Trackers(parsed.schema, base_url)
    for number, (facts, (_, content)) in enumerate(zip(parsed.ads, contents(tree.getroot()), strict=True), start=1):
        if facts.is_wrapper:
            trackers.add_to_wrapper(content)
        else:
            trackers.add_to_inline(content, number)
    return tree


@dataclass(frozen=True, slots=True)
class _Trackers:
    schema: Schema
    base_url: str

    def add_to_inline(self, inline: Element, number: int) -> None:
        order = self.schema.inline
        self._add_impression(inline, order)
        if self.schema.has_ad_serving_id:
            # It differs for every InLine that is served (VAST 4.2 section 3.4.3), so theirs cannot stay.
            suffix = "" if number == 1 else f"-{number}"
            ensure(inline, "AdServingId", order).text = gap("ad_serving_id") + suffix
        for linear in descendants(inline, "Creatives", "Creative", "Linear"):
            self._add_linear(linear)
        for nonlinear_ads in descendants(inline, "Creatives", "Creative", "NonLinearAds"):
            self._add_nonlinear(nonlinear_ads)

    def add_to_wrapper(self, wrapper: Element) -> None:
        order = self.schema.wrapper
        self._add_impression(wrapper, order)
        for nonlinear_ads in descendants(wrapper, "Creatives", "Creative", "NonLinearAds"):
            self._add_nonlinear(nonlinear_ads)
        self._add_linear(self._linear_of(wrapper))

    def _linear_of(self, wrapper: Element) -> Element:
        """One Linear is enough, since all of a Wrapper's track the same ad, and needed even where it tracks nothing."""
        linear = next(descendants(wrapper, "Creatives", "Creative", "Linear"), None)
        if linear is None:
            creatives = ensure(wrapper, "Creatives", self.schema.wrapper)
            linear = place(place(creatives, "Creative", ("Creative",)), "Linear", ("Linear",))
        return linear

    def _add_impression(self, content: Element, order: tuple[str, ...]) -> None:
        self._write(place(content, "Impression", order), Event.IMPRESSION)
        if not (self.schema.has_single_error and children(content, "Error")):
            self._write(place(content, "Error", order), Event.ERROR)

    def _add_linear(self, linear: Element) -> None:
        events = ensure(linear, "TrackingEvents", self.schema.linear)
        self._add_events(events, self.schema.linear_events)
        clicks = ensure(linear, "VideoClicks", self.schema.linear)
        self._write(place(clicks, "ClickTracking", self.schema.video_clicks), Event.CLICK)

    def _add_nonlinear(self, nonlinear_ads: Element) -> None:
        self._add_events(ensure(nonlinear_ads, "TrackingEvents", ("TrackingEvents", "NonLinear")), NONLINEAR_EVENTS)
        if "NonLinearClickTracking" not in self.schema.nonlinear:
            return
        for nonlinear in children(nonlinear_ads, "NonLinear"):
            self._write(place(nonlinear, "NonLinearClickTracking", self.schema.nonlinear), Event.CLICK)

    def _add_events(self, tracking_events: Element, events: tuple[Event, ...]) -> None:
        for event in events:
            tracking = place(tracking_events, "Tracking", ("Tracking",))
            tracking.set("event", event)
            self._write(tracking, event)

    def _write(self, element: Element, event: Event) -> None:
        element.text = etree.CDATA(event_url(self.base_url, event))
