"""Our trackers in somebody else's VAST: everything that came stays, and ours stand where its schema wants them."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from lxml import etree

from app.domain import Event, VastVersion
from app.vast.element_tree import Element, add_child, children, descendants, get_or_add_child, local_name, serialize
from app.vast.namespaces import serialize_fragment
from app.vast.parser import ParsedDocument, ad_contents
from app.vast.response_template import ResponseTemplate, placeholder
from app.vast.schema import NONLINEAR_EVENTS, SCHEMAS, V1_0, Schema
from app.vast.trackers_vast1 import add_vast1_trackers
from app.vast.tracking_urls import event_url
from app.vast.version_conversion import convert


def document_with_trackers(parsed: ParsedDocument, base_url: str, position: int = 0) -> ResponseTemplate:
    """The document in UTF-8 with one of its Ads, to which our Impression, Error, tracking and click tracking are added.

    `position` is that of the Ad in `parsed.ads`; no other Ad stays. VAST 2.0 and 3.0 have room for one Error in an Ad:
    where there is one already, ours stays out. A Wrapper may lead to one Ad only, since one Ad is what is paid for.
    """
    tree, content = _alone(parsed, position)
    _track(content, parsed.schema, base_url)
    return ResponseTemplate.compile(serialize(tree))


def fragments_with_trackers(
    parsed: ParsedDocument, base_url: str, version: VastVersion | None = None
) -> list[ResponseTemplate]:
    """The Ads one by one, with our trackers, for a pod of that version; from VAST 3.0 on each has a gap `sequence`.

    Without `version` they stay in their own; raises UnusableVast for VAST 1 with one.
    """
    if version is not None and not _fits(parsed, SCHEMAS[version]):
        parsed = convert(parsed, version)
    fragments = []
    for ad, content in ad_contents(deepcopy(parsed.tree).getroot()):
        _keep_only(ad, content)
        _track(content, parsed.schema, base_url)
        if parsed.schema.has_ad_sequence:
            ad.set("sequence", placeholder("sequence"))
        fragments.append(ResponseTemplate.compile(serialize_fragment(ad)))
    return fragments


def single_ad_tree(parsed: ParsedDocument, position: int) -> etree._ElementTree:
    """A copy of the document without its other Ads; of a pod, that leaves a stand-alone Ad."""
    tree, _ = _alone(parsed, position)
    return tree


def _alone(parsed: ParsedDocument, position: int) -> tuple[etree._ElementTree, Element]:
    """That copy, and the InLine or Wrapper in it."""
    tree = deepcopy(parsed.tree)
    root = tree.getroot()
    ad, content = ad_contents(root)[position]
    _keep_only(ad, content)
    others = [other for other in root.findall("{*}Ad") if other is not ad]
    for other in others:
        root.remove(other)
    if others:
        ad.attrib.pop("sequence", "")
    return tree, content


def _keep_only(ad: Element, content: Element) -> None:
    """Removes what an Ad has beside its InLine or Wrapper: a player might show a second one."""
    for other in (*ad.findall("{*}InLine"), *ad.findall("{*}Wrapper")):
        if other is not content:
            ad.remove(other)


def _fits(parsed: ParsedDocument, schema: Schema) -> bool:
    """Whether its Ads fit into a document of that version: some have a prefix, or a namespace that is not its own."""
    root = parsed.tree.getroot()
    return parsed.schema is schema and root.prefix is None and etree.QName(root).namespace == schema.namespace


def _track(content: Element, schema: Schema, base_url: str) -> None:
    """Adds our trackers to an InLine or Wrapper."""
    if schema is V1_0:
        add_vast1_trackers(content, base_url)
    elif local_name(content) == "Wrapper":
        _Trackers(schema, base_url).add_to_wrapper(content)
    else:
        _Trackers(schema, base_url).add_to_inline(content)


@dataclass(frozen=True, slots=True)
class _Trackers:
    schema: Schema
    base_url: str

    def add_to_inline(self, inline: Element) -> None:
        self._add_impression(inline)
        if self.schema.has_ad_serving_id:
            # It differs for every InLine that is served (VAST 4.2 section 3.4.3), so theirs cannot stay.
            get_or_add_child(inline, "AdServingId", self.schema).text = placeholder("ad_serving_id")
        for linear in descendants(inline, "Creatives", "Creative", "Linear"):
            self._add_linear(linear)
        for nonlinear_ads in descendants(inline, "Creatives", "Creative", "NonLinearAds"):
            self._add_nonlinear(nonlinear_ads, children(nonlinear_ads, "NonLinear"))

    def add_to_wrapper(self, wrapper: Element) -> None:
        self._add_impression(wrapper)
        for nonlinear_ads in descendants(wrapper, "Creatives", "Creative", "NonLinearAds"):
            self._add_nonlinear(nonlinear_ads, self._with_room(nonlinear_ads))
        self._add_linear(self._linear_of(wrapper))
        self._allow_one_ad(wrapper)

    def _allow_one_ad(self, wrapper: Element) -> None:
        """One Ad is the default too; the schemas before 4.0 do not have the attribute (VAST 4.2 section 3.19)."""
        if self.schema.has_allow_multiple_ads or "allowMultipleAds" in wrapper.attrib:
            wrapper.set("allowMultipleAds", "false")

    def _linear_of(self, wrapper: Element) -> Element:
        """One Linear is enough, since all of a Wrapper's track the same ad, and needed even where it tracks nothing."""
        linear = next(descendants(wrapper, "Creatives", "Creative", "Linear"), None)
        if linear is None:
            creatives = get_or_add_child(wrapper, "Creatives", self.schema)
            linear = add_child(add_child(creatives, "Creative", self.schema), "Linear", self.schema)
        return linear

    def _add_impression(self, content: Element) -> None:
        self._write(add_child(content, "Impression", self.schema), Event.IMPRESSION)
        if not (self.schema.has_single_error and children(content, "Error")):
            self._write(add_child(content, "Error", self.schema), Event.ERROR)

    def _add_linear(self, linear: Element) -> None:
        self._add_events(get_or_add_child(linear, "TrackingEvents", self.schema), self.schema.linear_events)
        clicks = get_or_add_child(linear, "VideoClicks", self.schema)
        self._write(add_child(clicks, "ClickTracking", self.schema), Event.CLICK)

    def _with_room(self, nonlinear_ads: Element) -> list[Element]:
        """A Wrapper's NonLinears that can take our click tracking; if the schema leaves no room in any, a new one."""
        nonlinears = children(nonlinear_ads, "NonLinear")
        if not (nonlinears and self.schema.has_single_wrapper_click):
            return nonlinears
        free = [nonlinear for nonlinear in nonlinears if not children(nonlinear, "NonLinearClickTracking")]
        return free or [add_child(nonlinear_ads, "NonLinear", self.schema)]

    def _add_nonlinear(self, nonlinear_ads: Element, nonlinears: Sequence[Element]) -> None:
        self._add_events(get_or_add_child(nonlinear_ads, "TrackingEvents", self.schema), NONLINEAR_EVENTS)
        if self.schema.knows("NonLinear", "NonLinearClickTracking"):
            for nonlinear in nonlinears:
                self._write(add_child(nonlinear, "NonLinearClickTracking", self.schema), Event.CLICK)

    def _add_events(self, tracking_events: Element, events: tuple[Event, ...]) -> None:
        for event in events:
            tracking = add_child(tracking_events, "Tracking", self.schema)
            tracking.set("event", event)
            self._write(tracking, event)

    def _write(self, element: Element, event: Event) -> None:
        element.text = etree.CDATA(event_url(self.base_url, event))
