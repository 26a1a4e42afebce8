import gc
import tracemalloc

import pytest
from lxml import etree

from app.domain import VastVersion
from app.errors import NoAd, UnusableVast
from app.vast.document_cache import CACHE_BYTES_MAX, DocumentCache
from app.vast.own_ads import vast_document
from tests.unit.vast.conftest import BASE_URL, SAMPLES, VALUES, lint_errors, needs_reference, schema_faults, texts
from tests.unit.vast.documents import MEDIA_FILES, inline, joined, wrapper

DOCUMENTS = DocumentCache(BASE_URL)
POD = joined(
    inline(ad='id="1" sequence="1"', children="<Advertiser>Acme</Advertiser>"), inline(ad='id="2" sequence="2"')
)
VAST_1 = (
    b"<VideoAdServingTemplate><Ad id='1'><InLine><Video><MediaFiles><MediaFile><URL>https://cdn.example/a.mp4</URL>"
    b"</MediaFile></MediaFiles></Video></InLine></Ad></VideoAdServingTemplate>"
)


@needs_reference
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_that_was_valid_is_valid_when_it_is_handed_out(path):
    body = path.read_bytes()
    compiled = DOCUMENTS.compile(body)
    answer = compiled.single_ad_document(0).render(VALUES)
    assert len(schema_faults(answer)) <= len(schema_faults(body))
    assert set(lint_errors(answer)) <= set(lint_errors(body))
    assert compiled.version == etree.fromstring(answer).get("version", "2.0")


@pytest.mark.parametrize(
    "body", [b'<VAST version="4.2"/>', b"<VAST version='2.0'> </VAST>", b"<VAST version='3.0'><Ad/></VAST>"]
)
def test_a_document_without_an_ad_says_so(body):
    with pytest.raises(NoAd):
        DOCUMENTS.compile(body)


def test_what_is_no_vast_is_something_else():
    with pytest.raises(UnusableVast) as caught:
        DOCUMENTS.compile(b"<html/>")
    assert not isinstance(caught.value, NoAd)


def test_the_facts_that_pods_ask_for():
    compiled = DOCUMENTS.compile(POD)
    assert [ad.advertiser for ad in compiled.ads] == ["Acme", None]
    assert [ad.sequence for ad in compiled.ads] == [1, 2]
    assert [ad.duration_s for ad in compiled.ads] == [15.0, 15.0]
    assert not compiled.has_wrapper
    assert compiled.fits_pods
    leading_elsewhere = DOCUMENTS.compile(wrapper())
    assert leading_elsewhere.has_wrapper
    assert [ad.duration_s for ad in leading_elsewhere.ads] == [None]


def test_each_ad_of_a_document_leaves_it_alone_and_stands_alone():
    compiled = DOCUMENTS.compile(POD)
    for position, ad_id in enumerate(("1", "2")):
        answer = etree.fromstring(compiled.single_ad_document(position).render(VALUES))
        assert [(ad.get("id"), ad.get("sequence")) for ad in answer.iter("{*}Ad")] == [(ad_id, None)]


def test_what_is_kept_of_an_ad_makes_the_same_answer_again():
    compiled = DOCUMENTS.compile(POD)
    for position in (0, 1):
        again = DOCUMENTS.compile(compiled.single_ad_body(position))
        assert len(again.ads) == 1
        assert again.single_ad_document(0).render(VALUES) == compiled.single_ad_document(position).render(VALUES)


def test_an_ad_with_nothing_to_show_neither_counts_nor_leaves():
    empty = inline(ad='id="empty"').replace(MEDIA_FILES.encode(), b"<MediaFiles/>")
    compiled = DOCUMENTS.compile(joined(empty, inline(ad='id="full"'), b"<VAST><Ad id='none'/></VAST>"))
    assert [ad.position for ad in compiled.ads] == [1]
    answer = etree.fromstring(compiled.single_ad_document(1).render(VALUES))
    assert [ad.get("id") for ad in answer.iter("{*}Ad", "Ad")] == ["full"]


def test_a_wrapper_that_leaves_may_lead_to_one_ad():
    for version, flags, expected in [
        ("4.2", "", "false"),
        ("4.0", 'allowMultipleAds="true"', "false"),
        ("3.0", 'allowMultipleAds="1"', "false"),
        ("3.0", "", None),  # its schema has no such attribute, and the default is false
    ]:
        compiled = DOCUMENTS.compile(wrapper(version, flags=flags))
        for template in (compiled.single_ad_document(0), compiled.pod_fragment(0, VastVersion(version))):
            answer = etree.fromstring(template.render({**VALUES, "sequence": "1"}))
            assert [found.get("allowMultipleAds") for found in answer.iter("{*}Wrapper")] == [expected]


def test_the_ads_of_a_document_stand_in_a_pod_of_a_later_version():
    fragment = DOCUMENTS.compile(inline("3.0", ad='id="a"')).pod_fragment(0, VastVersion.V4_2)
    pod = vast_document(VastVersion.V4_2, [fragment.render({**VALUES, "sequence": "9"})])
    assert [ad.get("sequence") for ad in etree.fromstring(pod).iter("{*}Ad")] == ["9"]
    assert texts(pod, "UniversalAdId") == ["unknown"]


def test_the_ads_are_compiled_once_for_a_version():
    compiled = DOCUMENTS.compile(POD)
    for position in (0, 1):
        assert compiled.pod_fragment(position, VastVersion.V4_2) is compiled.pod_fragment(position, VastVersion.V4_2)
        assert compiled.single_ad_document(position) is compiled.single_ad_document(position)


def test_vast_1_is_served_alone_but_not_in_a_pod():
    compiled = DOCUMENTS.compile(VAST_1)
    assert not compiled.fits_pods
    assert b"VideoAdServingTemplate" in compiled.single_ad_document(0).render(VALUES)
    with pytest.raises(UnusableVast):
        compiled.pod_fragment(0, VastVersion.V2_0)


@pytest.mark.parametrize("encoding", ["UTF-16", "ISO-8859-1", "UTF-8"])
def test_every_encoding_is_handed_out_in_utf_8_whole_and_in_ads(encoding):
    title = "Müller ½ ]]&gt; &amp;"
    declared = f'<?xml version="1.0" encoding="{encoding}"?>' + inline(children=f"<AdTitle>{title}</AdTitle>").decode()
    compiled = DOCUMENTS.compile(declared.encode(encoding))
    whole = compiled.single_ad_document(0).render(VALUES)
    assert texts(whole, "AdTitle") == ["Müller ½ ]]> &"]
    pod = vast_document(
        VastVersion.V4_2, [compiled.pod_fragment(0, VastVersion.V4_2).render({**VALUES, "sequence": "1"})]
    )
    assert texts(pod, "AdTitle") == ["Müller ½ ]]> &"]


def padded(index: int, size_bytes: int, ads: int = 1) -> bytes:
    """A document of its own, with so much beside its Ads."""
    one = inline("4.2").decode()
    ad = one[one.index("<Ad ") : one.index("</VAST>")]
    return f"{one[: one.index('<Ad ')]}{ad * ads}<!--{index:0{size_bytes}}--></VAST>".encode()


@pytest.mark.parametrize(
    ("size_bytes", "ads", "used"), [(10, 1, 0), (10, 1, 1), (30_000, 1, 1), (10, 10, 10), (5000, 10, 10)]
)
def test_a_compiled_document_takes_the_memory_that_it_says(size_bytes: int, ads: int, used: int):
    bodies = [padded(index, size_bytes, ads) for index in range(20)]
    DocumentCache(BASE_URL).compile(padded(99, size_bytes, ads)).pod_fragment(0, VastVersion.V4_2)
    gc.collect()
    tracemalloc.start()
    compiled = [DocumentCache(BASE_URL).compile(bytes(bytearray(body))) for body in bodies]
    for document in compiled:
        for ad in document.ads[:used]:
            document.single_ad_document(ad.position)
            document.pod_fragment(ad.position, VastVersion.V4_2)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.7 * taken < sum(document.size_bytes for document in compiled) < 1.4 * taken


def test_what_stays_compiled_is_bounded_by_bytes():
    documents = DocumentCache(BASE_URL)
    first = documents.compile(padded(0, 30_000))
    assert documents.compile(padded(0, 30_000)) is first
    number = 2 * CACHE_BYTES_MAX // first.size_bytes
    for index in range(1, number):
        documents.compile(padded(index, 30_000))
        assert documents.size_bytes <= CACHE_BYTES_MAX
    assert documents.size_bytes > CACHE_BYTES_MAX // 2
    assert documents.compile(padded(0, 30_000)) is not first


def test_a_document_that_has_grown_counts_as_what_it_is_now():
    documents = DocumentCache(BASE_URL)
    compiled = documents.compile(padded(0, 10, ads=20))
    before = documents.size_bytes
    for ad in compiled.ads:
        compiled.single_ad_document(ad.position)
    documents.compile(padded(0, 10, ads=20))
    assert documents.size_bytes == compiled.size_bytes > 2 * before


def test_ads_compiled_alone_do_not_multiply_what_stands_beside_them():
    body = padded(0, 1_000_000, ads=50)
    compiled = DocumentCache(BASE_URL).compile(body)
    for ad in compiled.ads:
        compiled.single_ad_document(ad.position)
    assert compiled.size_bytes < 6 * len(body)
