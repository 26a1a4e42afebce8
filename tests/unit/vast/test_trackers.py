import re
from collections import Counter

import pytest
import vastlint
from lxml import etree

from app.domain import Event, VastVersion
from app.vast.parser import parse
from app.vast.trackers import document_with_trackers, fragments_with_trackers
from tests.unit.vast.conftest import (
    BASE_URL,
    SAMPLES,
    TOKENS,
    VALUES,
    lint_errors,
    needs_reference,
    outline,
    schema_faults,
    texts,
)
from tests.unit.vast.documents import inline, wrapper

each_sample = pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)


def tracked(body: bytes) -> bytes:
    return document_with_trackers(parse(body), BASE_URL).render(VALUES)


def event_url(event: Event) -> str:
    return f"{BASE_URL}/event/{event}?t={TOKENS[event]}" + ("&code=[ERRORCODE]" if event is Event.ERROR else "")


def is_in_order(part: list, whole: list) -> bool:
    rest = iter(whole)
    return all(any(line == other for other in rest) for line in part)


@needs_reference
@each_sample
def test_a_sample_that_was_valid_still_is_and_one_that_was_not_is_no_worse(path):
    body = path.read_bytes()
    after = tracked(body)
    assert len(schema_faults(after)) <= len(schema_faults(body))
    assert not Counter(lint_errors(after)) - Counter(lint_errors(body))


@needs_reference
@each_sample
def test_nothing_of_a_sample_is_lost_or_moved(path):
    body = path.read_bytes()
    before = [line for line in outline(_ours_left_out(body)) if not line[0].endswith("AdServingId")]
    assert is_in_order(before, outline(_ours_left_out(tracked(body))))
    sections = re.findall(rb"<!\[CDATA\[.*?\]\]>", body, re.DOTALL)
    assert is_in_order(sections, re.findall(rb"<!\[CDATA\[.*?\]\]>", tracked(body), re.DOTALL))


def _ours_left_out(body: bytes) -> etree._Element:
    """The document without the one attribute that we may change."""
    root = etree.fromstring(body)
    for wrapper_element in root.iter("{*}Wrapper"):
        wrapper_element.attrib.pop("allowMultipleAds", "")
    return root


@needs_reference
@each_sample
def test_every_ad_of_a_sample_has_our_impression_and_events(path):
    body = path.read_bytes()
    after = tracked(body).decode()
    assert after.count(event_url(Event.IMPRESSION)) == 1
    has_room = parse(body).version >= VastVersion.V4_0 or b"<Error" not in body
    assert (event_url(Event.ERROR) in after) == has_room
    is_linear = b"<Linear" in body or b"<Video>" in body or b"<Wrapper" in body
    for event in (Event.START, Event.COMPLETE, Event.CLICK):
        assert (event_url(event) in after) or not is_linear


@needs_reference
def test_the_samples_are_of_every_kind():
    bodies = b"".join(path.read_bytes() for path in SAMPLES)
    for kind in (b"<Wrapper", b"<NonLinearAds", b"<CompanionAds", b"<Extension ", b"<Verification", b"<Mezzanine"):
        assert kind in bodies
    assert b"<ClosedCaptionFile" in bodies
    assert b"VideoAdServingTemplate" in bodies


@needs_reference
@each_sample
def test_the_linter_warns_of_nothing_new_but_plain_http_and_a_skip_without_skipoffset(path):
    body = path.read_bytes()
    counts = [Counter(issue.id for issue in vastlint.validate(doc).issues) for doc in (tracked(body), body)]
    new = counts[0] - counts[1]
    assert set(new) <= {"VAST-2.0-tracking-https", "VAST-3.0-skip-event-no-skipoffset"}


def test_each_event_of_a_linear_is_reported_with_its_own_token():
    after = etree.fromstring(tracked(inline()))
    reported = {found.get("event"): found.text for found in after.iter("{*}Tracking")}
    events = set(Event) - {Event.IMPRESSION, Event.ERROR, Event.CLICK}
    assert reported == {event: event_url(event) for event in events}
    assert texts(tracked(inline()), "ClickTracking") == [event_url(Event.CLICK)]


def test_their_destination_stays_and_our_click_is_tracked_beside_it():
    clicks = "<VideoClicks><ClickTracking>theirs</ClickTracking><ClickThrough>go</ClickThrough></VideoClicks>"
    after = tracked(inline(linear=clicks))
    assert texts(after, "ClickThrough") == ["go"]
    assert texts(after, "ClickTracking") == ["theirs", event_url(Event.CLICK)]


@pytest.mark.parametrize(("version", "expected"), [("2.0", ["theirs"]), ("3.0", ["theirs"]), ("4.0", None)])
def test_an_ad_of_2_0_or_3_0_has_room_for_one_error(version, expected):
    after = tracked(inline(version, children="<Error>theirs</Error>"))
    assert texts(after, "Error") == (expected or ["theirs", event_url(Event.ERROR)])
    assert texts(tracked(inline(version)), "Error") == [event_url(Event.ERROR)]


@pytest.mark.parametrize("children", ["", "<AdServingId> theirs </AdServingId>"])
def test_an_inline_since_4_1_gets_our_ad_serving_id(children):
    assert texts(tracked(inline(children=children)), "AdServingId") == [VALUES["ad_serving_id"]]
    assert texts(tracked(inline("4.0")), "AdServingId") == []
    assert texts(tracked(wrapper("4.2")), "AdServingId") == []


def test_a_wrapper_tracks_what_it_leads_to_once():
    creatives = "<Creatives><Creative><Linear/></Creative><Creative><Linear/></Creative></Creatives>"
    for children in ("", creatives):
        after = tracked(wrapper(children=children))
        assert after.decode().count(event_url(Event.START)) == 1
        assert texts(after, "VASTAdTagURI") == ["https://next.example/vast"]


def test_an_overlay_reports_what_a_player_does_and_clicks():
    overlay = "<Creatives><Creative><NonLinearAds><NonLinear/><NonLinear/></NonLinearAds></Creative></Creatives>"
    body = f"<VAST version='3.0'><Ad><InLine>{overlay}</InLine></Ad></VAST>".encode()
    after = tracked(body)
    assert [found.get("event") for found in etree.fromstring(after).iter("Tracking")] == [
        *("mute", "unmute", "pause", "resume")
    ]
    assert texts(after, "NonLinearClickTracking") == [event_url(Event.CLICK)] * 2
    assert texts(tracked(body.replace(b"3.0", b"2.0")), "NonLinearClickTracking") == []


@pytest.mark.parametrize(("nonlinears", "version"), [("<NonLinear/>", "4.2"), ("", "4.0"), ("<NonLinear/>", "3.0")])
def test_a_wrappers_overlay_clicks_are_tracked_where_its_schema_has_room(nonlinears, version):
    theirs = "<NonLinear><NonLinearClickTracking>theirs</NonLinearClickTracking></NonLinear>"
    creatives = f"<Creatives><Creative><NonLinearAds>{theirs}{nonlinears}</NonLinearAds></Creative></Creatives>"
    after = etree.fromstring(tracked(wrapper(version, children=creatives)))
    found = [[click.text for click in nonlinear] for nonlinear in after.iter("{*}NonLinear")]
    ours = event_url(Event.CLICK)
    assert found == ([["theirs", ours], [ours]] if version == "3.0" else [["theirs"], [ours]])


def test_tracking_goes_into_the_namespace_and_prefix_of_the_document():
    body = inline().decode().replace(' xmlns="', ' xmlns:v="')
    body = re.sub(r"<(/?)(\w)", r"<\1v:\2", body)
    after = tracked(body.encode()).decode()
    assert f"<v:Impression><![CDATA[{event_url(Event.IMPRESSION)}]]></v:Impression>" in after
    assert after.count("xmlns") == 1


def test_a_document_that_forgot_its_namespace_goes_on_without():
    after = tracked(inline(namespace=False))
    assert b"xmlns" not in after
    assert etree.fromstring(after).findtext("Ad/InLine/Impression") == event_url(Event.IMPRESSION)


def test_what_is_not_vast_stays_as_it_is():
    extension = (
        '<Extensions><Extension type="x"><o:Linear xmlns:o="urn:other" a="&lt;1&quot;"><o:TrackingEvents/>'
        "</o:Linear><!-- a comment --><?and an instruction?></Extension></Extensions>"
    )
    after = tracked(inline(children=extension))
    assert extension.encode() in after


@pytest.mark.parametrize("encoding", ["UTF-16", "ISO-8859-1", "windows-1252", "UTF-8"])
def test_every_encoding_comes_out_as_utf_8_that_says_so(encoding):
    body = (
        f'<?xml version="1.0" encoding="{encoding}"?>'
        + inline(
            children="<AdTitle>Müller € ½</AdTitle>".replace("€ ", "" if encoding == "ISO-8859-1" else "€ ")
        ).decode()
    )
    after = tracked(body.encode(encoding))
    assert after.startswith(b"<?xml version='1.0' encoding='UTF-8'?>")
    assert "Müller" in after.decode()
    assert texts(after, "AdTitle") == texts(body.encode(encoding), "AdTitle")


@pytest.mark.parametrize("url", ["https://u.example/?a=1&b=<2>", "https://u.example/]]>x", "javascript:'\"", "💥"])
def test_their_cdata_says_the_same_afterwards(url):
    written = f"<![CDATA[{url.replace(']]>', ']]]]><![CDATA[>')}]]>"
    after = tracked(inline(children=f"<Impression>{written}</Impression>"))
    assert texts(after, "Impression") == [url, event_url(Event.IMPRESSION)]
    assert written.encode() in after


def test_compiling_leaves_the_parsed_document_alone():
    parsed = parse(inline())
    before = etree.tostring(parsed.tree)
    document_with_trackers(parsed, BASE_URL)
    fragments_with_trackers(parsed, BASE_URL, VastVersion.V4_2)
    assert etree.tostring(parsed.tree) == before


def test_two_serves_of_one_document_differ_only_in_their_tokens():
    template = document_with_trackers(parse(inline()), BASE_URL)
    one, other = (template.render({name: f"{name}{n}" for name in VALUES}) for n in "12")
    assert one != other
    assert re.sub(rb"([a-zA-Z_]+)1\b", rb"\1", one) == re.sub(rb"([a-zA-Z_]+)2\b", rb"\1", other)
