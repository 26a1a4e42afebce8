"""Writing XML text: elements, escaping and CDATA sections."""

import re
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters outside the Char production of XML 1.0 (section 2.2): controls, surrogates, U+FFFE and U+FFFF."""

_WHITE_SPACE_REFERENCES = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
"""Escapes white space in attributes, which a parser would otherwise normalize (XML 1.0 section 3.3.3)."""


def without_illegal_characters(text: str) -> str:
    """Return `text` without the characters that no XML 1.0 document may contain, escaped or not."""
    return _NOT_XML.sub("", text)


def escaped_text(value: str) -> str:
    """Return `value` as character data; carriage returns are escaped, because parsers turn them into newlines."""
    return escape(without_illegal_characters(value), {"\r": "&#13;"})


def cdata(uri: str) -> str:
    """Return a URI in a CDATA section, unescaped, as usual in VAST. `]]>` is split over two sections."""
    return f"<![CDATA[{without_illegal_characters(uri).replace(']]>', ']]]]><![CDATA[>')}]]>"


def xml_element(name: str, *content: str, **attributes: object) -> str:
    """Return an element whose content is markup; an attribute whose value is None is omitted."""
    written = "".join(
        f" {key}={quoteattr(without_illegal_characters(str(value)), _WHITE_SPACE_REFERENCES)}"
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{''.join(content)}</{name}>"


def in_order(names: Sequence[str], children: Mapping[str, str]) -> str:
    """Join the children whose names a schema allows, in its order."""
    return "".join(children[name] for name in names if name in children)
