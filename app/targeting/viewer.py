"""The viewer: what the server knows about who sees an ad, for targeting and for reports. It identifies nobody."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from app.countries import to_alpha_2
from app.domain import Client
from app.targeting.places import UNKNOWN_PLACE, Place, PlaceReader
from app.targeting.user_agents import UNKNOWN_AGENT, read_agent

LANGUAGES_MAX = 8
"""Languages of an Accept-Language header that count."""

SENT = frozenset({"country", "region", "city", "device_type"})
"""Parameters that tell something about a viewer, beside those that tell how to look it up."""

_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_REGION = re.compile(r"[A-Z0-9]{1,3}", re.ASCII)
_DEVICE_TYPE = re.compile(r"[a-z0-9_-]{1,32}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8}){0,3}", re.ASCII)


class Viewer(NamedTuple):
    """Properties of a viewer; None for what is not known."""

    country: str | None = None
    """ISO 3166-1 alpha-2 code."""
    region: str | None = None
    """ISO 3166-2 code, such as US-CA."""
    city: str | None = None
    timezone: str | None = None
    """IANA name."""
    device_type: str | None = None
    os: str | None = None
    browser: str | None = None
    languages: tuple[str, ...] = ()
    """Language tags in lower case, preferred ones first."""


UNKNOWN_VIEWER = Viewer()


class ViewerReader:
    """Reads viewers from requests.

    An address and a user agent count more than parameters that anybody may send; the parameters of a trusted sender
    count more than both.
    """

    def __init__(self, places: PlaceReader | None = None) -> None:
        self._places = places

    def read(self, values: Mapping[str, str], client: Client) -> Viewer:
        """Return the viewer of a request with these parameters."""
        address, user_agent, accept_language, is_trusted, _ = client
        if is_trusted:
            address = values.get("ip") or address
            user_agent = values.get("ua") or user_agent
        place = UNKNOWN_PLACE if self._places is None or address is None else self._places.find(address)
        agent = UNKNOWN_AGENT if user_agent is None else read_agent(user_agent)
        languages = values.get("language") or accept_language
        if not SENT.isdisjoint(values):
            place = _merged(place, _sent_place(values, place.country, is_trusted), is_trusted)
            agent = agent._replace(device_type=_first(is_trusted, _device_type(values), agent.device_type))
        if place is UNKNOWN_PLACE and agent is UNKNOWN_AGENT and languages is None:
            return UNKNOWN_VIEWER
        return Viewer(*place, *agent, () if languages is None else _languages(languages))


def _sent_place(values: Mapping[str, str], seen_country: str | None, is_trusted: bool) -> Place:
    country = _first(is_trusted, _country(values), seen_country)
    return Place(country, _region(values, country), values.get("city"))


def _merged(seen: Place, sent: Place, is_trusted: bool) -> Place:
    """Return one place; what was seen does not count if the viewer is in another country."""
    if sent.country != seen.country:
        return sent
    return Place(
        seen.country,
        _first(is_trusted, sent.region, seen.region),
        _first(is_trusted, sent.city, seen.city),
        seen.timezone,
    )


def _first(is_trusted: bool, sent: str | None, seen: str | None) -> str | None:
    """Return the value that counts more, or the other one if that is not known."""
    return (sent or seen) if is_trusted else (seen or sent)


def _country(values: Mapping[str, str]) -> str | None:
    code = to_alpha_2(values.get("country", ""))
    return code if _COUNTRY.fullmatch(code) else None


def _region(values: Mapping[str, str], country: str | None) -> str | None:
    """Return the region that was sent, with its country: `CA` and `US-CA` are the same in the United States."""
    region = values.get("region", "").upper()
    prefix, _, subdivision = region.rpartition("-")
    if country is None or prefix not in ("", country) or not _REGION.fullmatch(subdivision):
        return None
    return f"{country}-{subdivision}"


def _device_type(values: Mapping[str, str]) -> str | None:
    device_type = values.get("device_type", "").lower()
    return device_type if _DEVICE_TYPE.fullmatch(device_type) else None


@lru_cache(1024)
def _languages(header: str) -> tuple[str, ...]:
    """Return the language tags of a header (RFC 9110 section 12.5.4), without those that it refuses."""
    weighted = []
    for item in header.lower().split(",", LANGUAGES_MAX)[:LANGUAGES_MAX]:
        tag, _, parameter = item.strip().partition(";")
        weight = _weight(parameter)
        if weight and _LANGUAGE.fullmatch(tag.strip()):
            weighted.append((-weight, tag.strip()))
    return tuple(tag for _, tag in sorted(weighted, key=lambda pair: pair[0]))


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return float(value) if name == "q" else 1.0
    except ValueError:
        return 0.0
