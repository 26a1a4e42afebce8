"""No document, whatever is in it, costs more than a moment: what it costs is counted before, and bounded."""

import time

import pytest

from app.domain import VastVersion
from app.errors import NoAd, UnusableVast
from app.vast.document_cache import DocumentCache
from app.vast.limits import ATTRIBUTES_MAX, ELEMENTS_MAX, MARKUP_MAX, NAMESPACES_MAX, REFERENCES_MAX
from app.vast.parser import BODY_BYTES_MAX, CREATIVES_MAX, EMPTY_ADS_MAX, parse
from tests.unit.vast.conftest import BASE_URL

CREATIVE = (
    "<Creative><Linear><Duration>00:00:15</Duration><MediaFiles>"
    "<MediaFile delivery='progressive' type='video/mp4' width='1' height='1'>https://cdn.example/a.mp4</MediaFile>"
    "</MediaFiles></Linear></Creative>"
)
SECOND = 1.0
"""A hundred times what a document of the limits costs on an idle machine; without the limits it is minutes."""


def inline(creatives: str = CREATIVE, before: str = "", version: str = "4.2", prolog: str = "") -> str:
    return (
        f'{prolog}<VAST version="{version}" xmlns="http://www.iab.com/VAST"><Ad><InLine>{before}'
        f"<Creatives>{creatives}</Creatives></InLine></Ad></VAST>"
    )


def in_creative(inner: str) -> str:
    return inline(f"{CREATIVE}<Creative>{inner}</Creative>")


def element_with(attribute: str, number: int) -> str:
    return f"<a {' '.join(attribute.format(index) for index in range(number))}/>"


TOO_MUCH = {
    "linears": (in_creative("<Linear/>" * (CREATIVES_MAX + 1)), "Linear"),
    "nonlinear ads": (in_creative("<NonLinearAds/>" * (CREATIVES_MAX + 1)), "NonLinearAds"),
    "nonlinears": (
        in_creative("<NonLinearAds>" + "<NonLinear/>" * (CREATIVES_MAX + 1) + "</NonLinearAds>"),
        "NonLinear",
    ),
    "a nonlinear each": (
        in_creative("<NonLinearAds><NonLinear/></NonLinearAds>" * (CREATIVES_MAX + 1)),
        "NonLinearAds",
    ),
    "linears in a Wrapper": (
        "<VAST version='3.0'><Ad><Wrapper><VASTAdTagURI>http://a.example/</VASTAdTagURI><Creatives><Creative>"
        + "<Linear/>" * (CREATIVES_MAX + 1)
        + "</Creative></Creatives></Wrapper></Ad></VAST>",
        "Linear",
    ),
    "lists of creatives": (
        inline().replace("<Creatives>", "<Creatives/>" * CREATIVES_MAX + "<Creatives>"),
        "Creatives",
    ),
    "empty ads": (inline().replace("</VAST>", "<Ad/>" * EMPTY_ADS_MAX + "</VAST>"), "ads"),
    "elements": (inline(before="<a/>" * ELEMENTS_MAX), "elements"),
    "elements with ends": (inline(before="<a></a>" * ELEMENTS_MAX), "elements"),
    "comments": (inline(before="<!---->" * ELEMENTS_MAX), "elements"),
    "processing instructions": (inline(before="<?a?>" * ELEMENTS_MAX), "elements"),
    "CDATA sections": (inline(before="<a>" + "<![CDATA[]]>" * MARKUP_MAX + "</a>"), "CDATA"),
    "attributes": (inline(before=element_with('a{}=""', ATTRIBUTES_MAX)), "attributes"),
    "attributes in single quotes": (inline(before=element_with("a{}=''", ATTRIBUTES_MAX)), "attributes"),
    "namespaces": (inline(before=element_with('xmlns:n{}="n"', NAMESPACES_MAX)), "namespaces"),
    "character references": (inline(before="<a>" + "&lt;" * (REFERENCES_MAX + 1) + "</a>"), "references"),
    "bytes": (inline(before="<a>" + "x" * BODY_BYTES_MAX + "</a>"), "bytes"),
    "entities": ("<!DOCTYPE VAST [" + '<!ENTITY e "x">' * 30_000 + "]><VAST/>", "DOCTYPE"),
    "a DOCTYPE behind comments": ("<!-- a --><?b c?>\n<!doctype VAST><VAST/>", "DOCTYPE"),
    "an encoding in which nothing can be counted": (
        inline(prolog="<?xml version='1.0' encoding='IBM037'?>"),
        "encoding",
    ),
    "another": (inline(prolog="<?xml version='1.0' encoding='UTF-7'?>"), "encoding"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(("document", "what"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_too_much_of_anything_is_refused_in_a_moment(document: str, what: str, encoding: str) -> None:
    body = document.encode(encoding)
    started = time.process_time()
    with pytest.raises(UnusableVast, match=what if len(body) <= BODY_BYTES_MAX else "bytes") as caught:
        parse(body)
    assert time.process_time() - started < SECOND
    assert not isinstance(caught.value, NoAd)


LARGEST = {
    "a pod": "<VAST version='4.2'>"
    + "".join(
        f"<Ad sequence='{index}'><InLine><Creatives>{CREATIVE * 4}</Creatives>{'<a/>' * 160}</InLine></Ad>"
        for index in range(1, 51)
    )
    + "</VAST>",
    "elements": inline(before="<a/>" * (ELEMENTS_MAX - 50)),
    "trackers": in_creative("<Linear/>" * (CREATIVES_MAX - 1)),
    "trackers of nonlinears": in_creative(
        f"<NonLinearAds>{'<NonLinear/>' * CREATIVES_MAX}</NonLinearAds>" + "<NonLinearAds/>" * (CREATIVES_MAX - 1)
    ),
    "impressions": inline(before="<Impression/>" * (ELEMENTS_MAX - 50)),
    "text": inline(before="<a>" + "x" * (BODY_BYTES_MAX - 1000) + "</a>"),
}


@pytest.mark.parametrize("document", LARGEST.values(), ids=LARGEST.keys())
def test_the_largest_documents_that_are_read_cost_a_moment(document: str) -> None:
    documents = DocumentCache(BASE_URL)
    started = time.process_time()
    compiled = documents.compile(document.encode())
    for ad in compiled.ads[:2]:
        compiled.single_ad_document(ad.position)
        compiled.pod_fragment(ad.position, VastVersion.V4_2)
    assert time.process_time() - started < SECOND


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "ISO-8859-1", "windows-1252", "Shift_JIS", "GBK", "us-ascii"])
def test_encodings_of_the_web_are_read(encoding: str) -> None:
    assert parse(inline(prolog=f"<?xml version='1.0' encoding='{encoding}'?>").encode()).has_ad
