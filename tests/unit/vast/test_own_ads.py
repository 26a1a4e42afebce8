from dataclasses import replace
from decimal import Decimal

import pytest
import vastlint
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from app.domain import Event, MediaFile, VastVersion
from app.vast.own_ads import empty_document, own_ad, own_document, vast_document
from tests.unit.vast.conftest import BASE_URL, TOKENS, VALUES, lint_errors, needs_reference, schema_faults, texts
from tests.unit.vast.creatives import ADVERTISER, FULL, PLAIN

VERSIONS = list(VastVersion)
AUDIO = MediaFile("https://cdn.example/acme.mp3", "audio/mpeg", bitrate_kbps=128)
LINEAR_EVENTS = {
    *(Event.START, Event.FIRST_QUARTILE, Event.MIDPOINT, Event.THIRD_QUARTILE, Event.COMPLETE),
    *(Event.MUTE, Event.UNMUTE, Event.PAUSE, Event.RESUME, Event.SKIP),
}


@needs_reference
@pytest.mark.parametrize("creative", [PLAIN, FULL], ids=["plain", "full"])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_own_document_is_valid_for_its_version(version, creative):
    rendered = own_document(creative, ADVERTISER, version, BASE_URL).render(VALUES)
    assert schema_faults(rendered) == []
    assert lint_errors(rendered) == []


def test_an_own_document_has_nothing_that_the_linter_warns_of_over_https():
    rendered = own_document(FULL, ADVERTISER, VastVersion.V4_2, "https://ads.example").render(VALUES)
    assert [issue.id for issue in vastlint.validate(rendered).issues if issue.severity == "warning"] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_event_of_the_version_has_its_own_token(version):
    rendered = own_document(FULL, ADVERTISER, version, BASE_URL).render(VALUES)
    tracking = {found.get("event"): found.text for found in etree.fromstring(rendered).iter("{*}Tracking")}
    known = LINEAR_EVENTS - ({Event.SKIP} if version == VastVersion.V2_0 else set())
    assert tracking == {event: f"{BASE_URL}/event/{event}?t={TOKENS[event]}" for event in known}
    assert texts(rendered, "Impression") == [f"{BASE_URL}/event/impression?t={TOKENS['impression']}"]
    assert texts(rendered, "Error") == [f"{BASE_URL}/event/error?t={TOKENS['error']}&code=[ERRORCODE]"]
    assert texts(rendered, "ClickThrough") == [f"{BASE_URL}/click?t={TOKENS['click']}"]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_says_what_it_knows_and_nothing_else(version):
    rendered = own_document(FULL, ADVERTISER, version, BASE_URL).render(VALUES)
    is_4 = version >= VastVersion.V4_0
    assert texts(rendered, "AdServingId") == ([VALUES["ad_serving_id"]] if version >= VastVersion.V4_1 else [])
    assert texts(rendered, "UniversalAdId") == (["CNPA0484000H"] if is_4 else [])
    assert texts(rendered, "Mezzanine") == (["https://cdn.example/raw.mov"] if is_4 else [])
    assert texts(rendered, "Advertiser") == (["Acme & Söhne"] if version > VastVersion.V2_0 else [])
    assert texts(rendered, "Duration") == ["01:02:05"]
    assert (b'skipoffset="00:00:05"' in rendered) == (version > VastVersion.V2_0)
    assert (b"codec=" in rendered) == (version > VastVersion.V2_0)
    assert etree.fromstring(rendered).tag == ("{http://www.iab.com/VAST}VAST" if is_4 else "VAST")


@needs_reference
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("video", "ad_type"), [((), "audio"), (PLAIN.media_files, "hybrid")])
def test_audio_has_no_size_and_says_so_where_the_version_can(version, video, ad_type):
    creative = replace(PLAIN, duration_s=Decimal("29.97"), media_files=(*video, AUDIO))
    rendered = own_document(creative, ADVERTISER, version, BASE_URL).render(VALUES)
    assert schema_faults(rendered) == []
    assert lint_errors(rendered) == []
    (ad,) = etree.fromstring(rendered).iter("{*}Ad")
    *_, media_file = ad.iter("{*}MediaFile")
    assert (media_file.get("width"), media_file.get("height")) == ("0", "0")
    assert ad.get("adType") == (ad_type if version >= VastVersion.V4_1 else None)
    assert texts(rendered, "Duration") == ["00:00:29.970"]


def test_a_creative_in_no_registry_is_told_apart_by_its_own_id():
    rendered = own_document(PLAIN, ADVERTISER, VastVersion.V4_2, BASE_URL).render(VALUES)
    assert texts(rendered, "UniversalAdId") == ["acme-15s"]
    assert b'idRegistry="unknown"' in rendered


def test_without_a_destination_there_is_nothing_to_click():
    template = own_document(PLAIN, ADVERTISER, VastVersion.V4_2, BASE_URL)
    assert "click" not in template.placeholders
    assert texts(template.render(VALUES), "VideoClicks") == []


@needs_reference
@pytest.mark.parametrize("version", VERSIONS)
def test_a_pod_of_own_ads_is_valid_and_numbered(version):
    ads = [
        own_ad(creative, ADVERTISER, version, BASE_URL).render({**VALUES, "sequence": str(number)})
        for number, creative in enumerate([PLAIN, FULL, PLAIN], start=1)
    ]
    pod = vast_document(version, ads)
    assert schema_faults(pod) == []
    assert lint_errors(pod) == []
    numbers = [ad.get("sequence") for ad in etree.fromstring(pod).iter("{*}Ad")]
    assert numbers == ([None] * 3 if version == VastVersion.V2_0 else ["1", "2", "3"])


@needs_reference
@pytest.mark.parametrize("version", VERSIONS)
def test_no_ad_is_a_valid_root_without_an_ad(version):
    answer = empty_document(version)
    assert schema_faults(answer) == []
    assert etree.fromstring(answer).get("version") == version
    assert texts(answer, "Ad") == []


# What XML 1.0 can carry: everything else is left out, since no escape could bring it across.
xml_text = st.text(
    st.one_of(
        st.sampled_from(list("\t\n\r]]>&<\"'[]{}%")),
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
    ),
    max_size=200,
)
hostile = st.one_of(
    xml_text,
    xml_text.map(lambda text: f"]]>{text}]]>"),
    st.just("\N{PILE OF POO}" * 2500),
    st.just("<script>alert('x')</script><!-- -->]]>&amp;&#x0;%s%(start)s"),
)


@given(
    title=hostile,
    description=hostile,
    click=hostile,
    media_url=hostile,
    ad_id=hostile,
    version=st.sampled_from(VERSIONS),
)
def test_a_hostile_creative_comes_out_saying_the_same(title, description, click, media_url, ad_id, version):
    creative = replace(
        FULL,
        title=title,
        description=description,
        click_through=click,
        universal_ad_id=ad_id or None,
        id=f"id-{title}",
        media_files=(MediaFile(media_url, f"video/{title}", 1, 1),),
    )
    rendered = own_document(creative, ADVERTISER, version, BASE_URL).render(VALUES)
    root = etree.fromstring(rendered, etree.XMLParser(huge_tree=True))
    own = {name: [found.text or "" for found in root.iter(f"{{*}}{name}")] for name in ("AdTitle", "Description")}
    assert own == {"AdTitle": [title], "Description": [description]}
    assert next(root.iter("{*}Creative")).get("id") == f"id-{title}"
    media_file = next(root.iter("{*}MediaFile"))
    assert media_file.get("type") == f"video/{title}"
    # A parser makes a newline of every carriage return in a CDATA section, and no URL holds either.
    assert (media_file.text or "") == media_url.replace("\r\n", "\n").replace("\r", "\n")
    assert texts(rendered, "ClickThrough") == [f"{BASE_URL}/click?t={TOKENS['click']}"]


@given(st.text(st.characters(categories=["Cs", "Cc"]), min_size=1), st.sampled_from(VERSIONS))
def test_what_xml_cannot_carry_is_left_out(unspeakable, version):
    creative = replace(FULL, title=f"a{unspeakable}b", media_files=(MediaFile(f"h{unspeakable}t", "v/m", 1, 1),))
    rendered = own_document(creative, ADVERTISER, version, BASE_URL).render(VALUES)
    kept = "".join(char for char in unspeakable if char in "\t\n\r" or "\x7f" <= char < "\ud800")
    root = etree.fromstring(rendered)
    assert next(root.iter("{*}AdTitle")).text == f"a{kept}b"
