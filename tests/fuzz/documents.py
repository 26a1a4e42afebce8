"""Documents that an upstream might send on its worst day: grown from VAST's vocabulary, or mutilated samples."""

import random
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from app.vast.schema import NAMESPACE, SCHEMAS, V1_0
from tests.unit.vast.conftest import SAMPLES
from tests.unit.vast.documents import inline, wrapper

NODES_MAX = 400

VOCABULARY = sorted(
    {name for schema in (V1_0, *SCHEMAS.values()) for order in schema.child_orders.values() for name in order}
)
CHILDREN = {
    "VAST": ("Ad", "Ad", "Ad", "Error"),
    "VideoAdServingTemplate": ("Ad",),
    "Ad": ("InLine", "Wrapper"),
    "Creatives": ("Creative",),
    "TrackingEvents": ("Tracking",),
    "Extensions": ("Extension",),
    "AdVerifications": ("Verification",),
    "Icons": ("Icon",),
    **{parent: order for schema in (V1_0, *SCHEMAS.values()) for parent, order in schema.child_orders.items()},
}
ATTRIBUTES = {
    "version": ("1.0", "2.0", "3.0", "4.0", "4.1", "4.2", "4.3", "", "x", "\u0664.\u0662"),
    "sequence": ("0", "1", "2", "-1", "999999999999", "x", ""),
    "id": ("a", "", "]]>", "💥"),
    "event": ("start", "complete", "fullscreen", "", "x"),
    "followAdditionalWrappers": ("0", "1", "true", "FALSE", "x"),
    "allowMultipleAds": ("0", "1", "true", "false"),
    "fallbackOnNoAd": ("0", "1", "true"),
    "AdID": ("a",),
    "adSlotID": ("s",),
    "width": ("640", "-1", "9" * 30, "x"),
    "height": ("360", ""),
    "xmlEncoded": ("true",),
}
TEXTS = (
    *(
        "",
        " ",
        "00:00:15",
        "99:99:99.9",
        "\u0660\u0660:\u0660\u0660:\u0661\u0665",
        "http://u.example/?a=1&b=[ERRORCODE]",
        "{user_id}",
        "]]>",
        "\r\n\t",
    ),
    *("💥" * 50, "x" * 5000, "placeholder.0123456789abcdef.start.", "\u2028", "\x85", "&#0;", "<b/>"),
)
ROOTS = ("VAST", "VAST", "VAST", "VideoAdServingTemplate", "vast", "Ad", "html")
BITS = (
    b"<",
    b">",
    b"]]>",
    b"<![CDATA[",
    b"&#x0;",
    b"&a;",
    b"<!DOCTYPE a [<!ENTITY a 'b'>]>",
    b"\x00",
    b"\xff\xfe",
    b"<?xml?>",
)


def document(chance: random.Random) -> bytes:
    """The next document: half of them grown, half mutilated."""
    if chance.random() < 0.5:
        return grown(chance)
    return mutilated(chance, corpus())


def corpus() -> Sequence[bytes]:
    """What to mutilate: the standard's samples where they are at hand, and small documents of every version."""
    return _CORPUS


_CORPUS = [path.read_bytes() for path in SAMPLES] + [
    write(version) for write in (inline, wrapper) for version in ("2.0", "3.0", "4.0", "4.1", "4.2")
]


def grown(chance: random.Random) -> bytes:
    """A tree of VAST's own names, mostly where they belong."""
    left = [NODES_MAX]
    root = chance.choice(ROOTS)
    namespace = chance.choice(("", f' xmlns="{NAMESPACE}"', ' xmlns="urn:other"', f' xmlns:v="{NAMESPACE}"'))
    prefix = "v:" if "xmlns:v" in namespace else ""
    encoding = chance.choice(("UTF-8", "UTF-16", "ISO-8859-1", "windows-1252"))
    declared = encoding if chance.random() < 0.95 else "UTF-8"
    text = _element(chance, root, prefix, namespace, 0, left)
    return f'<?xml version="1.0" encoding="{declared}"?>{text}'.encode(encoding, "xmlcharrefreplace")


def _element(chance: random.Random, name: str, prefix: str, namespace: str, depth: int, left: list[int]) -> str:
    left[0] -= 1
    attributes = "".join(
        f" {key}={quoteattr(chance.choice(values))}"
        for key, values in chance.sample(list(ATTRIBUTES.items()), chance.randrange(3))
    )
    if depth == 0 and chance.random() < 0.9:
        attributes = f' version="{chance.choice(ATTRIBUTES["version"][1:6])}"'
    inside = [_text(chance)] if chance.random() < 0.5 else []
    if depth < 12:
        for _ in range(chance.choice((0, 1, 1, 2, 3, 5)) if depth else chance.randrange(1, 4)):
            if left[0] > 0:
                child = (
                    chance.choice(CHILDREN.get(name, VOCABULARY))
                    if chance.random() < 0.95
                    else chance.choice(VOCABULARY)
                )
                inside.append(_element(chance, child, prefix, "", depth + 1, left))
    return f"<{prefix}{name}{namespace}{attributes}>{''.join(inside)}</{prefix}{name}>"


def _text(chance: random.Random) -> str:
    text = chance.choice(TEXTS)
    if chance.random() < 0.5:
        return f"<![CDATA[{text.replace(']]>', ']]]]><![CDATA[>')}]]>"
    return escape(text) if chance.random() < 0.99 else text


def mutilated(chance: random.Random, bodies: Sequence[bytes]) -> bytes:
    """A document with some of its parts changed, doubled, swapped with another's, or gone."""
    body = bytearray(chance.choice(bodies))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at, end = sorted(chance.randrange(len(body) + 1) for _ in range(2))
        match chance.randrange(9):
            case 0:
                body[at : at + chance.randrange(1, 4)] = bytes(
                    chance.randrange(256) for _ in range(chance.randrange(4))
                )
            case 1:
                body[at:at] = chance.choice(BITS)
            case 2:
                del body[at : min(end, at + 200)]
            case 3:
                body[at:at] = body[at : min(end, at + 2000)]
            case 4:
                other = chance.choice(bodies)
                start = chance.randrange(len(other))
                body[at:end] = other[start : start + 1000]
            case _:
                _swap_word(chance, body)
    return bytes(body)


def _swap_word(chance: random.Random, body: bytearray) -> None:
    """Renames elements: well-formed still, but with other things in other places."""
    old, new = chance.choice(VOCABULARY).encode(), chance.choice(VOCABULARY).encode()
    for around in (b"<%s>", b"</%s>", b"<%s "):
        body[:] = body.replace(around % old, around % new)
