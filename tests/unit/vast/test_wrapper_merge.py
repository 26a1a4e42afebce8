import itertools
import time
from collections import Counter

import pytest
from lxml import etree

from app.domain import VastVersion
from app.errors import UnusableVast
from app.vast.parser import ParsedDocument, parse
from app.vast.trackers import document_with_trackers
from app.vast.wrapper_merge import NODES_MAX, merge_wrapper, replace_wrappers
from app.vast.wrapper_rules import admitted_ads
from tests.unit.vast.conftest import BASE_URL, SAMPLES, VALUES, needs_reference, schema_faults, texts
from tests.unit.vast.documents import inline, wrapper
from tests.unit.vast.test_version_conversion import unless_4_0_knows_no_better

TRACKERS = """
  <Impression>{0}-impression</Impression><Error>{0}-error</Error>
  <ViewableImpression><Viewable>{0}-viewable</Viewable></ViewableImpression>
  <AdVerifications><Verification vendor="{0}"><VerificationParameters>p</VerificationParameters></Verification>
  </AdVerifications>
  <Extensions><Extension type="{0}"><v>{0}-extension</v></Extension></Extensions>
"""
CREATIVES = """
  <Creatives><Creative><Linear>
    <Icons><Icon program="{0}"/></Icons>
    <TrackingEvents><Tracking event="start">{0}-start</Tracking></TrackingEvents>
    <VideoClicks>
      <ClickTracking>{0}-click</ClickTracking><ClickThrough>{0}-destination</ClickThrough><CustomClick>{0}-custom</CustomClick>
    </VideoClicks></Linear></Creative>
  <Creative><NonLinearAds><TrackingEvents><Tracking event="close">{0}-close</Tracking></TrackingEvents>
    <NonLinear><NonLinearClickTracking>{0}-overlay</NonLinearClickTracking></NonLinear></NonLinearAds></Creative>
  <Creative><CompanionAds><Companion id="{0}" width="1" height="1"/></CompanionAds></Creative></Creatives>
"""
OVERLAY = "<Creative><NonLinearAds><NonLinear/></NonLinearAds></Creative>"


def written(parsed: ParsedDocument) -> bytes:
    return etree.tostring(parsed.tree, encoding="UTF-8")


def wrapped(name: str, version: str = "4.2", flags: str = "") -> ParsedDocument:
    return parse(wrapper(version, children=(TRACKERS + CREATIVES).format(name), flags=flags))


def chain(*documents: ParsedDocument) -> ParsedDocument:
    """The outermost first, the InLine last."""
    *wrappers, answer = documents
    for document in reversed(wrappers):
        answer = merge_wrapper(document, document.ads[0], answer, admitted_ads(document.ads[0], answer))
    return answer


def final(version: str = "4.2", linear: str = "") -> ParsedDocument:
    body = inline(version, children=TRACKERS.format("inline"), linear=linear)
    return parse(body.replace(b"</Creatives>", OVERLAY.encode() + b"</Creatives>"))


def test_all_wrappers_of_a_chain_get_all_events():
    merged = written(chain(wrapped("outer"), wrapped("inner"), final()))
    for name, kind in [
        ("Impression", "impression"),
        ("Error", "error"),
        ("Viewable", "viewable"),
        ("v", "extension"),
    ]:
        assert texts(merged, name) == [f"inline-{kind}", f"inner-{kind}", f"outer-{kind}"]
    for name, kind in [("ClickTracking", "click"), ("CustomClick", "custom"), ("NonLinearClickTracking", "overlay")]:
        assert texts(merged, name) == [f"inner-{kind}", f"outer-{kind}"]
    assert texts(merged, "Tracking") == ["inner-start", "outer-start", "inner-close", "outer-close"]
    root = etree.fromstring(merged)
    assert [found.get("vendor") for found in root.iter("{*}Verification")] == ["inline", "inner", "outer"]
    assert [found.get("program") for found in root.iter("{*}Icon")] == ["inner", "outer"]
    assert [found.get("id") for found in root.iter("{*}Companion")] == ["inner", "outer"]
    assert texts(merged, "VASTAdTagURI") == []
    for once in ("ViewableImpression", "AdVerifications", "Extensions", "TrackingEvents", "VideoClicks", "Icons"):
        assert len(texts(merged, once)) == (2 if once == "TrackingEvents" else 1)


def test_of_two_destinations_the_one_nearest_to_the_inline_counts():
    assert texts(written(chain(wrapped("outer"), wrapped("inner"), final())), "ClickThrough") == ["inner-destination"]
    own = final(linear="<VideoClicks><ClickThrough>own</ClickThrough></VideoClicks>")
    assert texts(written(chain(wrapped("outer"), wrapped("inner"), own)), "ClickThrough") == ["own"]


def test_companions_of_a_wrapper_join_those_of_the_inline():
    companions = (
        '<Creative><CompanionAds required="all"><Companion id="own" width="1" height="1"/></CompanionAds></Creative>'
    )
    body = inline().replace(b"</Creatives>", companions.encode() + b"</Creatives>")
    root = etree.fromstring(written(chain(wrapped("outer"), parse(body))))
    assert [found.get("id") for found in root.iter("{*}Companion")] == ["own", "outer"]
    assert len(list(root.iter("{*}CompanionAds"))) == 1


@pytest.mark.parametrize(
    ("outer", "inner", "result"), [("3.0", "4.1", "4.1"), ("4.2", "2.0", "4.2"), ("2.0", "3.0", "3.0")]
)
def test_a_chain_of_mixed_versions_ends_in_the_latest(outer, inner, result):
    merged = chain(wrapped("outer", outer), final(inner))
    assert merged.version == VastVersion(result)
    root = etree.fromstring(written(merged))
    assert len({etree.QName(found).namespace for found in root.iter()}) == 1
    assert texts(written(merged), "Impression") == ["inline-impression", "outer-impression"]


def test_only_the_ads_let_in_are_left():
    pod = inline(ad='id="a" sequence="1"').decode()
    body = pod.replace("</VAST>", "") + pod[pod.index("<Ad ") :].replace('"a" sequence="1"', '"b"')
    answer = parse(body.encode())
    assert [ad.id for ad in chain(wrapped("outer"), answer).ads] == ["b"]
    everything = chain(wrapped("outer", flags='allowMultipleAds="true"'), answer)
    assert [ad.id for ad in everything.ads] == ["a", "b"]
    assert texts(written(everything), "Impression") == ["outer-impression"] * 2


def pod_of(*ads: str) -> ParsedDocument:
    return parse(f'<VAST version="4.2" xmlns="http://www.iab.com/VAST">{"".join(ads)}</VAST>'.encode())


def ad(name: str, kind: str, sequence: int | None = None) -> str:
    number = f' sequence="{sequence}"' if sequence else ""
    flags = ' allowMultipleAds="true"' if kind == "Wrapper" else ""
    return f'<Ad id="{name}"{number}><{kind}{flags}/></Ad>'


def test_merged_answers_take_the_places_of_their_wrappers_and_a_pod_is_numbered_anew():
    document = pod_of(ad("a", "Wrapper", 2), ad("b", "InLine", 1), ad("c", "Wrapper", 3), ad("d", "InLine", 4))
    answer = pod_of(ad("x", "InLine", 2), ad("y", "InLine", 1))
    merged = merge_wrapper(document, document.ads[0], answer, answer.ads)
    spliced = replace_wrappers(document, document.ads, {document.ads[0]: merged})
    assert sorted((found.sequence or 0, found.id) for found in spliced.ads) == [(1, "b"), (2, "y"), (3, "x"), (4, "d")]


def test_a_stand_alone_wrapper_becomes_the_pod_that_it_led_to():
    document = pod_of(ad("a", "Wrapper"), ad("b", "InLine"))
    answer = pod_of(ad("x", "InLine", 1), ad("y", "InLine", 2))
    spliced = replace_wrappers(
        document, document.ads, {document.ads[0]: merge_wrapper(document, document.ads[0], answer, answer.ads)}
    )
    assert [(found.id, found.sequence) for found in spliced.ads] == [("x", 1), ("y", 2), ("b", None)]


def test_without_any_answer_there_is_no_ad():
    document = pod_of(ad("a", "Wrapper"))
    assert replace_wrappers(document, document.ads, {}).has_ad is False


def test_merging_leaves_what_was_parsed_alone():
    document, answer = wrapped("outer"), final()
    before = (written(document), written(answer))
    chain(document, answer)
    assert (written(document), written(answer)) == before


def creative(*kinds: str) -> str:
    return f"<Creatives><Creative>{''.join(kinds)}</Creative></Creatives>"


def overlays(number: int) -> str:
    return creative(f"<NonLinearAds>{'<NonLinear/>' * number}</NonLinearAds>")


OVERLAY_WITH_RESOURCE = "<NonLinearAds><NonLinear><StaticResource>r</StaticResource></NonLinear></NonLinearAds>"
TRACKED = creative(f"<Linear><TrackingEvents>{'<Tracking/>' * 1000}</TrackingEvents></Linear>")
SHOWN = creative(OVERLAY_WITH_RESOURCE)
HUGE = {
    "an ad each": ("<Error/>" * 1000, f"<Ad><InLine>{SHOWN}</InLine></Ad>" * 50),
    "a Linear each": (TRACKED, f"<Ad><InLine>{SHOWN}{creative('<Linear/>') * 60}</InLine></Ad>"),
    "a Linear each in one Creative": (TRACKED, f"<Ad><InLine>{SHOWN}{creative('<Linear/>' * 60)}</InLine></Ad>"),
    "a NonLinear each": (overlays(200), f"<Ad><InLine>{SHOWN}{overlays(60)}</InLine></Ad>"),
}


@pytest.mark.parametrize(("added", "ads"), HUGE.values(), ids=HUGE.keys())
def test_small_documents_that_make_a_huge_one_are_refused_before_anything_is_copied(monkeypatch, added, ads):
    for copying in ("convert", "deepcopy"):
        monkeypatch.setattr(f"app.vast.wrapper_merge.{copying}", None)
    document = parse(wrapper(children=added, flags='allowMultipleAds="true"'))
    with pytest.raises(UnusableVast, match=str(NODES_MAX)):
        chain(document, pod_of(ads))


def test_answers_that_make_a_huge_document_together_are_refused_before_anything_is_copied(monkeypatch):
    document = pod_of(*(ad(name, "Wrapper") for name in "abc"))
    answer = pod_of(f"<Ad><InLine>{'<Error/>' * (NODES_MAX // 3)}</InLine></Ad>")
    for copying in ("convert", "deepcopy"):
        monkeypatch.setattr(f"app.vast.wrapper_merge.{copying}", None)
    with pytest.raises(UnusableVast, match=str(NODES_MAX)):
        replace_wrappers(document, document.ads, dict.fromkeys(document.ads, answer))


@pytest.mark.parametrize(
    ("added", "children"),
    [
        ("<Extensions><Extension/></Extensions>" * 2000, ""),
        (creative(f"<Linear><Icons>{'<Icon/>' * 18}</Icons></Linear>" * 190), ""),
        (creative("<Linear/>" * 200), creative("<x/>" * 9000)),
    ],
    ids=["lists", "Linears", "empty Linears"],
)
def test_a_wrapper_of_many_pieces_is_merged_at_once(added, children):
    chains = [(parse(wrapper(children=added)), parse(inline(children=children))) for _ in range(2)]
    started = time.process_time()
    for document, answer in chains:
        chain(document, answer)
    assert time.process_time() - started < 5


def test_vast_1_cannot_be_unwrapped():
    vast_1 = parse(b"<VideoAdServingTemplate><Ad><InLine/></Ad></VideoAdServingTemplate>")
    with pytest.raises(UnusableVast):
        chain(wrapped("outer"), vast_1)
    with pytest.raises(UnusableVast):
        chain(vast_1, final())


PARSED = {path.stem: parse(path.read_bytes()) for path in SAMPLES if b"VideoAdServing" not in path.read_bytes()}
WRAPPERS = {name: parsed for name, parsed in PARSED.items() if parsed.ads[0].is_wrapper}
INLINES = {name: parsed for name, parsed in PARSED.items() if not parsed.ads[0].is_wrapper}


@needs_reference
@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(WRAPPERS, INLINES)))
def test_every_sample_in_every_wrapper_stays_valid_but_for_the_errors_of_2_0_and_3_0(outer, inner):
    merged = chain(WRAPPERS[outer], INLINES[inner])
    answer = document_with_trackers(
        replace_wrappers(WRAPPERS[outer], WRAPPERS[outer].ads, {WRAPPERS[outer].ads[0]: merged}), BASE_URL
    ).render(VALUES)
    faults = [fault for fault in schema_faults(answer) if "'Error': This element is not expected" not in fault]
    assert merged.version >= VastVersion.V4_0 or len(texts(answer, "Error")) <= 2
    assert unless_4_0_knows_no_better(faults) == []
    for name in ("Impression", "Companion", "Extension", "VerificationParameters", "Viewable"):
        heard = Counter(texts(answer, name))
        for parsed in (WRAPPERS[outer], INLINES[inner]):
            assert not Counter(texts(written(parsed), name)) - heard, name
    for kind in ("Linear", "NonLinearAds", "Companion"):
        if INLINES[inner].tree.find(f".//{{*}}{kind}") is not None:
            assert not Counter(trackings(WRAPPERS[outer], kind)) - Counter(texts(answer, "Tracking")), kind


def trackings(parsed: ParsedDocument, kind: str) -> list[str]:
    return [
        (found.text or "").strip()
        for found in parsed.tree.iterfind(f".//{{*}}{kind}/{{*}}TrackingEvents/{{*}}Tracking")
    ]
