import json
import weakref
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import URL_BYTES_MAX
from app.errors import UnusableVast
from app.vast.macro_sources import BRACED, BRACKETED, FIELDS, MacroContext
from app.vast.macros import cache_key, expand, expand_untrusted
from app.version import VERSION
from tests.unit.vast.conftest import REFERENCE, needs_reference

REQUEST_ID = "0199f3a0-0000-7000-8000-000000000001"
CONTEXT = MacroContext(
    values={
        "user_id": "u/1",
        "device_id": "d",
        "session_id": "s",
        "ip": "2001:db8::1",
        "ifa": "i",
        "ua": "TV [1.0]",
        "page_url": "https://example.com/a?b=c&d=é",
        "gpp_sid": "2,6",
        "coppa": "0",
        "gdpr": "1",
        "vast_version": "4.2",
        "lmt": "1",
        "gdpr_consent": "CO.x",
        "pod_size": "3",
        "max_duration_s": "30",
    },
    timestamp=datetime(2026, 1, 17, 8, 15, 7, 127_456, tzinfo=timezone(timedelta(hours=-5))),
    cachebusting="01234567",
    correlator="42",
    request_id=REQUEST_ID,
)
NOBODY = replace(CONTEXT, withhold_identity=True)
UNKNOWN = MacroContext({}, datetime(2026, 1, 1, tzinfo=UTC), "00000000", "1", "named by a player")


@needs_reference
def test_every_macro_of_the_standard_has_a_source():
    assert REFERENCE is not None
    listed = {macro["name"] for macro in json.loads((REFERENCE / "macros-data.json").read_text())["macros"]}
    assert len(listed) > 50
    assert listed == set(BRACKETED) - {"CORRELATOR", "REQUESTID"}


@pytest.mark.parametrize(
    ("macro", "value"),
    [
        ("[TIMESTAMP]", "2026-01-17T08%3A15%3A07.127-05%3A00"),
        ("[CACHEBUSTING]", "01234567"),
        ("[CORRELATOR]", "42"),
        ("[REQUESTID]", REQUEST_ID),
        ("[TRANSACTIONID]", REQUEST_ID),
        ("[PAGEURL]", "https%3A%2F%2Fexample.com%2Fa%3Fb%3Dc%26d%3D%C3%A9"),
        ("[DOMAIN]", "example.com"),
        ("[DEVICEUA]", "TV%20%5B1.0%5D"),
        ("[DEVICEIP]", "2001%3Adb8%3A%3A1"),
        ("[IFA]", "i"),
        ("[LIMITADTRACKING]", "1"),
        ("[REGULATIONS]", "gdpr"),
        ("[GDPRCONSENT]", "CO.x"),
        ("[GPPSECTIONID]", "2,6"),
        ("[VASTVERSIONS]", "13,14"),
        ("[ADCOUNT]", "3"),
        ("[BREAKMAXADLENGTH]", "30"),
        ("[SERVERSIDE]", "1"),
        ("[ADTYPE]", "video"),
        ("[SERVERUA]", f"adserver%2F{VERSION}"),
        ("[LATLONG]", "-1"),
        ("[STOREID]", "-1"),
        ("{user_id}", "u%2F1"),
        ("{tmax}", "250"),
        ("{country}", "-1"),
    ],
)
def test_a_macro_is_filled_from_the_request(macro, value):
    assert expand(f"https://u.example/?a={macro}&b=1", CONTEXT, {"tmax": "250"}) == f"https://u.example/?a={value}&b=1"


@pytest.mark.parametrize("macro", ["[IFA]", "[DEVICEIP]", "{user_id}", "{device_id}", "{session_id}", "{ip}", "{ifa}"])
def test_identifying_values_are_withheld_where_identification_is_not_allowed(macro):
    assert expand(macro, NOBODY) == "-2"
    assert expand(macro, replace(UNKNOWN, withhold_identity=True)) == "-1"


def test_values_that_do_not_identify_the_viewer_are_not_withheld():
    assert expand("[DOMAIN]|[DEVICEUA]|[LIMITADTRACKING]|[GDPRCONSENT]", NOBODY) == "example.com|TV%20%5B1.0%5D|1|CO.x"


@pytest.mark.parametrize("macro", [f"[{name}]" for name in BRACKETED] + [f"{{{name}}}" for name in BRACED])
def test_no_macro_is_left_in_a_url_and_none_breaks_it(macro):
    for context in (CONTEXT, NOBODY, UNKNOWN):
        value = expand(macro, context)
        assert value
        assert not set(value) & set("[]{}&=?# /")


@pytest.mark.parametrize(
    "text", ["[nothing]", "[UNHEARD]", "[CACHE BUSTING]", "[[", "]", "{x}", "{USER_ID}", "[]", "%5BIFA%5D"]
)
def test_brackets_that_are_no_macro_stay(text):
    assert expand(f"https://u.example/{text}", CONTEXT) == f"https://u.example/{text}"


def test_a_macro_may_stand_in_brackets():
    assert expand("[[CACHEBUSTING]]{{user_id}}", CONTEXT) == "[01234567]{u%2F1}"


def test_a_value_is_not_expanded_again():
    context = replace(CONTEXT, values={"user_id": "[CACHEBUSTING]{ifa}", "ifa": "secret"})
    assert expand("{user_id}", context) == "%5BCACHEBUSTING%5D%7Bifa%7D"


def test_an_untrusted_url_gets_standard_macros_but_no_fields():
    url = "https://u.example/?" + "&".join(f"{{{name}}}" for name in (*FIELDS, "request_id", "tmax"))
    assert expand_untrusted(url, CONTEXT, {"tmax": "250"}) == url
    assert expand_untrusted("[CACHEBUSTING].[IFA].[ERRORCODE]", NOBODY, {"ERRORCODE": "303"}) == "01234567.-2.303"


@pytest.mark.parametrize(
    "url",
    [
        "https://u.example/?" + "x" * URL_BYTES_MAX,
        "https://u.example/?" + "é" * (URL_BYTES_MAX // 2),
        "https://u.example/?" + "[PAGEURL]" * 1000,
    ],
    ids=["as it came", "as it came, in UTF-8", "with its macros replaced"],
)
def test_an_untrusted_url_that_is_too_long_is_unusable(url):
    with pytest.raises(UnusableVast, match=str(URL_BYTES_MAX)):
        expand_untrusted(url, CONTEXT)


def test_an_untrusted_url_may_be_as_long_as_a_configured_one():
    url = "https://u.example/?[IFA]&"
    longest = url + "x" * (URL_BYTES_MAX - len(url))
    assert expand_untrusted(longest, CONTEXT) == longest.replace("[IFA]", "i")


def test_an_untrusted_url_is_not_cached():
    class Url(str):
        """One that can be watched."""

    url = Url("https://u.example/?[IFA]")
    left = weakref.ref(url)
    expand_untrusted(url, CONTEXT)
    del url
    assert left() is None


def test_requests_that_differ_only_in_varying_macros_share_a_cache_key():
    url = "https://u.example/?a=[CACHEBUSTING][TIMESTAMP][CORRELATOR][REQUESTID][TRANSACTIONID]{request_id}{tmax}&b={country}"
    other = replace(CONTEXT, cachebusting="9", correlator="9", request_id="9", timestamp=UNKNOWN.timestamp)
    assert cache_key(url, CONTEXT) == cache_key(url, other)
    elsewhere = replace(CONTEXT, values={**CONTEXT.values, "country": "DE"})
    assert cache_key(url, CONTEXT) != cache_key(url, elsewhere)


@given(st.text(max_size=300))
def test_any_value_arrives_as_it_was(value):
    written = expand("{user_id}", replace(CONTEXT, values={"user_id": value}))
    encodable = value.encode(errors="replace").decode()
    assert written.isascii()
    assert unquote(written) == (encodable or "-1")
