"""Default namespaces for merged documents: many players find elements by their qualified name and ignore prefixed ones.

lxml generates a prefix (`ns0`) for an element whose namespace its ancestors do not declare. So the root of a merged
document is created with its default namespace, and the elements are moved into it.
"""

from collections.abc import Mapping
from typing import cast

from lxml import etree

from app.vast.element_tree import Element


def with_default_namespace(root: Element, namespace: str | None) -> Element:
    """Return a new root with the content of `root`, moved, and with `namespace` as its default namespace.

    Elements in the old root's namespace are put into the new one. Elements of other namespaces, as in an Extension,
    keep their namespaces and prefixes.
    """
    own = etree.QName(root).namespace
    if own != namespace:
        for element in root.iter("{}*" if own is None else f"{{{own}}}*"):
            element.tag = etree.QName(namespace, etree.QName(element).localname).text
    declared: dict[str | None, str] = {
        prefix: uri for prefix, uri in root.nsmap.items() if prefix is not None and uri not in (own, namespace)
    }
    if namespace is not None:
        declared[None] = namespace
    # The type stubs do not know that the key of a default namespace is None.
    attributes = {str(name): str(value) for name, value in root.attrib.items()}
    new = etree.Element(root.tag, attributes, cast("Mapping[str, str]", declared))
    new.text = root.text
    # The old root is a child for a moment: lxml takes quadratic time to move elements away from their declaration.
    new.append(root)
    new.extend(list(root))
    new.remove(root)
    return new


def serialize_fragment(element: Element) -> bytes:
    """Return the element in UTF-8 for a document whose root declares the default namespace."""
    written = bytes(etree.tostring(element, encoding="UTF-8", with_tail=False))
    # lxml writes declarations before attributes, so the first match is the one of the start tag.
    return written.replace(f' xmlns="{element.nsmap.get(None)}"'.encode(), b"", 1)
