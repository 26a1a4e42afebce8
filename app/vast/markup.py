"""Writing XML text: elements, escaping and CDATA sections."""

import re
from xml.sax.saxutils import escape, quoteattr

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What the Char production of XML 1.0 (section 2.2) leaves out: control characters, surrogates, U+FFFE and U+FFFF."""


def legal(text: str) -> str:
    """`text` without the characters that no XML 1.0 document can hold, escaped or not."""
    return _NOT_XML.sub("", text)


def text(value: str) -> str:
    """`value` as character data; a carriage return is escaped, because a parser would make a newline of it."""
    return escape(legal(value), {"\r": "&#13;"})


def cdata(uri: str) -> str:
    """A URI as VAST writes it: in a CDATA section, unescaped. `]]>` is split over two sections."""
    return f"<![CDATA[{legal(uri).replace(']]>', ']]]]><![CDATA[>')}]]>"


def element(name: str, *content: str, **attributes: object) -> str:
    """An element of ready markup; attributes that are None are left out."""
    written = "".join(
        f" {key}={quoteattr(legal(str(value)), {chr(13): '&#13;', chr(10): '&#10;', chr(9): '&#9;'})}"
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{''.join(content)}</{name}>"
