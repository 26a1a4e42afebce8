"""The IAB Global Privacy Platform string: a header that lists sections, and one section per jurisdiction.

No maintained Python library decodes it, so this module decodes the parts it needs. The published encodings of the
sections for Indiana, Kentucky, Maryland and Rhode Island are ambiguous; they count as unreadable, and an applicable
section that is unreadable forbids identification.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.privacy.bits import UnreadableBitsError, decode_bits
from app.privacy.tcf import SELECT_ADVERTISING, STORE_AND_ACCESS, tcf_allows
from app.privacy.us_privacy import us_privacy_allows

GPP_LENGTH_MAX = 8192
SECTIONS_MAX = 64
"""Sections in one string; 27 are defined."""
FIBONACCI_BITS_MAX = 12
"""Bits of a Fibonacci-coded number; enough for every number up to SECTIONS_MAX."""

_HEADER = f"{3:06b}{1:06b}"
"""Bits of type and version."""
_CORE_VERSIONS = (f"{1:06b}", f"{2:06b}")
_TCF_EU, _TCF_CANADA, _US_PRIVACY = 2, 5, 6
_OPTED_OUT = 1

_TO_URL_ALPHABET = str.maketrans("+/", "-_")
_SECTION_IDS = re.compile(r"-?\d{1,3}([,_]-?\d{1,3}){0,63}", re.ASCII)

_CANADA_EXPRESS_BIT = 6 + 36 + 36 + 12 + 12 + 6 + 12 + 12 + 6 + 1 + 12
"""First bit of the purposes with express consent in the Canadian core; implied consent starts 24 bits later."""


class _UnreadableError(ValueError):
    """The text is not a GPP string of this version."""


@dataclass(frozen=True, slots=True)
class _OptOuts:
    """Position of the opt-outs (sale, sharing, targeted advertising) in the core of a US section, two bits each."""

    first_bit: int
    count: int


_US_STATE = _OptOuts(first_bit=12, count=2)
_AFTER_FOUR_NOTICES = _OptOuts(first_bit=14, count=2)

_US_SECTIONS: Mapping[int, _OptOuts] = {
    7: _OptOuts(first_bit=18, count=3),  # US national
    11: _AFTER_FOUR_NOTICES,  # Utah
    18: _AFTER_FOUR_NOTICES,  # Iowa
    # California, Virginia, Colorado, Connecticut; Florida to Delaware; Nebraska to Minnesota
    **dict.fromkeys((8, 9, 10, 12, *range(13, 18), *range(19, 24)), _US_STATE),
}


def gpp_allows(text: str, applicable: str | None) -> bool:
    """Whether every applicable section allows identification of the user.

    `applicable` is `gpp_sid`: section ids separated by commas or underscores, or -1 or 0 for none. If it is None, all
    sections of the string apply. An applicable section that is missing forbids identification.
    """
    try:
        wanted = None if applicable is None else _section_ids(applicable)
        if wanted == frozenset() or (wanted is None and not text):
            return True
        sections = _sections(text)
    except _UnreadableError:
        return False
    if wanted is None:
        wanted = frozenset(sections)
    return all(section_id in sections and _section_allows(section_id, sections[section_id]) for section_id in wanted)


def _section_ids(applicable: str) -> frozenset[int]:
    if not _SECTION_IDS.fullmatch(applicable):
        raise _UnreadableError
    ids = (int(section_id) for section_id in re.split("[,_]", applicable))
    return frozenset(section_id for section_id in ids if section_id > 0)


def _sections(text: str) -> Mapping[int, str]:
    """Return the text of each section by id. Raises _UnreadableError."""
    header, *bodies = text.split("~", SECTIONS_MAX + 1) if len(text) <= GPP_LENGTH_MAX else [""]
    bits = _bits(header)
    if bits[:12] != _HEADER:
        raise _UnreadableError
    ids = list(_fibonacci_range(bits[12:]))
    if len(ids) != len(bodies):
        raise _UnreadableError
    return dict(zip(ids, bodies, strict=True))


def _bits(text: str) -> str:
    try:
        return decode_bits(text.translate(_TO_URL_ALPHABET))
    except UnreadableBitsError:
        raise _UnreadableError from None


def _fibonacci_range(bits: str) -> Iterator[int]:
    """Yield the ids of a `Range (Fibonacci)`: a count, then for each item whether it is a group, offset and length."""
    position, last = 12, 0
    for _ in range(int(bits[:12] or "0", 2)):
        is_group = bits[position : position + 1] == "1"
        offset, position = _fibonacci(bits, position + 1)
        length, position = _fibonacci(bits, position) if is_group else (0, position)
        first, last = last + offset, last + offset + length
        if last > SECTIONS_MAX:
            raise _UnreadableError
        yield from range(first, last + 1)


def _fibonacci(bits: str, start: int) -> tuple[int, int]:
    """Return a Fibonacci-coded number, which ends with two consecutive ones, and the position after it."""
    end = bits.find("11", start, start + FIBONACCI_BITS_MAX)
    if end < 0:
        raise _UnreadableError
    number, low, high = 0, 1, 2
    for bit in bits[start : end + 1]:
        number += low if bit == "1" else 0
        low, high = high, low + high
    return number, end + 2


def _section_allows(section_id: int, text: str) -> bool:
    if section_id == _TCF_EU:
        return tcf_allows(text)
    if section_id == _US_PRIVACY:
        return us_privacy_allows(text)
    try:
        core, *others = [_bits(segment) for segment in text.split(".")]
    except _UnreadableError:
        return False
    if core[:6] not in _CORE_VERSIONS:
        return False
    if section_id == _TCF_CANADA:
        return _canada_allows(core)
    opt_outs = _US_SECTIONS.get(section_id)
    return opt_outs is not None and _us_allows(core, others, opt_outs)


def _canada_allows(core: str) -> bool:
    """Whether there is express or implied consent to both purposes, which are numbered as in the European framework."""
    return all(
        "1" in (core[bit : bit + 1], core[bit + 24 : bit + 25])
        for bit in (_CANADA_EXPRESS_BIT + purpose - 1 for purpose in (STORE_AND_ACCESS, SELECT_ADVERTISING))
    )


def _us_allows(core: str, others: Sequence[str], opt_outs: _OptOuts) -> bool:
    """Whether there is no opt-out, as a choice or by Global Privacy Control (third bit of a segment of type 1)."""
    end = opt_outs.first_bit + 2 * opt_outs.count
    choices = [int(core[bit : bit + 2] or "1", 2) for bit in range(opt_outs.first_bit, end, 2)]
    return len(core) >= end and _OPTED_OUT not in choices and not any(bits[:3] == "011" for bits in others)
