"""A small file of places, in the format of GeoLite2 City."""

from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

NETWORKS: dict[str, dict[str, Any]] = {
    "198.51.100.0/24": {
        "country": {"iso_code": "US"},
        "subdivisions": [{"iso_code": "CA"}],
        "city": {"names": {"en": "San Diego"}},
        "location": {"time_zone": "America/Los_Angeles"},
    },
    "203.0.113.0/24": {"country": {"iso_code": "DE"}, "location": {"time_zone": "Europe/Berlin"}},
    "2001:db8::/32": {"country": {"iso_code": "FR"}},
}


def write_places(path: Path, networks: dict[str, dict[str, Any]] = NETWORKS) -> Path:
    """Write the file and return its path."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City")
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), record)
    new = path.with_suffix(".new")
    writer.to_db_file(str(new))
    new.rename(path)
    return path
