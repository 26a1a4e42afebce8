"""Reading a campaign file into the domain's objects, and telling every fault with its place."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.campaign_file.fields import exact_number
from app.campaign_file.models import TABLES, Entry
from app.errors import FileFault, InvalidFile
from app.store.catalog_writes import Thing

FILE_BYTES_MAX = 33_554_432
ENTRIES_MAX = 100_000
"""Of one kind in one file."""

_TOML_PLACE = re.compile(r" \(at (line \d+, column \d+|end of document)\)$")
_REASONS: Mapping[str, str] = {
    "missing": "must be there",
    "extra_forbidden": "is not a known key",
    "string_type": "must be text",
    "string_unicode": "must not have control characters",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "model_type": "must be a table",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must not be longer than {max_length} characters",
    "too_short": "must not be empty",
    "too_long": "must not have more than {max_length} entries",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}
"""What pydantic's kinds of errors are called here."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a file says, not yet held against the database."""

    file: str
    things: tuple[Thing, ...]
    """The entries that are right in themselves, in file order."""
    places: Mapping[tuple[type[Thing], str], str]
    """Where each thing stands, by its kind and id: `campaigns[0]`; those with faults too."""
    faults: tuple[FileFault, ...]

    def has(self, kind: type[Thing], thing_id: str) -> bool:
        """Whether the file names it, rightly or not."""
        return (kind, thing_id) in self.places


def read_file(path: Path) -> Draft:
    """Reads a file. Raises InvalidFile if it is not there or is not TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidFile(str(path), [FileFault("file", error.strerror or "cannot be read")]) from error
    return read_draft(str(path), _parse(str(path), content))


def _parse(file: str, content: bytes) -> dict[str, Any]:
    if len(content) > FILE_BYTES_MAX:
        raise InvalidFile(file, [FileFault("file", f"must not be longer than {FILE_BYTES_MAX} bytes")])
    try:
        return tomllib.loads(content.decode("utf-8-sig"), parse_float=exact_number)
    except UnicodeDecodeError as error:
        raise InvalidFile(file, [FileFault(f"byte {error.start}", "is not UTF-8")]) from error
    except RecursionError as error:
        raise InvalidFile(file, [FileFault("file", "is nested too deeply")]) from error
    except ValueError as error:
        place = _TOML_PLACE.search(str(error))
        reason = _TOML_PLACE.sub("", str(error))
        raise InvalidFile(file, [FileFault(place[1] if place else "file", f"is not TOML: {reason}")]) from error


def read_draft(file: str, document: Mapping[str, object]) -> Draft:
    """The draft of a parsed document; numbers with a fraction must be there as Decimal, never as float."""
    reader = _Reader()
    for key, entries in document.items():
        if key not in TABLES:
            reader.fault(key, "is not a known key")
        elif not isinstance(entries, list) or len(entries) > ENTRIES_MAX:
            reader.fault(key, f"must be a list of at most {ENTRIES_MAX} tables: [[{key}]]")
    for key, model in TABLES.items():
        entries = document.get(key)
        if isinstance(entries, list) and len(entries) <= ENTRIES_MAX:
            for no, entry in enumerate(entries):
                reader.read(f"{key}[{no}]", model, entry)
    return reader.draft(file)


class _Reader:
    """Collects things and faults, entry by entry."""

    def __init__(self) -> None:
        self._things: list[Thing] = []
        self._places: dict[tuple[type[Thing], str], str] = {}
        self._faults: list[FileFault] = []

    def fault(self, key: str, reason: str) -> None:
        self._faults.append(FileFault(key, reason))

    def read(self, place: str, model: type[Entry], entry: object) -> None:
        thing_id = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(thing_id, str):
            self._place(place, model.kind, thing_id)
        try:
            self._things.append(model.model_validate(entry).thing())
        except ValidationError as error:
            self._faults += [_fault(place, details) for details in error.errors(include_url=False)]

    def _place(self, place: str, kind: type[Thing], thing_id: str) -> None:
        first = self._places.setdefault((kind, thing_id), place)
        if first != place:
            self.fault(f"{place}.id", f"stands in {first} already")

    def draft(self, file: str) -> Draft:
        return Draft(file, tuple(self._things), self._places, tuple(self._faults))


def _fault(place: str, details: ErrorDetails) -> FileFault:
    key = place + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"])
    reason = _REASONS.get(details["type"], details["msg"])
    return FileFault(key, reason.format(**details.get("ctx", {})))
