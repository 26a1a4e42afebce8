"""Bringing a document up to a later VAST version, for a pod or a chain of wrappers that mixes versions."""

import re
from copy import deepcopy
from math import prod
from typing import cast

from app.domain import VastVersion
from app.errors import UnusableVast
from app.vast.namespaces import rooted
from app.vast.parse import Parsed, examine, universal_ad_id
from app.vast.schema import SCHEMAS, V1_0, Schema
from app.vast.tree import Element, children, content, descendants, insert, local_name, place, vast_elements

_EVENTS_SINCE_4_0 = {
    "fullscreen": "playerExpand",
    "exitFullscreen": "playerCollapse",
    "expand": "adExpand",
    "collapse": "adCollapse",
}
"""What the events of VAST 2.0 and 3.0 have been called since 4.0 (VAST 4.2 section 3.14.1)."""

_SCHEMA_LOCATIONS = {
    f"{{http://www.w3.org/2001/XMLSchema-instance}}{name}" for name in ("schemaLocation", "noNamespaceSchemaLocation")
}
"""Attributes of a root that name the schema of the version it had before."""


def convert(parsed: Parsed, version: VastVersion) -> Parsed:
    """The same document by the schema of `version`, which must not be earlier than its own.

    An earlier version has no place for much of what a later one says. Raises UnusableVast for VAST 1.
    """
    if parsed.schema is V1_0:
        raise UnusableVast("VAST 1 cannot be brought to another version")
    target = SCHEMAS[version]
    root = rooted(deepcopy(parsed.tree.getroot()), target.namespace)
    adapt(root, parsed.schema, target)
    for creative in descendants(root, "Ad", "InLine", "Creatives", "Creative"):
        identify(creative, target)
    for name in _SCHEMA_LOCATIONS & set(root.attrib):
        del root.attrib[name]
    root.set("version", version)
    return examine(root.getroottree())


def adapt(element: Element, source: Schema, target: Schema) -> None:
    """Brings an element of a `source` document, and all in it, into the names and order of `target`."""
    if source is target:
        return
    for inner in list(vast_elements(element)):
        if target.namespace is not None:
            _rename(inner, target)
        _sort(inner, target)


def identify(creative: Element, schema: Schema) -> None:
    """Gives an InLine's Creative the UniversalAdId that its version requires (VAST 4.2 section 3.7.1)."""
    if not schema.has_universal_ad_id or children(creative, "UniversalAdId"):
        return
    universal = place(creative, "UniversalAdId", schema)
    universal.text = "unknown"
    universal.set("idRegistry", "unknown")
    if schema.version is VastVersion.V4_0:
        universal.set("idValue", "unknown")


def _rename(element: Element, target: Schema) -> None:
    """What has had another name, or another place, in 2.0, 3.0 or 4.0."""
    match local_name(element):
        case "Tracking":
            event = element.get("event", "")
            element.set("event", _EVENTS_SINCE_4_0.get(event, event))
        case "Creative":
            _rename_attribute(element, "AdID", "adId")
        case "Companion":
            spellings = ("adSlotId", "adSlotID")
            _rename_attribute(element, *(spellings if target.version is VastVersion.V4_0 else reversed(spellings)))
        case "CompanionClickTracking":
            element.set("id", element.get("id", ""))
        case "HTMLResource":
            _rename_attribute(element, "xmlEncoded", None)
        case "Mezzanine" if target.has_ad_serving_id:
            _describe_mezzanine(element)
        case "UniversalAdId" if target.version is not VastVersion.V4_0:
            _tell_id_in_text(element)
        case "Linear":
            for extensions in children(element, "CreativeExtensions"):
                insert(cast(Element, element.getparent()), [extensions], target)


def _tell_id_in_text(universal: Element) -> None:
    """From 4.1 on there is no `idValue`; in 4.0 there was, and some tell the id nowhere else."""
    if not content(universal):
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


def _sort(element: Element, target: Schema) -> None:
    """Comments, and children that the schema does not know, go last."""
    order = target.orders.get(local_name(element))
    if order is None:
        return
    rank = {name: no for no, name in enumerate(order)}
    element[:] = sorted(element, key=lambda child: rank.get(_name_or_none(child), len(rank)))


def _name_or_none(node: Element) -> str:
    return local_name(node) if isinstance(node.tag, str) else ""
