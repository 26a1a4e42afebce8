"""Corrections of upstream documents that players could not read, made while a document is parsed."""

from lxml import etree

from app.vast.element_tree import Element, local_name, qualified_name, vast_elements
from app.vast.namespaces import with_default_namespace
from app.vast.schema import SCHEMAS, V1_0

_NAMES = {
    *("VAST", "VideoAdServingTemplate", "Ad", "Tracking", "VASTAdTagURI", "VASTAdTagURL"),
    *(
        name
        for schema in (*SCHEMAS.values(), V1_0)
        for parent, order in schema.child_orders.items()
        for name in (parent, *order)
    ),
}
_SPELLINGS = {name.lower(): name for name in _NAMES}


def normalize(root: Element, body: bytes) -> Element:
    """Return the root of the document `body` with standard element names and a single namespace declaration.

    XML is case-sensitive, but some upstreams write `Inline` (as the schemas name its type) or `vast`. If two prefixes
    are declared for the document's namespace, added elements might get the one that players do not read.
    """
    if any(_SPELLINGS.get(name.lower(), name) != name for name in {*map(local_name, root.iter("*"))}):
        for element in vast_elements(root):
            name = local_name(element)
            element.tag = qualified_name(element, _SPELLINGS.get(name.lower(), name))
    namespace = etree.QName(root).namespace
    if namespace is not None and sum(body.count(f"{quote}{namespace}{quote}".encode()) for quote in "\"'") > 1:
        return with_default_namespace(root, namespace)
    return root
