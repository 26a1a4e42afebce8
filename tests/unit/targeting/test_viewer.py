"""What is known about a viewer, and which source of it counts most."""

from pathlib import Path

import pytest

from app.domain import Client
from app.targeting.places import PlaceReader
from app.targeting.user_agents import UNKNOWN_AGENT, read_agent
from app.targeting.viewer import UNKNOWN_VIEWER, Viewer, ViewerReader
from tests.places import write_places

US, DE = "198.51.100.7", "203.0.113.7"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 16_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/16.0 Mobile/15E148 Safari/604.1"
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ViewerReader:
    return ViewerReader(PlaceReader(write_places(Path(tmp_path_factory.mktemp("places")) / "places.mmdb")))


def test_a_request_that_tells_nothing_has_an_unknown_viewer(reader: ViewerReader) -> None:
    assert reader.read({}, Client()) == UNKNOWN_VIEWER
    assert ViewerReader().read({}, Client(US)) == UNKNOWN_VIEWER


def test_an_address_and_a_user_agent_tell_where_and_with_what(reader: ViewerReader) -> None:
    assert reader.read({}, Client(US, IPHONE, "de-CH, en;q=0.8")) == Viewer(
        "US", "US-CA", "San Diego", "America/Los_Angeles", "mobile", "ios", "mobile safari", ("de-ch", "en")
    )


SENT = {"country": "fr", "region": "IDF", "city": "Paris", "device_type": "CTV"}


def test_what_anybody_sends_counts_only_where_nothing_is_seen(reader: ViewerReader) -> None:
    seen = reader.read(SENT, Client(US, IPHONE))
    assert (seen.country, seen.region, seen.city, seen.device_type) == ("US", "US-CA", "San Diego", "mobile")
    sent = reader.read(SENT, Client("192.0.2.1"))
    assert (sent.country, sent.region, sent.city, sent.device_type) == ("FR", "FR-IDF", "Paris", "ctv")


def test_what_a_trusted_sender_sends_counts_most(reader: ViewerReader) -> None:
    trusted = Client(US, IPHONE, is_trusted=True)
    viewer = reader.read(SENT, trusted)
    assert (viewer.country, viewer.region, viewer.city, viewer.device_type) == ("FR", "FR-IDF", "Paris", "ctv")
    assert viewer.timezone is None
    assert reader.read({"ip": DE}, trusted).country == "DE"
    assert reader.read({"ip": DE}, Client(US)).country == "US"
    assert reader.read({"ua": "Roku/DVP-12.0"}, trusted).os == "roku"


def test_a_country_that_was_sent_takes_nothing_from_another_place(reader: ViewerReader) -> None:
    viewer = reader.read({"country": "FR"}, Client(US, is_trusted=True))
    assert (viewer.country, viewer.region, viewer.city, viewer.timezone) == ("FR", None, None, None)


@pytest.mark.parametrize(
    ("region", "expected"),
    [("CA", "US-CA"), ("us-ca", "US-CA"), ("FR-IDF", None), ("California", None), ("", None), ("-", None)],
)
def test_a_region_belongs_to_its_country(region: str, expected: str | None) -> None:
    assert ViewerReader().read({"country": "US", "region": region}, Client()).region == expected
    assert ViewerReader().read({"region": region}, Client()).region is None


@pytest.mark.parametrize(
    ("header", "languages"),
    [
        ("en-US,en;q=0.9,de;q=0.95", ("en-us", "de", "en")),
        ("*", ()),
        ("de;q=0, en", ("en",)),
        ("de;q=none", ()),
        ("x" * 5000, ()),
        (",".join(["aa"] * 100), ("aa",) * 8),
    ],
)
def test_languages_come_in_the_order_of_their_weight(header: str, languages: tuple[str, ...]) -> None:
    assert ViewerReader().read({}, Client(None, None, header)).languages == languages
    assert ViewerReader().read({"language": header}, Client(None, None, "it")).languages == languages


WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
TIZEN = "Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) SamsungBrowser/2.2 Chrome/63.0 TV Safari/537.36"


@pytest.mark.parametrize(
    ("user_agent", "agent"),
    [
        (IPHONE, ("mobile", "ios", "mobile safari")),
        ("Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X)", ("tablet", "ios", "mobile safari ui/wkwebview")),
        (f"Mozilla/5.0 (Linux; Android 9; AFTMM Build/PS7233) {WEBKIT}", ("ctv", "android", "android")),
        (f"Mozilla/5.0 (Linux; Android 12; SM-T970) {WEBKIT} Chrome/100.0", ("tablet", "android", "chrome")),
        ("Mozilla/5.0 (Linux; Android 13; Pixel 7) Chrome/116.0.0.0 Mobile", ("mobile", "android", "chrome mobile")),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/120.0", ("desktop", "windows", "chrome")),
        (TIZEN, ("ctv", "tizen", "samsung internet")),
        ("Mozilla/5.0 (Web0S; Linux/SmartTV) Chrome/79.0.1.2 WebAppManager", ("ctv", "web0s", "chrome")),
        ("Roku/DVP-12.0 (12.0.0 build 4182-88)", ("ctv", "roku", "roku")),
        ("AppleTV11,1/11.1", ("ctv", "atv os x", None)),
        ("python-httpx/0.28", UNKNOWN_AGENT),
        ("", UNKNOWN_AGENT),
    ],
)
def test_a_user_agent_tells_the_device(user_agent: str, agent: tuple[str | None, ...]) -> None:
    assert read_agent(user_agent) == agent
