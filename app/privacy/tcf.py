"""Consent under the IAB Europe Transparency & Consent Framework, version 2."""

import re

from app.privacy.bits import decode_bits

STORE_AND_ACCESS = 1
SELECT_ADVERTISING = 2
"""Purposes that frequency capping requires.

Capping reads an identifier stored on the device: purpose 1, for which consent is the only legal basis. The text of
purpose 2 includes "to limit the number of times an ad is presented to you"; its basis may also be a legitimate interest
to which the user has not objected.
"""

VERSION = 2
VERSION_BITS = 6
PURPOSES = 24
CONSENT_BIT = VERSION_BITS + 36 + 36 + 12 + 12 + 6 + 12 + 12 + 6 + 1 + 1 + 12
"""First bit of PurposesConsent ("Core String" in the TC string format of version 2), with one bit per purpose from 1.

It follows the times of creation and update, the consent platform's id, version, screen and language, the versions of
vendor list and policy, two flags and the special features.
"""
LEGITIMATE_INTEREST_BIT = CONSENT_BIT + PURPOSES
"""First bit of PurposesLITransparency."""
FIXED_BITS = LEGITIMATE_INTEREST_BIT + PURPOSES + 1 + 12
"""Bits of the core segment up to the end of PublisherCC.

The lists of vendors and of publisher restrictions follow. They do not apply to this server, which acts for its operator
and is not a vendor of the global list; and the sender could make them take arbitrarily long to read.
"""
_FIXED_LETTERS = -(-FIXED_BITS // 6)

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def tcf_allows(consent: str) -> bool:
    """Whether a TC string allows frequency capping of its user; False for an unreadable string."""
    core = consent.partition(".")[0]
    if len(core) < _FIXED_LETTERS or not _SEGMENT.fullmatch(core):
        return False
    bits = decode_bits(core[:_FIXED_LETTERS])
    if int(bits[:VERSION_BITS], 2) != VERSION:
        return False
    return _is_set(bits, CONSENT_BIT, STORE_AND_ACCESS) and (
        _is_set(bits, CONSENT_BIT, SELECT_ADVERTISING) or _is_set(bits, LEGITIMATE_INTEREST_BIT, SELECT_ADVERTISING)
    )


def _is_set(bits: str, first: int, purpose: int) -> bool:
    return bits[first + purpose - 1] == "1"
