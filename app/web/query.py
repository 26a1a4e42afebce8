"""What a player asks for: the parameters of a query string, read once, and turned into an AdRequest."""

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes
from uuid import UUID

from app.domain import AdRequest, VastVersion
from app.errors import InvalidRequest
from app.web.parameters import PARAMETERS, REQUIRED_IDS, read_parameter
from app.web.placeholders import is_placeholder, is_withheld

QUERY_BYTES_MAX = 16_384

_NAMES: Mapping[bytes, str] = {name.encode(): name for name in PARAMETERS}
"""The parameters' names as they stand in a query string when nobody has encoded them."""

_NUMBERS = ("min_duration_s", "max_duration_s", "pod_size", "pod_duration_s")
_VERSIONS: Mapping[str, VastVersion] = {version.value: version for version in VastVersion}
_WATCHING = ("user_id", "device_id", "ifa")
_OPT_OUTS = ("lmt", "gdpr", "gpc", "coppa")


class ParameterReader:
    """Collects the parameters of one request as they come."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        """Those that say something, each in the form in which it is used."""
        self.ignored: list[str] = []
        """The names of those that could not be read, or say nothing."""
        self._is_withheld = False

    def add(self, name: str, text: str) -> None:
        """Reads a parameter; of one that comes several times, the first value that says something counts.

        Of a flag that limits what may be done with the viewer's data, a set one counts wherever it is. Raises
        InvalidRequest for a campaign's or placement's id that cannot be one, or that comes with two values.
        """
        value = read_parameter(name, text)
        if value is None:
            if text:
                self.ignored.append(name)
            if name in _WATCHING and is_withheld(text):
                self._is_withheld = True
            return
        earlier = self.values.setdefault(name, value)
        if earlier == value:
            return
        if name in REQUIRED_IDS:
            raise InvalidRequest(name, "must not be there twice with different values")
        if name in _OPT_OUTS:
            self.values[name] = "1"

    def finish(self) -> dict[str, str]:
        """The values. Where who watches was withheld, and nobody is named, the viewer is not told from others."""
        if self._is_withheld and "user_id" not in self.values and "device_id" not in self.values:
            self.values["lmt"] = "1"
        return self.values


def read_query(query: bytes) -> dict[str, str]:
    """As `parameters_of`, the values alone."""
    return parameters_of(query).values


def parameters_of(query: bytes) -> ParameterReader:
    """The known parameters of a query string; unknown ones, such as a player's cache buster, are ignored.

    Raises InvalidRequest as `ParameterReader.add` does, and for a query that is too long.
    """
    if len(query) > QUERY_BYTES_MAX:
        raise InvalidRequest("query", f"must not be longer than {QUERY_BYTES_MAX} bytes")
    reader = ParameterReader()
    for pair in query.split(b"&"):
        raw_name, _, raw_value = pair.partition(b"=")
        name = _NAMES.get(raw_name) or _NAMES.get(_unquoted(raw_name))
        if name is not None and raw_value:
            reader.add(name, _decoded(raw_value))
    reader.finish()
    return reader


def _unquoted(raw: bytes) -> bytes:
    return unquote_to_bytes(raw.replace(b"+", b" ")) if b"%" in raw or b"+" in raw else raw


def _decoded(raw: bytes) -> str:
    """The text of a value: UTF-8, or else what old pages send."""
    if raw.isalnum():
        return raw.decode()
    # No encoded value has two per cent signs in a row, but Google's macros do: %%ADVERTISING_IDENTIFIER_PLAIN%%.
    unquoted = raw if b"%%" in raw else _unquoted(raw)
    try:
        return unquoted.decode()
    except UnicodeDecodeError:
        return unquoted.decode("latin-1")


def ad_request(values: Mapping[str, str], *, identifiable: bool = True, stitched: bool = False) -> AdRequest:
    """The request that read values amount to; where the user is not `identifiable`, it has nobody's id.

    `stitched` says that it came from a server, as does a request to unwrap.

    Raises InvalidRequest for values that do not go together.
    """
    campaign_id, placement_id = _needed(values)
    numbers = {name: int(values[name]) for name in _NUMBERS if name in values}
    shortest, longest = numbers.get("min_duration_s"), numbers.get("max_duration_s")
    if shortest is not None and longest is not None and shortest > longest:
        raise InvalidRequest("min_duration_s", "must not be more than max_duration_s")
    pod_duration_s = numbers.get("pod_duration_s")
    if pod_duration_s is not None and shortest is not None and shortest > pod_duration_s:
        raise InvalidRequest("min_duration_s", "must not be more than pod_duration_s")
    session_id = values.get("session_id")
    return AdRequest(
        campaign_id=campaign_id,
        placement_id=placement_id,
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


def _needed(values: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The campaign's or the placement's id; where both are there, one that says nothing does not count."""
    campaign_id, placement_id = values.get("campaign_id"), values.get("placement_id")
    if campaign_id is None and placement_id is None:
        raise InvalidRequest("campaign_id", "or placement_id must be there")
    if campaign_id is not None and placement_id is not None:
        if is_placeholder(campaign_id):
            return None, placement_id
        if not is_placeholder(placement_id):
            raise InvalidRequest("campaign_id", "and placement_id must not both be there")
        return campaign_id, None
    return campaign_id, placement_id
