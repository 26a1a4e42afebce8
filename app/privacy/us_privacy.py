"""The US Privacy string (CCPA): version, notice given, opt-out of sale, covered by the agreement."""

import re

_STRING = re.compile(r"1[YN-]([YN-])[YN-]", re.ASCII | re.IGNORECASE)


def us_privacy_allows(text: str) -> bool:
    """Whether the user has not opted out of the sale of personal information; `1---` says that no such law applies."""
    match = _STRING.fullmatch(text)
    return match is not None and match[1] not in "Yy"
