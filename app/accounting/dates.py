"""Parsers for the months, days and moments that people type."""

from contextlib import suppress
from datetime import UTC, date, datetime

from app.errors import InvalidEntry

BOOKABLE_YEARS = range(1970, 9999)
"""Years in which an entry may be dated; asyncpg treats the last day of 9999 as infinity."""


def parse_month(text: str) -> date:
    """Return the first day of a month such as `2026-10`. Raises InvalidEntry."""
    return require_bookable("month", _parse_date("month", text, "%Y-%m", "2026-10"))


def next_month(month: date) -> date:
    """Return the first day of the month after this one."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def parse_day(field: str, text: str) -> date:
    """Return the date of a day such as `2026-10-31`. Raises InvalidEntry, which names the field."""
    return _parse_date(field, text, "%Y-%m-%d", "2026-10-31")


def require_bookable(field: str, day: date) -> date:
    """Return the day if an entry may be dated on it. Raises InvalidEntry, which names the field."""
    if day.year not in BOOKABLE_YEARS:
        raise InvalidEntry(field, f"must be between the years {BOOKABLE_YEARS[0]} and {BOOKABLE_YEARS[-1]}, got {day}")
    return day


def parse_moment(field: str, text: str) -> datetime:
    """Return the UTC time of a moment such as `2026-10-31T23:59:59Z`. Raises InvalidEntry, which names the field."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    raise InvalidEntry(field, f"must have the form 2026-10-31T23:59:59Z, got {text!r}")


def _parse_date(field: str, text: str, date_format: str, example: str) -> date:
    # `strptime` also accepts months and days of one digit.
    with suppress(ValueError):
        if len(text) == len(example):
            return datetime.strptime(text, date_format).replace(tzinfo=UTC).date()
    raise InvalidEntry(field, f"must have the form {example}, got {text!r}")
