"""Places of addresses come from a file that may change while it is in use."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.errors import MisconfiguredServer
from app.targeting.places import UNKNOWN_PLACE, Place, PlaceReader
from app.targeting.reloading import PlaceReloader
from tests.places import write_places


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_places(tmp_path / "places.mmdb")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("198.51.100.7", Place("US", "US-CA", "San Diego", "America/Los_Angeles")),
        ("203.0.113.255", Place("DE", None, None, "Europe/Berlin")),
        ("2001:db8::1", Place("FR")),
        ("192.0.2.1", UNKNOWN_PLACE),
        ("not an address", UNKNOWN_PLACE),
    ],
)
def test_an_address_has_the_place_of_its_network(file: Path, address: str, place: Place) -> None:
    assert PlaceReader(file).find(address) == place


@pytest.mark.parametrize(
    "record",
    [{"country": "US"}, {"subdivisions": []}, {"country": {"iso_code": 7}}, {"city": {"names": {}}}, {"country": {}}],
)
def test_a_record_of_another_shape_tells_nothing(tmp_path: Path, record: dict[str, object]) -> None:
    file = write_places(tmp_path / "odd.mmdb", {"198.51.100.0/24": record})
    assert PlaceReader(file).find("198.51.100.7") == UNKNOWN_PLACE


@pytest.mark.parametrize("content", [b"", b"no MMDB file", b"\xab\xcd\xefMaxMind.com"])
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "places.mmdb"
    file.write_bytes(content)
    with pytest.raises(MisconfiguredServer, match=f"^ADSERVER_GEOIP_FILE: cannot read {file}: ") as error:
        PlaceReader(file)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredServer, match="No such file"):
        PlaceReader(tmp_path / "places.mmdb")


def overwrite(file: Path) -> None:
    file.write_bytes(b"broken")


async def test_a_changed_file_is_read_again(file: Path) -> None:
    places = PlaceReader(file)
    reloader = PlaceReloader(places)
    assert places.find("198.51.100.7").country == "US"
    write_places(file, {"198.51.100.0/24": {"country": {"iso_code": "CA"}}})
    await reloader.check()
    assert places.find("198.51.100.7") == Place("CA")
    assert not places.reload()


async def test_a_file_that_breaks_leaves_the_last_good_one_in_use(file: Path) -> None:
    places = PlaceReader(file)
    overwrite(file)
    with capture_logs() as lines:
        await PlaceReloader(places).check()
    assert [line["event"] for line in lines] == ["place_file_unusable"]
    assert lines[0]["error"].startswith(f"ADSERVER_GEOIP_FILE: cannot read {file}: ")
    assert "\n" not in lines[0]["error"]
    assert places.find("198.51.100.7").country == "US"
    write_places(file, {"198.51.100.0/24": {"country": {"iso_code": "MX"}}})
    await PlaceReloader(places).check()
    assert places.find("198.51.100.7").country == "MX"
