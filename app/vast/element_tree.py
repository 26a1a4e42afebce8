"""Walking a VAST tree and adding to it. Names are looked for in their parent's namespace, so any prefix will do."""

from collections.abc import Iterator, Sequence

from lxml import etree

from app.vast.schema import Schema

Element = etree._Element


def local_name(element: Element) -> str:
    """The tag without its namespace."""
    tag: str = element.tag
    return tag[tag.find("}") + 1 :]


def qualified_name(parent: Element, name: str) -> str:
    """The tag of a child `name` in its parent's namespace, if that has one."""
    tag: str = parent.tag
    return f"{tag[: tag.find('}') + 1]}{name}"


def children(parent: Element, name: str) -> list[Element]:
    """The children of that name."""
    return parent.findall(qualified_name(parent, name))


def descendants(parent: Element, *names: str) -> Iterator[Element]:
    """The elements found by going down one name after the other."""
    if not names:
        yield parent
        return
    for child in children(parent, names[0]):
        yield from descendants(child, *names[1:])


def vast_elements(element: Element) -> Iterator[Element]:
    """The element and those in it, but nothing inside an Extension, whose content is not VAST."""
    waiting = [element]
    while waiting:
        inner = waiting.pop()
        yield inner
        if local_name(inner) not in ("Extension", "CreativeExtension"):
            waiting += inner.iterchildren(etree.Element)


def text_content(element: Element) -> str:
    """The text of an element and those in it, without the white space around it; CDATA makes no difference."""
    return (str(element.xpath("string()")) if len(element) else element.text or "").strip()


def child_uris(parent: Element, name: str) -> tuple[str, ...]:
    """The URIs in the children of that name, empty ones left out."""
    return tuple(uri for uri in map(text_content, children(parent, name)) if uri)


def add_child(parent: Element, name: str, schema: Schema) -> Element:
    """A new child where the schema wants it: after its like, or else before the first of those that come later."""
    child = parent.makeelement(qualified_name(parent, name))
    insert_children(parent, [child], schema)
    return child


def insert_children(parent: Element, added: Sequence[Element], schema: Schema) -> None:
    """Puts elements, all of one name, where the schema wants them; a name that it does not know goes last."""
    if not added:
        return
    name = local_name(added[0])
    order = schema.orders.get(local_name(parent), ())
    # Found by lxml's own loops: a document may have thousands of siblings, and each would become an object of Python.
    like = next(parent.iterchildren(qualified_name(parent, name), reversed=True), None)
    if like is not None:
        at = parent.index(like) + 1
    else:
        later = [qualified_name(parent, other) for other in order[order.index(name) + 1 :]] if name in order else []
        before = next(parent.iterchildren(*later), None) if later else None
        at = len(parent) if before is None else parent.index(before)
    parent[at:at] = added


def get_or_add_child(parent: Element, name: str, schema: Schema) -> Element:
    """The first child of that name, made if there is none."""
    found = parent.find(qualified_name(parent, name))
    return found if found is not None else add_child(parent, name, schema)


def serialize(tree: etree._ElementTree) -> bytes:
    """The document in UTF-8."""
    return bytes(etree.tostring(tree, encoding="UTF-8", xml_declaration=True))
