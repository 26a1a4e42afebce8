"""What a check says of a creative and of the answers of its URLs' servers."""

from dataclasses import replace

import pytest

from app.creative_check.client import Answer
from app.creative_check.rules import creative_findings, url_findings
from app.creative_check.urls import CheckedUrl, Purpose, checked_urls
from app.domain import (
    AdVerification,
    ClosedCaption,
    Companion,
    InteractiveCreative,
    JavaScriptResource,
    MediaFile,
    Tracker,
    TrackingEvent,
    VastElements,
    ViewableImpression,
)
from tests.unit.vast.creatives import FULL, PLAIN

URL = "https://cdn.example/acme.mp4"
FILE = MediaFile(URL, "video/mp4", 640, 360, 800)
SIZE_BYTES = 1_500_000
GOOD = Answer(200, (URL,), "video/mp4", SIZE_BYTES, allows_all_origins=True)
DURATION_S = 15


def of_file(file: MediaFile = FILE, answer: Answer = GOOD) -> list[str]:
    checked = CheckedUrl("media_files[0]", file.url, Purpose.MEDIA, file.type, file)
    return [f"{found.severity}: {found.text}" for found in url_findings(checked, answer, DURATION_S)]


def of_renditions(*files: MediaFile) -> list[str]:
    return [f"{found.severity}: {found.text}" for found in creative_findings(replace(PLAIN, media_files=files))]


def test_a_good_file_has_no_faults() -> None:
    assert of_file() == []
    assert of_renditions(FILE) == []


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        (replace(GOOD, status=404), "error: is answered with status 404"),
        (replace(GOOD, media_type="text/html"), "error: is sent as text/html, but declared as video/mp4"),
        (replace(GOOD, media_type=None), "warning: is sent without a type, but declared as video/mp4"),
        (
            replace(GOOD, media_type="application/octet-stream"),
            "warning: is sent as application/octet-stream, but declared as video/mp4",
        ),
        (replace(GOOD, size_bytes=0), "error: is empty"),
        (
            replace(GOOD, size_bytes=6_000_000),
            "warning: has 3,200 kbit/s by its size and duration_s, but bitrate_kbps is 800",
        ),
        (
            replace(GOOD, size_bytes=600_000),
            "warning: has 320 kbit/s by its size and duration_s, but bitrate_kbps is 800",
        ),
        (
            replace(GOOD, allows_all_origins=False),
            "warning: has no Access-Control-Allow-Origin for every page, which players need that load it by script",
        ),
        (
            replace(GOOD, urls=("http://cdn.example/acme.mp4",)),
            "warning: is not https: players on https pages do not load it",
        ),
        (
            replace(GOOD, urls=(URL, "https://other.example/a", "https://other.example/b")),
            "warning: is redirected before the ad can play (2 times)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_that_players_do_not_take_is_named(answer: Answer, finding: str) -> None:
    assert of_file(answer=answer) == [finding]


def test_a_redirect_to_http_is_an_error() -> None:
    answer = replace(GOOD, urls=(URL, "http://cdn.example/acme.mp4"))
    assert (
        of_file(answer=answer)[0] == "error: redirects from https to http, which players on https pages do not follow"
    )


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        ("video/MP4", "video/mp4"),
        ("application/x-mpegURL", "application/vnd.apple.mpegurl"),
        ("video/mp4", "application/mp4"),
    ],
)
def test_two_names_of_one_type_are_the_same(declared: str, sent: str) -> None:
    assert of_file(replace(FILE, type=declared), replace(GOOD, media_type=sent)) == []


def test_the_bitrate_is_compared_where_a_file_is_one_rendition_and_its_size_is_known() -> None:
    assert of_file(answer=replace(GOOD, size_bytes=None)) == []
    assert of_file(replace(FILE, delivery="streaming"), replace(GOOD, size_bytes=900)) == []
    assert of_file(replace(FILE, delivery="streaming", bitrate_kbps=None)) == []


def test_a_file_without_bitrate_is_named() -> None:
    expected = "warning: has no bitrate_kbps, by which players choose a rendition"
    assert of_file(replace(FILE, bitrate_kbps=None)) == [expected]


@pytest.mark.parametrize(
    "file",
    [
        replace(FILE, type="video/webm"),
        replace(FILE, codec="hev1.1.6.L93"),
        replace(FILE, type="application/x-mpegURL", delivery="streaming"),
    ],
    ids=["WebM", "HEVC", "HLS"],
)
def test_a_creative_needs_an_mp4_with_h264(file: MediaFile) -> None:
    assert of_renditions(file) == ["warning: has no MP4 rendition with H.264, which all players can show"]
    assert of_renditions(file, replace(FILE, codec="avc1.4d401f")) == []


def test_a_creative_needs_a_small_rendition() -> None:
    assert of_renditions(replace(FILE, width=1920, height=1080), replace(FILE, width=1280, height=720)) == [
        "warning: has no rendition of at most 480 lines for phones and slow connections: the smallest has 720"
    ]


@pytest.mark.parametrize(
    ("status", "severity"), [(200, None), (403, "warning"), (503, "warning"), (404, "error"), (500, "error")]
)
def test_a_landing_page_may_refuse_programs(status: int, severity: str | None) -> None:
    checked = CheckedUrl("click_through", "http://acme.example/", Purpose.PAGE)
    findings = url_findings(checked, Answer(status, ("http://acme.example/", "https://acme.example/en")), DURATION_S)
    assert [found.severity for found in findings] == ([severity] if severity else [])


def test_a_tag_is_xml_for_pages_of_every_origin() -> None:
    url = "https://ads.agency.example/vast"
    checked = CheckedUrl("vast_tag_url", url, Purpose.TAG)
    good = Answer(200, (url,), "application/xml", 2000, allows_all_origins=True)
    assert list(url_findings(checked, good, DURATION_S)) == []
    bad = replace(good, media_type="text/html", allows_all_origins=False)
    assert [found.text for found in url_findings(checked, bad, DURATION_S)] == [
        "is sent as text/html, and not as XML",
        "has no Access-Control-Allow-Origin for every page, which players in browsers need",
    ]
    (found,) = url_findings(checked, replace(good, status=404), DURATION_S)
    assert (found.severity, found.text) == ("error", "is answered with status 404")
    tag = replace(PLAIN, media_files=(), vast_tag_url=url)
    assert [checked.key for checked in checked_urls(tag)] == ["vast_tag_url"]
    assert list(creative_findings(tag)) == []


def test_the_urls_of_a_creative_are_named_by_their_keys() -> None:
    assert [(checked.key, checked.url, checked.purpose) for checked in checked_urls(FULL)] == [
        ("media_files[0]", "https://cdn.example/small.mp4", Purpose.MEDIA),
        ("media_files[1]", "https://cdn.example/big.webm", Purpose.MEDIA),
        ("mezzanine_url", "https://cdn.example/raw.mov", Purpose.ORIGINAL),
        ("click_through", "https://acme.example/?a=1&b=2", Purpose.PAGE),
    ]
    assert [checked.key for checked in checked_urls(PLAIN)] == ["media_files[0]"]


THEIRS = "https://third.example"
MEASURED = VastElements(
    impression_urls=(f"{THEIRS}/impression", "http://third.example/impression"),
    error_urls=("http://third.example/error",),
    tracking=(Tracker(TrackingEvent.START, "http://third.example/start"),),
    viewable_impression=ViewableImpression(viewable=("http://third.example/viewable",)),
    ad_verifications=(
        AdVerification("third", (JavaScriptResource(f"{THEIRS}/omid.js"),), not_executed_urls=(THEIRS,)),
    ),
    companions=(Companion(width=300, height=250, static_url=f"{THEIRS}/a.png", static_type="image/png"),),
    closed_captions=(ClosedCaption(f"{THEIRS}/en.vtt", "text/vtt", "en"),),
    interactive=InteractiveCreative(f"{THEIRS}/simid.html"),
)


def test_no_tracker_is_requested() -> None:
    assert [(checked.key, checked.url) for checked in checked_urls(replace(PLAIN, elements=MEASURED))][1:] == [
        ("closed_captions[0]", f"{THEIRS}/en.vtt"),
        ("interactive", f"{THEIRS}/simid.html"),
        ("companions[0]", f"{THEIRS}/a.png"),
        ("ad_verifications[0].javascript_resources[0]", f"{THEIRS}/omid.js"),
    ]


def test_trackers_that_https_pages_may_not_request_are_named() -> None:
    creative = replace(PLAIN, media_files=(FILE,), elements=MEASURED)
    keys = ("impression_urls[1]", "error_urls[0]", "tracking[0]", "viewable_impression")
    assert [found.text for found in creative_findings(creative)] == [
        f"{key} is not https: players on https pages may not request it" for key in keys
    ]


def test_resources_have_their_declared_type_and_captions_are_for_every_page() -> None:
    answer = Answer(200, (f"{THEIRS}/en.vtt",), "text/plain", 100)
    captions = CheckedUrl("closed_captions[0]", f"{THEIRS}/en.vtt", Purpose.CAPTIONS, "text/vtt")
    assert [found.text for found in url_findings(captions, answer, DURATION_S)] == [
        "is sent as text/plain, but declared as text/vtt",
        "has no Access-Control-Allow-Origin for every page, which players in browsers need",
    ]
    script = CheckedUrl("ad_verifications[0].javascript_resources[0]", f"{THEIRS}/omid.js", Purpose.RESOURCE)
    assert list(url_findings(script, answer, DURATION_S)) == []
