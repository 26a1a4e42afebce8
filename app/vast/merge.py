"""Unwrapping: one document that says what a Wrapper and its answer say together."""

from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from lxml import etree

from app.errors import UnusableVast
from app.vast.convert import adapt, convert, identify
from app.vast.parse import Ad, Parsed, contents, examine
from app.vast.schema import V1_0, Schema
from app.vast.tree import Element, children, descendants, ensure, insert, place

NODES_MAX = 50_000
"""Elements and comments of a merged document."""

_NONE: Mapping[Ad, Ad] = MappingProxyType({})


def merge(document: Parsed, wrapper: Ad, answer: Parsed, ads: Collection[Ad]) -> Parsed:
    """Those InLine `ads` of the answer, each with what the Wrapper of `document` adds to it.

    Impressions, errors, tracking, clicks, companions, icons, extensions, verification and viewability count as well as
    the InLine's own. Of what an ad has only once, the one nearest to the InLine stays (VAST 4.2 section 2.3.5.2): so
    the innermost Wrapper is merged first. The result is of the later of the two versions. In 2.0 and 3.0 an Ad then
    has several Errors, for which their schemas have no room: better so than an ad server that never hears of its error.
    Raises UnusableVast for VAST 1, and when the two together are too much.
    """
    if document.schema is V1_0:
        raise UnusableVast("VAST 1 cannot be unwrapped")
    _check_size(wrapper, answer)
    merged = convert(answer, max(document.version, answer.version))
    for before, (ad, inline) in zip(answer.ads, contents(merged.tree.getroot()), strict=True):
        if before in ads and not before.is_wrapper:
            added = deepcopy(wrapper.element)
            adapt(added, document.schema, merged.schema, merged.schema.namespace)
            _Merger(merged.schema, inline).add(added)
        else:
            _remove(ad)
    return _examine_clean(merged.tree)


def splice(
    document: Parsed, ads: Collection[Ad], unwrapped: Mapping[Ad, Parsed], substitutes: Mapping[Ad, Ad] = _NONE
) -> Parsed:
    """Those `ads` of the document, with merged answers in the places of its Wrappers; one that has none is left out.

    A Wrapper that failed is replaced by its substitute, which then leaves its own place. The Ads of a pod are numbered
    anew. Raises UnusableVast for VAST 1.
    """
    spliced = convert(document, max((document.version, *(answer.version for answer in unwrapped.values()))))
    found = dict(zip(document.ads, (ad for ad, _ in contents(spliced.tree.getroot())), strict=True))
    playing = {before: _playing(before, ad, unwrapped, spliced) for before, ad in found.items() if before in ads}
    for failed, substitute in substitutes.items():
        playing[failed] = playing.pop(substitute, []) or _playing(substitute, found[substitute], unwrapped, spliced)
    for before in found.keys() - playing.keys():
        _remove(found[before])
    for before, in_its_place in playing.items():
        _replace(found[before], in_its_place)
    pod = sorted((before.sequence, no) for no, before in enumerate(playing) if before.sequence is not None)
    order = list(playing.values())
    for number, ad in enumerate((ad for _, no in pod for ad in order[no]), start=1):
        ad.set("sequence", str(number))
    return _examine_clean(spliced.tree)


def _playing(before: Ad, ad: Element, unwrapped: Mapping[Ad, Parsed], spliced: Parsed) -> list[Element]:
    """An InLine's own Ad; of a Wrapper, copies of the Ads that it led to, in the order they play in."""
    if not before.is_wrapper:
        return [ad]
    if before not in unwrapped:
        return []
    answer = convert(unwrapped[before], spliced.version)
    ads = zip(answer.ads, contents(answer.tree.getroot()), strict=True)
    return [deepcopy(other) for _, (other, _) in sorted(ads, key=lambda pair: pair[0].sequence or 0)]


def _replace(ad: Element, others: list[Element]) -> None:
    parent = cast(Element, ad.getparent())
    at = parent.index(ad)
    parent[at : at + 1] = others


def _remove(element: Element) -> None:
    cast(Element, element.getparent()).remove(element)


def _check_size(wrapper: Ad, answer: Parsed) -> None:
    """A Wrapper's trackers count for every creative of its answer: small documents can make a huge one together."""
    creatives = sum(1 for ad in answer.ads for _ in descendants(ad.element, "Creatives", "Creative"))
    added = sum(1 for _ in wrapper.element.iter())
    if added * max(1, creatives) > NODES_MAX:
        raise UnusableVast(f"unwraps to more than {NODES_MAX} nodes")


def _examine_clean(tree: etree._ElementTree) -> Parsed:
    etree.cleanup_namespaces(tree)
    if sum(1 for _ in tree.iter()) > NODES_MAX:
        raise UnusableVast(f"unwraps to more than {NODES_MAX} nodes")
    return examine(tree)


_LISTS = {
    "AdVerifications": ("Verification",),
    "Extensions": ("Extension",),
    "ViewableImpression": ("Viewable", "NotViewable", "ViewUndetermined"),
}
"""What an ad has one of, with everybody's items in it."""


@dataclass(frozen=True, slots=True)
class _Merger:
    schema: Schema
    inline: Element

    def add(self, wrapper: Element) -> None:
        """Moves what counts out of a Wrapper that is a copy, already of the InLine's version."""
        self._move(wrapper, self.inline, "Impression", "Error")
        for holder, items in _LISTS.items():
            for theirs in children(wrapper, holder):
                self._move(theirs, ensure(self.inline, holder, self.schema), *items)
        self._move_if_absent(wrapper, self.inline, "Pricing")
        for creative in descendants(wrapper, "Creatives", "Creative"):
            for linear in children(creative, "Linear"):
                self._add_linear(linear)
            for nonlinear_ads in children(creative, "NonLinearAds"):
                self._add_nonlinear(nonlinear_ads)
            for companions in children(creative, "CompanionAds"):
                self._move(companions, self._companion_ads(), "Companion")

    def _add_linear(self, theirs: Element) -> None:
        for ours in self._creatives("Linear"):
            linear = deepcopy(theirs)
            for tracking_events in children(linear, "TrackingEvents"):
                self._move(tracking_events, ensure(ours, "TrackingEvents", self.schema), "Tracking")
            for clicks in children(linear, "VideoClicks"):
                video_clicks = ensure(ours, "VideoClicks", self.schema)
                self._move(clicks, video_clicks, "ClickTracking", "CustomClick")
                self._move_if_absent(clicks, video_clicks, "ClickThrough")
            for icons in children(linear, "Icons"):
                self._move(icons, ensure(ours, "Icons", self.schema), "Icon")

    def _add_nonlinear(self, theirs: Element) -> None:
        for ours in self._creatives("NonLinearAds"):
            nonlinear_ads = deepcopy(theirs)
            for tracking_events in children(nonlinear_ads, "TrackingEvents"):
                self._move(tracking_events, ensure(ours, "TrackingEvents", self.schema), "Tracking")
            for clicked in children(ours, "NonLinear"):
                for nonlinear in children(deepcopy(theirs), "NonLinear"):
                    self._move(nonlinear, clicked, "NonLinearClickTracking")

    def _companion_ads(self) -> Element:
        """The InLine's own CompanionAds, or else a Creative's for those of the Wrappers."""
        found = next(self._creatives("CompanionAds"), None)
        if found is not None:
            return found
        creative = place(ensure(self.inline, "Creatives", self.schema), "Creative", self.schema)
        identify(creative, self.schema)
        return place(creative, "CompanionAds", self.schema)

    def _creatives(self, kind: str) -> Iterator[Element]:
        return descendants(self.inline, "Creatives", "Creative", kind)

    def _move(self, source: Element, target: Element, *names: str) -> None:
        for name in names:
            insert(target, children(source, name), self.schema)

    def _move_if_absent(self, source: Element, target: Element, name: str) -> None:
        if not children(target, name):
            insert(target, children(source, name)[:1], self.schema)
