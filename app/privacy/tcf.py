"""Consent by the IAB Europe Transparency & Consent Framework, version 2."""

import re

from app.privacy.bits import bits_of

STORE_AND_ACCESS = 1
SELECT_ADVERTISING = 2
"""The purposes that counting a user's ads needs.

An identifier that a device keeps is read (purpose 1, which has no other basis than consent), "for example, to limit
the number of times an ad is presented to you", as the text of purpose 2 says. Purpose 2 may rest on a legitimate
interest that the user has not objected to.
"""

VERSION = 2
VERSION_BITS = 6
PURPOSES = 24
CONSENT_BIT = VERSION_BITS + 36 + 36 + 12 + 12 + 6 + 12 + 12 + 6 + 1 + 1 + 12
"""Where PurposesConsent begins ("Core String" in the TC string format of version 2): a bit for each purpose from 1 on.

Before it are the times of creation and update, the consent platform's id, version, screen and language, the versions of
vendor list and policy, two flags and the special features.
"""
LEGITIMATE_INTEREST_BIT = CONSENT_BIT + PURPOSES
"""Where PurposesLITransparency begins."""
FIXED_BITS = LEGITIMATE_INTEREST_BIT + PURPOSES + 1 + 12
"""Of the core segment, to the end of PublisherCC; what comes after are lists of vendors and of publishers'
restrictions to them.

This server is no vendor of the global list but its operator's, so that they do not concern it; and reading them takes
as long as the sender likes.
"""
_FIXED_LETTERS = -(-FIXED_BITS // 6)

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def tcf_allows(consent: str) -> bool:
    """Whether a TC string allows that ads are counted for its user; one that cannot be read does not."""
    core = consent.partition(".")[0]
    if len(core) < _FIXED_LETTERS or not _SEGMENT.fullmatch(core):
        return False
    bits = bits_of(core[:_FIXED_LETTERS])
    if int(bits[:VERSION_BITS], 2) != VERSION:
        return False
    return _is_set(bits, CONSENT_BIT, STORE_AND_ACCESS) and (
        _is_set(bits, CONSENT_BIT, SELECT_ADVERTISING) or _is_set(bits, LEGITIMATE_INTEREST_BIT, SELECT_ADVERTISING)
    )


def _is_set(bits: str, first: int, purpose: int) -> bool:
    return bits[first + purpose - 1] == "1"
