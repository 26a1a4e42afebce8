import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.privacy.identification import identification_allowed
from tests.unit.privacy.strings import canada, fibonacci, gpp, tc_string, us_section

GRANTED = tc_string([1, 2, 7])
REFUSED = tc_string([])


def test_without_any_signal_users_are_told_apart():
    assert identification_allowed({})
    assert identification_allowed({"lmt": "0", "coppa": "0", "gdpr": "0", "us_privacy": "1---", "gpp_sid": "-1"})


@pytest.mark.parametrize("name", ["lmt", "coppa"])
def test_a_child_or_a_limited_device_is_not(name):
    assert not identification_allowed({name: "1", "gdpr": "1", "gdpr_consent": GRANTED})


@pytest.mark.parametrize(
    ("consent", "legitimate", "allowed"),
    [
        ((1, 2), (), True),
        ((1,), (2,), True),
        ((1,), (), False),
        ((2,), (), False),
        ((2,), (1,), False),
        ((), (1, 2), False),
        ((3, 4, 5, 6, 7, 8, 9, 10), (2,), False),
    ],
)
def test_under_gdpr_purpose_1_needs_consent_and_purpose_2_consent_or_legitimate_interest(consent, legitimate, allowed):
    assert identification_allowed({"gdpr": "1", "gdpr_consent": tc_string(consent, legitimate)}) is allowed


def test_purpose_1_that_was_not_asked_about_is_no_consent():
    assert not identification_allowed({"gdpr": "1", "gdpr_consent": tc_string([2], one_treatment=True)})


def test_a_consent_string_counts_unless_gdpr_does_not_apply():
    assert not identification_allowed({"gdpr_consent": REFUSED})
    assert identification_allowed({"gdpr_consent": GRANTED})
    assert identification_allowed({"gdpr": "0", "gdpr_consent": REFUSED})
    assert not identification_allowed({"gdpr": "1"})


def test_the_strings_of_real_consent_platforms_are_read():
    everything = "CPokAsAPokAsABEACBENC7CgAP_AAAAAACiQIEQAAAAA"
    assert identification_allowed({"gdpr": "1", "gdpr_consent": everything})
    assert identification_allowed({"gdpr": "1", "gdpr_consent": f"{everything}.YAAAAAAAAAA"})
    nothing = "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"
    assert not identification_allowed({"gdpr": "1", "gdpr_consent": nothing})
    assert not identification_allowed({"gpp": f"DBABM~{nothing}"})
    assert identification_allowed({"gpp": "DBABLA~BVQqAAAAAAJY.QA", "gpp_sid": "7"})
    assert not identification_allowed({"gpp": "DBABLA~BVQqAAAAAAJY.YA", "gpp_sid": "7"})


@pytest.mark.parametrize(
    "consent",
    [
        *("x", "1", "ü", "%", "A" * 8192, GRANTED[:35], GRANTED.lower(), tc_string([1, 2], version=1)),
        *(f" {GRANTED}", f"{GRANTED[:10]}!{GRANTED[10:]}", "\x00" + GRANTED[1:], f".{GRANTED}"),
    ],
)
def test_a_string_that_cannot_be_read_is_no_consent(consent):
    assert not identification_allowed({"gdpr": "1", "gdpr_consent": consent})


def test_a_string_that_was_cut_off_before_its_purposes_is_no_consent():
    assert not any(identification_allowed({"gdpr": "1", "gdpr_consent": GRANTED[:end]}) for end in range(36))


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        *(("1YNN", True), ("1YNY", True), ("1---", True), ("1NNN", True), ("1ynn", True)),
        *(("1YYN", False), ("1NYY", False), ("1yyn", False)),
        *(("2YNN", False), ("1YN", False), ("", False), ("1YNNN", False), ("yes", False)),
    ],
)
def test_who_opted_out_of_sale_or_says_so_illegibly_is_not_identified(text, allowed):
    assert identification_allowed({"us_privacy": text}) is allowed


def test_the_headers_of_the_specification_are_read():
    granted = tc_string([1, 2])
    assert identification_allowed({"gpp": f"DBABM~{granted}"})
    assert identification_allowed({"gpp": f"DBACNY~{granted}~1YNN"})
    assert not identification_allowed({"gpp": f"DBACNY~{granted}~1YYN"})
    assert identification_allowed({"gpp": f"DBABjw~{canada([1, 2])}~1YNN"})


def test_a_number_in_fibonacci_coding_ends_with_two_ones():
    assert [fibonacci(number) for number in range(1, 8)] == ["11", "011", "0011", "1011", "00011", "10011", "01011"]


@pytest.mark.parametrize(
    ("express", "implied", "allowed"),
    [((1, 2), (), True), ((1,), (2,), True), ((), (1, 2), True), ((1,), (), False), ((2, 3), (3,), False)],
)
def test_in_canada_consent_may_be_implied(express, implied, allowed):
    assert identification_allowed({"gpp": gpp({5: canada(express, implied)})}) is allowed


@pytest.mark.parametrize(
    ("section_id", "notices", "choices"),
    [(7, 6, 3), (11, 4, 2), (18, 4, 2), *((state, 3, 2) for state in (8, 9, 10, 12, 13, 14, 15, 16, 17, 19, 23))],
)
def test_every_opt_out_of_a_us_section_counts(section_id, notices, choices):
    stayed = [1] * notices + [2] * choices
    assert identification_allowed({"gpp": gpp({section_id: us_section(*stayed)})})
    assert identification_allowed({"gpp": gpp({section_id: us_section(*stayed, gpc=False)})})
    assert not identification_allowed({"gpp": gpp({section_id: us_section(*stayed, gpc=True)})})
    for choice in range(notices, notices + choices):
        opted_out = [1 if position == choice else value for position, value in enumerate(stayed)]
        assert not identification_allowed({"gpp": gpp({section_id: us_section(*opted_out)})})


@pytest.mark.parametrize("section_id", [1, 4, 24, 25, 26, 27, 28])
def test_a_section_that_cannot_be_read_allows_nothing_where_it_applies(section_id):
    sections = {6: "1YNN", section_id: us_section(*[2] * 12)}
    assert not identification_allowed({"gpp": gpp(sections)})
    assert identification_allowed({"gpp": gpp(sections), "gpp_sid": "6"})


def test_only_the_sections_that_apply_count():
    text = gpp({2: REFUSED, 7: us_section(*[2] * 12)})
    assert identification_allowed({"gpp": text, "gpp_sid": "7"})
    for applicable in ("2", "2,7", "2_7", "7,2", "8", "7,8", "x", "7,"):
        assert not identification_allowed({"gpp": text, "gpp_sid": applicable}), applicable
    for none in ("-1", "0"):
        assert identification_allowed({"gpp": text, "gpp_sid": none})
    assert not identification_allowed({"gpp_sid": "7"})


@pytest.mark.parametrize(
    "text",
    [
        *("~", "DBABM", "DBABM~", "D", "AAAA~x", "CBABM~x", "DCABM~x", "DBABM~x~y", "DB__" + "_" * 100 + "~x", "Dß~"),
        *("DBABLA~", "DBABLA~B", "DBABLA~B!", "DBABLA~.YA", "DBP_" + "M" * 500, "DBABA" + "V" * 8000 + "~x"),
    ],
)
def test_a_gpp_string_that_cannot_be_read_allows_nothing(text):
    assert not identification_allowed({"gpp": text})


anything = st.text(max_size=200) | st.text("ABDYZ_-~.01", max_size=200)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("gdpr_consent", "gpp", "gpp_sid", "us_privacy"), anything)))
def test_no_string_is_an_error(values):
    assert isinstance(identification_allowed(values), bool)


@pytest.mark.parametrize(
    "values",
    [
        {"gdpr": "1", "gdpr_consent": tc_string([1, 2], lists="1" * 49_000)},
        {"gdpr": "1", "gdpr_consent": GRANTED + "." + "3" * 8000},
        {"gpp": "DBABM~" + tc_string([1, 2], lists="1" * 48_000)},
        {"gpp": "DB" + "V" * 8000},
        {"gpp": "DB__" + "M" * 8000 + "~" * 64},
        {"gpp": gpp({7: "B" + "V" * 8000})},
    ],
    ids=["vendor list", "disclosed vendors", "in gpp", "endless number", "endless header", "long section"],
)
def test_reading_takes_no_longer_than_a_few_milliseconds_whatever_the_sender_wrote(values):
    started = time.process_time()
    for _ in range(100):
        identification_allowed(values)
    assert time.process_time() - started < 1
