"""Accepted values of each key of a campaign file, and the faults of others."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from app.campaign_file.parser import read_draft
from app.domain import URL_BYTES_MAX, Advertiser, Publisher
from tests.unit.campaign_file.examples import document, faults_of, spoiled

EVERY = "must be a number of minutes, hours or days such as '90 minutes', at most 366 days"
AMOUNT = 'must be an amount such as "12.50"'
SHARE = 'must be a share such as "0.70"'
BETWEEN_0_AND_1 = "must be between 0 and 1"
URL = "must be an absolute URL that starts with http:// or https://"
CONTROL = "must not contain control characters"
REPEAT_EVERY = "must be hh:mm:ss or hh:mm:ss.mmm, more than 0"
TIME_OFFSET = "must be start, end, hh:mm:ss, hh:mm:ss.mmm, n% or #n"
MOMENT = "must be a date and time such as 2026-01-31T00:00:00Z"

FAULTS = [
    ("campaigns[0].id", "", "must not be empty"),
    ("campaigns[0].id", "x" * 129, "must have at most 128 characters"),
    ("campaigns[0].id", "a\x00b", CONTROL),
    ("campaigns[0].id", "a/b", "must not contain a slash"),
    ("campaigns[0].id", " a", "must not start or end with a space"),
    ("campaigns[0].id", 7, "must be a string"),
    ("campaigns[0].id", ..., "is required"),
    ("campaigns[0].advertiser", "A\x9fB", CONTROL),
    ("campaigns[0].advertiser", "A\ud800", CONTROL),
    ("campaigns[0].advertiser", "x" * 257, "must have at most 256 characters"),
    ("campaigns[0].status", "running", "must be 'active', 'paused' or 'ended', got 'running'"),
    ("campaigns[0].direct", "yes", "must be true or false, got 'yes'"),
    ("campaigns[0].direct", 1, "must be true or false"),
    ("campaigns[0].currency", "XXX", "must be an ISO 4217 currency code such as USD, got 'XXX'"),
    ("campaigns[0].currency", "usd", "must be an ISO 4217 currency code such as USD, got 'usd'"),
    ("campaigns[0].currency", "DEM", "must be an ISO 4217 currency code such as USD, got 'DEM'"),
    ("campaigns[0].timezone", "Mars/Base", "must be an IANA timezone such as Europe/Berlin, got 'Mars/Base'"),
    ("campaigns[0].timezone", "utc+2", "must be an IANA timezone such as Europe/Berlin, got 'utc+2'"),
    ("campaigns[0].starts_at", datetime(2026, 1, 1), "must have a UTC offset, such as Z"),
    ("campaigns[0].starts_at", date(2026, 1, 1), MOMENT),
    ("campaigns[0].starts_at", "tomorrow", MOMENT),
    ("campaigns[0].starts_at", 1_767_225_600, MOMENT),
    ("campaigns[0].starts_at", datetime(1, 1, 1, tzinfo=UTC), "must be between the years 1970 and 2999"),
    ("campaigns[0].starts_at", "1970-01-01T00:00:00+14:00", "must be between the years 1970 and 2999"),
    ("campaigns[0].ends_at", "2999-12-31T23:00:00-05:00", "must be between the years 1970 and 2999"),
    ("campaigns[0].starts_at", "0001-01-01T00:00:00+14:00", "must be between the years 1970 and 2999"),
    ("campaigns[0].ends_at", datetime(2026, 1, 1, tzinfo=UTC), "must be after starts_at"),
    ("campaigns[0].ends_at", datetime(2025, 1, 1, tzinfo=UTC), "must be after starts_at"),
    ("campaigns[0].ends_at", ..., "is required"),
    ("campaigns[0].cpm", "-0.01", "must not be negative"),
    ("campaigns[0].cpm", Decimal(-1), "must not be negative"),
    ("campaigns[0].cpm", "1.0001", "must have at most three decimals"),
    ("campaigns[0].cpm", Decimal("1.0001"), "must have at most three decimals"),
    ("campaigns[0].cpm", Decimal("1E+999999999"), "must be less than 1,000,000,000,000"),
    ("campaigns[0].cpm", 10**12, "must be less than 1,000,000,000,000"),
    ("campaigns[0].cpm", 1.5, AMOUNT),
    ("campaigns[0].cpm", Decimal("NaN"), AMOUNT),
    ("campaigns[0].cpm", Decimal("Infinity"), AMOUNT),
    ("campaigns[0].cpm", True, AMOUNT),
    ("campaigns[0].cpm", "2,50", f"{AMOUNT}, got '2,50'"),
    ("campaigns[0].cpm", "1e3", f"{AMOUNT}, got '1e3'"),
    ("campaigns[0].cpm", "", f"{AMOUNT}, got ''"),
    ("campaigns[0].budgets.day", "-100.00", "must not be negative"),
    ("campaigns[0].budgets.day", "0.0000001", "must have at most six decimals"),
    ("campaigns[0].budgets.day", {}, "must have amount, impressions or both"),
    ("campaigns[0].budgets.day", ["100.00"], AMOUNT),
    ("campaigns[0].budgets.week", "100.00", "unknown key"),
    ("campaigns[0].budgets", "100.00", "must be a table"),
    ("campaigns[0].frequency_caps[0].impressions", 0, "must be at least 1"),
    ("campaigns[0].frequency_caps[0].impressions", True, "must be an integer"),
    ("campaigns[0].frequency_caps[0].impressions", "3", "must be an integer, got '3'"),
    (
        "campaigns[0].frequency_caps[0].per",
        "year",
        "must be 'minute', 'hour', 'day', 'week', 'month', 'lifetime' or 'session', got 'year'",
    ),
    (
        "campaigns[0].frequency_caps",
        [{"impressions": 3, "per": "day"}, {"impressions": 5, "per": "day"}],
        "per 'day' must not be repeated",
    ),
    (
        "campaigns[0].frequency_caps",
        [
            {"impressions": 3, "every": "1 day", "level": "advertiser"},
            {"impressions": 5, "every": "1 days", "level": "advertiser"},
        ],
        "every '1 day' of level 'advertiser' must not be repeated",
    ),
    ("campaigns[0].frequency_caps[0]", {"impressions": 3}, "must have either per or every"),
    (
        "campaigns[0].frequency_caps[0]",
        {"impressions": 3, "per": "day", "every": "1 day"},
        "must have either per or every",
    ),
    ("campaigns[0].frequency_caps[0].every", "0 days", EVERY),
    ("campaigns[0].frequency_caps[0].every", "367 days", EVERY),
    ("campaigns[0].frequency_caps[0].every", "1 week", EVERY),
    ("campaigns[0].frequency_caps[0].every", "90", EVERY),
    ("campaigns[0].frequency_caps[0].every", "1.5 hours", EVERY),
    (
        "campaigns[0].frequency_caps[0].level",
        "site",
        "must be 'creative', 'campaign', 'order' or 'advertiser', got 'site'",
    ),
    ("campaigns[0].frequency_caps", "3", "must be a list"),
    ("campaigns[0].billing", "seen", "must be 'serve', 'impression', 'click' or 'complete', got 'seen'"),
    ("campaigns[0].hold_ttl_s", 0, "must be at least 1"),
    ("campaigns[0].color", "red", "unknown key"),
    ("campaigns[0].targeting", {"countries": ["Germany"]}, ...),
    ("campaigns[1].upstreams", ["primary", "primary"], "'primary' must not be repeated"),
    ("upstreams[0].tag_url", "ftp://ads.example/vast", URL),
    ("upstreams[0].tag_url", "//ads.example/vast", URL),
    ("upstreams[0].tag_url", "http://", URL),
    ("upstreams[0].tag_url", "http://ads.example:99999/vast", URL),
    ("upstreams[0].tag_url", "http://ads.example/a b", URL),
    ("upstreams[0].tag_url", "http://ads.example/\n", CONTROL),
    ("upstreams[0].tag_url", "http://[::1/vast", URL),
    ("upstreams[0].timeout_ms", 0, "must be at least 1"),
    ("upstreams[0].timeout_ms", 30_001, "must be at most 30000"),
    ("upstreams[0].max_qps", 0, "must be at least 1"),
    ("upstreams[0].cache_ttl_s", -1, "must be at least 0"),
    ("upstreams[0].hedge", "yes", "must be true or false, got 'yes'"),
    ("creatives[0].title", "", "must not be empty"),
    ("creatives[0].title", "a\ufffeb", CONTROL),
    ("creatives[0].title", "a\u202eb", "must not contain U+202E, which changes the direction of text"),
    ("campaigns[0].id", "spring\u200f", "must not contain U+200F, which changes the direction of text"),
    ("campaigns[0].advertiser", "\u2066Acme\u2069", "must not contain U+2066, which changes the direction of text"),
    ("placements[0].publisher_id", "p\u061c", "must not contain U+061C, which changes the direction of text"),
    ("creatives[0].duration_s", 0, "must be at least 1"),
    ("creatives[0].duration_s", Decimal("0.999"), "must be at least 1"),
    ("creatives[0].duration_s", Decimal("21600.001"), "must be at most 21600"),
    ("creatives[0].duration_s", Decimal("29.9701"), "must have at most three decimals"),
    ("creatives[0].duration_s", 29.97, "must be a number of seconds such as 29.97"),
    ("creatives[0].duration_s", "00:00:30", "must be a number of seconds such as 29.97, got '00:00:30'"),
    ("creatives[0].skip_offset_s", 16, "must not exceed duration_s"),
    ("creatives[0].weight", 0, "must be at least 1"),
    ("creatives[0].media_files", [], "is required without vast_tag_url"),
    ("creatives[0].media_files[0].type", "mp4", "must be a media type such as video/mp4, got 'mp4'"),
    ("creatives[0].media_files[0].width", 0, "must be at least 1"),
    ("creatives[0].media_files[0].height", ..., "is required, except for audio"),
    ("creatives[0].media_files[0].width", ..., "is required, except for audio"),
    ("creatives[0].media_files[0].type", "audio/mpeg", ...),
    ("creatives[0].media_files[0].delivery", "carrier", "must be 'progressive' or 'streaming', got 'carrier'"),
    ("creatives[0].click_through", "javascript:alert(1)", URL),
    ("campaigns[0].priority", 0, "must be at least 1"),
    ("campaigns[0].priority", 11, "must be at most 10"),
    ("campaigns[0].weight", 0, "must be at least 1"),
    ("campaigns[0].weight", 1001, "must be at most 1000"),
    ("campaigns[0].categories", ["483", "483"], "'483' must not be repeated"),
    ("campaigns[0].categories", [str(number) for number in range(21)], "must have at most 20 entries"),
    ("placements[0].blocked_advertisers", ["Acme", "Acme"], "'Acme' must not be repeated"),
    ("placements[0].campaigns", "all", "must be a list or \"targeted\", got 'all'"),
    ("placements[0].campaigns", None, 'must be a list or "targeted"'),
    ("placements[0].campaigns", [], "must not be empty"),
    ("placements[0].campaigns", ["spring", "spring"], "'spring' must not be repeated"),
    ("placements[0].ad_breaks[0].time_offset", "00:00:61", f"{TIME_OFFSET}, got '00:00:61'"),
    ("placements[0].ad_breaks[0].pod_size", 21, "must be at most 20"),
    ("placements[0].ad_breaks[0].min_ads", 2, "must not exceed pod_size"),
    ("placements[0].ad_breaks[0].repeat_every", "00:00:00", f"{REPEAT_EVERY}, got '00:00:00'"),
    ("placements[0].ad_breaks[0].repeat_every", "10m", f"{REPEAT_EVERY}, got '10m'"),
    ("placements[0].ad_breaks[0].break_type", "overlay", "must be 'linear', 'nonlinear' or 'display', got 'overlay'"),
    ("placements[0].ad_breaks[0].competitors", "far", "must be 'apart' or 'together', got 'far'"),
    ("campaigns[0].ads_per_pod", 0, "must be at least 1"),
    (
        "campaigns[1].ads_per_pod",
        2,
        "must be 1 for a campaign with upstreams",
    ),
    ("creatives[0].position", "second", "must be 'first', 'last' or 'any', got 'second'"),
    (
        "placements[0].ad_breaks",
        [{"id": "pre", "time_offset": "start"}, {"id": "pre", "time_offset": "end"}],
        "id 'pre' must not be repeated",
    ),
    ("publishers[0].requests_per_s", 0, "must be at least 1"),
    ("publishers[0].requests_per_s", ..., ...),
    ("publishers[0].name", "", "must not be empty"),
    ("publishers[0].name", "TV\nLtd.", CONTROL),
    ("publishers[0].revenue_share", "1.0001", BETWEEN_0_AND_1),
    ("publishers[0].revenue_share", Decimal(2), BETWEEN_0_AND_1),
    ("publishers[0].revenue_share", "-0.1", BETWEEN_0_AND_1),
    ("publishers[0].revenue_share", "0.12345", "must have at most four decimals"),
    ("publishers[0].revenue_share", 0.5, SHARE),
    ("publishers[0].revenue_share", True, SHARE),
    ("publishers[0].revenue_share", Decimal("NaN"), SHARE),
    ("publishers[0].revenue_share", "70%", f"{SHARE}, got '70%'"),
    ("advertisers[0].id", "", "must not be empty"),
    ("advertisers[0].id", "x" * 257, "must have at most 256 characters"),
    ("advertisers[0].name", "x" * 257, "must have at most 256 characters"),
    ("advertisers[0].name", "Acme\u202e", "must not contain U+202E, which changes the direction of text"),
    ("advertisers[0].billing_details", "", "must not be empty"),
    ("advertisers[0].billing_details", "\r\n\n", "must not be empty"),
    ("advertisers[0].billing_details", "Acme\n1 Main\x0bStreet", CONTROL),
    ("advertisers[0].billing_details", "Acme\r1 Main Street", CONTROL),
    ("advertisers[0].billing_details", "x" * 10_241, "must have at most 10240 characters"),
    ("orders[0].id", "a/b", "must not contain a slash"),
    ("orders[0].advertiser", ..., "is required"),
    ("orders[0].currency", ..., "is required"),
    ("orders[0].currency", "usd", "must be an ISO 4217 currency code such as USD, got 'usd'"),
    ("orders[0].starts_at", "tomorrow", MOMENT),
    ("orders[0].ends_at", datetime(2026, 1, 1, tzinfo=UTC), "must be after starts_at"),
    ("orders[0].budget", "-1", "must not be negative"),
    ("orders[0].budget", "0.0000001", "must have at most six decimals"),
    ("orders[0].impressions", -1, "must be at least 0"),
    ("orders[0].impressions", 10**12 + 1, "must be at most 1000000000000"),
    ("orders[0].prepaid", "yes", "must be true or false, got 'yes'"),
    ("orders[0].purchase_order", "x" * 257, "must have at most 256 characters"),
    ("orders[0].budgets", {}, "unknown key"),
    ("campaigns[0].order", "a/b", "must not contain a slash"),
]


@pytest.mark.parametrize(
    ("key", "value", "reason"), [(key, value, reason) for key, value, reason in FAULTS if reason is not ...]
)
def test_a_fault_is_told_with_its_key_and_reason(key: str, value: object, reason: str) -> None:
    assert [(fault.key, fault.reason) for fault in faults_of(spoiled(key, value))] == [(key, reason)]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("amount", "a lot", f"{AMOUNT}, got 'a lot'"),
        ("impressions", -1, "must be at least 0"),
        ("impressions", 10**12 + 1, "must be at most 1000000000000"),
        ("impressions", "10", "must be an integer, got '10'"),
        ("impressions", True, "must be an integer"),
        ("installs", 10, "unknown key"),
    ],
)
def test_a_fault_within_a_budget_is_told_with_its_key(key: str, value: object, reason: str) -> None:
    (fault,) = faults_of(spoiled("campaigns[0].budgets.day", {"amount": "1", key: value}))
    assert (fault.key, fault.reason) == (f"campaigns[0].budgets.day.{key}", reason)


@pytest.mark.parametrize("share", ["0", "0.0000", "1", "1.0000", "0.1234", Decimal("0.5"), 0, 1])
def test_a_revenue_share_is_a_part(share: str | Decimal | int) -> None:
    draft = read_draft("test.toml", spoiled("publishers[0].revenue_share", share))
    publisher = draft.items[0]
    assert isinstance(publisher, Publisher)
    assert (draft.faults, publisher.revenue_share) == ((), Decimal(share))


@pytest.mark.parametrize("written", ["Acme\n1 Main Street", "\nAcme\r\n1 Main Street\n"])
def test_billing_details_have_lines(written: str) -> None:
    draft = read_draft("test.toml", spoiled("advertisers[0].billing_details", written))
    advertiser = draft.items[1]
    assert isinstance(advertiser, Advertiser)
    assert (draft.faults, advertiser.billing_details) == ((), "Acme\n1 Main Street")


def test_a_burst_needs_a_rate() -> None:
    (fault,) = faults_of(spoiled("publishers[0].requests_per_s", ...))
    assert (fault.key, fault.reason) == ("publishers[0].burst", "requires requests_per_s")


def test_a_country_is_a_code() -> None:
    (fault,) = faults_of(spoiled("campaigns[0].targeting", {"countries": ["de", "Germany"]}))
    assert fault.key == "campaigns[0].targeting.countries[1]"
    assert fault.reason == "must be a country code of two or three letters, got 'Germany'"


@pytest.mark.parametrize("key", ["countries", "device_types", "content_genres"])
def test_a_word_of_targeting_in_upper_and_in_lower_case_stands_there_twice(key: str) -> None:
    (fault,) = faults_of(spoiled("campaigns[0].targeting", {key: ["TV", "tv"]}))
    assert (fault.key, fault.reason) == (f"campaigns[0].targeting.{key}", "'tv' must not be repeated")


@pytest.mark.parametrize("key", ["campaigns[0].categories", "placements[0].blocked_categories"])
@pytest.mark.parametrize("category", ["IAB2 3", "", "x" * 33])
def test_what_is_no_id_of_a_category_is_refused(key: str, category: str) -> None:
    (fault,) = faults_of(spoiled(key, ["483", category]))
    assert fault.key == f"{key}[1]"
    assert fault.reason.startswith("must be an id of an IAB content taxonomy, such as IAB2-3 or 483, got '")


def test_of_a_url_bytes_are_counted() -> None:
    url = "https://é.example/"
    longest = url + "x" * (URL_BYTES_MAX - len(url.encode()))
    assert not faults_of(spoiled("creatives[0].click_through", longest))
    (fault,) = faults_of(spoiled("creatives[0].click_through", longest + "x"))
    assert fault.reason == f"must have at most {URL_BYTES_MAX} bytes"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("campaigns[0].cpm", "0"),
        ("campaigns[0].cpm", 0),
        ("campaigns[0].cpm", Decimal("2500.125")),
        ("campaigns[0].cpm", "999999999999.999"),
        ("campaigns[0].budgets.day", "0.000001"),
        ("campaigns[0].budgets.day", {"impressions": 0}),
        ("campaigns[0].budgets.day", {"amount": "0", "impressions": 10**12}),
        ("campaigns[0].budgets", {}),
        ("campaigns[0].starts_at", "2026-01-01T00:00:00+02:00"),
        ("campaigns[0].id", "x" * 128),
        ("campaigns[0].id", "Kampagne Frühling 🌷"),
        ("creatives[0].title", 'Tom & "Jerry" <b>]]></b>'),
        ("creatives[0].skip_offset_s", 15),
        ("upstreams[0].max_qps", 1),
        ("placements[0].ad_breaks[0].time_offset", "50%"),
        ("placements[0].campaigns", "targeted"),
        ("placements[0].blocked_advertisers", ["Acme"]),
        ("placements[0].blocked_categories", [f"IAB{number}" for number in range(1000)]),
        ("campaigns[0].categories", [str(number) for number in range(20)]),
        ("campaigns[0].priority", 10),
        ("campaigns[0].weight", 1000),
    ],
)
def test_a_value_at_the_edge_is_fine(key: str, value: object) -> None:
    assert not faults_of(spoiled(key, value))


@pytest.mark.parametrize(
    ("targeting", "reason"),
    [
        ({"os": ["ios"], "not": {"os": ["IOS"]}}, "os has 'ios', which not.os has too"),
        ({"countries": ["USA"], "not": {"countries": ["US"]}}, "countries has 'us', which not.countries has too"),
        ({"kv": {"a": ["x"]}, "not": {"kv": {"a": ["x"]}}}, "kv.a has 'x', which not.kv.a has too"),
    ],
)
def test_targeting_that_contradicts_itself_is_refused(targeting, reason):
    (fault,) = faults_of(spoiled("campaigns[0].targeting", targeting))
    assert fault.key == "campaigns[0].targeting"
    assert reason in fault.reason


SATURDAYS = {"dayparts": [{"days": ["sat"], "from_hour": 18, "until_hour": 19}]}
FLIGHTS = [
    # 2026-02-07 is a Saturday; its hour from 18 in New York begins at 23:00 UTC.
    (datetime(2026, 2, 2, tzinfo=UTC), datetime(2026, 2, 7, 23, tzinfo=UTC), SATURDAYS, False),
    (datetime(2026, 2, 2, tzinfo=UTC), datetime(2026, 2, 7, 23, 0, 1, tzinfo=UTC), SATURDAYS, True),
    (datetime(2026, 2, 8, tzinfo=UTC), datetime(2026, 2, 8, 0, 5, tzinfo=UTC), SATURDAYS, False),
    (datetime(2026, 2, 7, 23, 59, tzinfo=UTC), datetime(2026, 2, 9, tzinfo=UTC), SATURDAYS, True),
    (datetime(2026, 2, 8, tzinfo=UTC), datetime(2026, 2, 15, tzinfo=UTC), SATURDAYS, True),
    (datetime(2026, 2, 8, tzinfo=UTC), datetime(2026, 2, 9, tzinfo=UTC), SATURDAYS | {"daypart_clock": "viewer"}, True),
    (datetime(2026, 2, 8, tzinfo=UTC), datetime(2026, 2, 9, tzinfo=UTC), {}, True),
]


@pytest.mark.parametrize(("starts_at", "ends_at", "targeting", "is_fine"), FLIGHTS)
def test_dayparts_have_a_time_in_the_flight(
    starts_at: datetime, ends_at: datetime, targeting: dict[str, object], is_fine: bool
) -> None:
    changed = document()
    changed["campaigns"][0] |= {"starts_at": starts_at, "ends_at": ends_at, "targeting": targeting}
    refused = ("campaigns[0].targeting", "dayparts have no time between starts_at and ends_at")
    assert [(fault.key, fault.reason) for fault in faults_of(changed)] == ([] if is_fine else [refused])
