"""Adds this server's trackers to an upstream's VAST where its schema requires them; keeps everything else."""

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
    """Return the document with one of its Ads and this server's Impression, Error, tracking and click tracking.

    `position` is the index of the Ad in `parsed.ads`; the other Ads are removed. In VAST 2.0 and 3.0 an Ad may have one
    Error only: if there is one already, this server's is omitted. A Wrapper may lead to one Ad only, since one is paid.
    """
    tree, content = _copy_with_single_ad(parsed, position)
    _add_trackers(content, parsed.schema, base_url)
    return ResponseTemplate.compile(serialize(tree))


def fragments_with_trackers(
    parsed: ParsedDocument, base_url: str, version: VastVersion | None = None
) -> list[ResponseTemplate]:
    """Return each Ad with trackers for a pod of `version`; since VAST 3.0 it has a placeholder `sequence`.

    Without `version` the Ads keep their own. Raises UnusableVast for VAST 1 with a `version`.
    """
    if version is not None and not _fits(parsed, SCHEMAS[version]):
        parsed = convert(parsed, version)
    fragments = []
    for ad, content in ad_contents(deepcopy(parsed.tree).getroot()):
        _keep_only(ad, content)
        _add_trackers(content, parsed.schema, base_url)
        if parsed.schema.has_ad_sequence:
            ad.set("sequence", placeholder("sequence"))
        fragments.append(ResponseTemplate.compile(serialize_fragment(ad)))
    return fragments


def single_ad_tree(parsed: ParsedDocument, position: int) -> etree._ElementTree:
    """Return a copy of the document with that Ad alone; an Ad of a pod becomes a stand-alone Ad."""
    tree, _ = _copy_with_single_ad(parsed, position)
    return tree


def _copy_with_single_ad(parsed: ParsedDocument, position: int) -> tuple[etree._ElementTree, Element]:
    """Return the copy, and the InLine or Wrapper in it."""
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
    """Remove further InLines and Wrappers from an Ad, because a player might show them too."""
    for other in (*ad.findall("{*}InLine"), *ad.findall("{*}Wrapper")):
        if other is not content:
            ad.remove(other)


def _fits(parsed: ParsedDocument, schema: Schema) -> bool:
    """Whether the Ads can be put into a document of that version unchanged, with its namespace and without a prefix."""
    root = parsed.tree.getroot()
    return parsed.schema is schema and root.prefix is None and etree.QName(root).namespace == schema.namespace


def _add_trackers(content: Element, schema: Schema, base_url: str) -> None:
    """Add trackers to an InLine or Wrapper."""
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
            # It must be unique per served InLine (VAST 4.2 section 3.4.3), so the upstream's is replaced.
            get_or_add_child(inline, "AdServingId", self.schema).text = placeholder("ad_serving_id")
        for linear in descendants(inline, "Creatives", "Creative", "Linear"):
            self._add_linear(linear)
        for nonlinear_ads in descendants(inline, "Creatives", "Creative", "NonLinearAds"):
            self._add_nonlinear(nonlinear_ads, children(nonlinear_ads, "NonLinear"))

    def add_to_wrapper(self, wrapper: Element) -> None:
        self._add_impression(wrapper)
        for nonlinear_ads in descendants(wrapper, "Creatives", "Creative", "NonLinearAds"):
            self._add_nonlinear(nonlinear_ads, self._nonlinears_for_clicks(nonlinear_ads))
        self._add_linear(self._linear_of(wrapper))
        self._allow_one_ad(wrapper)

    def _allow_one_ad(self, wrapper: Element) -> None:
        """Forbid several Ads, as is the default; before 4.0 there is no attribute for it (VAST 4.2 section 3.19)."""
        if self.schema.has_allow_multiple_ads or "allowMultipleAds" in wrapper.attrib:
            wrapper.set("allowMultipleAds", "false")

    def _linear_of(self, wrapper: Element) -> Element:
        """Return a Linear of the Wrapper, added if missing; one is enough, since all of them track the same ad."""
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

    def _nonlinears_for_clicks(self, nonlinear_ads: Element) -> list[Element]:
        """Return the Wrapper's NonLinears that may get a click tracker; add one if none of them may."""
        nonlinears = children(nonlinear_ads, "NonLinear")
        if not (nonlinears and self.schema.has_single_wrapper_click):
            return nonlinears
        free = [nonlinear for nonlinear in nonlinears if not children(nonlinear, "NonLinearClickTracking")]
        return free or [add_child(nonlinear_ads, "NonLinear", self.schema)]

    def _add_nonlinear(self, nonlinear_ads: Element, nonlinears: Sequence[Element]) -> None:
        self._add_events(get_or_add_child(nonlinear_ads, "TrackingEvents", self.schema), NONLINEAR_EVENTS)
        if self.schema.allows_child("NonLinear", "NonLinearClickTracking"):
            for nonlinear in nonlinears:
                self._write(add_child(nonlinear, "NonLinearClickTracking", self.schema), Event.CLICK)

    def _add_events(self, tracking_events: Element, events: tuple[Event, ...]) -> None:
        for event in events:
            tracking = add_child(tracking_events, "Tracking", self.schema)
            tracking.set("event", event)
            self._write(tracking, event)

    def _write(self, element: Element, event: Event) -> None:
        element.text = etree.CDATA(event_url(self.base_url, event))
