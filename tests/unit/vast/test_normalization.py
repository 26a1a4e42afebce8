import pytest
from lxml import etree

from app.vast.parser import parse
from app.vast.trackers import document_with_trackers
from tests.unit.vast.conftest import BASE_URL, SAMPLES, VALUES, needs_reference, outline, texts
from tests.unit.vast.documents import inline, wrapper
from tests.unit.vast.test_namespaces import prefixed

NAMES = ("VAST", "Ad", "InLine", "Impression", "Creatives", "Creative", "Linear", "Duration", "MediaFiles", "MediaFile")
SPOT = (
    """<MediaFiles><MediaFile delivery="progressive" type="video/mp4" width="1" height="1">u</MediaFile></MediaFiles>"""
)


def respelled(body: bytes, *names: str, change=str.lower) -> bytes:
    text = body.decode()
    for name in names:
        for bracket in ("<", "</", "<v:", "</v:"):
            for end in (">", " ", "/"):
                text = text.replace(f"{bracket}{name}{end}", f"{bracket}{change(name)}{end}")
    return text.encode()


@pytest.mark.parametrize("version", ["2.0", "3.0", "4.2"])
@pytest.mark.parametrize("change", [str.lower, str.upper, str.capitalize, str.swapcase])
@pytest.mark.parametrize("names", [("InLine",), ("VAST",), ("Ad", "Creatives", "MediaFile"), NAMES])
def test_an_inline_in_any_capitals_comes_out_spelled_as_in_the_standard(version, change, names):
    right = inline(version, children="<Impression>i</Impression>", linear=SPOT)
    wrong = respelled(right, *names, change=change)
    after = [document_with_trackers(parse(body), BASE_URL).render(VALUES) for body in (wrong, right)]
    assert after[0] == after[1]
    assert texts(after[0], "MediaFile") == ["u"]


@pytest.mark.parametrize("change", [str.lower, str.upper, str.capitalize])
def test_a_wrapper_in_any_capitals_leads_on(change):
    wrong = respelled(wrapper(flags='allowMultipleAds="true"'), "Wrapper", "VASTAdTagURI", "VAST", "Ad", change=change)
    parsed = parse(wrong)
    assert [(ad.is_wrapper, ad.tag_uri, ad.allow_multiple_ads) for ad in parsed.ads] == [
        (True, "https://next.example/vast", True)
    ]
    assert texts(document_with_trackers(parsed, BASE_URL).render(VALUES), "VASTAdTagURI") == [
        "https://next.example/vast"
    ]


def test_a_prefix_stays_where_the_capitals_are_put_right():
    body = respelled(prefixed(inline()), "InLine", "Linear")
    after = etree.fromstring(document_with_trackers(parse(body), BASE_URL).render(VALUES))
    assert len(list(after.iter("{http://www.iab.com/VAST}InLine"))) == 1
    assert {found.prefix for found in after.iter("*")} == {"v"}


def test_what_an_extension_holds_keeps_its_capitals():
    extension = '<Extension><inline/><vast:ad xmlns:vast="urn:other"/></Extension>'
    body = respelled(inline(children=f"<Extensions>{extension}</Extensions>"), "InLine")
    after = document_with_trackers(parse(body), BASE_URL).render(VALUES)
    assert extension.encode() in after
    assert b"<InLine>" in after


@needs_reference
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_read_as_it_is(path):
    body = path.read_bytes()
    assert outline(parse(body).tree.getroot()) == outline(etree.fromstring(body))
