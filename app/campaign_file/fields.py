"""Types of the values in a campaign file; each raises ValueError with a reason that states what is accepted."""

import base64
import binascii
import re
import reprlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from iso4217 import Currency as Iso4217
from pydantic import AfterValidator, BeforeValidator, Field

from app.domain import AMOUNT_MAX, DURATION_MAX_S, ID_LENGTH_MAX, URL_BYTES_MAX
from app.vast.vmap import is_valid_repeat_interval, is_valid_time_offset

WORD_LENGTH_MAX = 256
TEXT_LENGTH_MAX = 10_240
YEARS = range(1970, 3000)

SECRET_PREFIX = "whsec_"  # noqa: S105 - no secret
SECRET_BYTES = range(24, 65)
"""Lengths of a signing secret, from the Standard Webhooks specification."""

# Control characters, lone surrogates, and the two code points that XML does not allow.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Unicode's Bidi_Control characters, which can make a name look like another one in a report or a terminal.
_BIDIRECTIONAL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_AMOUNT = re.compile(r"-?\d{1,12}(\.\d{1,12})?", re.ASCII)
_COUNTRY = re.compile(r"[A-Za-z]{2,3}", re.ASCII)
_CATEGORY = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII)
_MIME_TYPE = re.compile(r"[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+", re.ASCII)
_WINDOW_LENGTH = re.compile(r"([1-9]\d{0,4}) (minute|hour|day)s?", re.ASCII)
_WINDOW_LENGTHS_MAX = {"minute": 99_999, "hour": 8_784, "day": 366}
_DECIMALS = {3: "three", 4: "four", 6: "six"}

CURRENCIES = frozenset(currency.code for currency in Iso4217) - {"XTS", "XXX"}
"""ISO 4217 codes, without those for tests and for "no currency"."""

TIMEZONES = frozenset(available_timezones())
"""IANA timezones that Python knows; the database must know a campaign's timezone too."""


def parse_exact_number(text: str) -> Decimal:
    """Return the exact value of a TOML or JSON number; NaN, which no key accepts, if the exponent is too large."""
    return Decimal(text, Context(traps=[]))


def quote(text: str) -> str:
    """Return text in quotes for an error message, shortened if it is long."""
    return reprlib.repr(str(text))


def _printable(value: str) -> str:
    if _UNPRINTABLE.search(value):
        raise ValueError("must not contain control characters")
    if found := _BIDIRECTIONAL.search(value):
        raise ValueError(f"must not contain U+{ord(found[0]):04X}, which changes the direction of text")
    return value


def _printable_lines(value: str) -> str:
    lines = value.replace("\r\n", "\n").strip("\n")
    if not lines:
        raise ValueError("must not be empty")
    return "\n".join(_printable(line) for line in lines.split("\n"))


def _identifier(value: str) -> str:
    if "/" in value:
        raise ValueError("must not contain a slash")
    if value != value.strip():
        raise ValueError("must not start or end with a space")
    return value


def _exact(value: object, example: str) -> Decimal:
    """Return a finite number, given as text or as a number that was parsed as int or Decimal, never float."""
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or not Decimal(value).is_finite():
        raise ValueError(f"must be {example}" + (f", got {quote(value)}" if isinstance(value, str) else ""))
    return Decimal(value)


def _with_decimals(number: Decimal, decimals: int) -> Decimal:
    """Return the number, which is not negative, if it has at most so many decimals."""
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > decimals:
        raise ValueError(f"must have at most {_DECIMALS[decimals]} decimals")
    # Zero too has a sign and an exponent, which the database might not accept.
    return number or Decimal(0)


def _amount_validator(decimals: int) -> Callable[[object], Decimal]:
    def validate(value: object) -> Decimal:
        amount = _exact(value, 'an amount such as "12.50"')
        if amount < 0:
            raise ValueError("must not be negative")
        if amount >= AMOUNT_MAX:
            raise ValueError(f"must be less than {AMOUNT_MAX:,}")
        return _with_decimals(amount, decimals)

    return validate


def _positive(amount: Decimal) -> Decimal:
    if not amount:
        raise ValueError("must be more than 0")
    return amount


def _share(value: object) -> Decimal:
    share = _exact(value, 'a share such as "0.70"')
    if not 0 <= share <= 1:
        raise ValueError("must be between 0 and 1")
    return _with_decimals(share, 4)


def validate_seconds(value: object, example: str = "a number of seconds such as 29.97") -> Decimal:
    """Return seconds that are exact to milliseconds; `example` says what is accepted."""
    seconds = _exact(value, example)
    if seconds < 0:
        raise ValueError("must not be negative")
    if seconds > DURATION_MAX_S:
        raise ValueError(f"must be at most {DURATION_MAX_S}")
    return _with_decimals(seconds, 3)


def _exact_duration(value: object) -> Decimal:
    duration = validate_seconds(value)
    if duration < 1:
        raise ValueError("must be at least 1")
    return duration


def _moment(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, datetime):
        # pydantic expects ValueError.
        raise ValueError("must be a date and time such as 2026-01-31T00:00:00Z")  # noqa: TRY004
    if value.utcoffset() is None:
        raise ValueError("must have a UTC offset, such as Z")
    # An export is in UTC, and must be valid too.
    if value.year not in YEARS or value.astimezone(UTC).year not in YEARS:
        raise ValueError(f"must be between the years {YEARS[0]} and {YEARS[-1]}")
    return value


def require_later(ends_at: datetime | None, starts_at: datetime | None) -> datetime | None:
    """Return the end of a span. Raise ValueError if it is not after the start."""
    if ends_at is not None and starts_at is not None and ends_at <= starts_at:
        raise ValueError("must be after starts_at")
    return ends_at


def _currency(value: str) -> str:
    if value not in CURRENCIES:
        raise ValueError(f"must be an ISO 4217 currency code such as USD, got {quote(value)}")
    return value


def _timezone(value: str) -> str:
    if value not in TIMEZONES:
        raise ValueError(f"must be an IANA timezone such as Europe/Berlin, got {quote(value)}")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_valid = False
    if not is_valid or " " in value:
        raise ValueError("must be an absolute URL that starts with http:// or https://")
    if len(value.encode()) > URL_BYTES_MAX:
        raise ValueError(f"must have at most {URL_BYTES_MAX} bytes")
    return value


def _signing_secret(value: str) -> str:
    prefix, encoded = value[: len(SECRET_PREFIX)], value[len(SECRET_PREFIX) :]
    try:
        length = len(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        length = 0
    # The value is not quoted: errors appear in logs and terminals.
    if prefix != SECRET_PREFIX or length not in SECRET_BYTES:
        raise ValueError(
            f"must be {SECRET_PREFIX} followed by {SECRET_BYTES[0]} to {SECRET_BYTES[-1]} random bytes in Base64"
        )
    return value


def _time_offset(value: str) -> str:
    if not is_valid_time_offset(value):
        raise ValueError(f"must be start, end, hh:mm:ss, hh:mm:ss.mmm, n% or #n, got {quote(value)}")
    return value


def _repeat_interval(value: str) -> str:
    if not is_valid_repeat_interval(value):
        raise ValueError(f"must be hh:mm:ss or hh:mm:ss.mmm, more than 0, got {quote(value)}")
    return value


def matching(pattern: re.Pattern[str], rule: str) -> Callable[[str], str]:
    """Return a validator of text that the whole pattern matches."""

    def validate(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{rule}, got {quote(value)}")
        return value

    return validate


def first_duplicate(values: Sequence[str]) -> str | None:
    """Return the first value that occurs a second time, or None."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _window_length(value: str) -> str:
    found = _WINDOW_LENGTH.fullmatch(value)
    if not found or int(found[1]) > _WINDOW_LENGTHS_MAX[found[2]]:
        raise ValueError("must be a number of minutes, hours or days such as '90 minutes', at most 366 days")
    number, unit = found.groups()
    return f"{number} {unit}" if number == "1" else f"{number} {unit}s"


def _no_duplicates(values: list[str]) -> list[str]:
    if duplicate := first_duplicate(values):
        raise ValueError(f"{quote(duplicate)} must not be repeated")
    return values


Printable = AfterValidator(_printable)
NoDuplicates = AfterValidator(_no_duplicates)
"""Validator of a list whose values must be unique."""

Identifier = Annotated[str, Field(min_length=1, max_length=ID_LENGTH_MAX), Printable, AfterValidator(_identifier)]
Word = Annotated[str, Field(min_length=1, max_length=WORD_LENGTH_MAX), Printable]
LowerWord = Annotated[Word, AfterValidator(str.lower)]
"""A case-insensitive word."""
Prose = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX), Printable]
Lines = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX), AfterValidator(_printable_lines)]
"""Text of several lines."""
Url = Annotated[str, Field(min_length=1, max_length=URL_BYTES_MAX), Printable, AfterValidator(_url)]
SigningSecret = Annotated[str, Field(max_length=WORD_LENGTH_MAX), AfterValidator(_signing_secret)]
TimeOffset = Annotated[str, Field(max_length=32), AfterValidator(_time_offset)]
RepeatInterval = Annotated[str, Field(max_length=32), AfterValidator(_repeat_interval)]
MimeType = Annotated[
    str,
    Field(max_length=WORD_LENGTH_MAX),
    AfterValidator(matching(_MIME_TYPE, "must be a media type such as video/mp4")),
]
Country = Annotated[
    str,
    AfterValidator(matching(_COUNTRY, "must be a country code of two or three letters")),
    AfterValidator(str.lower),
]
Category = Annotated[
    str, AfterValidator(matching(_CATEGORY, "must be an id of an IAB content taxonomy, such as IAB2-3 or 483"))
]
WindowLength = Annotated[str, AfterValidator(_window_length)]
"""A number of minutes, hours or days, at most as many as a year has."""
Currency = Annotated[str, AfterValidator(_currency)]
Timezone = Annotated[str, AfterValidator(_timezone)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Cpm = Annotated[Decimal, BeforeValidator(_amount_validator(3))]
"""The price of a thousand ads; with at most three decimals, the price of one ad is exact to six."""
validate_amount = _amount_validator(6)
Amount = Annotated[Decimal, BeforeValidator(validate_amount)]
PositiveAmount = Annotated[Amount, AfterValidator(_positive)]
Share = Annotated[Decimal, BeforeValidator(_share)]
"""A part from 0 to 1, with at most four decimals."""
Duration = Annotated[int, Field(ge=1, le=DURATION_MAX_S)]
ExactDuration = Annotated[Decimal, BeforeValidator(_exact_duration)]
"""Seconds with at most three decimals."""
