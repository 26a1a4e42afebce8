"""Documents drawn from the XML schemas: what a schema allows, an upstream may send."""

import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from hypothesis import strategies as st
from lxml import etree

from tests.unit.vast.conftest import REFERENCE, SCHEMA_FILES

XS = "{http://www.w3.org/2001/XMLSchema}"
MORE_MAX = 2
"""An element that may be repeated is there up to so many times more often than it must be."""

TEXTS = st.sampled_from(["Spring", "", " a\n b ", "Größe <1 & 2>", "]]>"])
SIMPLE: dict[str, st.SearchStrategy[str]] = {
    "string": TEXTS,
    "anyURI": st.integers(0, 10**6).map(lambda number: f"https://t.example/{number}?a=1&b=2"),
    "integer": st.integers(-1, 2000).map(str),
    "decimal": st.sampled_from(["1", "2.50", "-0.001"]),
    "boolean": st.sampled_from(["true", "false", "1", "0"]),
    "time": st.sampled_from(["00:00:15", "00:01:30.500", "23:59:59"]),
}
CUSTOM = [
    "<custom/>",
    '<x:custom xmlns:x="urn:x" x:a="1"><x:inner>text</x:inner><Linear/></x:custom>',
    '<custom xmlns="urn:x" a="1"><inner/>tail</custom>',
    "<TrackingEvents><Tracking event='other'>https://t.example/custom</Tracking></TrackingEvents>",
]


def documents(
    version: str, kind: Literal["InLine", "Wrapper"] | None = None, always: Collection[str] = ()
) -> st.SearchStrategy[bytes]:
    """Documents with one Ad that are valid by the schema of `version`; the elements of `always` are never left out."""
    return st.composite(lambda draw: _Drawing(draw, _schema(version), kind, always).document(version))()


@cache
def _schema(version: str) -> etree._Element:
    assert REFERENCE is not None
    return etree.parse(Path(REFERENCE) / "xsd" / SCHEMA_FILES[version]).getroot()


class _Drawing:
    """One document, drawn down the tree of its schema."""

    def __init__(self, draw: st.DrawFn, schema: etree._Element, kind: str | None, always: Collection[str]) -> None:
        self._draw = draw
        self._always = {"Ad", *always} if kind is None else {"Ad", kind, *always}
        self._schema = schema
        self._namespace = schema.get("targetNamespace")

    def document(self, version: str) -> bytes:
        (declared,) = self._schema.findall(f"{XS}element")
        root = self._element(declared)
        root.set("version", version)
        return etree.tostring(root, encoding="UTF-8")

    def _element(self, declared: etree._Element) -> etree._Element:
        nsmap = {None: self._namespace} if self._namespace else {}
        element = etree.Element(etree.QName(self._namespace, declared.get("name")), nsmap=nsmap)
        kind = self._type(declared)
        if not isinstance(kind, str):
            self._fill(element, kind)
        elif kind == "anyType":
            element.extend(self._custom())
        else:
            self._write(element, self._draw(SIMPLE[kind]))
        return element

    def _type(self, declared: etree._Element) -> etree._Element | str:
        """The complex or simple type of an element or attribute, or the name of a built-in one."""
        name = declared.get("type", declared.get("base", "")).rpartition(":")[2]
        if not name:
            return next(declared.iterchildren(f"{XS}complexType", f"{XS}simpleType"))
        found = self._schema.find(f"{XS}complexType[@name='{name}']")
        return name if found is None else found

    def _fill(self, element: etree._Element, described: etree._Element) -> None:
        """Gives the element what a complexType, an extension or a group in it describes."""
        for part in described.iterchildren(etree.Element):
            match etree.QName(part).localname:
                case "sequence" | "choice" | "all":
                    element.extend(self._group(part))
                case "attribute":
                    if part.get("use") == "required" or self._draw(st.booleans()):
                        element.set(part.get("name"), self._value(self._type(part)))
                case "anyAttribute":
                    if self._draw(st.booleans()):
                        element.set("custom", "1")
                case "simpleContent" | "complexContent":
                    self._extend(element, part[0])

    def _extend(self, element: etree._Element, extension: etree._Element) -> None:
        base = self._type(extension)
        if isinstance(base, str):
            self._write(element, self._draw(SIMPLE[base]))
        else:
            self._fill(element, base)
        self._fill(element, extension)

    def _group(self, group: etree._Element) -> Iterator[etree._Element]:
        parts = list(group.iterchildren(f"{XS}element", f"{XS}sequence", f"{XS}choice", f"{XS}any"))
        tag = etree.QName(group).localname
        for _ in range(self._occurrences(group)):
            if tag == "all":
                parts = self._draw(st.permutations(parts))
            elif tag == "choice":
                parts = [self._chosen(parts)]
            for part in parts:
                yield from self._part(part)

    def _chosen(self, parts: list[etree._Element]) -> etree._Element:
        names = [part.get("name") for part in parts]
        wanted = [parts[index] for index, name in enumerate(names) if name in self._always]
        return wanted[0] if wanted else self._draw(st.sampled_from(parts))

    def _part(self, part: etree._Element) -> Iterator[etree._Element]:
        match etree.QName(part).localname:
            case "element":
                for _ in range(self._occurrences(part)):
                    yield self._element(part)
            case "any":
                yield from self._custom()
            case _:
                yield from self._group(part)

    def _occurrences(self, part: etree._Element) -> int:
        least, most = int(part.get("minOccurs", "1")), part.get("maxOccurs", "1")
        if part.get("name") == "Ad":
            return 1
        if part.get("name") in self._always:
            least = 1
        more = MORE_MAX if most == "unbounded" else max(int(most) - least, 0)
        return least + (self._draw(st.integers(0, more)) if more else 0)

    def _value(self, kind: etree._Element | str) -> str:
        if isinstance(kind, str):
            return self._draw(SIMPLE[kind])
        (restriction,) = kind.iterchildren(f"{XS}restriction")
        values = [found.get("value") for found in restriction.findall(f"{XS}enumeration")]
        if values:
            return self._draw(st.sampled_from(values))
        (pattern,) = restriction.findall(f"{XS}pattern")
        return self._draw(st.from_regex(re.compile(pattern.get("value"), re.ASCII), fullmatch=True))

    def _custom(self) -> list[etree._Element]:
        nsmap = f' xmlns="{self._namespace}"' if self._namespace else ""
        written = self._draw(st.lists(st.sampled_from(CUSTOM), max_size=1))
        return [inner for text in written for inner in etree.fromstring(f"<r{nsmap}>{text}</r>")]

    def _write(self, element: etree._Element, text: str) -> None:
        element.text = etree.CDATA(text) if "]]>" not in text and self._draw(st.booleans()) else text
