"""`adserver report`: spend reports for people, spreadsheets and programs."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from app.accounting.dates import parse_day
from app.accounting.reports import (
    CsvWriter,
    Format,
    ReportWriter,
    SpendQuery,
    TableWriter,
    parquet_writer,
    parse_dimensions,
    write_spend_report,
)
from app.commands.command_context import connected, progress
from app.errors import AdServerError, InvalidEntry
from app.launch.databases import database_in_use
from app.launch.env_settings import settings_from_environment

report = typer.Typer(name="report", help="Create spend reports.", no_args_is_help=True)


@report.callback()
def _report_group() -> None:
    """Keep `spend` a subcommand: typer would otherwise merge a group's only command into the group."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(report)


@report.command()
def spend(
    first: Annotated[str, typer.Option("--from", help="First day in the campaigns' timezones, such as 2026-10-01.")],
    last: Annotated[str, typer.Option("--to", help="Last day, inclusive.")],
    by: Annotated[
        str, typer.Option(help="Comma-separated dimensions: advertiser, campaign, and day or month.")
    ] = "advertiser",
    output_format: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option(help="File to write; required for parquet.")] = None,
) -> None:
    """Report the spend of a period, with a row for each currency.

    The finance role may run this command.
    """
    query = SpendQuery(parse_day("from", first), parse_day("to", last), parse_dimensions(by))
    if output_format is Format.PARQUET and output is None:
        raise InvalidEntry("output", "is required for parquet")

    async def run(url: str, writer: ReportWriter) -> None:
        streams_to_terminal = output_format is Format.CSV and output is None and sys.stdout.isatty()
        with progress("rows", hidden=streams_to_terminal) as show:
            async with connected(url) as connection:
                await write_spend_report(connection, query, writer, lambda rows: show(rows, None))

    with (
        database_in_use(settings_from_environment()) as url,
        _open_writer(output_format, query.columns, output) as writer,
    ):
        asyncio.run(run(url, writer))


@contextmanager
def _open_writer(output_format: Format, columns: list[str], output: Path | None) -> Iterator[ReportWriter]:
    """Open a writer to the file, which appears only once it is complete, or to standard output."""
    if output is None:
        with _text_writer(output_format, columns, sys.stdout) as writer:
            yield writer
        return
    unfinished = output.with_name(f"{output.name}.unfinished")
    try:
        if output_format is Format.PARQUET:
            with parquet_writer(unfinished, columns) as parquet:
                yield parquet
        else:
            with (
                unfinished.open("w", newline="", encoding="utf-8") as file,
                _text_writer(output_format, columns, file) as writer,
            ):
                yield writer
        unfinished.replace(output)
    except OSError as error:
        raise AdServerError(f"cannot write {output}: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _text_writer(output_format: Format, columns: list[str], file: IO[str]) -> Iterator[ReportWriter]:
    if output_format is Format.CSV:
        yield CsvWriter(file, columns)
        return
    table = TableWriter(file, columns)
    yield table
    table.close()
