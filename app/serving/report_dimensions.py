"""Properties of a viewer that are kept with each serve for delivery reports; they identify nobody."""

import re
from collections.abc import Mapping

from app.countries import to_alpha_2

_COUNTRY = re.compile(r"[A-Z]{2}")
_DEVICE_TYPE = re.compile(r"[a-z0-9_-]{1,32}")


def reported_country(values: Mapping[str, str]) -> str | None:
    """Return the alpha-2 code of the request's country in upper case; None if it has none."""
    country = values.get("country")
    if country is None:
        return None
    code = to_alpha_2(country)
    return code if _COUNTRY.fullmatch(code) else None


def reported_device_type(values: Mapping[str, str]) -> str | None:
    """Return the request's device type in lower case; None if it has none, or one that is not a short word."""
    device_type = values.get("device_type", "").lower()
    return device_type if _DEVICE_TYPE.fullmatch(device_type) else None
