"""Reading of user agents: the type, operating system and browser of a device."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from ua_parser import parse

CACHED_MAX = 10_000
"""User agents whose properties are remembered."""


class Agent(NamedTuple):
    """Properties of a device in lower case; None for what its user agent does not tell."""

    device_type: str | None = None
    os: str | None = None
    browser: str | None = None


UNKNOWN_AGENT = Agent()


def _types(device_type: str, names: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(names, device_type)


_BY_SYSTEM: Mapping[str, str] = {
    **_types("ctv", ("atv os x", "tvos", "tizen", "web0s", "webos", "roku", "chromecast", "fireos tv", "android tv")),
    **_types("desktop", ("windows", "mac os x", "linux", "ubuntu", "chrome os", "fedora", "debian", "freebsd")),
    **_types("mobile", ("ios", "windows phone", "kaios", "blackberry os")),
}
"""Device types by operating system, where that decides."""

_TELEVISION_WORDS = ("tv", "aft", "bravia", "roku", "playstation", "xbox", "nintendo", "chromecast", "crkey")
"""Beginnings of words that name televisions, and boxes and consoles beside them."""


@lru_cache(CACHED_MAX)
def read_agent(user_agent: str) -> Agent:
    """Return the properties that the compiled rules of uap-core find."""
    found = parse(user_agent)
    system = found.os.family.lower() if found.os else None
    browser = found.user_agent.family.lower() if found.user_agent else None
    device = found.device
    words = () if device is None else (device.family, device.brand or "", device.model or "")
    return Agent(_device_type(system, " ".join(words).lower(), user_agent), system, browser)


def load_rules() -> None:
    """Compile the rules, which takes a tenth of a second or longer, before a request has to wait for it."""
    read_agent("")


def _device_type(system: str | None, device: str, user_agent: str) -> str | None:
    if any(word.startswith(_TELEVISION_WORDS) for word in device.replace("_", " ").replace("-", " ").split()):
        return "ctv"
    if "ipad" in device or "tablet" in device:
        return "tablet"
    if system == "android":
        return "mobile" if "Mobile" in user_agent else "tablet"
    return _BY_SYSTEM.get(system or "")
