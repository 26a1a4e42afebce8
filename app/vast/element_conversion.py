"""What later VAST versions call otherwise, keep elsewhere or have no more, element by element."""

import re
from math import prod
from typing import cast
from xml.sax.saxutils import unescape

from lxml import etree

from app.domain import VastVersion
from app.vast.element_tree import Element, children, insert_children, local_name, qualified_name, text_content
from app.vast.parser import universal_ad_id
from app.vast.schema import Schema

_EVENTS_SINCE_4_0 = {
    "fullscreen": "playerExpand",
    "exitFullscreen": "playerCollapse",
    "expand": "adExpand",
    "collapse": "adCollapse",
}
"""What the events of VAST 2.0 and 3.0 have been called since 4.0 (VAST 4.2 section 3.14.1)."""

_EVENTS_SINCE_4_1 = {**_EVENTS_SINCE_4_0, "acceptInvitationLinear": "acceptInvitation"}
"""VAST 4.1 removed acceptInvitationLinear; acceptInvitation says the same, and not of nonlinear ads only."""

_EVENTS_GONE_IN_4_1 = ("timeSpentViewing",)

_RESOURCES_GONE_IN_4_1 = ("FlashResource", "ViewableImpression")
"""Of a Verification: VAST 4.1 removed Flash, and its schema leaves ViewableImpression to the Ad."""


def convert_element(element: Element, target: Schema) -> None:
    """Brings an element of an earlier version up to `target`; those in it are left to further calls.

    Only what no player of the later version reads is left out.
    """
    if local_name(element) == "NonLinear" and _is_in_wrapper(element):
        _narrow(element, target)
    elif target.namespace is not None:
        _apply_changes_of_4(element, target)
        if target.has_ad_serving_id:
            _apply_changes_of_4_1(element)


def _apply_changes_of_4(element: Element, target: Schema) -> None:
    match local_name(element):
        case "Tracking":
            _rename_event(element, target)
        case "Creative":
            _rename_attribute(element, "AdID", "adId")
        case "Companion":
            spellings = ("adSlotId", "adSlotID")
            _rename_attribute(element, *(spellings if target.version is VastVersion.V4_0 else reversed(spellings)))
        case "CompanionClickTracking":
            element.set("id", element.get("id", ""))
        case "HTMLResource":
            _decode(element)
        case "Linear" | "NonLinear":
            _move_extensions(element, target)
        case "Icons" if not children(element, "Icon"):
            cast(Element, element.getparent()).remove(element)


def _apply_changes_of_4_1(element: Element) -> None:
    match local_name(element):
        case "Mezzanine":
            _describe_mezzanine(element)
        case "UniversalAdId":
            _tell_id_in_text(element)
        case "Verification":
            for name in _RESOURCES_GONE_IN_4_1:
                for child in children(element, name):
                    element.remove(child)


def _is_in_wrapper(element: Element) -> bool:
    return next(element.iterancestors(qualified_name(element, "Wrapper")), None) is not None


def _narrow(nonlinear: Element, target: Schema) -> None:
    """A Wrapper's NonLinear shows nothing: since 3.0 it has only click tracking, in 4.x one each and no attributes.

    In 3.0 it may have CreativeExtensions too (VAST 4.2 sections 3.7.2 and 3.12.1).
    """
    kept = {qualified_name(nonlinear, name) for name in ("CreativeExtensions", "NonLinearClickTracking")}
    if target.namespace is not None:
        kept = {qualified_name(nonlinear, "NonLinearClickTracking")}
        nonlinear.attrib.clear()
    for child in list(nonlinear.iterchildren(etree.Element)):
        if child.tag not in kept:
            nonlinear.remove(child)
    if target.has_single_wrapper_click:
        others = []
        for click_tracking in children(nonlinear, "NonLinearClickTracking")[1:]:
            others.append(nonlinear.makeelement(nonlinear.tag))
            others[-1].append(click_tracking)
        insert_children(cast(Element, nonlinear.getparent()), others, target)


def _move_extensions(element: Element, target: Schema) -> None:
    """Since 4.0 CreativeExtensions are the Creative's, and in an InLine only (VAST 4.2 section 3.7.2)."""
    creative = next(element.iterancestors(qualified_name(element, "Creative")), None)
    for extensions in children(element, "CreativeExtensions"):
        if creative is None or _is_in_wrapper(element):
            element.remove(extensions)
        elif there := children(creative, "CreativeExtensions"):
            there[0].extend(extensions)
            element.remove(extensions)
        else:
            insert_children(creative, [extensions], target)


def _rename_event(tracking: Element, target: Schema) -> None:
    """The events of a Verification are not those of an ad, and stay."""
    event, events = tracking.get("event", ""), cast(Element, tracking.getparent())
    if next(tracking.iterancestors(qualified_name(tracking, "Verification")), None) is not None:
        return
    if target.has_ad_serving_id and event in _EVENTS_GONE_IN_4_1:
        events.remove(tracking)
    else:
        renamed = _EVENTS_SINCE_4_1 if target.has_ad_serving_id else _EVENTS_SINCE_4_0
        tracking.set("event", renamed.get(event, event))


def _decode(html: Element) -> None:
    """Since 4.0 there is no `xmlEncoded`, which had a player of 3.0 decode the text once more."""
    if html.get("xmlEncoded", "").strip() in ("true", "1"):
        html.text = unescape(text_content(html), {"&quot;": '"', "&apos;": "'"})
    _rename_attribute(html, "xmlEncoded", None)


def _tell_id_in_text(universal: Element) -> None:
    """From 4.1 on there is no `idValue`; in 4.0 there was, and some tell the id nowhere else."""
    if not text_content(universal):
        universal.text = universal_ad_id(universal)
    _rename_attribute(universal, "idValue", None)


def _describe_mezzanine(mezzanine: Element) -> None:
    """What 4.1 asks about the raw file and 4.0 did not: that of the best rendition made of it."""
    made_of_it = children(cast(Element, mezzanine.getparent()), "MediaFile")
    best = max(made_of_it, key=_pixels, default=None)
    if best is not None:
        for name in ("delivery", "type", "width", "height"):
            mezzanine.set(name, mezzanine.get(name, best.get(name, "")))


def _pixels(media_file: Element) -> int:
    sides = [media_file.get(name, "") for name in ("width", "height")]
    return prod(int(side) if re.fullmatch(r"\d{1,6}", side, re.ASCII) else 0 for side in sides)


def _rename_attribute(element: Element, old: str, new: str | None) -> None:
    """Without a `new` name the attribute has no place any more."""
    value = element.get(old)
    if value is not None:
        del element.attrib[old]
        if new is not None:
            element.set(new, value)
