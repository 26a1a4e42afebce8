"""Durations: the standard's `HH:MM:SS.mmm` (VAST 4.2 section 3.9), and the other formats that upstreams write."""

import re
from decimal import Decimal

_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:[.,]\d{1,9})?)", re.ASCII)
_CLOCK_WITH_MILLISECONDS = re.compile(r"(\d{1,3}:\d{1,2}:\d{1,2}):(\d{3})", re.ASCII)
_SECONDS = re.compile(r"(\d{1,6}(?:[.,]\d{1,9})?)\s*(?:s|sec|secs|seconds?)?", re.ASCII | re.IGNORECASE)
_MILLISECONDS = re.compile(r"(\d{1,9})\s*ms", re.ASCII | re.IGNORECASE)
_ISO_8601 = re.compile(r"PT(?:(\d{1,3})H)?(?:(\d{1,5})M)?(?:(\d{1,6}(?:[.,]\d{1,9})?)S)?", re.ASCII | re.IGNORECASE)


def parse_duration_s(text: str) -> Decimal | None:
    """Return the duration in seconds; None if `text` is not a duration.

    Accepts `00:00:30`, `00:00:30.500`, `00:00:30:500`, `0:30`, `30`, `30.5`, `30s`, `30500 ms` and ISO 8601's `PT30S`.
    """
    text = _CLOCK_WITH_MILLISECONDS.sub(r"\1.\2", text.strip())
    if match := _CLOCK.fullmatch(text) or _ISO_8601.fullmatch(text):
        parts = match.groups()
        return None if parts == (None, None, None) else _total(*parts)
    if match := _SECONDS.fullmatch(text):
        return _number(match[1])
    match = _MILLISECONDS.fullmatch(text)
    return Decimal(match[1]) / 1000 if match else None


def _total(hours: str | None, minutes: str | None, rest: str | None) -> Decimal:
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + _number(rest or "0")


def _number(text: str) -> Decimal:
    return Decimal(text.replace(",", "."))


def format_duration(seconds: Decimal | int) -> str:
    """Return `HH:MM:SS`, with milliseconds if there are any."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    clock = f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{clock}.{milliseconds:03}" if milliseconds else clock
