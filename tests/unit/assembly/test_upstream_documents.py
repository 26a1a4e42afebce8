import pytest
from lxml import etree

from app.assembly.upstream_documents import UpstreamDocuments
from app.domain import VastVersion
from app.errors import NoAd, UnusableVast
from app.vast.render import document
from tests.unit.vast.conftest import BASE_URL, SAMPLES, VALUES, lint_errors, needs_reference, schema_faults, texts
from tests.unit.vast.documents import inline, wrapper

DOCUMENTS = UpstreamDocuments(BASE_URL)
POD = inline(ad='id="1" sequence="1"', children="<Advertiser>Acme</Advertiser>").replace(
    b"</VAST>", inline(ad='id="2" sequence="2"').partition(b"<Ad ")[1] + inline().partition(b"<Ad ")[2]
)


@needs_reference
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_that_was_valid_is_valid_when_it_is_handed_out(path):
    body = path.read_bytes()
    compiled = DOCUMENTS.compile(body)
    answer = compiled.whole.render(VALUES)
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
    assert compiled.advertisers == {"Acme"}
    assert compiled.duration_s == 30.0
    assert not compiled.has_wrapper
    assert compiled.fits_pods
    leading_elsewhere = DOCUMENTS.compile(wrapper())
    assert leading_elsewhere.has_wrapper
    assert leading_elsewhere.duration_s is None


def test_the_ads_of_a_document_stand_in_a_pod_of_a_later_version():
    fragments = DOCUMENTS.compile(inline("3.0", ad='id="a"')).ads(VastVersion.V4_2)
    pod = document(VastVersion.V4_2, [fragment.render({**VALUES, "sequence": "9"}) for fragment in fragments])
    assert [ad.get("sequence") for ad in etree.fromstring(pod).iter("{*}Ad")] == ["9"]
    assert texts(pod, "UniversalAdId") == ["unknown"]


def test_the_ads_are_compiled_once_for_a_version():
    compiled = DOCUMENTS.compile(POD)
    assert compiled.ads(VastVersion.V4_2) is compiled.ads(VastVersion.V4_2)
    assert len(compiled.ads(VastVersion.V4_2)) == 2


def test_vast_1_is_served_alone_but_not_in_a_pod():
    compiled = DOCUMENTS.compile(b"<VideoAdServingTemplate><Ad id='1'><InLine/></Ad></VideoAdServingTemplate>")
    assert not compiled.fits_pods
    assert b"VideoAdServingTemplate" in compiled.whole.render(VALUES)
    with pytest.raises(UnusableVast):
        compiled.ads(VastVersion.V2_0)


@pytest.mark.parametrize("encoding", ["UTF-16", "ISO-8859-1", "UTF-8"])
def test_every_encoding_is_handed_out_in_utf_8_whole_and_in_ads(encoding):
    title = "Müller ½ ]]&gt; &amp;"
    declared = f'<?xml version="1.0" encoding="{encoding}"?>' + inline(children=f"<AdTitle>{title}</AdTitle>").decode()
    compiled = DOCUMENTS.compile(declared.encode(encoding))
    whole = compiled.whole.render(VALUES)
    assert texts(whole, "AdTitle") == ["Müller ½ ]]> &"]
    pod = document(VastVersion.V4_2, [ad.render(VALUES) for ad in compiled.ads(VastVersion.V4_2)])
    assert texts(pod, "AdTitle") == ["Müller ½ ]]> &"]
