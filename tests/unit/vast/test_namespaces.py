import itertools
import re

import pytest
from lxml import etree

from app.domain import AdBreak, VastVersion
from app.vast.element_tree import serialize
from app.vast.own_ads import own_ad, vast_document
from app.vast.parser import ParsedDocument, parse
from app.vast.trackers import document_with_trackers, fragments_with_trackers
from app.vast.version_conversion import convert
from app.vast.vmap import render_vmap
from app.vast.wrapper_merge import merge_wrapper, replace_wrappers
from tests.unit.vast.conftest import BASE_URL, VALUES, outline
from tests.unit.vast.creatives import ADVERTISER, PLAIN
from tests.unit.vast.documents import inline, wrapper

VAST = "http://www.iab.com/VAST"
TRACKED = """<Error>e</Error><Extensions><Extension><x xmlns="urn:x"><y xmlns=""/></x><o:z xmlns:o="urn:o"><A/></o:z>
</Extension></Extensions><Creatives><Creative><Linear><TrackingEvents><Tracking event="start">s</Tracking>
</TrackingEvents></Linear></Creative></Creatives>"""


def prefixed(body: bytes, prefix: str = "v") -> bytes:
    """The same document with a prefix for its namespace."""
    text = body.decode().replace(' xmlns="http', f' xmlns:{prefix}="http')
    return re.sub(r"<(/?)([A-Z])", rf"<\1{prefix}:\2", text).encode()


def redeclared(body: bytes) -> bytes:
    """The same document with its namespace declared for a prefix too, and again by each Ad."""
    text = body.decode().replace(' xmlns="', f' xmlns:v="{VAST}" xmlns="')
    return text.replace("<Ad ", f'<Ad xmlns="{VAST}" xmlns:v="{VAST}" ').encode()


WRAPPERS = {
    **{version: wrapper(version, children=TRACKED) for version in ("2.0", "3.0", "4.0", "4.2")},
    "4.1 without a namespace": wrapper("4.1", children=TRACKED, namespace=False),
    "4.2 with a prefix": prefixed(wrapper("4.2")),
    "4.2 with two declarations": redeclared(wrapper("4.2", children=TRACKED)),
    "3.0 with a namespace": wrapper("3.0").replace(b"<VAST ", f'<VAST xmlns="{VAST}" '.encode()),
    "4.1 with another namespace": wrapper("4.1").replace(VAST.encode(), b"http://www.iab.com/VAST/4.1"),
}
INLINES = {
    **{version: inline(version) for version in ("2.0", "3.0", "4.0", "4.2")},
    "4.1 without a namespace": inline("4.1", namespace=False),
    "4.2 with a prefix": prefixed(inline("4.2")),
    "4.2 with two declarations": redeclared(inline("4.2")),
    "3.0 with a namespace": inline("3.0").replace(b"<VAST ", f'<VAST xmlns="{VAST}" '.encode()),
    "4.1 with another namespace": inline("4.1").replace(VAST.encode(), b"http://www.iab.com/VAST/4.1"),
}

each_inline = pytest.mark.parametrize("body", INLINES.values(), ids=INLINES.keys())


def unwrapped(outer: bytes, inner: bytes) -> ParsedDocument:
    document, answer = parse(outer), parse(inner)
    merged = merge_wrapper(document, document.ads[0], answer, answer.ads)
    return replace_wrappers(document, document.ads, {document.ads[0]: merged})


def vast_outline(root: etree._Element) -> list:
    return [line for line in outline(root) if "{urn:" not in line[0]]


def assert_readable(document: bytes) -> None:
    """Fails unless its VAST elements have no prefix, and the root alone declares their namespace."""
    root = etree.fromstring(document)
    namespace = VAST if root.get("version", "") >= "4" else None
    expected = f"{{{VAST}}}" if namespace else ""
    assert root.tag == f"{expected}VAST"
    written = re.findall(r"<([\w:]+)", re.sub(r"(?s)<!\[CDATA\[.*?\]\]>", "", document.decode()))
    assert [name for name in written if ":" in name and not name.startswith("o:")] == []
    assert document.count(f'"{VAST}"'.encode()) == (1 if namespace else 0)
    assert {"VAST", "Ad", "InLine", "Impression", "Linear", "Tracking"} <= set(written)
    for name in ("Ad", "InLine", "Impression", "Linear", "Tracking", "Error"):
        assert len(list(root.iter(f"{expected}{name}"))) == written.count(name)


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(WRAPPERS, INLINES)))
def test_an_unwrapped_document_has_one_default_namespace_and_no_prefixes(outer, inner):
    spliced = unwrapped(WRAPPERS[outer], INLINES[inner])
    answer = document_with_trackers(spliced, BASE_URL).render(VALUES)
    assert_readable(answer)
    assert vast_outline(spliced.tree.getroot()) == vast_outline(etree.fromstring(serialize(spliced.tree)))
    if TRACKED.encode() in WRAPPERS[outer]:
        assert b'<x xmlns="urn:x"><y xmlns=""/></x>' in answer
        assert b"<o:z" in answer
        assert etree.fromstring(answer).find(".//{urn:o}z") is not None


@each_inline
@pytest.mark.parametrize("version", [VastVersion.V4_0, VastVersion.V4_2])
def test_the_ads_of_a_pod_do_not_declare_its_namespace_again(body, version):
    parsed = parse(body)
    version = max(version, parsed.version)
    theirs = [fragment.render(VALUES) for fragment in fragments_with_trackers(parsed, BASE_URL, version)]
    ours = own_ad(PLAIN, ADVERTISER, version, BASE_URL).render(VALUES)
    assert_readable(vast_document(version, [ours, *theirs, ours]))


def test_the_ads_of_a_pod_of_3_0_declare_no_namespace():
    theirs = [
        fragment.render(VALUES)
        for fragment in fragments_with_trackers(parse(inline("2.0")), BASE_URL, VastVersion.V3_0)
    ]
    assert_readable(vast_document(VastVersion.V3_0, theirs))


def test_what_an_ad_says_of_its_namespace_stays():
    text = f'<Extension> xmlns="{VAST}"</Extension>'
    body = inline(children=f"<Extensions>{text}</Extensions>")
    (written,) = (
        fragment.render(VALUES) for fragment in fragments_with_trackers(parse(body), BASE_URL, VastVersion.V4_2)
    )
    assert text.encode() in written
    assert written.startswith(b"<Ad id=")


def test_documents_of_several_namespaces_are_embedded_each_with_its_own():
    documents = [document_with_trackers(unwrapped(WRAPPERS["3.0"], INLINES[inner]), BASE_URL) for inner in INLINES]
    breaks = [(AdBreak(str(index), "start"), body.render(VALUES)) for index, body in enumerate(documents)]
    root = etree.fromstring(render_vmap(breaks, VastVersion.V4_2))
    embedded = [data[0] for data in root.iter("{*}VASTAdData")]
    assert len(embedded) == len(documents)
    for vast in embedded:
        assert {found.prefix for found in vast.iter("*")} <= {None, "o"}


@each_inline
def test_a_document_keeps_the_prefix_that_it_came_with_and_gets_no_other(body):
    after = etree.fromstring(document_with_trackers(parse(body), BASE_URL).render(VALUES))
    assert {found.prefix for found in after.iter("*")} == {etree.fromstring(body).prefix}


def test_a_prefix_of_the_root_that_an_extension_needs_stays_declared():
    extension = '<Extensions><Extension><o:x xsi:type="o:y"/></Extension></Extensions>'
    declared = 'xmlns:o="urn:o" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    location = 'xsi:noNamespaceSchemaLocation="vast3.xsd"'
    body = inline("3.0", children=extension).replace(b"<VAST ", f"<VAST {declared} {location} ".encode())
    root = convert(parse(body), VastVersion.V4_2).tree.getroot()
    assert dict(root.attrib) == {"version": "4.2"}
    (found,) = root.iter("{urn:o}x")
    assert (found.prefix, found.nsmap["o"]) == ("o", "urn:o")
