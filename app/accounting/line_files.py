"""Files of lines, plain or CSV: of a bounded size, and each fault is named with its line."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import FileFault, InvalidEntry, InvalidFile

FILE_BYTES_MAX = 64 * 1024 * 1024
LINES_MAX = 1_000_000
FAULTS_MAX = 20
"""Faults that are shown of one file."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, from 1, and its cells by column."""

    number: int
    cells: Mapping[str, str]


class LineFaults:
    """Collects the faults of a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._faults: list[FileFault] = []
        self._more = 0

    def add(self, number: int, reason: str) -> None:
        """Add a fault of a line."""
        if len(self._faults) < FAULTS_MAX:
            self._faults.append(FileFault(f"line {number}", reason))
        else:
            self._more += 1

    def raise_any(self) -> None:
        """Raise InvalidFile if there is any fault."""
        if self._more:
            self._faults.append(FileFault("more", f"{self._more} further faults"))
        if self._faults:
            raise InvalidFile(str(self._file), self._faults)


def read_lines(file: Path, columns: Sequence[str], faults: LineFaults) -> Iterator[Line]:
    """Yield the lines that have a cell for each column, and add the faults of the others.

    The first line may be a header: then the columns may be in any order, and others are ignored. Blank lines are
    skipped. Raises InvalidEntry if the file cannot be read or is too large.
    """
    rows = csv.reader(io.StringIO(_read_text(file), newline=""), strict=True)
    header: list[str] | None = None
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if rows.line_num > LINES_MAX + 1:
                raise InvalidEntry("file", f"must have at most {LINES_MAX} lines")
            if header is None:
                header = cells if set(columns) <= set(cells) else list(columns)
                if header is cells:
                    continue
            if not any(cells):
                continue
            if len(cells) != len(header):
                faults.add(rows.line_num, f"must have {_count(len(header))} ({', '.join(header)}), got {len(cells)}")
            else:
                yield Line(rows.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        faults.add(rows.line_num, f"is not valid CSV: {error}")


def _count(cells: int) -> str:
    return "1 cell" if cells == 1 else f"{cells} cells"


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidEntry("file", f"cannot read {file}: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise InvalidEntry("file", f"must have at most {FILE_BYTES_MAX} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidEntry("file", f"must be UTF-8, and byte {error.start} is not") from error
