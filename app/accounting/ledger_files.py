"""The files of an archived month: its entries as Parquet, and a manifest with their hashes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from app.errors import InvalidEntry

FILE_ENTRIES_MAX = 5_000_000
BATCH_ENTRIES = 10_000
"""Entries of a row group."""

Cell = str | int | date | datetime | Decimal | UUID | None
Row = Sequence[Cell]


@dataclass(frozen=True, slots=True)
class LedgerFile:
    """One Parquet file."""

    name: str
    entries: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of an archive; hashes in hexadecimal, amounts as text by currency."""

    month: str
    entries: int
    month_hash: str
    """The hash of the closed month, as finance.closed_months shows it."""
    previous_hash: str
    amounts: Mapping[str, str]
    columns: Mapping[str, str]
    """The Arrow type of each column."""
    files: Sequence[LedgerFile]

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


def manifest_path(folder: Path, month: date) -> Path:
    """Return the path of a month's manifest."""
    return folder / f"spend_ledger-{month:%Y-%m}.json"


def make_folder(folder: Path, month: date) -> None:
    """Create the folder if it is missing. Raises InvalidEntry if it has an archive of the month already."""
    if manifest_path(folder, month).exists():
        raise InvalidEntry("folder", f"{manifest_path(folder, month)} exists already")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidEntry("folder", f"{folder}: {error.strerror}") from None


def read_manifest(folder: Path, month: date) -> tuple[Manifest, bytes]:
    """Return the manifest and its SHA-256. Raises InvalidEntry if it is missing or is no manifest."""
    path = manifest_path(folder, month)
    try:
        content = path.read_bytes()
        values = json.loads(content)
        files = [LedgerFile(**item) for item in values.pop("files")]
        return Manifest(**values, files=files), sha256(content).digest()
    except OSError as error:
        raise InvalidEntry("folder", f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InvalidEntry("folder", f"{path} is not the manifest of an archived month") from None


def write_manifest(folder: Path, month: date, manifest: Manifest) -> bytes:
    """Write the manifest and return its SHA-256."""
    content = manifest.encode()
    manifest_path(folder, month).write_bytes(content)
    return sha256(content).digest()


def find_changed_file(folder: Path, manifest: Manifest) -> str | None:
    """Return the name of a file that is missing or whose hash differs from the manifest's; or None."""
    return next((item.name for item in manifest.files if _hash_of(folder / item.name) != item.sha256), None)


def _hash_of(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


class LedgerWriter:
    """Writes the entries of a month to as many files as they need. Raises InvalidEntry if pyarrow is not installed."""

    def __init__(self, folder: Path, month: date, columns: Sequence[tuple[str, str]]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise InvalidEntry("month", "archiving requires pyarrow: pip install 'adserver[parquet]'") from None
        self._arrow: Any = pyarrow
        self._folder = folder
        self._month = month
        self.schema = pyarrow.schema([(name, _arrow_type(pyarrow, kind)) for name, kind in columns])
        self._writer: Any = None
        self._entries_of_file = 0
        self.files: list[LedgerFile] = []
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Add one entry."""
        self._rows.append(row)
        if len(self._rows) == BATCH_ENTRIES:
            self._write_batch()

    def close(self) -> None:
        """Finish the last file. A month without entries has one empty file."""
        self._write_batch()
        self._finish_file()

    def _write_batch(self) -> None:
        if self._writer is None:
            self._writer = self._arrow.parquet.ParquetWriter(self._path(), self.schema, compression="zstd")
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [
                self._arrow.array([_to_arrow(cell) for cell in column], field.type)
                for column, field in zip(columns, self.schema, strict=True)
            ]
            self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self.schema))
        self._entries_of_file += len(self._rows)
        self._rows = []
        if self._entries_of_file >= FILE_ENTRIES_MAX:
            self._finish_file()

    def _finish_file(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        path = self._path()
        self.files.append(LedgerFile(path.name, self._entries_of_file, _hash_of(path) or ""))
        self._entries_of_file = 0

    def _path(self) -> Path:
        return self._folder / f"spend_ledger-{self._month:%Y-%m}-{len(self.files) + 1}.parquet"


def _arrow_type(arrow: Any, kind: str) -> Any:
    """Return the Arrow type of a column, which keeps every value exactly."""
    types: Mapping[str, Callable[[], Any]] = {
        "BigInteger": arrow.int64,
        "SmallInteger": arrow.int16,
        "Date": arrow.date32,
        "DateTime": lambda: arrow.timestamp("us", tz="UTC"),
        "Numeric": lambda: arrow.decimal128(18, 6),
        "String": arrow.string,
        "Text": arrow.string,
        "Uuid": arrow.string,
    }
    return types[kind]()


def _to_arrow(cell: Cell) -> Cell:
    # Drivers have their own subclass of UUID.
    return str(cell) if isinstance(cell, UUID) else cell


def read_rows(folder: Path, manifest: Manifest) -> Iterator[Row]:
    """Yield the entries that the files contain, in their order; ids of requests are text."""
    import pyarrow.parquet

    for item in manifest.files:
        with pyarrow.parquet.ParquetFile(folder / item.name) as file:
            for batch in file.iter_batches(BATCH_ENTRIES):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def is_same_entry(stored: Row, archived: Row) -> bool:
    """Return whether an entry of the ledger equals one that was read from a file."""
    return tuple(_to_arrow(cell) for cell in stored) == tuple(archived)
