"""The US Privacy string (CCPA): version, notice given, opt-out of sale, covered by LSPA."""

import re

_STRING = re.compile(r"1[YN-]([YN-])[YN-]", re.ASCII | re.IGNORECASE)


def us_privacy_allows(text: str) -> bool:
    """Whether the string is valid and contains no opt-out of sale; `1---` means that the law does not apply."""
    match = _STRING.fullmatch(text)
    return match is not None and match[1] not in "Yy"
