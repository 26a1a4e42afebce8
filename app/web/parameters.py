"""The parameters of an ad request, and the normalization of their values.

Players, apps and other ad servers send optional values in many forms, and the viewer cannot correct them. So an invalid
optional value never makes a request fail; it counts as absent.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

from app.countries import to_alpha_2
from app.domain import DURATION_MAX_S, ID_LENGTH_MAX, POD_SIZE_MAX, Competitors, VastVersion
from app.errors import InvalidRequest
from app.web.addresses import first_address
from app.web.placeholders import is_placeholder, is_shared_or_placeholder_id

TEXT_LENGTH_MAX = 256
USER_AGENT_LENGTH_MAX = 1024
URL_LENGTH_MAX = 4096
CONSENT_LENGTH_MAX = 8192
NUMBER_LENGTH_MAX = 32
CACHED_MAX = 4096
CACHED_LENGTH_MAX = 64
"""Number of normalized values that are cached, and the length of the longest."""

REQUEST_ID = re.compile(rf"[A-Za-z0-9._~:-]{{1,{ID_LENGTH_MAX}}}", re.ASCII)

UNREADABLE = "?"
"""Replaces a consent string that is too long or has control characters: it is present and permits nothing."""

# Control characters, lone surrogates, and characters that change the direction of text (Unicode's Bidi_Control).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NUMBER = re.compile(r"\d+(\.\d*)?", re.ASCII)
_FLAGS: Mapping[str, str] = {
    **dict.fromkeys(("1", "true", "yes", "on", "y", "t"), "1"),
    **dict.fromkeys(("0", "false", "no", "off", "n", "f"), "0"),
}
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_VERSION = re.compile(r"(\d+)(?:[._](\d+))?", re.ASCII)

Reader = Callable[[str], str | None]
"""Normalizes a value that is not empty and has no surrounding white space; None if it counts as absent."""


def _is_clean(value: str, length_max: int) -> bool:
    return len(value) <= length_max and (value.isprintable() or _CONTROL.search(value) is None)


def _text(length_max: int) -> Reader:
    return lambda value: value if _is_clean(value, length_max) and not is_placeholder(value) else None


def _id(value: str) -> str | None:
    return value if _is_clean(value, ID_LENGTH_MAX) and not is_shared_or_placeholder_id(value) else None


def _session_id(value: str) -> str | None:
    try:
        return None if is_shared_or_placeholder_id(value) else str(UUID(value))
    except ValueError:
        return None


def _request_id(value: str) -> str | None:
    """Replace an id with characters that cannot be echoed by its hash, so that a retry still finds its answer."""
    if is_shared_or_placeholder_id(value):
        return None
    if REQUEST_ID.fullmatch(value):
        return value
    return blake2b(value.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _user_agent(value: str) -> str | None:
    value = value[:USER_AGENT_LENGTH_MAX]
    return value if _is_clean(value, USER_AGENT_LENGTH_MAX) and not is_placeholder(value) else None


def _consent(length_max: int) -> Reader:
    def read(value: str) -> str | None:
        if not _is_clean(value, length_max):
            return UNREADABLE
        return None if is_placeholder(value) else value

    return read


_section_ids = _consent(TEXT_LENGTH_MAX)


def _gpp_sid(value: str) -> str | None:
    """Keep -1, which is no placeholder here: the specification defines it as "no section applies"."""
    return value if value == "-1" else _section_ids(value)


def _flag(value: str) -> str | None:
    number = _number(value)
    return _FLAGS.get(value.lower()) if number is None else _FLAGS.get(str(number))


def _number(value: str) -> int | None:
    """Return the integer part of a number that is not negative; 1 for a fraction between 0 and 1."""
    if len(value) > NUMBER_LENGTH_MAX or not _NUMBER.fullmatch(value):
        return None
    return int(value.partition(".")[0]) or (1 if float(value) > 0 else 0)


def _seconds(value: str) -> str | None:
    """Normalize a limit; 0 means no limit, and so does one above DURATION_MAX_S."""
    number = _number(value.removesuffix("s"))
    return str(number) if number is not None and 1 <= number <= DURATION_MAX_S else None


def _pod_size(value: str) -> str | None:
    number = _number(value)
    return str(min(number, POD_SIZE_MAX)) if number else None


def _min_ads(value: str) -> str | None:
    number = _number(value)
    return str(min(number, POD_SIZE_MAX)) if number is not None and number > 1 else None


def _competitors(value: str) -> str | None:
    return value.lower() if value.lower() in set(Competitors) else None


def _country(value: str) -> str | None:
    """Return a two-letter code; one that is valid already keeps its case."""
    code = to_alpha_2(value)
    if not _COUNTRY.fullmatch(code):
        return None
    return value if value.upper() == code else code


def _vast_version(value: str) -> str | None:
    """Return the latest supported version that is no later than the latest in the list (`3.0,4.2`)."""
    requested = [(int(major), int(minor or 9)) for major, minor in _VERSION.findall(value[:TEXT_LENGTH_MAX])]
    if not requested or is_placeholder(value):
        return None
    supported = [version for version in VastVersion if _version_key(version) <= max(requested)]
    return max(supported, key=_version_key, default=VastVersion.V2_0).value


def _version_key(version: VastVersion) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


_VARYING = frozenset({"user_id", "device_id", "session_id", "request_id", "ip", "ifa"})
"""Parameters whose values belong to one viewer or request, so that caching them is useless."""

REQUIRED_IDS = ("campaign_id", "placement_id")
"""The parameters that say which ad is requested; one of them is required and must be valid."""

PARAMETERS: Mapping[str, Reader] = {
    "campaign_id": str,
    "placement_id": str,
    "user_id": _id,
    "device_id": _id,
    "publisher_id": _text(ID_LENGTH_MAX),
    "session_id": _session_id,
    "request_id": _request_id,
    "ip": first_address,
    "ua": _user_agent,
    "page_url": _text(URL_LENGTH_MAX),
    "app_bundle": _text(TEXT_LENGTH_MAX),
    "ifa": _id,
    "lmt": _flag,
    "gdpr": _flag,
    "gdpr_consent": _consent(CONSENT_LENGTH_MAX),
    "gpp": _consent(CONSENT_LENGTH_MAX),
    "gpp_sid": _gpp_sid,
    "us_privacy": _consent(TEXT_LENGTH_MAX),
    "gpc": _flag,
    "coppa": _flag,
    "country": _country,
    "region": _text(TEXT_LENGTH_MAX),
    "city": _text(TEXT_LENGTH_MAX),
    "language": _text(TEXT_LENGTH_MAX),
    "device_type": _text(TEXT_LENGTH_MAX),
    "content_genre": _text(TEXT_LENGTH_MAX),
    "keywords": _text(URL_LENGTH_MAX),
    "min_duration_s": _seconds,
    "max_duration_s": _seconds,
    "vast_version": _vast_version,
    "pod_size": _pod_size,
    "pod_duration_s": _seconds,
    "min_ads": _min_ads,
    "competitors": _competitors,
    "unwrap": _flag,
}
"""Every parameter of an ad request, and the function that normalizes its value."""


KV_NAME_PATTERN = r"^kv\.[A-Za-z0-9_.-]{1,64}$"

_KV_NAME = re.compile(KV_NAME_PATTERN, re.ASCII)
_custom = _text(TEXT_LENGTH_MAX)


def parameter_name(text: str) -> str | None:
    """Return the name of a known or a custom parameter; None for a name that means nothing."""
    if text in PARAMETERS:
        return text
    return text.lower() if _KV_NAME.fullmatch(text) else None


def read_parameter(name: str, value: str) -> str | None:
    """Return a parameter's normalized value; None if it counts as absent.

    Raises InvalidRequest for an invalid campaign or placement id.
    """
    if name in _VARYING or len(value) > CACHED_LENGTH_MAX:
        return _read(name, value)
    return _read_cached(name, value)


def _read(name: str, value: str) -> str | None:
    value = value.strip()
    if not value:
        return None
    if name in REQUIRED_IDS:
        _check_required_id(name, value)
    return PARAMETERS.get(name, _custom)(value)


_read_cached = lru_cache(CACHED_MAX)(_read)
"""Most parameters have few values, which repeat with every request."""


def read_flag(value: str) -> bool:
    """Return whether a flag is set; an invalid value is not."""
    return _flag(value.strip()) == "1"


def _check_required_id(name: str, value: str) -> None:
    if len(value) > ID_LENGTH_MAX:
        raise InvalidRequest(name, f"must not be longer than {ID_LENGTH_MAX} characters")
    if not _is_clean(value, ID_LENGTH_MAX):
        raise InvalidRequest(name, "must not have control characters")
