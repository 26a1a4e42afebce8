"""Places of addresses, from a local MMDB file, which is read again when it changes."""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import maxminddb

from app.errors import MisconfiguredServer

CACHED_MAX = 10_000
"""Addresses whose places are remembered."""


class Place(NamedTuple):
    """The place of an address; None for properties that the file does not tell."""

    country: str | None = None
    """ISO 3166-1 alpha-2 code."""
    region: str | None = None
    """ISO 3166-2 code, such as US-CA."""
    city: str | None = None
    """English name."""
    timezone: str | None = None
    """IANA name."""


UNKNOWN_PLACE = Place()


class PlaceReader:
    """Finds the place of an address. Raises MisconfiguredServer if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version: tuple[int, int] | None = None
        self.reload()

    def reload(self) -> bool:
        """Read the file if it has changed, and return whether it has; a file that is none keeps the old one."""
        try:
            status = self.path.stat()
            version = (status.st_mtime_ns, status.st_size)
            if version == self._version:
                return False
            reader = maxminddb.open_database(self.path, maxminddb.MODE_MEMORY)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise MisconfiguredServer(f"ADSERVER_GEOIP_FILE: cannot read {self.path}: {error}") from error
        self._version = version
        self._read = lru_cache(CACHED_MAX)(lambda address: _to_place(reader.get(address)))
        return True

    def find(self, address: str) -> Place:
        """Return the place of an address."""
        try:
            return self._read(address)
        except ValueError:
            # A file of IPv4 networks has no IPv6 address.
            return UNKNOWN_PLACE


def _to_place(record: Any) -> Place:
    """Return the place of a record as GeoIP2 and GeoLite2 files have it; other shapes tell nothing."""
    country = _text(record, "country", "iso_code")
    subdivision = _text(record, "subdivisions", 0, "iso_code")
    return Place(
        country,
        f"{country}-{subdivision}" if country and subdivision else None,
        _text(record, "city", "names", "en"),
        _text(record, "location", "time_zone"),
    )


def _text(record: Any, *path: str | int) -> str | None:
    for step in path:
        try:
            record = record[step]
        except (KeyError, IndexError, TypeError):
            return None
    return record if isinstance(record, str) else None
