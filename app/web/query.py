"""The query string of an ad request: read once, checked, and turned into an AdRequest."""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes
from uuid import UUID

from app.domain import AdRequest, VastVersion
from app.errors import InvalidRequest

QUERY_BYTES_MAX = 16_384
POD_SIZE_MAX = 20
DURATION_MAX_S = 21_600

ID_LENGTH_MAX = 128
TEXT_LENGTH_MAX = 256
URL_LENGTH_MAX = 4096
CONSENT_LENGTH_MAX = 8192

REQUEST_ID = re.compile(r"[A-Za-z0-9._~:-]{1,128}", re.ASCII)
_COUNTRY = re.compile(r"[A-Za-z]{2,3}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

Check = Callable[[str], str | None]
"""What is wrong with a value, as a sentence fragment; None if nothing is."""


def _matches(pattern: re.Pattern[str], rule: str) -> Check:
    return lambda value: None if pattern.fullmatch(value) else rule


def _one_of(*words: str) -> Check:
    return lambda value: None if value in words else f"must be one of {', '.join(words)}"


def _whole_number(least: int, most: int) -> Check:
    def check(value: str) -> str | None:
        fine = value.isascii() and value.isdigit() and len(value) <= 9 and least <= int(value) <= most
        return None if fine else f"must be a whole number from {least} to {most}"

    return check


def _address(value: str) -> str | None:
    try:
        ip_address(value)
    except ValueError:
        return "must be an IP address"
    return None


def _uuid(value: str) -> str | None:
    try:
        UUID(value)
    except ValueError:
        return "must be a UUID"
    return None


_FLAG = _one_of("0", "1")
_DURATION = _whole_number(1, DURATION_MAX_S)

PARAMETERS: Mapping[str, tuple[int, Check | None]] = {
    "campaign_id": (ID_LENGTH_MAX, None),
    "placement_id": (ID_LENGTH_MAX, None),
    "user_id": (ID_LENGTH_MAX, None),
    "device_id": (ID_LENGTH_MAX, None),
    "publisher_id": (ID_LENGTH_MAX, None),
    "session_id": (ID_LENGTH_MAX, _uuid),
    "request_id": (
        ID_LENGTH_MAX,
        _matches(REQUEST_ID, "must be 1 to 128 letters, digits and any of the characters . _ ~ : -"),
    ),
    "ip": (TEXT_LENGTH_MAX, _address),
    "ua": (1024, None),
    "page_url": (URL_LENGTH_MAX, None),
    "app_bundle": (TEXT_LENGTH_MAX, None),
    "ifa": (ID_LENGTH_MAX, None),
    "lmt": (1, _FLAG),
    "gdpr": (1, _FLAG),
    "gdpr_consent": (CONSENT_LENGTH_MAX, None),
    "gpp": (CONSENT_LENGTH_MAX, None),
    "gpp_sid": (TEXT_LENGTH_MAX, None),
    "us_privacy": (TEXT_LENGTH_MAX, None),
    "coppa": (1, _FLAG),
    "country": (3, _matches(_COUNTRY, "must be a country code of two or three letters")),
    "device_type": (TEXT_LENGTH_MAX, None),
    "content_genre": (TEXT_LENGTH_MAX, None),
    "min_duration_s": (9, _DURATION),
    "max_duration_s": (9, _DURATION),
    "vast_version": (4, _one_of(*VastVersion)),
    "pod_size": (9, _whole_number(1, POD_SIZE_MAX)),
    "pod_duration_s": (9, _DURATION),
    "unwrap": (1, _FLAG),
}
"""Every parameter of an ad request: its longest value in characters, and what else it must be."""


_NAMES: Mapping[bytes, str] = {name.encode(): name for name in PARAMETERS}
"""The parameters' names as they stand in a query string when nobody has encoded them."""

_NUMBERS = ("min_duration_s", "max_duration_s", "pod_size", "pod_duration_s")
_VERSIONS: Mapping[str, VastVersion] = {version.value: version for version in VastVersion}


def read_query(query: bytes) -> dict[str, str]:
    """The known parameters of a query string; unknown ones, such as a player's cache buster, are passed over.

    Raises InvalidRequest for one that stands there twice, is not UTF-8, or breaks its rule. An empty value counts as
    none.
    """
    if len(query) > QUERY_BYTES_MAX:
        raise InvalidRequest("query", f"must not be longer than {QUERY_BYTES_MAX} bytes")
    values: dict[str, str] = {}
    for pair in query.split(b"&"):
        raw_name, _, raw_value = pair.partition(b"=")
        name = _NAMES.get(raw_name) or _unquoted(raw_name).decode(errors="replace")
        if name not in PARAMETERS:
            continue
        value = _decoded(raw_value, name)
        if not value:
            continue
        if name in values:
            raise InvalidRequest(name, "must not be there twice")
        values[name] = value
    check(values)
    return values


def _unquoted(raw: bytes) -> bytes:
    return unquote_to_bytes(raw.replace(b"+", b" ")) if b"%" in raw or b"+" in raw else raw


def _decoded(raw: bytes, name: str) -> str:
    try:
        return _unquoted(raw).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(name, "must be UTF-8") from None


def check(values: Mapping[str, str]) -> None:
    """Raises InvalidRequest for a value that breaks its parameter's rule."""
    for name, value in values.items():
        length_max, check_value = PARAMETERS[name]
        if len(value) > length_max:
            raise InvalidRequest(name, f"must not be longer than {length_max} characters")
        if not value.isprintable() and _CONTROL.search(value):
            raise InvalidRequest(name, "must not have control characters")
        if check_value is not None and (wrong := check_value(value)) is not None:
            raise InvalidRequest(name, wrong)


def ad_request(values: Mapping[str, str], *, identifiable: bool = True, stitched: bool = False) -> AdRequest:
    """The request that checked values amount to; where the user is not `identifiable`, it has nobody's id.

    `stitched` says that it came from a server, as does a request to unwrap.

    Raises InvalidRequest for values that do not go together.
    """
    if ("campaign_id" in values) == ("placement_id" in values):
        both = "campaign_id" in values
        raise InvalidRequest(
            "campaign_id", "and placement_id must not both be there" if both else "or placement_id must be there"
        )
    numbers = {name: int(values[name]) for name in _NUMBERS if name in values}
    shortest, longest = numbers.get("min_duration_s"), numbers.get("max_duration_s")
    if shortest is not None and longest is not None and shortest > longest:
        raise InvalidRequest("min_duration_s", "must not be more than max_duration_s")
    pod_duration_s = numbers.get("pod_duration_s")
    if pod_duration_s is not None and shortest is not None and shortest > pod_duration_s:
        raise InvalidRequest("min_duration_s", "must not be more than pod_duration_s")
    session_id = values.get("session_id")
    return AdRequest(
        campaign_id=values.get("campaign_id"),
        placement_id=values.get("placement_id"),
        user_id=values.get("user_id") if identifiable else None,
        device_id=values.get("device_id") if identifiable else None,
        publisher_id=values.get("publisher_id"),
        session_id=UUID(session_id) if session_id is not None and identifiable else None,
        request_id=values.get("request_id"),
        vast_version=_VERSIONS[values.get("vast_version", VastVersion.V4_2)],
        pod_size=numbers.get("pod_size", 1),
        pod_duration_s=pod_duration_s,
        min_duration_s=shortest,
        max_duration_s=longest,
        values=values,
        identifiable=identifiable,
        stitched=stitched or values.get("unwrap") == "1",
    )
