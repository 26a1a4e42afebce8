"""Creatives with a tag in a campaign file."""

from decimal import Decimal
from typing import Any

import pytest

from app.campaign_file.exporter import to_entry
from app.campaign_file.parser import read_draft
from app.domain import Creative

TAG_URL = "https://ads.agency.example/vast?cb=[CACHEBUSTING]&id={ID}"
TAG = {"id": "agency", "campaign_id": "spring", "title": "Agency", "duration_s": 15, "vast_tag_url": TAG_URL}
FILE = {"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 1280, "height": 720}
NO_ELEMENT = "must be left out with vast_tag_url: a Wrapper has no such element"


def faults(entry: dict[str, Any]) -> list[tuple[str, str]]:
    return [(fault.key, fault.reason) for fault in read_draft("test.toml", {"creatives": [entry]}).faults]


def read(entry: dict[str, Any]) -> Creative:
    (creative,) = read_draft("test.toml", {"creatives": [entry]}).items
    assert isinstance(creative, Creative)
    return creative


@pytest.mark.parametrize(
    "keys",
    [{}, {"follow_additional_wrappers": False, "fallback_on_no_ad": True, "impression_urls": ["https://t.example/"]}],
)
def test_a_creative_with_a_tag_is_read_and_exported(keys: dict[str, Any]) -> None:
    creative = read(TAG | keys)
    assert (creative.vast_tag_url, creative.media_files, creative.duration_s) == (TAG_URL, (), Decimal(15))
    assert to_entry(creative).items() >= (TAG | keys).items()
    assert read(to_entry(creative)) == creative


@pytest.mark.parametrize(
    ("keys", "key", "reason"),
    [
        ({"media_files": [FILE]}, "media_files", "must be left out with vast_tag_url"),
        ({"vast_tag_url": None}, "media_files", "is required without vast_tag_url"),
        ({"click_through": "https://acme.example/"}, "click_through", NO_ELEMENT),
        ({"skip_offset_s": 0}, "skip_offset_s", NO_ELEMENT),
        ({"universal_ad_id": "1"}, "universal_ad_id", NO_ELEMENT),
        ({"mezzanine_url": "https://acme.example/a.mov"}, "mezzanine_url", NO_ELEMENT),
        ({"description": "Agency"}, "description", NO_ELEMENT),
        ({"ad_parameters": "a=b"}, "ad_parameters", NO_ELEMENT),
        ({"interactive": {"url": "https://acme.example/"}}, "interactive", NO_ELEMENT),
        ({"universal_ad_ids": [{"id": "1", "registry": "ad-id.org"}]}, "universal_ad_ids", NO_ELEMENT),
        (
            {"vast_tag_url": None, "media_files": [FILE], "fallback_on_no_ad": True},
            "fallback_on_no_ad",
            "requires vast_tag_url",
        ),
        ({"follow_additional_wrappers": "yes"}, "follow_additional_wrappers", "must be true or false, got 'yes'"),
        ({"duration_s": None}, "duration_s", "is required"),
    ],
)
def test_what_does_not_go_with_a_tag_is_named(keys: dict[str, Any], key: str, reason: str) -> None:
    entry = {name: value for name, value in (TAG | keys).items() if value is not None}
    assert faults(entry) == [(f"creatives[0].{key}", reason)]


def test_a_tag_that_is_no_url_is_one_fault() -> None:
    assert faults(TAG | {"vast_tag_url": "vast"}) == [
        ("creatives[0].vast_tag_url", "must be an absolute URL that starts with http:// or https://")
    ]
