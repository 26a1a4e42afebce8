"""Walking a VAST tree and adding to it. Names are looked for in their parent's namespace, so any prefix will do."""

from collections.abc import Iterator, Sequence

from lxml import etree

Element = etree._Element


def qualified(parent: Element, name: str) -> str:
    """The tag of a child `name` in its parent's namespace, if that has one."""
    tag: str = parent.tag
    return f"{tag[: tag.index('}') + 1]}{name}" if tag[0] == "{" else name


def children(parent: Element, name: str) -> list[Element]:
    """The children of that name."""
    return parent.findall(qualified(parent, name))


def descendants(parent: Element, *names: str) -> Iterator[Element]:
    """The elements found by going down one name after the other."""
    if not names:
        yield parent
        return
    for child in children(parent, names[0]):
        yield from descendants(child, *names[1:])


def content(element: Element) -> str:
    """An element's own text without the white space around it; CDATA or not makes no difference."""
    return (str(element.xpath("string()")) if len(element) else element.text or "").strip()


def uris(parent: Element, name: str) -> tuple[str, ...]:
    """The URIs in the children of that name, empty ones left out."""
    return tuple(uri for uri in map(content, children(parent, name)) if uri)


def place(parent: Element, name: str, order: Sequence[str]) -> Element:
    """A new child where the sequence wants it: after its like, or else before the first of those that come later."""
    tag = qualified(parent, name)
    like = parent.findall(tag)
    child = etree.SubElement(parent, tag)
    if like:
        parent.insert(parent.index(like[-1]) + 1, child)
        return child
    later = {qualified(parent, other) for other in order[order.index(name) + 1 :]}
    follower = next((sibling for sibling in parent if sibling.tag in later), None)
    if follower is not None:
        parent.insert(parent.index(follower), child)
    return child


def ensure(parent: Element, name: str, order: Sequence[str]) -> Element:
    """The first child of that name, made if there is none."""
    found = parent.find(qualified(parent, name))
    return found if found is not None else place(parent, name, order)
