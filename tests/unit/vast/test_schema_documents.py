"""Valid in, valid out: what the server makes of documents drawn from the schemas is valid by them too."""

import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from app.domain import VastVersion
from app.vast.own_ads import vast_document
from app.vast.parser import parse
from app.vast.trackers import document_with_trackers, fragments_with_trackers
from app.vast.wrapper_merge import merge_wrapper, replace_wrappers
from tests.unit.vast.conftest import BASE_URL, SCHEMA_FILES, VALUES, needs_reference, outline, schema_faults
from tests.unit.vast.schema_documents import documents
from tests.unit.vast.test_trackers import is_in_order

VERSIONS = list(SCHEMA_FILES)
LATER = [(earlier, later) for index, earlier in enumerate(VERSIONS) for later in VERSIONS[index + 1 :]]
PAIRS = [(outer, inner) for outer in VERSIONS for inner in VERSIONS]

KINDS = st.sampled_from(["InLine", "Wrapper"])

pytestmark = needs_reference
examples = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

UNAVOIDABLE = {
    "the schema of 4.0 forgot the attributes of a NonLinear; the standard has them, and that of 4.1 requires two": (
        r"NonLinear', attribute '\w+': .* is not allowed|NonLinear': The attribute '(width|height)' is required"
    ),
    "the schemas since 4.0 have no attributes of an Extension but `type`; those of 3.0 are custom content": (
        r"Extension', attribute 'custom': .* is not allowed"
    ),
    "the schemas of 4.0 and 4.1 say themselves that their syntax cannot represent several Icons": (
        r"Icon': This element is not expected"
    ),
    "players report closeLinear; VAST 4.0 left it out and 4.1 took it back": r"attribute 'event': .*'closeLinear'",
}
"""What no conversion can make valid without taking something from a player: why, and what the validator says."""

UNAVOIDABLE_IN_MERGING = {
    "before 4.0 an Ad has one Error; every ad server of a chain is to hear of an error": (
        r"'Error': This element is not expected"
    ),
    "the schema of 3.0 has CompanionClickTracking for the companions of Wrappers only": (
        r"'CompanionClickTracking': This element is not expected"
    ),
}


def left(document: bytes, *unavoidable: dict[str, str]) -> list[str]:
    """The validator's faults but for those."""
    patterns = [pattern for reasons in unavoidable for pattern in reasons.values()]
    return [fault for fault in schema_faults(document) if not any(re.search(pattern, fault) for pattern in patterns)]


def uris(document: bytes) -> Counter[str]:
    """What players call, load and open by the document; without what players of later versions do not read.

    That is the resources of a Wrapper's NonLinear, and what VAST 4.1 removed.
    """
    root = etree.fromstring(document)
    for unread in root.xpath(
        "//*[local-name()='Wrapper']//*[local-name()='NonLinear']/*[local-name()!='NonLinearClickTracking']"
        "|//*[local-name()='Verification']/*[local-name()='FlashResource' or local-name()='ViewableImpression']"
        "|//*[local-name()='Tracking' and @event='timeSpentViewing']"
        "|//*[local-name()='CreativeExtensions']"
    ):
        unread.getparent().remove(unread)
    return Counter(found.text for found in root.iter("*") if (found.text or "").startswith("https://"))


def lasting(document: bytes) -> list:
    """The outline, without what is of each serve: AdServingId and the flag by which a Wrapper leads to one Ad."""
    root = etree.fromstring(document)
    for wrapper in root.iter("{*}Wrapper"):
        wrapper.attrib.pop("allowMultipleAds", "")
    return [line for line in outline(root) if not line[0].endswith("AdServingId")]


@pytest.mark.parametrize("version", VERSIONS)
@examples
@given(data=st.data())
def test_a_document_with_our_trackers_is_valid_and_has_all_it_had(version, data):
    body = data.draw(documents(version, data.draw(KINDS)))
    assert schema_faults(body) == []
    after = document_with_trackers(parse(body), BASE_URL).render(VALUES)
    assert schema_faults(after) == []
    assert is_in_order(lasting(body), lasting(after))


@pytest.mark.parametrize(("version", "later"), LATER)
@examples
@given(data=st.data())
def test_an_ad_in_a_pod_of_a_later_version_is_valid_and_says_as_much(version, later, data):
    body = data.draw(documents(version, data.draw(KINDS), always=("MediaFiles",)))
    ads = [fragment.render(VALUES) for fragment in fragments_with_trackers(parse(body), BASE_URL, VastVersion(later))]
    pod = vast_document(VastVersion(later), ads)
    assert left(pod, UNAVOIDABLE) == []
    assert not uris(body) - uris(pod)


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
@settings(examples, max_examples=10)
@given(data=st.data())
def test_an_unwrapped_ad_is_valid(outer, inner, data):
    wrapping = parse(data.draw(documents(outer, "Wrapper")))
    answer = parse(data.draw(documents(inner, "InLine", always=("MediaFiles",))))
    merged = merge_wrapper(wrapping, wrapping.ads[0], answer, answer.ads)
    spliced = replace_wrappers(wrapping, wrapping.ads, {wrapping.ads[0]: merged})
    body = document_with_trackers(spliced, BASE_URL).render(VALUES)
    assert left(body, UNAVOIDABLE, UNAVOIDABLE_IN_MERGING) == []
