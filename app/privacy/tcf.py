"""Consent by the IAB Europe Transparency & Consent Framework, version 2."""

import base64
import re

from iab_tcf import ConsentV2  # type: ignore[import-untyped]

STORE_AND_ACCESS = 1
SELECT_ADVERTISING = 2
"""The purposes that counting a user's ads needs.

An identifier that a device keeps is read (purpose 1, which has no other basis than consent), "for example, to limit
the number of times an ad is presented to you", as the text of purpose 2 says. Purpose 2 may rest on a legitimate
interest that the user has not objected to.
"""

VERSION = 2
FIXED_BITS = 213
"""Of the core segment; what comes after are lists of vendors and of publishers' restrictions to them.

This server is no vendor of the global list but whoever's runs it, so that they do not concern it; and reading them
takes as long as the sender likes. They are replaced by empty ones.
"""
_FIXED_BYTES = (FIXED_BITS + 7) // 8
_EMPTY_LISTS = bytes(8)

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def tcf_allows(consent: str) -> bool:
    """Whether a TC string allows that ads are counted for its user; one that cannot be read does not."""
    core = consent.partition(".")[0][: 4 * _FIXED_BYTES]
    if not _SEGMENT.fullmatch(core):
        return False
    fixed = base64.urlsafe_b64decode(core[: len(core) // 4 * 4])[:_FIXED_BYTES]
    if len(fixed) < _FIXED_BYTES or fixed[0] >> 2 != VERSION:
        return False
    surplus = 8 * _FIXED_BYTES - FIXED_BITS
    purposes = ConsentV2(fixed[:-1] + bytes([fixed[-1] >> surplus << surplus]) + _EMPTY_LISTS)
    return bool(
        purposes.is_purpose_allowed(STORE_AND_ACCESS)
        and (
            purposes.is_purpose_allowed(SELECT_ADVERTISING)
            or purposes.has_purpose_legitimate_interest(SELECT_ADVERTISING)
        )
    )
