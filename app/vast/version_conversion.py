"""Conversion of documents to later VAST versions, for pods and chains of Wrappers with mixed versions."""

from copy import deepcopy

from app.domain import VastVersion
from app.errors import UnusableVast
from app.vast.element_conversion import convert_element
from app.vast.element_tree import Element, add_child, children, descendants, local_name, vast_elements
from app.vast.namespaces import with_default_namespace
from app.vast.parser import ParsedDocument, inspect_tree
from app.vast.schema import SCHEMAS, V1_0, Schema

_SCHEMA_LOCATIONS = {
    f"{{http://www.w3.org/2001/XMLSchema-instance}}{name}" for name in ("schemaLocation", "noNamespaceSchemaLocation")
}
"""Attributes of the root that refer to the schema of the original version."""


def convert(parsed: ParsedDocument, version: VastVersion) -> ParsedDocument:
    """Return the document in `version`, which must not be earlier than its own.

    Earlier versions lack elements for much of a later one's content. Raises UnusableVast for VAST 1.
    """
    if parsed.schema is V1_0:
        raise UnusableVast("VAST 1 cannot be converted to another version")
    target = SCHEMAS[version]
    root = with_default_namespace(deepcopy(parsed.tree.getroot()), target.namespace)
    convert_subtree(root, parsed.schema, target)
    for creative in descendants(root, "Ad", "InLine", "Creatives", "Creative"):
        add_universal_ad_id(creative, target)
    for name in _SCHEMA_LOCATIONS & set(root.attrib):
        del root.attrib[name]
    root.set("version", version)
    return inspect_tree(root.getroottree())


def convert_subtree(element: Element, source: Schema, target: Schema) -> None:
    """Convert an element of a `source` document and its descendants to the names and order of `target`."""
    if source is target:
        return
    for descendant in list(vast_elements(element)):
        convert_element(descendant, target)
        _sort_children(descendant, target)


def add_universal_ad_id(creative: Element, schema: Schema) -> None:
    """Add the UniversalAdId that the version requires to an InLine's Creative (VAST 4.2 section 3.7.1)."""
    if not schema.has_universal_ad_id or children(creative, "UniversalAdId"):
        return
    universal = add_child(creative, "UniversalAdId", schema)
    universal.text = "unknown"
    universal.set("idRegistry", "unknown")
    if schema.version is VastVersion.V4_0:
        universal.set("idValue", "unknown")


def _sort_children(element: Element, target: Schema) -> None:
    """Sort the children by the schema's order; comments and unknown elements go last."""
    order = target.child_orders.get(local_name(element))
    if order is None:
        return
    rank = {name: index for index, name in enumerate(order)}
    element[:] = sorted(element, key=lambda child: rank.get(_name_or_none(child), len(rank)))


def _name_or_none(node: Element) -> str:
    return local_name(node) if isinstance(node.tag, str) else ""
