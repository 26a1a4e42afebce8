"""Conversion of single elements to later VAST versions, which have renamed, moved and removed some."""

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
"""The names since 4.0 of events of VAST 2.0 and 3.0 (VAST 4.2 section 3.14.1)."""

_EVENTS_SINCE_4_1 = {**_EVENTS_SINCE_4_0, "acceptInvitationLinear": "acceptInvitation"}
"""VAST 4.1 removed acceptInvitationLinear; its acceptInvitation applies to linear ads too."""

_EVENTS_REMOVED_IN_4_1 = ("timeSpentViewing",)

_RESOURCES_REMOVED_IN_4_1 = ("FlashResource", "ViewableImpression")
"""Children of a Verification: VAST 4.1 removed Flash, and has ViewableImpression in the Ad only."""


def convert_element(element: Element, target: Schema) -> None:
    """Convert an element of an earlier version to `target`, without its descendants.

    Removes only what no player of the later version reads.
    """
    if local_name(element) == "NonLinear" and _is_in_wrapper(element):
        _reduce_wrapper_nonlinear(element, target)
    elif target.namespace is not None:
        _convert_to_4(element, target)
        if target.has_ad_serving_id:
            _convert_to_4_1(element)


def _convert_to_4(element: Element, target: Schema) -> None:
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


def _convert_to_4_1(element: Element) -> None:
    match local_name(element):
        case "Mezzanine":
            _describe_mezzanine(element)
        case "UniversalAdId":
            _move_id_value_to_text(element)
        case "Verification":
            for name in _RESOURCES_REMOVED_IN_4_1:
                for child in children(element, name):
                    element.remove(child)


def _is_in_wrapper(element: Element) -> bool:
    return next(element.iterancestors(qualified_name(element, "Wrapper")), None) is not None


def _reduce_wrapper_nonlinear(nonlinear: Element, target: Schema) -> None:
    """Reduce a Wrapper's NonLinear to click tracking; in 4.x, to a single one without attributes.

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
        added = []
        for click_tracking in children(nonlinear, "NonLinearClickTracking")[1:]:
            added.append(nonlinear.makeelement(nonlinear.tag))
            added[-1].append(click_tracking)
        insert_children(cast(Element, nonlinear.getparent()), added, target)


def _move_extensions(element: Element, target: Schema) -> None:
    """Move CreativeExtensions to the Creative, where they are since 4.0, in InLines only (VAST 4.2 section 3.7.2)."""
    creative = next(element.iterancestors(qualified_name(element, "Creative")), None)
    for extensions in children(element, "CreativeExtensions"):
        if creative is None or _is_in_wrapper(element):
            element.remove(extensions)
        elif existing := children(creative, "CreativeExtensions"):
            existing[0].extend(extensions)
            element.remove(extensions)
        else:
            insert_children(creative, [extensions], target)


def _rename_event(tracking: Element, target: Schema) -> None:
    """Rename an event, or remove one that 4.1 has removed; the events of a Verification are kept."""
    event, events = tracking.get("event", ""), cast(Element, tracking.getparent())
    if next(tracking.iterancestors(qualified_name(tracking, "Verification")), None) is not None:
        return
    if target.has_ad_serving_id and event in _EVENTS_REMOVED_IN_4_1:
        events.remove(tracking)
    else:
        renamed = _EVENTS_SINCE_4_1 if target.has_ad_serving_id else _EVENTS_SINCE_4_0
        tracking.set("event", renamed.get(event, event))


def _decode(html: Element) -> None:
    """Decode text with `xmlEncoded`, which told players of 3.0 to decode it again and was removed in 4.0."""
    if html.get("xmlEncoded", "").strip() in ("true", "1"):
        html.text = unescape(text_content(html), {"&quot;": '"', "&apos;": "'"})
    _rename_attribute(html, "xmlEncoded", None)


def _move_id_value_to_text(universal: Element) -> None:
    """Move `idValue`, which 4.1 has removed, to the text; some documents of 4.0 have the id nowhere else."""
    if not text_content(universal):
        universal.text = universal_ad_id(universal)
    _rename_attribute(universal, "idValue", None)


def _describe_mezzanine(mezzanine: Element) -> None:
    """Add the attributes that 4.1 requires of the Mezzanine: those of the best rendition."""
    renditions = children(cast(Element, mezzanine.getparent()), "MediaFile")
    best = max(renditions, key=_pixels, default=None)
    if best is not None:
        for name in ("delivery", "type", "width", "height"):
            mezzanine.set(name, mezzanine.get(name, best.get(name, "")))


def _pixels(media_file: Element) -> int:
    sides = [media_file.get(name, "") for name in ("width", "height")]
    return prod(int(side) if re.fullmatch(r"\d{1,6}", side, re.ASCII) else 0 for side in sides)


def _rename_attribute(element: Element, old: str, new: str | None) -> None:
    """Rename the attribute, or remove it if `new` is None."""
    value = element.get(old)
    if value is not None:
        del element.attrib[old]
        if new is not None:
            element.set(new, value)
