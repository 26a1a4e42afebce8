"""Parsing of a campaign file into domain objects; reports every fault with its location."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.campaign_file.fields import parse_exact_number, quote
from app.campaign_file.models import TABLES, ItemTable
from app.domain import CatalogItem
from app.errors import FileFault, InvalidFile

FILE_BYTES_MAX = 33_554_432
ENTRIES_MAX = 100_000
"""Entries of one list in one file."""

_TOML_LOCATION = re.compile(r" \(at (line \d+, column \d+|end of document)\)$")
_REASONS: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "unknown key",
    "string_type": "must be a string",
    "string_unicode": "must not contain control characters",
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "model_type": "must be a table",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}
"""The reason for each of pydantic's error types."""

_QUOTES_INPUT = frozenset({"int_type", "bool_type", "enum", "literal_error"})
"""Error types whose reason also quotes the value, if it is text."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The content of a file, not yet validated against the database."""

    file: str
    items: tuple[CatalogItem, ...]
    """The items without faults, in file order."""
    locations: Mapping[tuple[type[CatalogItem], str], str]
    """Location in the file, such as `campaigns[0]`, by type and id; includes items with faults."""
    faults: tuple[FileFault, ...]

    def has(self, item_type: type[CatalogItem], item_id: str) -> bool:
        """Whether the file has an entry for this item, with or without faults."""
        return (item_type, item_id) in self.locations


def read_file(path: Path) -> Draft:
    """Read a campaign file. Raises InvalidFile if it cannot be read or is not TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidFile(str(path), [FileFault("file", error.strerror or "cannot be read")]) from error
    return read_draft(str(path), _parse_toml(str(path), content))


def _parse_toml(file: str, content: bytes) -> dict[str, Any]:
    if len(content) > FILE_BYTES_MAX:
        raise InvalidFile(file, [FileFault("file", f"must have at most {FILE_BYTES_MAX} bytes")])
    try:
        return tomllib.loads(content.decode("utf-8-sig"), parse_float=parse_exact_number)
    except UnicodeDecodeError as error:
        raise InvalidFile(file, [FileFault(f"byte {error.start}", "invalid UTF-8")]) from error
    except RecursionError as error:
        raise InvalidFile(file, [FileFault("file", "nested too deeply")]) from error
    except ValueError as error:
        location = _TOML_LOCATION.search(str(error))
        reason = _TOML_LOCATION.sub("", str(error))
        raise InvalidFile(file, [FileFault(location[1] if location else "file", f"invalid TOML: {reason}")]) from error


def read_draft(file: str, document: Mapping[str, object]) -> Draft:
    """Return the draft of a parsed document, whose numbers with a fraction must be Decimal, never float."""
    builder = _DraftBuilder()
    for key, entries in document.items():
        if key not in TABLES:
            builder.add_fault(key, "unknown key")
        elif not isinstance(entries, list) or len(entries) > ENTRIES_MAX:
            builder.add_fault(key, f"must be a list of at most {ENTRIES_MAX} tables: [[{key}]]")
    for key, table in TABLES.items():
        entries = document.get(key)
        if isinstance(entries, list) and len(entries) <= ENTRIES_MAX:
            for index, entry in enumerate(entries):
                builder.add_entry(f"{key}[{index}]", table, entry)
    return builder.draft(file)


class _DraftBuilder:
    """Collects items and faults, entry by entry."""

    def __init__(self) -> None:
        self._items: list[CatalogItem] = []
        self._locations: dict[tuple[type[CatalogItem], str], str] = {}
        self._faults: list[FileFault] = []

    def add_fault(self, key: str, reason: str) -> None:
        self._faults.append(FileFault(key, reason))

    def add_entry(self, location: str, table: type[ItemTable], entry: object) -> None:
        item_id = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(item_id, str):
            self._add_location(location, table.item_type, item_id)
        try:
            self._items.append(table.model_validate(entry).to_domain())
        except ValidationError as error:
            self._faults += [_to_fault(location, details) for details in error.errors(include_url=False)]

    def _add_location(self, location: str, item_type: type[CatalogItem], item_id: str) -> None:
        first = self._locations.setdefault((item_type, item_id), location)
        if first != location:
            self.add_fault(f"{location}.id", f"must not be repeated: it is the id of {first}")

    def draft(self, file: str) -> Draft:
        return Draft(file, tuple(self._items), self._locations, tuple(self._faults))


def _to_fault(location: str, details: ErrorDetails) -> FileFault:
    key = location + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"])
    reason = _REASONS.get(details["type"], details["msg"]).format(**details.get("ctx", {}))
    if details["type"] in _QUOTES_INPUT and isinstance(details["input"], str):
        reason += f", got {quote(details['input'])}"
    return FileFault(key, reason)
