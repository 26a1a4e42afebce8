"""Reading and extending VAST element trees. Names are looked up in their parent's namespace, so any prefix works."""

from collections.abc import Iterator, Sequence

from lxml import etree

from app.vast.schema import Schema

Element = etree._Element


def local_name(element: Element) -> str:
    """Return the tag without its namespace."""
    tag: str = element.tag
    return tag[tag.find("}") + 1 :]


def qualified_name(parent: Element, name: str) -> str:
    """Return the tag of a child `name` in its parent's namespace, if it has one."""
    tag: str = parent.tag
    return f"{tag[: tag.find('}') + 1]}{name}"


def children(parent: Element, name: str) -> list[Element]:
    """Return the children of that name."""
    return parent.findall(qualified_name(parent, name))


def descendants(parent: Element, *names: str) -> Iterator[Element]:
    """Yield the elements at this path of names below `parent`."""
    if not names:
        yield parent
        return
    for child in children(parent, names[0]):
        yield from descendants(child, *names[1:])


def vast_elements(element: Element) -> Iterator[Element]:
    """Yield the element and its descendants, except those in an Extension, whose content is not VAST."""
    stack = [element]
    while stack:
        current = stack.pop()
        yield current
        if local_name(current) not in ("Extension", "CreativeExtension"):
            stack += current.iterchildren(etree.Element)


def text_content(element: Element) -> str:
    """Return the text of an element and its descendants without surrounding white space, in CDATA or not."""
    return (str(element.xpath("string()")) if len(element) else element.text or "").strip()


def child_uris(parent: Element, name: str) -> tuple[str, ...]:
    """Return the non-empty URIs in the children of that name."""
    return tuple(uri for uri in map(text_content, children(parent, name)) if uri)


def add_child(parent: Element, name: str, schema: Schema) -> Element:
    """Add a new child where the schema requires it; see `insert_children`."""
    child = parent.makeelement(qualified_name(parent, name))
    insert_children(parent, [child], schema)
    return child


def insert_children(parent: Element, added: Sequence[Element], schema: Schema) -> None:
    """Insert elements of one name where the schema requires them; an unknown name goes last.

    They follow the existing children of the same name, or else precede the first child that the schema has later.
    """
    if not added:
        return
    name = local_name(added[0])
    order = schema.child_orders.get(local_name(parent), ())
    # lxml searches by itself: with thousands of siblings, a loop here would create a Python object for each of them.
    last_same = next(parent.iterchildren(qualified_name(parent, name), reversed=True), None)
    if last_same is not None:
        index = parent.index(last_same) + 1
    else:
        later = [qualified_name(parent, other) for other in order[order.index(name) + 1 :]] if name in order else []
        successor = next(parent.iterchildren(*later), None) if later else None
        index = len(parent) if successor is None else parent.index(successor)
    parent[index:index] = added


def get_or_add_child(parent: Element, name: str, schema: Schema) -> Element:
    """Return the first child of that name; add it if it is missing."""
    found = parent.find(qualified_name(parent, name))
    return found if found is not None else add_child(parent, name, schema)


def serialize(tree: etree._ElementTree) -> bytes:
    """Return the document in UTF-8."""
    return bytes(etree.tostring(tree, encoding="UTF-8", xml_declaration=True))
