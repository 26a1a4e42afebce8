"""Limits of the texts that people type: keys, reasons and names, which the books keep and commands print."""

from app.errors import InvalidEntry

KEY_LENGTH_MAX = 128
REASON_LENGTH_MAX = 1000


def require_text(field: str, text: str, length_max: int) -> None:
    """Raise InvalidEntry, which names the field, unless the text is not blank, printable and short enough."""
    if not text.strip() or len(text) > length_max or not text.isprintable():
        raise InvalidEntry(field, f"must have 1 to {length_max} printable characters")


def require_key_and_reason(key: str, reason: str) -> None:
    """Raise InvalidEntry unless both may be recorded with an entry."""
    require_text("key", key, KEY_LENGTH_MAX)
    require_text("reason", reason, REASON_LENGTH_MAX)
