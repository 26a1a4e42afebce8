"""Writing XML text: elements, escaping and CDATA sections."""

import re
from xml.sax.saxutils import escape, quoteattr

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What the Char production of XML 1.0 (section 2.2) leaves out: control characters, surrogates, U+FFFE and U+FFFF."""

_WHITE_SPACE_REFERENCES = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
"""Escapes white space in attributes, which a parser would otherwise normalize (XML 1.0 section 3.3.3)."""


def without_illegal_characters(text: str) -> str:
    """`text` without the characters that no XML 1.0 document can hold, escaped or not."""
    return _NOT_XML.sub("", text)


def escaped_text(value: str) -> str:
    """`value` as character data; a carriage return is escaped, because a parser would make a newline of it."""
    return escape(without_illegal_characters(value), {"\r": "&#13;"})


def cdata(uri: str) -> str:
    """A URI as VAST writes it: in a CDATA section, unescaped. `]]>` is split over two sections."""
    return f"<![CDATA[{without_illegal_characters(uri).replace(']]>', ']]]]><![CDATA[>')}]]>"


def xml_element(name: str, *content: str, **attributes: object) -> str:
    """An element of ready markup; attributes that are None are left out."""
    written = "".join(
        f" {key}={quoteattr(without_illegal_characters(str(value)), _WHITE_SPACE_REFERENCES)}"
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{''.join(content)}</{name}>"
