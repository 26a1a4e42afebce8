"""Reports on spend: a table for people, CSV for sheets, Parquet for machines."""

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

TABLE_LINES_MAX = 10_000
BATCH_LINES = 5000

FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""With what a spreadsheet takes a cell for a formula ("CSV Injection", OWASP), also in full width."""

Value = str | date | Decimal | int | None


class By(StrEnum):
    """What a line of the report stands for, beside a currency."""

    ADVERTISER = "advertiser"
    CAMPAIGN = "campaign"
    DAY = "day"
    MONTH = "month"


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class SpendQuery:
    """Days of the campaigns' calendars, both included, and what a line is to stand for."""

    first: date
    last: date
    by: tuple[By, ...]

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise InvalidEntry("from", f"{self.first} is after {self.last}")
        if By.DAY in self.by and By.MONTH in self.by:
            raise InvalidEntry("by", "day and month exclude each other")

    @property
    def columns(self) -> list[str]:
        """What the report's columns are called."""
        return [*dict.fromkeys(self.by), "currency", "delivered", "corrected", "spent", "impressions"]


def parse_by(text: str) -> tuple[By, ...]:
    """The dimensions of `advertiser,day`. Raises InvalidEntry."""
    try:
        return tuple(By(word.strip()) for word in text.split(",") if word.strip())
    except ValueError:
        raise InvalidEntry("by", f"must be some of {', '.join(By)}, with commas, not {text!r}") from None


class Writer(Protocol):
    """Takes the lines of a report, some at a time."""

    def write(self, lines: Sequence[Sequence[Value]]) -> None:
        """Adds lines."""


async def write_spend(
    connection: "Connection[Record]", query: SpendQuery, writer: Writer, progress: Callable[[int], None]
) -> int:
    """Reads the report in one snapshot and writes it as it comes; tells how many lines there are so far."""
    written = 0
    batch: list[Sequence[Value]] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await disable_timeouts(connection)
        async for line in finance_reports.report_spend(connection, query.first, query.last, query.by):
            batch.append(_values(line, query))
            if len(batch) == BATCH_LINES:
                writer.write(batch)
                written += len(batch)
                progress(written)
                batch = []
        writer.write(batch)
    return written + len(batch)


def _values(line: SpendLine, query: SpendQuery) -> Sequence[Value]:
    dimensions: dict[By, Value] = {
        By.ADVERTISER: line.advertiser,
        By.CAMPAIGN: line.campaign_id,
        By.DAY: line.day,
        By.MONTH: line.day,
    }
    return [
        *(dimensions[by] for by in dict.fromkeys(query.by)),
        line.currency,
        line.delivered,
        line.corrected,
        line.spent,
        line.impressions,
    ]


class TableWriter:
    """Aligned columns, printed when all lines are there."""

    def __init__(self, out: IO[str], columns: Sequence[str]) -> None:
        self._out = out
        self._lines: list[list[str]] = [list(columns)]

    def write(self, lines: Sequence[Sequence[Value]]) -> None:
        """Adds lines. Raises InvalidEntry if there are more than a person can read."""
        self._lines += [["" if value is None else str(value) for value in line] for line in lines]
        if len(self._lines) > TABLE_LINES_MAX:
            raise InvalidEntry("format", f"a table has at most {TABLE_LINES_MAX} lines; take csv or parquet")

    def close(self) -> None:
        """Prints the table; amounts and counts stand to the right."""
        widths = [max(map(len, column)) for column in zip(*self._lines, strict=True)]
        words = len(widths) - 4
        for line in self._lines:
            cells = [
                text.ljust(width) if no < words else text.rjust(width)
                for no, (text, width) in enumerate(zip(line, widths, strict=True))
            ]
            self._out.write("  ".join(cells).rstrip() + "\n")


class CsvWriter:
    """RFC 4180, with a line of column names; text that a spreadsheet would run as a formula begins with a quote."""

    def __init__(self, out: IO[str], columns: Sequence[str]) -> None:
        self._writer = csv.writer(out, lineterminator="\r\n")
        self._writer.writerow(columns)

    def write(self, lines: Sequence[Sequence[Value]]) -> None:
        """Adds lines."""
        self._writer.writerows([_inert(value) for value in line] for line in lines)


def _inert(value: Value) -> Value:
    """Text as spreadsheets show it; amounts, which may be negative, stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


class ParquetWriter:
    """Parquet with exact decimals: money is decimal128(38, 6), because sums outgrow the 18 digits of one amount."""

    def __init__(self, arrow: Any, writer: Any) -> None:
        self._arrow = arrow
        self._writer = writer

    def write(self, lines: Sequence[Sequence[Value]]) -> None:
        """Adds lines as a row group."""
        if lines:
            schema = self._writer.schema
            columns = [
                self._arrow.array(values, field.type)
                for values, field in zip(zip(*lines, strict=True), schema, strict=True)
            ]
            self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=schema))


@contextmanager
def parquet_writer(file: Path, columns: Sequence[str]) -> Iterator[ParquetWriter]:
    """Writes the file while the block runs. Raises InvalidEntry if pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidEntry("format", "parquet needs pyarrow: pip install 'adserver[parquet]'") from None
    types = {"day": pyarrow.date32(), "month": pyarrow.date32(), "impressions": pyarrow.int64()}
    money = dict.fromkeys(("delivered", "corrected", "spent"), pyarrow.decimal128(38, 6))
    schema = pyarrow.schema([(name, (types | money).get(name, pyarrow.string())) for name in columns])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        yield ParquetWriter(pyarrow, writer)
