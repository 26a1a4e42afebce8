"""docs/campaign-file.md says what of a creative each VAST version carries, and how it names the events."""

import re
import tomllib
from dataclasses import replace
from decimal import Decimal

import pytest

from app.campaign_file.parser import read_draft
from app.domain import Creative, TrackingEvent, VastElements, VastVersion
from app.vast.own_ads import own_document
from app.vast.tracking_events import event_name
from tests.unit.docs.test_campaign_file_page import PAGE
from tests.unit.vast.conftest import VALUES
from tests.unit.vast.creatives import ADVERTISER, ELEMENTS, EVERYTHING, PLAIN

VERSIONS = list(VastVersion)
TABLES = PAGE.partition("### What each VAST version carries")[2].partition("\n## ")[0]
ROWS = {key: cells.split(" | ") for key, cells in re.findall(r"^\| `([\w.]+)` \| (.*) \|$", TABLES, re.MULTILINE)}
KEYS = [key for key in VastElements.__dataclass_fields__ if key != "tracking"]


def document(creative: Creative, version: VastVersion) -> str:
    return own_document(creative, ADVERTISER, version, "http://ads.example").render(VALUES).decode()


def carried(key: str, version: VastVersion) -> str:
    """What the document of a creative with this key alone has of it."""
    content = document(replace(PLAIN, elements=VastElements(**{key: getattr(ELEMENTS, key)})), version)
    if "1st" not in content:
        return "no"
    return "first" if isinstance(getattr(ELEMENTS, key), tuple) and "2nd" not in content else "yes"


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_carried_as_the_page_says(key: str) -> None:
    assert [carried(key, version) for version in VERSIONS] == ROWS[key]


def test_clicks_of_companions_are_tracked_as_the_page_says() -> None:
    tracked = ["companion-click" in document(EVERYTHING, version) for version in VERSIONS]
    assert ["yes" if is_tracked else "no" for is_tracked in tracked] == ROWS["companions.click_tracking_urls"]


@pytest.mark.parametrize("event", TrackingEvent)
def test_every_event_has_the_names_that_the_page_says(event: TrackingEvent) -> None:
    names = [event_name(event, version) for version in VERSIONS]
    assert ["no" if name is None else "yes" if name == event else f"`{name}`" for name in names] == ROWS[event]


def test_the_page_has_no_other_rows() -> None:
    assert ROWS.keys() == {*KEYS, "companions.click_tracking_urls", *TrackingEvent}


def test_the_example_of_a_measured_creative_has_no_fault() -> None:
    (example,) = re.findall(r"```toml\n(\[\[creatives\]\].*?)```", PAGE, re.DOTALL)
    draft = read_draft("example", tomllib.loads(example, parse_float=Decimal))
    (creative,) = draft.items
    assert (draft.faults, isinstance(creative, Creative) and creative.elements != VastElements()) == ((), True)
