"""Months and days as people write them."""

from datetime import UTC, date, datetime

from app.errors import InvalidEntry


def parse_month(text: str) -> date:
    """The first day of `2026-10`. Raises InvalidEntry."""
    return _parse("month", text, "%Y-%m", "2026-10")


def parse_day(field: str, text: str) -> date:
    """The day `2026-10-31`. Raises InvalidEntry, which names the field."""
    return _parse(field, text, "%Y-%m-%d", "2026-10-31")


def _parse(field: str, text: str, form: str, example: str) -> date:
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC).date()
    except ValueError:
        raise InvalidEntry(field, f"must be like {example}, not {text!r}") from None
