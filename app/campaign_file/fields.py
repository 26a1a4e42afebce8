"""The kinds of values in a campaign file. Each says in words what is wrong with a value that it refuses."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from iso4217 import Currency as Iso4217
from pydantic import AfterValidator, BeforeValidator, Field

from app.domain import AMOUNT_MAX, DURATION_MAX_S, ID_LENGTH_MAX, URL_BYTES_MAX
from app.vast.vmap import valid_time_offset

WORD_LENGTH_MAX = 256
TEXT_LENGTH_MAX = 10_240
YEARS = range(1970, 3000)

# Control characters, halves of surrogate pairs, and the two that XML has no room for.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Unicode's Bidi_Control: with them a name looks like another one in a report or a terminal.
_BIDIRECTIONAL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_AMOUNT = re.compile(r"-?\d{1,12}(\.\d{1,12})?", re.ASCII)
_COUNTRY = re.compile(r"[A-Za-z]{2,3}", re.ASCII)
_MIME_TYPE = re.compile(r"[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+", re.ASCII)
_DECIMALS = {3: "three", 6: "six"}

CURRENCIES = frozenset(currency.code for currency in Iso4217) - {"XTS", "XXX"}
"""ISO 4217, without the codes for tests and for no currency."""

TIMEZONES = frozenset(available_timezones())
"""The IANA zones that Python knows; the database must know a campaign's zone too."""


def exact_number(text: str) -> Decimal:
    """A number of TOML or JSON as it is written; NaN, which its key refuses, for an exponent beyond all reckoning."""
    return Decimal(text, Context(traps=[]))


def _printable(value: str) -> str:
    if _UNPRINTABLE.search(value):
        raise ValueError("must not have control characters")
    if found := _BIDIRECTIONAL.search(value):
        raise ValueError(f"must not have U+{ord(found[0]):04X}, which changes the direction of text")
    return value


def _identifier(value: str) -> str:
    if "/" in value:
        raise ValueError("must not have a slash")
    if value != value.strip():
        raise ValueError("must not begin or end with a space")
    return value


def _money(decimals: int) -> Callable[[object], Decimal]:
    """Money written as text or as a number, which the readers of TOML and JSON give as int or Decimal, never float."""

    def read(value: object) -> Decimal:
        if isinstance(value, str) and _AMOUNT.fullmatch(value):
            value = Decimal(value)
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or not Decimal(value).is_finite():
            raise ValueError('must be an amount such as "12.50"')
        amount = Decimal(value)
        if amount < 0:
            raise ValueError("must not be negative")
        if amount >= AMOUNT_MAX:
            raise ValueError(f"must be less than {AMOUNT_MAX:,}")
        exponent = amount.as_tuple().exponent
        if isinstance(exponent, int) and -exponent > decimals:
            raise ValueError(f"must have at most {_DECIMALS[decimals]} decimals")
        # Nought has a sign and an exponent too, which may be larger than any that the database takes.
        return amount or Decimal(0)

    return read


def _moment(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, datetime):
        raise ValueError("must be a date and time such as 2026-01-31T00:00:00Z")  # noqa: TRY004  pydantic asks for it.
    if value.utcoffset() is None:
        raise ValueError("must have a UTC offset, such as Z")
    # Exports are in UTC, and are to be read again.
    if value.year not in YEARS or value.astimezone(UTC).year not in YEARS:
        raise ValueError(f"must be in the years {YEARS[0]} to {YEARS[-1]}")
    return value


def _currency(value: str) -> str:
    if value not in CURRENCIES:
        raise ValueError("is not a currency of ISO 4217")
    return value


def _timezone(value: str) -> str:
    if value not in TIMEZONES:
        raise ValueError("is not a timezone of the IANA database, such as Europe/Berlin")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine or " " in value:
        raise ValueError("must be a whole URL that begins with http:// or https://")
    if len(value.encode()) > URL_BYTES_MAX:
        raise ValueError(f"must not be longer than {URL_BYTES_MAX} bytes")
    return value


def _time_offset(value: str) -> str:
    if not valid_time_offset(value):
        raise ValueError("must be start, end, hh:mm:ss, hh:mm:ss.mmm, n% or #n")
    return value


def _matching(pattern: re.Pattern[str], rule: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(rule)
        return value

    return check


def first_repeated(values: Sequence[str]) -> str | None:
    """The first value that stands there for the second time."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _no_repeats(values: list[str]) -> list[str]:
    if repeated := first_repeated(values):
        raise ValueError(f"must not have {repeated} twice")
    return values


Printable = AfterValidator(_printable)
NoRepeats = AfterValidator(_no_repeats)
"""For a list whose order or membership matters and in which nothing may stand twice."""

Identifier = Annotated[str, Field(min_length=1, max_length=ID_LENGTH_MAX), Printable, AfterValidator(_identifier)]
Word = Annotated[str, Field(min_length=1, max_length=WORD_LENGTH_MAX), Printable]
LowerWord = Annotated[Word, AfterValidator(str.lower)]
"""A word that counts the same in upper and lower case."""
Prose = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX), Printable]
Url = Annotated[str, Field(min_length=1, max_length=URL_BYTES_MAX), Printable, AfterValidator(_url)]
TimeOffset = Annotated[str, Field(max_length=32), AfterValidator(_time_offset)]
MimeType = Annotated[
    str,
    Field(max_length=WORD_LENGTH_MAX),
    AfterValidator(_matching(_MIME_TYPE, "must be a media type such as video/mp4")),
]
Country = Annotated[
    str,
    AfterValidator(_matching(_COUNTRY, "must be a country code of two or three letters")),
    AfterValidator(str.lower),
]
Currency = Annotated[str, AfterValidator(_currency)]
Timezone = Annotated[str, AfterValidator(_timezone)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Cpm = Annotated[Decimal, BeforeValidator(_money(3))]
"""A thousand ads' price: with three decimals at the most, one ad's price is exact to six."""
read_amount = _money(6)
Amount = Annotated[Decimal, BeforeValidator(read_amount)]
Duration = Annotated[int, Field(ge=1, le=DURATION_MAX_S)]
