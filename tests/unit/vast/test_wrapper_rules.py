import pytest

from app.vast.parser import parse
from app.vast.wrapper_rules import admitted_ads, fallback_ad
from tests.unit.vast.documents import MEDIA_FILES

INLINE = f"<InLine><Creatives><Creative><Linear>{MEDIA_FILES}</Linear></Creative></Creatives></InLine>"
TAG_URI = "<VASTAdTagURI>https://next.example/vast</VASTAdTagURI>"


def answer(*ads: str):
    """Each ad is i for an InLine or w for a Wrapper, with its sequence if it has one: `i`, `w2`."""
    kinds = {"i": INLINE, "w": f'<Wrapper fallbackOnNoAd="true">{TAG_URI}</Wrapper>'}
    sequences = {ad: f' sequence="{ad[1:]}"' if ad[1:] else "" for ad in ads}
    written = "".join(f'<Ad id="{index}"{sequences[ad]}>{kinds[ad[0]]}</Ad>' for index, ad in enumerate(ads))
    return parse(f'<VAST version="4.2">{written}</VAST>'.encode())


def wrapper(*, follow="true", multiple="false"):
    flags = f'followAdditionalWrappers="{follow}" allowMultipleAds="{multiple}"'
    return parse(f'<VAST version="4.2"><Ad><Wrapper {flags}>{TAG_URI}</Wrapper></Ad></VAST>'.encode()).ads[0]


@pytest.mark.parametrize(
    ("flags", "ads", "let_in"),
    [
        ({}, ["i"], "0"),
        ({}, ["w"], "0"),
        ({}, ["i1"], "0"),
        ({}, ["i1", "i2", "i", "i"], "2"),
        ({}, ["i1", "i2"], ""),
        ({}, [], ""),
        ({"multiple": "true"}, ["i1", "w2", "i"], "012"),
        ({"follow": "false"}, ["w"], ""),
        ({"follow": "false"}, ["w", "i"], "1"),
        ({"follow": "false", "multiple": "true"}, ["i1", "w2", "i"], "02"),
    ],
)
def test_a_wrapper_lets_in_what_its_flags_allow(flags, ads, let_in):
    assert [ad.id for ad in admitted_ads(wrapper(**flags), answer(*ads))] == list(let_in)


def test_an_ad_with_nothing_to_show_is_not_let_in():
    empty = '<Ad id="0"><InLine/></Ad><Ad id="1"><Wrapper><VASTAdTagURI> </VASTAdTagURI></Wrapper></Ad>'
    document = parse(f'<VAST version="4.2">{empty}<Ad id="2">{INLINE}</Ad></VAST>'.encode())
    assert [ad.id for ad in admitted_ads(wrapper(multiple="true"), document)] == ["2"]


@pytest.mark.parametrize(
    ("ads", "failed", "used", "expected"),
    [
        (["w1", "i2", "i"], 0, [], "2"),
        (["w1", "i2"], 0, [], None),
        (["w", "i", "i"], 0, [], "1"),
        (["w", "i", "i"], 0, [1], "2"),
        (["w", "i"], 0, [1], None),
        (["i", "i"], 0, [], None),
    ],
)
def test_a_stand_alone_ad_takes_the_place_of_a_wrapper_that_asks_for_it(ads, failed, used, expected):
    document = answer(*ads)
    found = fallback_ad(document, document.ads[failed], [document.ads[index] for index in used])
    assert (found.id if found else None) == expected
