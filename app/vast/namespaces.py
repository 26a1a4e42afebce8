"""Namespaces of merged documents: many players look elements up by their written name and find none with a prefix.

lxml invents a prefix (`ns0`) for an element whose namespace its ancestors do not declare. So the root of a merged
document is made with its default namespace, and elements move under it.
"""

from collections.abc import Mapping
from typing import cast

from lxml import etree

from app.vast.element_tree import Element


def with_default_namespace(root: Element, namespace: str | None) -> Element:
    """A root in place of `root`, with its content moved there, for which `namespace` is the default namespace.

    Elements of the root's own namespace come into the new one. Those that an Extension has from other namespaces keep
    theirs, and their prefixes.
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
    # The old root comes too, for a moment: lxml takes quadratic time to move elements away from their declaration.
    new.append(root)
    new.extend(list(root))
    new.remove(root)
    return new


def serialize_fragment(element: Element) -> bytes:
    """The element in UTF-8, to be put into a document whose root declares the default namespace."""
    written = bytes(etree.tostring(element, encoding="UTF-8", with_tail=False))
    # lxml writes declarations before attributes, so the first one found is that of the start tag.
    return written.replace(f' xmlns="{element.nsmap.get(None)}"'.encode(), b"", 1)
