import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from app.domain import AdBreak, VastVersion
from app.vast.own_ads import empty_document, own_ad, own_document, vast_document
from app.vast.parser import parse
from app.vast.trackers import document_with_trackers
from app.vast.vmap import is_valid_repeat_interval, is_valid_time_offset, render_vmap
from tests.unit.vast.conftest import BASE_URL, VALUES, needs_reference, outline, schema_faults
from tests.unit.vast.creatives import ADVERTISER, FULL, PLAIN
from tests.unit.vast.documents import inline

VMAP = "{http://www.iab.net/videosuite/vmap}"
BREAKS = (
    AdBreak("pre", "start"),
    AdBreak("mid", "00:10:00.500", pod_size=3, pod_duration_s=90),
    AdBreak("half", "50%"),
    AdBreak("post", "end"),
)
VERSIONS = list(VastVersion)


def embedded(root: etree._Element) -> list[etree._Element]:
    return [data[0] for data in root.iter(f"{VMAP}VASTAdData")]


def test_a_break_with_a_tag_url_says_when_and_where():
    written = render_vmap(
        [(ad_break, f"https://ads.example/vast?b={ad_break.id}&c=1") for ad_break in BREAKS], VastVersion.V4_2
    )
    root = etree.fromstring(written)
    assert (root.tag, root.get("version")) == (f"{VMAP}VMAP", "1.0")
    assert {child.tag for child in root} == {f"{VMAP}AdBreak"}
    assert [(found.get("breakId"), found.get("timeOffset"), found.get("breakType")) for found in root] == [
        (ad_break.id, ad_break.time_offset, "linear") for ad_break in BREAKS
    ]
    for ad_break, found in zip(BREAKS, root, strict=True):
        (source,) = found
        assert source.tag == f"{VMAP}AdSource"
        assert dict(source.attrib) == {
            "id": ad_break.id,
            "allowMultipleAds": "true" if ad_break.pod_size > 1 else "false",
            "followRedirects": "true",
        }
        (uri,) = source
        assert (uri.tag, uri.get("templateType")) == (f"{VMAP}AdTagURI", "vast4")
        assert uri.text == f"https://ads.example/vast?b={ad_break.id}&c=1"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_template_type_is_that_of_the_version(version):
    (uri,) = etree.fromstring(render_vmap([(BREAKS[0], "u")], version)).iter(f"{VMAP}AdTagURI")
    assert uri.get("templateType") == f"vast{version[0]}"


@needs_reference
@pytest.mark.parametrize("version", VERSIONS)
def test_embedded_vast_is_the_document_itself_and_valid(version):
    ads = [own_ad(creative, ADVERTISER, version, BASE_URL).render(VALUES) for creative in (PLAIN, FULL)]
    documents = [
        own_document(FULL, ADVERTISER, version, BASE_URL).render(VALUES),
        vast_document(version, ads),
        document_with_trackers(parse(inline()), BASE_URL).render(VALUES),
        empty_document(version),
    ]
    written = render_vmap(list(zip(BREAKS, documents, strict=True)), version)
    found = embedded(etree.fromstring(written))
    assert [outline(inside) for inside in found] == [outline(etree.fromstring(before)) for before in documents]
    for inside in (found[0], found[1], found[3]):
        assert schema_faults(etree.tostring(inside)) == []


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("00:10:00", True),
        ("00:00:00.001", True),
        ("00:00:00", False),
        ("00:00:00.000", False),
        ("10%", False),
        ("start", False),
    ],
)
def test_a_break_is_repeated_after_a_time_that_is_not_zero(text, is_valid):
    assert is_valid_repeat_interval(text) is is_valid


def test_a_placement_without_breaks_is_an_empty_list():
    assert len(etree.fromstring(render_vmap([], VastVersion.V4_2))) == 0


RIGHT = ("start", "end", "00:00:00", "00:10:00", "99:59:59.999", "0%", "7%", "50%", "100%", "#1", "#12")
WRONG = (
    *("", "Start", "preroll", "10", "10s", "0:10:00", "00:60:00", "00:00:60", "01:02:03.4", "00:00:00.5000", "101%"),
    *("-1%", "5.5%", "#0", "#", "#-1", "#01", "start ", "50 %", "\u0665\u0660%", "00:00:00\n"),
)


@pytest.mark.parametrize("text", RIGHT)
def test_time_offsets_of_the_standard_are_taken(text):
    assert is_valid_time_offset(text)


@pytest.mark.parametrize("text", WRONG)
def test_others_are_not(text):
    assert not is_valid_time_offset(text)


hostile = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=80
).flatmap(lambda text: st.sampled_from([text, f"]]>{text}", f"\"'<&{text}", f"{text}-->]]>"]))


@given(hostile, hostile)
def test_hostile_ids_and_urls_come_out_saying_the_same(break_id, url):
    root = etree.fromstring(render_vmap([(AdBreak(break_id, "start"), url)], VastVersion.V4_2))
    assert root[0].get("breakId") == break_id
    assert (next(root.iter(f"{VMAP}AdTagURI")).text or "") == url
