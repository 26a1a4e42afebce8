"""Normalization of the parameters of an ad request: to their obvious meaning, or as absent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.privacy import identification_allowed
from app.web.parameters import PARAMETERS, REQUIRED_IDS, read_flag, read_parameter
from app.web.query import ParameterReader, ad_request, read_query
from tests.unit.web.test_placeholders import IDS, MACROS, NO_VALUES, SHARED

OPTIONAL = [name for name in PARAMETERS if name not in REQUIRED_IDS]
FLAGS = ("lmt", "gdpr", "gpc", "coppa", "unwrap")
SECONDS = ("min_duration_s", "max_duration_s", "pod_duration_s")
IDENTIFYING = ("user_id", "device_id", "ifa", "session_id", "request_id")
ID = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"


@pytest.mark.parametrize("name", IDENTIFYING)
@pytest.mark.parametrize("value", [*MACROS, *NO_VALUES, *SHARED])
def test_an_id_that_many_share_is_as_if_it_were_not_there(name: str, value: str) -> None:
    assert read_parameter(name, value) is None


@pytest.mark.parametrize("value", IDS)
def test_an_id_is_used_as_it_is(value: str) -> None:
    assert read_parameter("user_id", f" {value} ") == value


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("value", [*MACROS, "-2", "null", "undefined", "{}", "[]", " ", "\t", "+"])
def test_no_parameter_is_read_from_a_placeholder(name: str, value: str) -> None:
    assert read_parameter(name, value) is None


@pytest.mark.parametrize("name", [name for name in OPTIONAL if name != "gpp_sid"])
def test_minus_one_is_unknown(name: str) -> None:
    assert read_parameter(name, "-1") is None


def test_minus_one_says_that_no_gpp_section_applies() -> None:
    assert read_parameter("gpp_sid", "-1") == "-1"


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize(
    ("value", "read"),
    [
        *((word, "1") for word in ("1", "true", "True", "TRUE", "yes", "on", "Y", "t", "1.0", "01", " 1")),
        *((word, "0") for word in ("0", "false", "False", "no", "off", "N", "f", "0.0", "00")),
        *((word, None) for word in ("2", "-1", "-2", "maybe", "truee", "1,0", "", "10", "\u0661", "1" * 40)),
    ],
)
def test_a_flag_is_read_in_every_spelling(name: str, value: str, read: str | None) -> None:
    assert read_parameter(name, value) == read


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize(
    ("value", "read"),
    [
        *(("30", "30"), ("30.0", "30"), ("30.9", "30"), ("0.5", "1"), ("030", "30"), ("30s", "30"), ("30.", "30")),
        *(
            (word, None)
            for word in ("0", "0.0", "-1", "-2", "-30", "60000", "1e3", "half", "1,5", "٣", "9" * 40, "NaN")
        ),
        *(("1", "1"), ("21600", "21600"), ("21601", None)),
    ],
)
def test_a_length_is_whole_seconds_and_0_is_no_limit(name: str, value: str, read: str | None) -> None:
    assert read_parameter(name, value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [("3", "3"), ("3.0", "3"), ("21", "20"), ("1000000", "20"), ("0", None), ("-1", None), ("many", None)],
)
def test_the_size_of_a_pod_is_at_most_what_one_may_be(value: str, read: str | None) -> None:
    assert read_parameter("pod_size", value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [("2", "2"), ("3.0", "3"), ("21", "20"), ("1", None), ("0", None), ("-1", None), ("all", None)],
)
def test_a_pod_may_have_a_least_number_of_ads(value: str, read: str | None) -> None:
    assert read_parameter("min_ads", value) == read


def test_a_pod_has_room_for_its_least_number_of_ads() -> None:
    values = {"placement_id": "p", "min_ads": "9"}
    assert ad_request(values).min_ads == 1
    assert ad_request(values | {"pod_size": "4"}).min_ads == 4


@pytest.mark.parametrize(("value", "read"), [("apart", "apart"), ("Together", "together"), ("0", None), ("near", None)])
def test_competitors_are_apart_or_together(value: str, read: str | None) -> None:
    assert read_parameter("competitors", value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *(("US", "US"), ("us", "us"), ("USA", "US"), ("usa", "US"), ("GBR", "GB"), ("UK", "GB"), ("DEU", "DE")),
        *(("CHE", "CH"), ("ROU", "RO"), ("SRB", "RS"), ("MNE", "ME"), ("EL", "GR"), ("XKX", "XK"), (" fr ", "fr")),
        *((word, None) for word in ("Germany", "D1", "-1", "840", "ZZZ", "U", "ÄÖ", "U S")),
    ],
)
def test_a_country_has_one_code(value: str, read: str | None) -> None:
    assert read_parameter("country", value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *((value, value) for value in ("2.0", "3.0", "4.0", "4.1", "4.2")),
        *(("2", "2.0"), ("3", "3.0"), ("4", "4.2"), ("1.0", "2.0"), ("2.5", "2.0"), ("3.1", "3.0")),
        *(("4.3", "4.2"), ("5", "4.2"), ("5.0", "4.2"), ("4.2.0", "4.2"), ("4_2", "4.2"), ("04.02", "4.2")),
        *(("v4.1", "4.1"), ("VAST 3.0", "3.0"), ("vast3", "3.0"), ("2.0,3.0,4.1", "4.1"), ("4.1, 3.0", "4.1")),
        *((word, None) for word in ("latest", "-1", "-2", "", "[VASTVERSIONS]", "four")),
    ],
)
def test_a_version_is_read_in_every_spelling(value: str, read: str | None) -> None:
    assert read_parameter("vast_version", value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *(("203.0.113.9, 198.51.100.7", "203.0.113.9"), ("203.0.113.9,198.51.100.7", "203.0.113.9")),
        *(("unknown, 203.0.113.9", "203.0.113.9"), ("203.0.113.9 198.51.100.7", "203.0.113.9")),
        *(("203.0.113.9:443", "203.0.113.9"), ("[2001:db8::7]", "2001:db8::7"), ("[2001:db8::7]:443", "2001:db8::7")),
        *(("2001:DB8:0::7", "2001:db8::7"), ("::ffff:203.0.113.9", "203.0.113.9"), ("fe80::1%eth0", "fe80::1")),
        *(('"[2001:db8::7]:443"', "2001:db8::7"), (" 203.0.113.9 ", "203.0.113.9")),
        *(
            (word, None)
            for word in ("unknown", "1.2.3", "0.0.0.0", "::", "-1", "localhost", "203.0.113.9/24", ",,", "1")
        ),
    ],
)
def test_an_address_is_the_first_of_a_list_without_its_port(value: str, read: str | None) -> None:
    assert read_parameter("ip", value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [(ID, ID), (ID.upper(), ID), (ID.replace("-", ""), ID), (f"{{{ID}}}", ID), ("s", None), ("x" * 200, None)],
)
def test_a_session_is_a_uuid(value: str, read: str | None) -> None:
    assert read_parameter("session_id", value) == read


def test_a_request_id_that_cannot_be_echoed_has_a_hash_in_its_place() -> None:
    odd = ["a b", "ä", "x" * 129, "a\nb", f"{{{ID}}}", "a/b"]
    read = [read_parameter("request_id", value) for value in odd]
    assert len(set(read)) == len(odd)
    assert all(value is not None and value.isalnum() and len(value) == 32 for value in read)
    assert read == [read_parameter("request_id", value) for value in odd]
    assert read_parameter("request_id", "r-1") == "r-1"


@pytest.mark.parametrize("name", ["user_id", "device_id", "ifa", "publisher_id", "device_type", "content_genre"])
@pytest.mark.parametrize(
    "character", ["\x00", "\n", "\x7f", "\u0085", "\u061c", "\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069"]
)
def test_what_controls_a_terminal_or_the_direction_of_text_is_in_no_value(name: str, character: str) -> None:
    assert read_parameter(name, f"a{character}b") is None


@pytest.mark.parametrize("name", REQUIRED_IDS)
@pytest.mark.parametrize("value", ["a\x00b", "a\u202eb", "x" * 129])
def test_what_is_asked_for_is_named_rightly_or_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_parameter(name, value)
    assert refused.value.field == name


@pytest.mark.parametrize(
    "longest", [("user_id", 128), ("publisher_id", 128), ("page_url", 4096), ("app_bundle", 256), ("device_type", 256)]
)
def test_a_value_that_is_too_long_is_as_if_it_were_not_there(longest: tuple[str, int]) -> None:
    name, length = longest
    assert read_parameter(name, "x" * length) == "x" * length
    assert read_parameter(name, "x" * (length + 1)) is None


def test_a_user_agent_is_cut_off() -> None:
    assert read_parameter("ua", "x" * 2000) == "x" * 1024


@pytest.mark.parametrize("name", ["gdpr_consent", "gpp", "us_privacy"])
@pytest.mark.parametrize("value", ["x" * 9000, "1YNN\x00", "\u202e1YNN"])
def test_a_consent_that_cannot_be_read_is_no_consent(name: str, value: str) -> None:
    read = read_parameter(name, value)
    assert read is not None
    assert not identification_allowed({name: read})


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("user_id=[UUID]&user_id=alice", {"user_id": "alice"}),
        ("user_id=alice&user_id=bob", {"user_id": "alice"}),
        ("user_id=alice&user_id=-1", {"user_id": "alice"}),
        ("lmt=0&lmt=1", {"lmt": "1"}),
        ("lmt=1&lmt=0", {"lmt": "1"}),
        ("unwrap=0&unwrap=1", {"unwrap": "0"}),
        ("country=USA&country=US", {"country": "US"}),
        ("placement_id=a&placement_id=a", {"placement_id": "a"}),
        ("user_id=-2", {"lmt": "1"}),
        ("ifa=-2", {"lmt": "1"}),
        ("ifa=00000000-0000-0000-0000-000000000000", {"lmt": "1"}),
        ("device_id=00000000000000000000000000000000&lmt=0", {"lmt": "1"}),
        ("device_id=00000000-0000-0000-0000-000000000000&user_id=alice", {"user_id": "alice"}),
        ("device_id=0", {}),
        ("user_id=-2&lmt=0", {"lmt": "1"}),
        ("device_id=-2&user_id=alice", {"user_id": "alice"}),
        ("ip=-2&user_id=alice", {"user_id": "alice"}),
        ("user_id=%%ADVERTISING_IDENTIFIER_PLAIN%%", {}),
        ("device_id=%%DEVICE_ID%%&content_genre=Caf%C3%A9", {"content_genre": "Café"}),
        ("content_genre=Caf%E9", {"content_genre": "Café"}),
        ("user_id=%FF", {"user_id": "ÿ"}),
        ("user_id=%ED%A0%80", {}),
        ("user_id=a%00b", {}),
        ("=x&&cb=1&cb=2&%FF=1", {}),
    ],
)
def test_a_query_is_read(query: str, values: dict[str, str]) -> None:
    assert read_query(query.encode()) == values


@pytest.mark.parametrize("query", ["campaign_id=a&campaign_id=b", "placement_id=a&%70lacement_id=b"])
def test_a_request_for_two_things_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequest, match="must not be repeated with different values"):
        read_query(query.encode())


@pytest.mark.parametrize("value", ["-1", "[CAMPAIGN]", "{campaign_id}"])
def test_of_campaign_and_placement_one_may_be_a_placeholder(value: str) -> None:
    target = ad_request({"campaign_id": value, "placement_id": "preroll"})
    assert (target.campaign_id, target.placement_id) == (None, "preroll")
    target = ad_request({"campaign_id": "acme", "placement_id": value})
    assert (target.campaign_id, target.placement_id) == ("acme", None)


def test_the_names_of_what_was_ignored_are_known() -> None:
    reader = ParameterReader()
    for name, text in (("user_id", "[UUID]"), ("lmt", ""), ("country", "Mars"), ("gdpr", "1")):
        reader.add(name, text)
    assert reader.ignored == ["user_id", "country"]
    assert reader.finish() == {"gdpr": "1"}


def test_a_flag_outside_the_ad_request_is_read_likewise() -> None:
    assert [read_flag(text) for text in ("1", "true", " yes ", "0", "no", "", "2")] == [True] * 3 + [False] * 4


anything = st.text(max_size=40) | st.text("[]{}%$0123456789-_. aA,:", max_size=40)


@given(st.dictionaries(st.sampled_from(OPTIONAL), anything))
def test_no_optional_value_is_an_error_and_what_was_read_is_read_again_as_it_is(values: dict[str, str]) -> None:
    reader = ParameterReader()
    for name, text in values.items():
        reader.add(name, text)
    read = reader.finish()
    for name, text in read.items():
        assert read_parameter(name, text) == text or text == "?"
