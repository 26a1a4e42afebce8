"""Months, days and moments as people write them."""

from contextlib import suppress
from datetime import UTC, date, datetime

from app.errors import InvalidEntry

YEARS = range(1970, 9999)
"""Those of the books: nothing is booked earlier, and to the driver the last day that there is stands for infinity."""


def parse_month(text: str) -> date:
    """The first day of `2026-10`. Raises InvalidEntry, also for a month that the books cannot have."""
    return require_bookable("month", _parse("month", text, "%Y-%m", "2026-10"))


def parse_day(field: str, text: str) -> date:
    """The day `2026-10-31`. Raises InvalidEntry, which names the field."""
    return _parse(field, text, "%Y-%m-%d", "2026-10-31")


def require_bookable(field: str, day: date) -> date:
    """The day, if something can be booked on it. Raises InvalidEntry, which names the field."""
    if day.year not in YEARS:
        raise InvalidEntry(field, f"must be in a year from {YEARS[0]} to {YEARS[-1]}")
    return day


def parse_moment(field: str, text: str) -> datetime:
    """The moment `2026-10-31T23:59:59Z`. Raises InvalidEntry, which names the field."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    raise InvalidEntry(field, f"must be like 2026-10-31T23:59:59Z, not {text!r}")


def _parse(field: str, text: str, form: str, example: str) -> date:
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC).date()
    except ValueError:
        raise InvalidEntry(field, f"must be like {example}, not {text!r}") from None
