"""Unwrapping: one document that says what a Wrapper and its answer say together."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from lxml import etree

from app.errors import UnusableVast
from app.vast.element_tree import (
    Element,
    add_child,
    children,
    descendants,
    get_or_add_child,
    insert_children,
    qualified_name,
)
from app.vast.namespaces import with_default_namespace
from app.vast.parser import Ad, ParsedDocument, ad_contents, inspect_tree
from app.vast.schema import V1_0, Schema
from app.vast.version_conversion import add_universal_ad_id, convert, convert_subtree

NODES_MAX = 10_000
"""Elements and comments of a merged document."""

_COPIED_FOR = ("{*}InLine", "{*}Linear", "{*}NonLinearAds", "{*}NonLinear")
"""For each of these in its answer, parts of a Wrapper are copied."""

_NONE: Mapping[Ad, Ad] = MappingProxyType({})


def merge_wrapper(document: ParsedDocument, wrapper: Ad, answer: ParsedDocument, ads: Collection[Ad]) -> ParsedDocument:
    """Those InLine `ads` of the answer, each with what the Wrapper of `document` adds to it.

    Impressions, errors, tracking, clicks, companions, icons, extensions, verification and viewability count as well as
    the InLine's own. Of what an ad has only once, the one nearest to the InLine stays (VAST 4.2 section 2.3.5.2): so
    the innermost Wrapper is merged first. The result is of the later of the two versions. In 2.0 and 3.0 an Ad then
    has several Errors, for which their schemas have no room: better so than an ad server that never hears of its error.
    Raises UnusableVast for VAST 1, and when the two together are too much.
    """
    if document.schema is V1_0:
        raise UnusableVast("VAST 1 cannot be unwrapped")
    copies = sum(1 for ad in ads for _ in ad.element.iter(*_COPIED_FOR))
    _check_nodes(copies * _nodes(wrapper.element))
    merged = convert(answer, max(document.version, answer.version))
    added = _adapted(wrapper.element, document.schema, merged.schema)
    for before, (ad, inline) in zip(answer.ads, ad_contents(merged.tree.getroot()), strict=True):
        if before in ads and not before.is_wrapper:
            _Merger(merged.schema, inline).add(added)
        else:
            _remove(ad)
    return _examine(merged.tree)


def _adapted(wrapper: Element, source: Schema, target: Schema) -> Element:
    """A copy of the Wrapper by the schema of `target`."""
    holder = wrapper.makeelement(qualified_name(wrapper, "Ad"))
    holder.append(deepcopy(wrapper))
    (added,) = with_default_namespace(holder, target.namespace)
    convert_subtree(added, source, target)
    return added


def replace_wrappers(
    document: ParsedDocument,
    ads: Collection[Ad],
    unwrapped: Mapping[Ad, ParsedDocument],
    substitutes: Mapping[Ad, Ad] = _NONE,
) -> ParsedDocument:
    """Those `ads` of the document, with merged answers in the places of its Wrappers; one that has none is left out.

    A Wrapper that failed is replaced by its substitute, which then leaves its own place. The Ads of a pod are numbered
    anew. Raises UnusableVast for VAST 1.
    """
    _check_nodes(sum(_nodes(answer.tree) for answer in unwrapped.values()))
    spliced = convert(document, max((document.version, *(answer.version for answer in unwrapped.values()))))
    found = dict(zip(document.ads, (ad for ad, _ in ad_contents(spliced.tree.getroot())), strict=True))
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
    return _examine(spliced.tree)


def _playing(before: Ad, ad: Element, unwrapped: Mapping[Ad, ParsedDocument], spliced: ParsedDocument) -> list[Element]:
    """An InLine's own Ad; of a Wrapper, copies of the Ads that it led to, in the order they play in."""
    if not before.is_wrapper:
        return [ad]
    if before not in unwrapped:
        return []
    answer = convert(unwrapped[before], spliced.version)
    ads = zip(answer.ads, ad_contents(answer.tree.getroot()), strict=True)
    return [deepcopy(other) for _, (other, _) in sorted(ads, key=lambda pair: pair[0].sequence or 0)]


def _replace(ad: Element, others: list[Element]) -> None:
    parent = cast(Element, ad.getparent())
    at = parent.index(ad)
    parent[at : at + 1] = others


def _remove(element: Element) -> None:
    cast(Element, element.getparent()).remove(element)


def _examine(tree: etree._ElementTree) -> ParsedDocument:
    _check_nodes(_nodes(tree))
    return inspect_tree(tree)


def _nodes(tree: etree._ElementTree | Element) -> int:
    return sum(1 for _ in tree.iter())


def _check_nodes(number: int) -> None:
    """Called before anything is copied too: small documents can make a huge one together."""
    if number > NODES_MAX:
        raise UnusableVast(f"unwraps to more than {NODES_MAX} nodes")


_LISTS: Mapping[str, Sequence[str]] = {
    "AdVerifications": ("Verification",),
    "Extensions": ("Extension",),
    "ViewableImpression": ("Viewable", "NotViewable", "ViewUndetermined"),
}
"""What an ad has one of, with everybody's items in it."""

_TRACKING_LISTS: Mapping[str, Sequence[str]] = {"TrackingEvents": ("Tracking",)}
_LINEAR_LISTS: Mapping[str, Sequence[str]] = {
    **_TRACKING_LISTS,
    "VideoClicks": ("ClickTracking", "CustomClick"),
    "Icons": ("Icon",),
}
"""The same of NonLinearAds and of a Linear."""


@dataclass(frozen=True, slots=True)
class _Merger:
    schema: Schema
    inline: Element

    def add(self, wrapper: Element) -> None:
        """Adds copies of what counts in a Wrapper, which is of the InLine's version already."""
        for name in ("Impression", "Error"):
            self._copy(children(wrapper, name), self.inline)
        self._add_lists(self.inline, [wrapper], _LISTS)
        if not children(self.inline, "Pricing"):
            self._copy(children(wrapper, "Pricing")[:1], self.inline)
        self._add_linears(_within([wrapper], "Creatives", "Creative", "Linear"))
        self._add_nonlinears(_within([wrapper], "Creatives", "Creative", "NonLinearAds"))
        companions = _within([wrapper], "Creatives", "Creative", "CompanionAds", "Companion")
        if companions:
            self._copy(companions, self._companion_ads())

    def _add_linears(self, theirs: Sequence[Element]) -> None:
        destinations = _within(theirs, "VideoClicks", "ClickThrough")[:1]
        for ours in self._creatives("Linear"):
            self._add_lists(ours, theirs, _LINEAR_LISTS)
            if destinations and not _within([ours], "VideoClicks", "ClickThrough"):
                self._copy(destinations, get_or_add_child(ours, "VideoClicks", self.schema))

    def _add_nonlinears(self, theirs: Sequence[Element]) -> None:
        click_trackings = _within(theirs, "NonLinear", "NonLinearClickTracking")
        for ours in self._creatives("NonLinearAds"):
            self._add_lists(ours, theirs, _TRACKING_LISTS)
            for nonlinear in children(ours, "NonLinear"):
                self._copy(click_trackings, nonlinear)

    def _companion_ads(self) -> Element:
        """The InLine's own CompanionAds, or else a Creative's for those of the Wrappers."""
        found = next(self._creatives("CompanionAds"), None)
        if found is not None:
            return found
        creative = add_child(get_or_add_child(self.inline, "Creatives", self.schema), "Creative", self.schema)
        add_universal_ad_id(creative, self.schema)
        return add_child(creative, "CompanionAds", self.schema)

    def _creatives(self, kind: str) -> Iterator[Element]:
        return descendants(self.inline, "Creatives", "Creative", kind)

    def _add_lists(self, ours: Element, theirs: Sequence[Element], lists: Mapping[str, Sequence[str]]) -> None:
        for holder, names in lists.items():
            for name in names:
                items = _within(theirs, holder, name)
                if items:
                    self._copy(items, get_or_add_child(ours, holder, self.schema))

    def _copy(self, items: Sequence[Element], target: Element) -> None:
        """All at once: to find their place is more work than to put them there."""
        insert_children(target, [deepcopy(item) for item in items], self.schema)


def _within(elements: Sequence[Element], *names: str) -> list[Element]:
    return [found for element in elements for found in descendants(element, *names)]
