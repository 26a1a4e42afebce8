"""What own documents pass on: in each version, as much as its schema has."""

from dataclasses import replace

import pytest
import vastlint
from lxml import etree

from app.domain import Event, TrackingEvent, VastElements, VastVersion
from app.vast.own_ads import own_ad, own_document, vast_document
from app.vast.tracking_events import event_name
from tests.unit.vast.conftest import (
    BASE_URL,
    REFERENCE,
    SCHEMA_FILES,
    TOKENS,
    VALUES,
    lint_errors,
    needs_reference,
    schema_faults,
    texts,
)
from tests.unit.vast.creatives import ADVERTISER, ELEMENTS, EVERYTHING, PLAIN, urls

VERSIONS = list(VastVersion)
XS = {"xs": "http://www.w3.org/2001/XMLSchema"}
of_4_2 = VastVersion.V4_2


def rendered(creative=EVERYTHING, version=of_4_2, base_url=BASE_URL) -> bytes:
    return own_document(creative, ADVERTISER, version, base_url).render(VALUES)


def with_only(key: str, creative=PLAIN):
    return replace(creative, elements=VastElements(**{key: getattr(ELEMENTS, key)}))


@needs_reference
@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_with_everything_is_valid(version):
    document = rendered(version=version)
    assert schema_faults(document) == []
    assert lint_errors(document) == []


@needs_reference
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("key", VastElements.__dataclass_fields__)
def test_a_document_with_one_key_is_valid(key, version):
    document = rendered(with_only(key), version)
    assert schema_faults(document) == []
    assert lint_errors(document) == []


@needs_reference
@pytest.mark.parametrize("version", VERSIONS)
def test_a_pod_with_everything_is_valid(version):
    ad = own_ad(EVERYTHING, ADVERTISER, version, BASE_URL).render(VALUES)
    assert schema_faults(vast_document(version, [ad, ad])) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_linter_warns_of_nothing_in_everything_over_https(version):
    found = vastlint.validate(rendered(version=version, base_url="https://ads.example")).issues
    assert [issue.id for issue in found if issue.severity == "warning"] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_creative_with_nothing_more_is_its_film_alone(version):
    is_4, root = version >= VastVersion.V4_0, etree.fromstring(rendered(PLAIN, version))
    tags = [etree.QName(element).localname for element in root.iter() if etree.QName(element).localname != "Tracking"]
    assert sorted(tags) == sorted(
        [
            *("VAST", "Ad", "InLine", "AdSystem", "AdTitle", "Error", "Impression", "Creatives", "Creative", "Linear"),
            *("Duration", "TrackingEvents", "MediaFiles", "MediaFile"),
            *(["Advertiser"] if version > VastVersion.V2_0 else []),
            *(["UniversalAdId"] if is_4 else []),
            *(["AdServingId"] if version >= VastVersion.V4_1 else []),
        ]
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_own_trackers_come_first_and_stay_complete(version):
    document = rendered(version=version)
    assert texts(document, "Impression") == [
        f"{BASE_URL}/event/impression?t={TOKENS[Event.IMPRESSION]}",
        *urls("impression"),
    ]
    own = [found.text for found in etree.fromstring(document).iter("{*}Tracking") if BASE_URL in found.text]
    assert len(own) == (9 if version == VastVersion.V2_0 else 10)
    assert texts(document, "ClickTracking") == list(urls("click"))


def test_trackers_keep_their_macros_for_the_player():
    template = own_document(EVERYTHING, ADVERTISER, of_4_2, BASE_URL)
    assert (
        template.placeholders
        == own_document(replace(EVERYTHING, elements=VastElements()), ADVERTISER, of_4_2, BASE_URL).placeholders
    )
    assert b"https://third.example/impression?n=1st&cb=[CACHEBUSTING]" in rendered()


@needs_reference
@pytest.mark.parametrize("version", VERSIONS)
def test_the_events_of_a_version_are_those_of_its_schema(version):
    schema = etree.parse(REFERENCE / "xsd" / SCHEMA_FILES[version])
    known = set(schema.xpath("(//xs:attribute[@name='event']//xs:enumeration[1]/..)[1]/*/@value", namespaces=XS))
    written = {event_name(event, version) for event in TrackingEvent} - {None}
    assert written <= known
    # Those that no linear ad has, or that have no equal in VAST 4.2.
    assert known - written <= {"acceptInvitation", "timeSpentViewing"}


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_progress_has_its_offset(version):
    found = [
        element.get("offset")
        for element in etree.fromstring(rendered(version=version)).iter("{*}Tracking")
        if element.get("event") == "progress"
    ]
    assert found == ["00:00:07.500", "00:00:07.500", "33.3%"]


@pytest.mark.parametrize("version", VERSIONS)
def test_verification_is_where_players_of_the_version_look_for_it(version):
    root = etree.fromstring(rendered(version=version))
    (verifications,) = root.iter("{*}AdVerifications")
    parent = verifications.getparent()
    if version >= VastVersion.V4_1:
        assert etree.QName(parent).localname == "InLine"
    else:
        assert (etree.QName(parent).localname, parent.get("type")) == ("Extension", "AdVerifications")
    script = next(verifications.iter("{*}JavaScriptResource"))
    assert (script.get("apiFramework"), script.get("browserOptional")) == ("omid", "true")
    assert [found.text for found in verifications.iter("{*}VerificationParameters")] == ['{"campaign": "1 & 2"}'] * 2


def test_universal_ad_ids_follow_the_first_one():
    assert texts(rendered(), "UniversalAdId") == ["CNPA0484000H", "CLC-1st", "CLC-2nd"] * 2, "film and companions"
    assert texts(rendered(with_only("universal_ad_ids")), "UniversalAdId") == ["CLC-1st", "CLC-2nd"]
    for version, attribute in (("2.0", "AdID"), ("3.0", "AdID"), ("4.0", "adId"), ("4.2", "adId")):
        root = etree.fromstring(rendered(with_only("universal_ad_ids"), VastVersion(version)))
        assert next(root.iter("{*}Creative")).get(attribute) == "CLC-1st"


@pytest.mark.parametrize("version", VERSIONS)
def test_companions_are_in_a_creative_after_that_of_the_film(version):
    film, companions = etree.fromstring(rendered(with_only("companions"), version)).iter("{*}Creative")
    assert list(film.iter("{*}Linear"))
    assert [companion.get("width") for companion in companions.iter("{*}Companion")] == ["300", "728", "728"]
