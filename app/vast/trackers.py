"""Our trackers in somebody else's VAST: everything that came stays, and ours stand where its schema wants them."""

from copy import deepcopy
from dataclasses import dataclass

from lxml import etree

from app.domain import Event, VastVersion
from app.vast.beacons import event_url
from app.vast.convert import convert
from app.vast.namespaces import fragment
from app.vast.parse import Parsed, contents
from app.vast.schema import NONLINEAR_EVENTS, SCHEMAS, V1_0, Schema
from app.vast.template import Template, gap
from app.vast.trackers_1 import add_to_vast_1
from app.vast.tree import Element, children, descendants, ensure, place, serialized


def with_trackers(parsed: Parsed, base_url: str) -> Template:
    """The whole document in UTF-8, every Ad of it with our Impression, Error, tracking events and click tracking.

    VAST 2.0 and 3.0 have room for one Error in an Ad: where there is one already, ours stays out.
    """
    tree = _tracked(parsed, base_url)
    return Template.compile(serialized(tree))


def ad_fragments(parsed: Parsed, base_url: str, version: VastVersion | None = None) -> list[Template]:
    """The Ads one by one, with our trackers, for a pod of that version; from VAST 3.0 on each has a gap `sequence`.

    Without `version` they stay in their own; raises UnusableVast for VAST 1 with one.
    """
    if version is not None and not _fits(parsed, SCHEMAS[version]):
        parsed = convert(parsed, version)
    fragments = []
    for ad, _ in contents(_tracked(parsed, base_url).getroot()):
        if parsed.schema.has_ad_sequence:
            ad.set("sequence", gap("sequence"))
        fragments.append(Template.compile(fragment(ad)))
    return fragments


def _fits(parsed: Parsed, schema: Schema) -> bool:
    """Whether its Ads fit into a document of that version: some have a prefix, or a namespace that is not its own."""
    root = parsed.tree.getroot()
    return parsed.schema is schema and root.prefix is None and etree.QName(root).namespace == schema.namespace


def _tracked(parsed: Parsed, base_url: str) -> etree._ElementTree:
    tree = deepcopy(parsed.tree)
    trackers = _Trackers(parsed.schema, base_url)
    for number, (_, content) in enumerate(contents(tree.getroot()), start=1):
        if parsed.schema is V1_0:
            add_to_vast_1(content, base_url)
        elif parsed.ads[number - 1].is_wrapper:
            trackers.add_to_wrapper(content)
        else:
            trackers.add_to_inline(content, number)
    return tree


@dataclass(frozen=True, slots=True)
class _Trackers:
    schema: Schema
    base_url: str

    def add_to_inline(self, inline: Element, number: int) -> None:
        self._add_impression(inline)
        if self.schema.has_ad_serving_id:
            # It differs for every InLine that is served (VAST 4.2 section 3.4.3), so theirs cannot stay.
            suffix = "" if number == 1 else f"-{number}"
            ensure(inline, "AdServingId", self.schema).text = gap("ad_serving_id") + suffix
        for linear in descendants(inline, "Creatives", "Creative", "Linear"):
            self._add_linear(linear)
        for nonlinear_ads in descendants(inline, "Creatives", "Creative", "NonLinearAds"):
            self._add_nonlinear(nonlinear_ads)

    def add_to_wrapper(self, wrapper: Element) -> None:
        self._add_impression(wrapper)
        for nonlinear_ads in descendants(wrapper, "Creatives", "Creative", "NonLinearAds"):
            self._add_nonlinear(nonlinear_ads)
        self._add_linear(self._linear_of(wrapper))

    def _linear_of(self, wrapper: Element) -> Element:
        """One Linear is enough, since all of a Wrapper's track the same ad, and needed even where it tracks nothing."""
        linear = next(descendants(wrapper, "Creatives", "Creative", "Linear"), None)
        if linear is None:
            creatives = ensure(wrapper, "Creatives", self.schema)
            linear = place(place(creatives, "Creative", self.schema), "Linear", self.schema)
        return linear

    def _add_impression(self, content: Element) -> None:
        self._write(place(content, "Impression", self.schema), Event.IMPRESSION)
        if not (self.schema.has_single_error and children(content, "Error")):
            self._write(place(content, "Error", self.schema), Event.ERROR)

    def _add_linear(self, linear: Element) -> None:
        self._add_events(ensure(linear, "TrackingEvents", self.schema), self.schema.linear_events)
        clicks = ensure(linear, "VideoClicks", self.schema)
        self._write(place(clicks, "ClickTracking", self.schema), Event.CLICK)

    def _add_nonlinear(self, nonlinear_ads: Element) -> None:
        self._add_events(ensure(nonlinear_ads, "TrackingEvents", self.schema), NONLINEAR_EVENTS)
        if self.schema.knows("NonLinear", "NonLinearClickTracking"):
            for nonlinear in children(nonlinear_ads, "NonLinear"):
                self._write(place(nonlinear, "NonLinearClickTracking", self.schema), Event.CLICK)

    def _add_events(self, tracking_events: Element, events: tuple[Event, ...]) -> None:
        for event in events:
            tracking = place(tracking_events, "Tracking", self.schema)
            tracking.set("event", event)
            self._write(tracking, event)

    def _write(self, element: Element, event: Event) -> None:
        element.text = etree.CDATA(event_url(self.base_url, event))
