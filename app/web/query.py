"""Parsing of a query string into parameters, and of parameters into an AdRequest."""

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes
from uuid import UUID

from app.domain import KV_NAMES_MAX, KV_PREFIX, AdRequest, Competitors, VastVersion
from app.errors import InvalidRequest
from app.web.parameters import PARAMETERS, REQUIRED_IDS, parameter_name, read_parameter
from app.web.placeholders import is_placeholder, is_withheld

QUERY_BYTES_MAX = 16_384

_NAMES: Mapping[bytes, str] = {name.encode(): name for name in PARAMETERS}
"""Names of the parameters as they are in a query string without percent-encoding."""

_NUMBERS = ("min_duration_s", "max_duration_s", "pod_size", "pod_duration_s", "min_ads")
_VERSIONS: Mapping[str, VastVersion] = {version.value: version for version in VastVersion}
_COMPETITORS: Mapping[str, Competitors] = {value.value: value for value in Competitors}
_VIEWER_IDS = ("user_id", "device_id", "ifa")
_OPT_OUTS = ("lmt", "gdpr", "gpc", "coppa")


class ParameterReader:
    """Collects the parameters of one request in their order."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        """Values of the parameters in normalized form."""
        self.ignored: list[str] = []
        """Names of the parameters whose values were invalid or placeholders."""
        self._is_withheld = False

    def add(self, name: str, text: str) -> None:
        """Read a parameter; if it is repeated, its first valid value counts.

        An opt-out counts if any of its values is set. Raises InvalidRequest for an invalid campaign or placement id,
        or one that is repeated with different values.
        """
        value = None if self._is_one_too_many(name) else read_parameter(name, text)
        if value is None:
            if text:
                self.ignored.append(name)
            if name in _VIEWER_IDS and is_withheld(text):
                self._is_withheld = True
            return
        earlier = self.values.setdefault(name, value)
        if earlier == value:
            return
        if name in REQUIRED_IDS:
            raise InvalidRequest(name, "must not be repeated with different values")
        if name in _OPT_OUTS:
            self.values[name] = "1"

    def _is_one_too_many(self, name: str) -> bool:
        if not name.startswith(KV_PREFIX) or name in self.values:
            return False
        return sum(known.startswith(KV_PREFIX) for known in self.values) >= KV_NAMES_MAX

    def finish(self) -> dict[str, str]:
        """Return the values; if the viewer's id was withheld, and no other is given, ad tracking is limited."""
        if self._is_withheld and "user_id" not in self.values and "device_id" not in self.values:
            self.values["lmt"] = "1"
        return self.values


def read_query(query: bytes) -> dict[str, str]:
    """Return the values of `read_parameters`."""
    return read_parameters(query).values


def read_parameters(query: bytes) -> ParameterReader:
    """Read the known parameters of a query string; others, such as a player's cache buster, are ignored.

    Raises InvalidRequest as `ParameterReader.add` does, and if the query is too long.
    """
    if len(query) > QUERY_BYTES_MAX:
        raise InvalidRequest("query", f"must not be longer than {QUERY_BYTES_MAX} bytes")
    reader = ParameterReader()
    for pair in query.split(b"&"):
        raw_name, _, raw_value = pair.partition(b"=")
        name = _NAMES.get(raw_name) or parameter_name(_unquoted(raw_name).decode("latin-1"))
        if name is not None and raw_value:
            reader.add(name, _decoded(raw_value))
    reader.finish()
    return reader


def _unquoted(raw: bytes) -> bytes:
    return unquote_to_bytes(raw.replace(b"+", b" ")) if b"%" in raw or b"+" in raw else raw


def _decoded(raw: bytes) -> str:
    """Return the text of a value: UTF-8, or Latin-1 as old pages send it."""
    if raw.isalnum():
        return raw.decode()
    # Two percent signs in a row are no percent-encoding, but a macro of Google: %%ADVERTISING_IDENTIFIER_PLAIN%%.
    unquoted = raw if b"%%" in raw else _unquoted(raw)
    try:
        return unquoted.decode()
    except UnicodeDecodeError:
        return unquoted.decode("latin-1")


def ad_request(values: Mapping[str, str], *, identifiable: bool = True, stitched: bool = False) -> AdRequest:
    """Return the request for these values; unless the viewer is `identifiable`, it has no viewer ids.

    A `stitched` request comes from a server; so does one with `unwrap`. Raises InvalidRequest for values that
    contradict each other.
    """
    campaign_id, placement_id = _target(values)
    numbers = {name: int(values[name]) for name in _NUMBERS if name in values}
    shortest, longest = numbers.get("min_duration_s"), numbers.get("max_duration_s")
    if shortest is not None and longest is not None and shortest > longest:
        raise InvalidRequest("min_duration_s", "must not exceed max_duration_s")
    pod_duration_s = numbers.get("pod_duration_s")
    if pod_duration_s is not None and shortest is not None and shortest > pod_duration_s:
        raise InvalidRequest("min_duration_s", "must not exceed pod_duration_s")
    session_id = values.get("session_id")
    pod_size = numbers.get("pod_size", 1)
    return AdRequest(
        campaign_id=campaign_id,
        placement_id=placement_id,
        user_id=values.get("user_id") if identifiable else None,
        device_id=values.get("device_id") if identifiable else None,
        publisher_id=values.get("publisher_id"),
        session_id=UUID(session_id) if session_id is not None and identifiable else None,
        request_id=values.get("request_id"),
        vast_version=_VERSIONS[values.get("vast_version", VastVersion.V4_2)],
        pod_size=pod_size,
        pod_duration_s=pod_duration_s,
        min_ads=min(numbers.get("min_ads", 1), pod_size),
        competitors=_COMPETITORS[values.get("competitors", Competitors.APART)],
        min_duration_s=shortest,
        max_duration_s=longest,
        values=values,
        identifiable=identifiable,
        stitched=stitched or values.get("unwrap") == "1",
    )


def _target(values: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return the campaign or placement id; if both are given, a placeholder does not count."""
    campaign_id, placement_id = values.get("campaign_id"), values.get("placement_id")
    if campaign_id is None and placement_id is None:
        raise InvalidRequest("campaign_id", "is required unless placement_id is given")
    if campaign_id is not None and placement_id is not None:
        if is_placeholder(campaign_id):
            return None, placement_id
        if not is_placeholder(placement_id):
            raise InvalidRequest("campaign_id", "must not be combined with placement_id")
        return campaign_id, None
    return campaign_id, placement_id
