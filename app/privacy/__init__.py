"""Whether a request's privacy signals allow that its user is told from others."""

from collections.abc import Mapping


def identification_allowed(values: Mapping[str, str]) -> bool:
    """Whether the user may be identified, by what the request says of consent."""
    return values.get("lmt") != "1" and values.get("coppa") != "1" and values.get("gdpr") != "1"
