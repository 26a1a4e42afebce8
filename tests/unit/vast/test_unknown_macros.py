import pytest

from app.vast.macro_sources import BRACED, BRACKETED
from app.vast.unknown_macros import REPORTED_MAX, unknown_macros


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("[CACHE_BUSTER]", "[CACHEBUSTING]"),
        ("[CACHEBUSTER]", "[CACHEBUSTING]"),
        ("[cachebusting]", "[CACHEBUSTING]"),
        ("[CACHEBUSTNG]", "[CACHEBUSTING]"),
        ("[random]", "[CACHEBUSTING]"),
        ("[timestamp]", "[TIMESTAMP]"),
        ("[GDPR_CONSENT]", "[GDPRCONSENT]"),
        ("[gpp_string]", "[GPPSTRING]"),
        ("[PAGE_URL]", "[PAGEURL]"),
        ("[referrer]", "[PAGEURL]"),
        ("%%CACHEBUSTER%%", "[CACHEBUSTING]"),
        ("%%ADVERTISING_IDENTIFIER_PLAIN%%", "[IFA]"),
        ("%%PATTERN:url%%", None),
        ("${GDPR}", "{gdpr}"),
        ("${gdpr}", "{gdpr}"),
        ("${GDPR_CONSENT_755}", "[GDPRCONSENT]"),
        ("{{device_id}}", "{device_id}"),
        ("{{ user_id }}", "{user_id}"),
        ("{unknown}", None),
        ("{userId}", "{user_id}"),
        ("{GDPR}", "{gdpr}"),
        ("[FOOBARBAZ]", None),
        ("$$IFA$$", "[IFA]"),
        ("__UID__", "{user_id}"),
        ("@@COUNTRY@@", "{country}"),
        ("ROKU_ADS_LIMIT_TRACKING", "[LIMITADTRACKING]"),
        ("%5BCACHEBUSTING%5D", "[CACHEBUSTING]"),
        ("%7Buser_id%7D", "{user_id}"),
    ],
)
@pytest.mark.parametrize(
    "url", ["https://ads.example/vast?a=1&b={}&c=2", "https://ads.example/{}", "https://ads.example/v;x={}"]
)
def test_what_nothing_fills_in_is_found_with_what_to_use_instead(url: str, text: str, instead: str | None) -> None:
    assert list(unknown_macros(url.replace("{}", text))) == [(text, instead)]


@pytest.mark.parametrize(
    "url",
    [
        *(f"https://ads.example/?x=[{name}]" for name in BRACKETED),
        *(f"https://ads.example/?x={{{name}}}" for name in BRACED),
        "http://[2001:db8::1]:8080/vast?cb=[CACHEBUSTING]",
        "https://ads.example/?filter[type]=a&b[]=3&ids[0]=4&deep[a][b]=5",
        "https://ads.example/?f%5Btype%5D=a&g%5B%5D=1",
        "https://ads.example/?c=100%25&d=a__b&e=$5&f={}",
    ],
)
def test_the_list_and_what_is_no_macro_are_fine(url: str) -> None:
    assert list(unknown_macros(url)) == []


def test_each_is_found_once_and_not_too_many() -> None:
    assert list(unknown_macros("https://ads.example/?a=[X]&b=[X]")) == [("[X]", None)]
    many = "&".join(f"a=[FOO{index}]" for index in range(100))
    assert len(list(unknown_macros(f"https://ads.example/?{many}"))) == REPORTED_MAX
