"""Spend reports: a table for people, CSV for spreadsheets, Parquet for programs."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Protocol

from asyncpg import Connection, Record

from app.errors import InvalidEntry
from app.store import finance_reports
from app.store.connections import disable_timeouts
from app.store.finance_reports import SpendLine

TABLE_ROWS_MAX = 10_000
BATCH_ROWS = 5000

FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""Characters that make a spreadsheet treat a cell as a formula, including full-width forms (OWASP, "CSV Injection")."""

Cell = str | date | Decimal | int | None


class Dimension(StrEnum):
    """A column by which spend is grouped, in addition to the currency."""

    ADVERTISER = "advertiser"
    CAMPAIGN = "campaign"
    DAY = "day"
    MONTH = "month"


class Format(StrEnum):
    """An output format."""

    TABLE = "table"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class SpendQuery:
    """The days of a report, in the campaigns' timezones and both included, and the dimensions of its rows."""

    first: date
    last: date
    by: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise InvalidEntry("from", f"must not be after --to ({self.last}), got {self.first}")
        if Dimension.DAY in self.by and Dimension.MONTH in self.by:
            raise InvalidEntry("by", "must not contain both day and month")

    @property
    def columns(self) -> list[str]:
        """Column names of the report."""
        return [*dict.fromkeys(self.by), "currency", "delivered", "corrected", "spent", "impressions"]


def parse_dimensions(text: str) -> tuple[Dimension, ...]:
    """Return the dimensions of a list such as `advertiser,day`. Raises InvalidEntry."""
    try:
        return tuple(Dimension(word.strip()) for word in text.split(",") if word.strip())
    except ValueError:
        raise InvalidEntry("by", f"must be a comma-separated list of {', '.join(Dimension)}, got {text!r}") from None


class ReportWriter(Protocol):
    """A destination for the rows of a report."""

    def write(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Write some rows."""


async def write_spend_report(
    connection: "Connection[Record]", query: SpendQuery, writer: ReportWriter, progress: Callable[[int], None]
) -> int:
    """Write the report in batches, from one snapshot. Return the number of rows; `progress` receives it as it grows."""
    written = 0
    batch: list[Sequence[Cell]] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await disable_timeouts(connection)
        async for line in finance_reports.report_spend(connection, query.first, query.last, query.by):
            batch.append(_cells(line, query))
            if len(batch) == BATCH_ROWS:
                writer.write(batch)
                written += len(batch)
                progress(written)
                batch = []
        writer.write(batch)
    return written + len(batch)


def _cells(line: SpendLine, query: SpendQuery) -> Sequence[Cell]:
    dimensions: dict[Dimension, Cell] = {
        Dimension.ADVERTISER: line.advertiser,
        Dimension.CAMPAIGN: line.campaign_id,
        Dimension.DAY: line.day,
        Dimension.MONTH: line.day,
    }
    return [
        *(dimensions[dimension] for dimension in dict.fromkeys(query.by)),
        line.currency,
        line.delivered,
        line.corrected,
        line.spent,
        line.impressions,
    ]


class TableWriter:
    """Writes aligned columns, after all rows are known."""

    def __init__(self, out: IO[str], columns: Sequence[str]) -> None:
        self._out = out
        self._rows: list[list[str]] = [list(columns)]

    def write(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Add some rows. Raises InvalidEntry if the table becomes too long to read."""
        self._rows += [["" if cell is None else str(cell) for cell in row] for row in rows]
        if len(self._rows) > TABLE_ROWS_MAX:
            raise InvalidEntry("format", f"must be csv or parquet for more than {TABLE_ROWS_MAX} rows")

    def close(self) -> None:
        """Write the table, with amounts and counts aligned to the right."""
        widths = [max(map(len, column)) for column in zip(*self._rows, strict=True)]
        text_columns = len(widths) - 4
        for row in self._rows:
            cells = [
                text.ljust(width) if index < text_columns else text.rjust(width)
                for index, (text, width) in enumerate(zip(row, widths, strict=True))
            ]
            self._out.write("  ".join(cells).rstrip() + "\n")


class CsvWriter:
    """Writes RFC 4180 with a header; text that a spreadsheet would run as a formula gets a leading quote."""

    def __init__(self, out: IO[str], columns: Sequence[str]) -> None:
        self._writer = csv.writer(out, lineterminator="\r\n")
        self._writer.writerow(columns)

    def write(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Write some rows."""
        self._writer.writerows([escape_formula(cell) for cell in row] for row in rows)


def escape_formula(cell: Cell) -> Cell:
    """Return a cell that spreadsheets show as it is; amounts, which may be negative, stay numbers."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


class ParquetWriter:
    """Writes Parquet with exact amounts, as decimal128(38, 6): a sum may have more digits than one amount."""

    def __init__(self, arrow: Any, writer: Any) -> None:
        self._arrow = arrow
        self._writer = writer

    def write(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Write some rows as a row group."""
        if rows:
            schema = self._writer.schema
            columns = [
                self._arrow.array(values, field.type)
                for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=schema))


@contextmanager
def parquet_writer(file: Path, columns: Sequence[str]) -> Iterator[ParquetWriter]:
    """Open a writer for the file while the block runs. Raises InvalidEntry if pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidEntry("format", "parquet requires pyarrow: pip install 'adserver[parquet]'") from None
    types = {"day": pyarrow.date32(), "month": pyarrow.date32(), "impressions": pyarrow.int64()}
    money = dict.fromkeys(("delivered", "corrected", "spent"), pyarrow.decimal128(38, 6))
    schema = pyarrow.schema([(name, (types | money).get(name, pyarrow.string())) for name in columns])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        yield ParquetWriter(pyarrow, writer)
