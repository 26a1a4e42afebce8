"""Merging a Wrapper and the response it leads to into one document."""

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
"""The maximum of elements and comments in a merged document."""

_COPIED_FOR = ("{*}InLine", "{*}Linear", "{*}NonLinearAds", "{*}NonLinear")
"""Elements of a response, for each of which parts of the Wrapper are copied."""

_NO_SUBSTITUTES: Mapping[Ad, Ad] = MappingProxyType({})


def merge_wrapper(document: ParsedDocument, wrapper: Ad, answer: ParsedDocument, ads: Collection[Ad]) -> ParsedDocument:
    """Return these InLine `ads` of the answer, each merged with the Wrapper of `document`.

    The Wrapper's impressions, errors, tracking, clicks, companions, icons, extensions, verification and viewability are
    added to the InLine's own. Of elements that an ad has only once, the one closest to the InLine is kept (VAST 4.2
    section 2.3.5.2), so the innermost Wrapper must be merged first. The result has the later of the two versions. In
    2.0 and 3.0 an Ad may then have several Errors, which their schemas forbid; otherwise an ad server would miss its
    errors. Raises UnusableVast for VAST 1, and if the result would be too large.
    """
    if document.schema is V1_0:
        raise UnusableVast("VAST 1 cannot be unwrapped")
    copies = sum(1 for ad in ads for _ in ad.element.iter(*_COPIED_FOR))
    _check_nodes(copies * _nodes(wrapper.element))
    merged = convert(answer, max(document.version, answer.version))
    added = _converted(wrapper.element, document.schema, merged.schema)
    for before, (ad, inline) in zip(answer.ads, ad_contents(merged.tree.getroot()), strict=True):
        if before in ads and not before.is_wrapper:
            _Merger(merged.schema, inline).add(added)
        else:
            _remove(ad)
    return _examine(merged.tree)


def _converted(wrapper: Element, source: Schema, target: Schema) -> Element:
    """Return a copy of the Wrapper, converted to `target`."""
    holder = wrapper.makeelement(qualified_name(wrapper, "Ad"))
    holder.append(deepcopy(wrapper))
    (added,) = with_default_namespace(holder, target.namespace)
    convert_subtree(added, source, target)
    return added


def replace_wrappers(
    document: ParsedDocument,
    ads: Collection[Ad],
    unwrapped: Mapping[Ad, ParsedDocument],
    substitutes: Mapping[Ad, Ad] = _NO_SUBSTITUTES,
) -> ParsedDocument:
    """Return these `ads` of the document with each Wrapper replaced by its merged answer, or removed if it has none.

    A failed Wrapper is replaced by its substitute, which is removed from its own place. The Ads of a pod are
    renumbered. Raises UnusableVast for VAST 1.
    """
    _check_nodes(sum(_nodes(answer.tree) for answer in unwrapped.values()))
    spliced = convert(document, max((document.version, *(answer.version for answer in unwrapped.values()))))
    found = dict(zip(document.ads, (ad for ad, _ in ad_contents(spliced.tree.getroot())), strict=True))
    playing = {before: _playing(before, ad, unwrapped, spliced) for before, ad in found.items() if before in ads}
    for failed, substitute in substitutes.items():
        playing[failed] = playing.pop(substitute, []) or _playing(substitute, found[substitute], unwrapped, spliced)
    for before in found.keys() - playing.keys():
        _remove(found[before])
    for before, replacement in playing.items():
        _replace(found[before], replacement)
    pod = sorted((before.sequence, index) for index, before in enumerate(playing) if before.sequence is not None)
    order = list(playing.values())
    for number, ad in enumerate((ad for _, index in pod for ad in order[index]), start=1):
        ad.set("sequence", str(number))
    return _examine(spliced.tree)


def _playing(before: Ad, ad: Element, unwrapped: Mapping[Ad, ParsedDocument], spliced: ParsedDocument) -> list[Element]:
    """Return an InLine's Ad itself; for a Wrapper, copies of the Ads of its answer in playing order."""
    if not before.is_wrapper:
        return [ad]
    if before not in unwrapped:
        return []
    answer = convert(unwrapped[before], spliced.version)
    ads = zip(answer.ads, ad_contents(answer.tree.getroot()), strict=True)
    return [deepcopy(other) for _, (other, _) in sorted(ads, key=lambda pair: pair[0].sequence or 0)]


def _replace(ad: Element, others: list[Element]) -> None:
    parent = cast(Element, ad.getparent())
    index = parent.index(ad)
    parent[index : index + 1] = others


def _remove(element: Element) -> None:
    cast(Element, element.getparent()).remove(element)


def _examine(tree: etree._ElementTree) -> ParsedDocument:
    _check_nodes(_nodes(tree))
    return inspect_tree(tree)


def _nodes(tree: etree._ElementTree | Element) -> int:
    return sum(1 for _ in tree.iter())


def _check_nodes(count: int) -> None:
    """Raise UnusableVast for too many nodes; called before copying too, because small documents can make a huge one."""
    if count > NODES_MAX:
        raise UnusableVast(f"unwraps to more than {NODES_MAX} nodes")


_LISTS: Mapping[str, Sequence[str]] = {
    "AdVerifications": ("Verification",),
    "Extensions": ("Extension",),
    "ViewableImpression": ("Viewable", "NotViewable", "ViewUndetermined"),
}
"""Elements that an ad has once, and their items, to which the Wrapper's items are added."""

_TRACKING_LISTS: Mapping[str, Sequence[str]] = {"TrackingEvents": ("Tracking",)}
_LINEAR_LISTS: Mapping[str, Sequence[str]] = {
    **_TRACKING_LISTS,
    "VideoClicks": ("ClickTracking", "CustomClick"),
    "Icons": ("Icon",),
}
"""The same for NonLinearAds and for a Linear."""


@dataclass(frozen=True, slots=True)
class _Merger:
    schema: Schema
    inline: Element

    def add(self, wrapper: Element) -> None:
        """Add copies of a Wrapper's elements; the Wrapper has been converted to the InLine's version."""
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

    def _add_linears(self, wrapper_elements: Sequence[Element]) -> None:
        destinations = _within(wrapper_elements, "VideoClicks", "ClickThrough")[:1]
        for inline_element in self._creatives("Linear"):
            self._add_lists(inline_element, wrapper_elements, _LINEAR_LISTS)
            if destinations and not _within([inline_element], "VideoClicks", "ClickThrough"):
                self._copy(destinations, get_or_add_child(inline_element, "VideoClicks", self.schema))

    def _add_nonlinears(self, wrapper_elements: Sequence[Element]) -> None:
        click_trackings = _within(wrapper_elements, "NonLinear", "NonLinearClickTracking")
        for inline_element in self._creatives("NonLinearAds"):
            self._add_lists(inline_element, wrapper_elements, _TRACKING_LISTS)
            for nonlinear in children(inline_element, "NonLinear"):
                self._copy(click_trackings, nonlinear)

    def _companion_ads(self) -> Element:
        """Return the InLine's CompanionAds; add them in a new Creative if they are missing."""
        found = next(self._creatives("CompanionAds"), None)
        if found is not None:
            return found
        creative = add_child(get_or_add_child(self.inline, "Creatives", self.schema), "Creative", self.schema)
        add_universal_ad_id(creative, self.schema)
        return add_child(creative, "CompanionAds", self.schema)

    def _creatives(self, kind: str) -> Iterator[Element]:
        return descendants(self.inline, "Creatives", "Creative", kind)

    def _add_lists(
        self, inline_element: Element, wrapper_elements: Sequence[Element], lists: Mapping[str, Sequence[str]]
    ) -> None:
        for holder, names in lists.items():
            for name in names:
                items = _within(wrapper_elements, holder, name)
                if items:
                    self._copy(items, get_or_add_child(inline_element, holder, self.schema))

    def _copy(self, items: Sequence[Element], target: Element) -> None:
        """Insert copies together, because finding their place takes longer than inserting them."""
        insert_children(target, [deepcopy(item) for item in items], self.schema)


def _within(elements: Sequence[Element], *names: str) -> list[Element]:
    return [found for element in elements for found in descendants(element, *names)]
