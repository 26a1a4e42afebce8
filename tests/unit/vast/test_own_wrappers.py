"""Own creatives with a tag: Wrappers with this server's trackers and those of others."""

from dataclasses import replace

import pytest
from lxml import etree

from app.domain import (
    AdVerification,
    Companion,
    Event,
    Icon,
    JavaScriptResource,
    Tracker,
    TrackingEvent,
    VastElements,
    VastVersion,
    ViewableImpression,
)
from app.vast.own_ads import own_ad, own_document, vast_document
from app.vast.parser import parse
from tests.unit.vast.conftest import BASE_URL, TOKENS, VALUES, lint_errors, needs_reference, schema_faults, texts
from tests.unit.vast.creatives import ADVERTISER, PLAIN

VERSIONS = list(VastVersion)
TAG_URL = "https://ads.agency.example/vast?cb=[CACHEBUSTING]&ts={ts}&a=b"
THEIRS = "https://third.example"
TAG = replace(PLAIN, media_files=(), vast_tag_url=TAG_URL)
FULL = replace(
    TAG,
    follow_additional_wrappers=False,
    fallback_on_no_ad=True,
    elements=VastElements(
        impression_urls=(f"{THEIRS}/impression",),
        error_urls=(f"{THEIRS}/error?code=[ERRORCODE]",),
        click_tracking_urls=(f"{THEIRS}/click",),
        tracking=(
            Tracker(TrackingEvent.COMPLETE, f"{THEIRS}/complete"),
            Tracker(TrackingEvent.PROGRESS, f"{THEIRS}/progress", "7.5"),
            Tracker(TrackingEvent.LOADED, f"{THEIRS}/loaded"),
        ),
        viewable_impression=ViewableImpression(viewable=(f"{THEIRS}/viewable",)),
        ad_verifications=(AdVerification("third.example-omid", (JavaScriptResource(f"{THEIRS}/omid.js"),)),),
        companions=(
            Companion(
                width=300,
                height=250,
                static_url=f"{THEIRS}/banner.png",
                static_type="image/png",
                click_through=f"{THEIRS}/landing",
                click_tracking_urls=(f"{THEIRS}/banner-click",),
                creative_view_urls=(f"{THEIRS}/banner-view",),
            ),
        ),
        icons=(
            Icon(
                program="AdChoices",
                width=20,
                height=20,
                x_position="right",
                y_position="top",
                static_url=f"{THEIRS}/icon.png",
                static_type="image/png",
                click_through=f"{THEIRS}/choices",
            ),
        ),
    ),
)


def rendered(creative, version):
    return own_document(creative, ADVERTISER, version, BASE_URL).render(VALUES)


@needs_reference
@pytest.mark.parametrize("creative", [TAG, FULL], ids=["plain", "full"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrapper_is_valid_for_its_version_alone_and_in_a_pod(version, creative):
    ad = own_ad(creative, ADVERTISER, version, BASE_URL).render(VALUES)
    for document in (rendered(creative, version), vast_document(version, [ad])):
        assert schema_faults(document) == []
        assert lint_errors(document) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrapper_leads_to_the_tag_as_it_is_written(version):
    assert texts(rendered(TAG, version), "VASTAdTagURI") == [TAG_URL]
    assert texts(rendered(TAG, version), "MediaFile") == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrapper_has_the_trackers_of_this_server_and_those_of_others(version):
    document = rendered(FULL, version)
    assert texts(document, "Impression") == [
        f"{BASE_URL}/event/impression?t={TOKENS['impression']}",
        f"{THEIRS}/impression",
    ]
    own_error = f"{BASE_URL}/event/error?t={TOKENS['error']}&code=[ERRORCODE]"
    theirs = [f"{THEIRS}/error?code=[ERRORCODE]"] if version >= VastVersion.V4_0 else []
    assert texts(document, "Error") == [own_error, *theirs]
    assert texts(document, "ClickTracking") == [f"{BASE_URL}/event/click?t={TOKENS['click']}", f"{THEIRS}/click"]
    tracking = {found.text for found in etree.fromstring(document).iter("{*}Tracking")}
    events = (Event.START, Event.FIRST_QUARTILE, Event.MIDPOINT, Event.THIRD_QUARTILE, Event.COMPLETE)
    assert {f"{BASE_URL}/event/{event}?t={TOKENS[event]}" for event in events} < tracking
    assert f"{THEIRS}/complete" in tracking
    assert (f"{THEIRS}/progress" in tracking) == (version >= VastVersion.V3_0)
    assert (f"{THEIRS}/loaded" in tracking) == (version >= VastVersion.V4_1)


@pytest.mark.parametrize("version", VERSIONS)
def test_attributes_are_in_the_versions_that_have_them(version):
    is_4 = version >= VastVersion.V4_0
    (wrapper,) = etree.fromstring(rendered(FULL, version)).iter("{*}Wrapper")
    expected = {"followAdditionalWrappers": "false", "allowMultipleAds": "false", "fallbackOnNoAd": "true"}
    assert dict(wrapper.attrib) == (expected if is_4 else {})
    (wrapper,) = etree.fromstring(rendered(TAG, version)).iter("{*}Wrapper")
    assert dict(wrapper.attrib) == ({"allowMultipleAds": "false"} if is_4 else {})


@pytest.mark.parametrize("version", VERSIONS)
def test_players_and_this_server_itself_find_a_wrapper_in_it(version):
    (ad,) = parse(rendered(FULL, version)).playable_ads
    assert ad.is_wrapper
