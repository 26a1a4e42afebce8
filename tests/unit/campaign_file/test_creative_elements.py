"""Accepted values of what a creative carries besides its film, and the faults of others."""

from decimal import Decimal

import pytest

from app.campaign_file.exporter import to_entry
from app.campaign_file.parser import read_draft
from app.campaign_file.vast_element_tables import ELEMENTS_BYTES_MAX
from app.domain import NO_ELEMENTS, Creative
from tests.unit.campaign_file.examples import Document, document, faults_of

HERE = "https://third.example/"
URL = "must be an absolute URL that starts with http:// or https://"
OFFSET = "must be seconds such as 7.5, or a part such as 25%"
ONE_RESOURCE = "must have exactly one of static_url, iframe_url and html"
SCRIPT = {"url": HERE}
VENDOR = {"vendor": "v", "javascript_resources": [SCRIPT]}
COMPANION = {"width": 300, "height": 250, "iframe_url": HERE}
ICON = {"program": "AdChoices", "width": 20, "height": 20, "x_position": "left", "y_position": 10, "iframe_url": HERE}

EVERYTHING: Document = {
    "impression_urls": [HERE],
    "error_urls": [f"{HERE}?code=[ERRORCODE]"],
    "click_tracking_urls": [HERE],
    "tracking": [
        {"event": "start", "url": HERE},
        {"event": "progress", "url": HERE, "offset": "7.5"},
        {"event": "progress", "url": HERE, "offset": "33.3%"},
    ],
    "viewable_impression": {"viewable": [HERE], "not_viewable": [HERE], "view_undetermined": [HERE]},
    "ad_verifications": [
        {
            "vendor": "v",
            "javascript_resources": [{"url": HERE, "api_framework": "omid", "browser_optional": True}],
            "executable_resources": [{"url": HERE, "api_framework": "omid", "type": "application/x-elf"}],
            "not_executed_urls": [HERE],
            "parameters": "one\ntwo",
        }
    ],
    "companions": [
        {
            "width": 300,
            "height": 250,
            "id": "banner",
            "static_url": HERE,
            "static_type": "image/png",
            "alt_text": "Acme",
            "click_through": HERE,
            "click_tracking_urls": [HERE],
            "creative_view_urls": [HERE],
        },
        {"width": 300, "height": 250, "html": "<b>Acme</b>"},
    ],
    "icons": [
        {
            "program": "AdChoices",
            "width": 20,
            "height": 20,
            "x_position": "right",
            "y_position": "10",
            "offset_s": 0,
            "duration_s": 15,
            "iframe_url": HERE,
            "click_through": HERE,
            "click_tracking_urls": [HERE],
            "view_urls": [HERE],
        }
    ],
    "closed_captions": [{"url": HERE, "type": "text/vtt", "language": "en"}],
    "interactive": {"url": HERE, "type": "text/html", "variable_duration": False},
    "universal_ad_ids": [{"id": "1", "registry": "ad-id.org"}],
    "categories": [{"authority": HERE, "code": "IAB1"}],
    "ad_parameters": "{}",
}


def with_keys(keys: Document) -> Document:
    """Return the document, whose creative has these keys too."""
    changed = document()
    changed["creatives"][0] |= keys
    return changed


def read(keys: Document) -> Creative:
    draft = read_draft("test.toml", with_keys(keys))
    assert draft.faults == ()
    (creative,) = (item for item in draft.items if isinstance(item, Creative))
    return creative


def test_every_key_is_exported_as_it_was_written() -> None:
    entry = to_entry(read(EVERYTHING))
    assert {key: entry[key] for key in EVERYTHING} == EVERYTHING
    assert read({key: entry[key] for key in EVERYTHING}) == read(EVERYTHING)


def test_a_creative_without_the_keys_has_none_of_them() -> None:
    assert read({}).elements is NO_ELEMENTS
    assert read({key: type(value)() for key, value in EVERYTHING.items() if value and isinstance(value, list)}) == read(
        {}
    )
    assert not EVERYTHING.keys() & to_entry(read({})).keys()


@pytest.mark.parametrize(("offset", "kept"), [(5, "5"), (Decimal("7.500"), "7.500"), ("0%", "0%"), ("100%", "100%")])
def test_an_offset_is_a_number_of_seconds_or_a_part(offset: object, kept: str) -> None:
    creative = read({"tracking": [{"event": "progress", "url": HERE, "offset": offset}]})
    assert creative.elements.tracking[0].offset == kept


@pytest.mark.parametrize(
    ("keys", "key", "reason"),
    [
        ({"impression_urls": ["ftp://third.example/"]}, "impression_urls[0]", URL),
        ({"impression_urls": HERE}, "impression_urls", "must be a list"),
        ({"impression_urls": [HERE, HERE]}, "impression_urls", f"'{HERE}' must not be repeated"),
        ({"error_urls": ["javascript:alert(1)"]}, "error_urls[0]", URL),
        ({"click_tracking_urls": [f"{HERE}{n}" for n in range(101)]}, "click_tracking_urls", ...),
        ({"tracking": [{"event": "start"}]}, "tracking[0].url", "is required"),
        ({"tracking": [{"event": "began", "url": HERE}]}, "tracking[0].event", ...),
        ({"tracking": [{"event": "progress", "url": HERE}]}, "tracking[0].offset", "is required for progress"),
        (
            {"tracking": [{"event": "start", "url": HERE, "offset": 5}]},
            "tracking[0].offset",
            "is for progress only",
        ),
        ({"tracking": [{"event": "progress", "url": HERE, "offset": -1}]}, "tracking[0].offset", ...),
        (
            {"tracking": [{"event": "progress", "url": HERE, "offset": "101%"}]},
            "tracking[0].offset",
            f"{OFFSET}, got '101%'",
        ),
        (
            {"tracking": [{"event": "progress", "url": HERE, "offset": "00:00:05"}]},
            "tracking[0].offset",
            f"{OFFSET}, got '00:00:05'",
        ),
        (
            {"tracking": [{"event": "progress", "url": HERE, "offset": Decimal("15.001")}]},
            "duration_s",
            "must not be less than tracking[0].offset",
        ),
        ({"viewable_impression": {"seen": [HERE]}}, "viewable_impression.seen", "unknown key"),
        ({"viewable_impression": {"viewable": ["x"]}}, "viewable_impression.viewable[0]", URL),
        (
            {"ad_verifications": [{"vendor": "v"}]},
            "ad_verifications[0]",
            "must have javascript_resources or executable_resources",
        ),
        ({"ad_verifications": [{"javascript_resources": [SCRIPT]}]}, "ad_verifications[0].vendor", "is required"),
        (
            {"ad_verifications": [{**VENDOR, "javascript_resources": [{"url": "x"}]}]},
            "ad_verifications[0].javascript_resources[0].url",
            URL,
        ),
        (
            {"ad_verifications": [{**VENDOR, "parameters": "a\x00"}]},
            "ad_verifications[0].parameters",
            "must not contain control characters",
        ),
        ({"ad_verifications": [VENDOR] * 21}, "ad_verifications", ...),
        ({"companions": [{**COMPANION, "html": "<b/>"}]}, "companions[0]", ONE_RESOURCE),
        ({"companions": [{"width": 1, "height": 1}]}, "companions[0]", ONE_RESOURCE),
        (
            {"companions": [{"width": 1, "height": 1, "static_url": HERE}]},
            "companions[0].static_type",
            "is required with static_url",
        ),
        (
            {"companions": [{**COMPANION, "static_type": "image/png"}]},
            "companions[0].static_type",
            "requires static_url",
        ),
        ({"companions": [{**COMPANION, "width": 0}]}, "companions[0].width", "must be at least 1"),
        (
            {"icons": [{**ICON, "x_position": "top"}]},
            "icons[0].x_position",
            "must be pixels, left or right, got 'top'",
        ),
        (
            {"icons": [{**ICON, "y_position": -1}]},
            "icons[0].y_position",
            "must be pixels, top or bottom, got '-1'",
        ),
        ({"icons": [{**ICON, "offset_s": -1}]}, "icons[0].offset_s", "must be at least 0"),
        ({"closed_captions": [{"url": HERE, "type": "vtt", "language": "en"}]}, "closed_captions[0].type", ...),
        ({"interactive": {}}, "interactive.url", "is required"),
        ({"interactive": {"url": HERE, "api_framework": "VPAID"}}, "interactive.api_framework", "unknown key"),
        ({"universal_ad_ids": [{"id": "1"}]}, "universal_ad_ids[0].registry", "is required"),
        ({"categories": [{"authority": "iab", "code": "1"}]}, "categories[0].authority", URL),
        ({"ad_parameters": ""}, "ad_parameters", "must not be empty"),
    ],
)
def test_a_fault_is_told_with_its_key_and_reason(keys: Document, key: str, reason: object) -> None:
    (fault,) = faults_of(with_keys(keys))
    assert fault.key == f"creatives[0].{key}"
    assert reason in (..., fault.reason)


def test_what_a_creative_carries_has_a_limit_together() -> None:
    long = [f"{HERE}{n}{'x' * 16_000}" for n in range(17)]
    (fault,) = faults_of(with_keys({"impression_urls": long}))
    reason = f"must have at most {ELEMENTS_BYTES_MAX} bytes of trackers, companions and the like"
    assert (fault.key, fault.reason) == ("creatives[0]", reason)
    assert read({"impression_urls": long[:16]}).elements.impression_urls == tuple(long[:16])
