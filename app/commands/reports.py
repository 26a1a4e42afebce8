"""`adserver report`: spend for people, sheets and machines."""

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
    SpendQuery,
    TableWriter,
    Writer,
    parquet_writer,
    parse_by,
    write_spend,
)
from app.commands.command_context import connected, progress
from app.errors import AdServerError, InvalidEntry
from app.launch.databases import database_in_use
from app.launch.env_settings import settings_from_environment

report = typer.Typer(name="report", help="Reports on money.", no_args_is_help=True)


@report.callback()
def _reports() -> None:
    """Makes `spend` a command of its own, though it is the only one."""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(report)


@report.command()
def spend(
    first: Annotated[str, typer.Option("--from", help="First day in the campaigns' timezones, such as 2026-10-01.")],
    last: Annotated[str, typer.Option("--to", help="Last day, which is included.")],
    by: Annotated[str, typer.Option(help="What has a line: advertiser, campaign, day or month, with commas.")] = (
        "advertiser"
    ),
    form: Annotated[Format, typer.Option("--format", help="For people, sheets or machines.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option(help="File to write; needed for parquet.")] = None,
) -> None:
    """What was spent, with a line for each currency; also for the finance role, whose URL ADSERVER_DATABASE_URL is."""
    query = SpendQuery(parse_day("from", first), parse_day("to", last), parse_by(by))
    if form is Format.PARQUET and output is None:
        raise InvalidEntry("output", "parquet is written to a file; name one")

    async def run(url: str, writer: Writer) -> None:
        streams_to_terminal = form is Format.CSV and output is None and sys.stdout.isatty()
        with progress("lines", hidden=streams_to_terminal) as show:
            async with connected(url) as connection:
                await write_spend(connection, query, writer, lambda lines: show(lines, None))

    with database_in_use(settings_from_environment()) as url, _writing(form, query.columns, output) as writer:
        asyncio.run(run(url, writer))


@contextmanager
def _writing(form: Format, columns: list[str], output: Path | None) -> Iterator[Writer]:
    """A file appears when it is complete, or not at all."""
    if output is None:
        with _text(form, columns, sys.stdout) as writer:
            yield writer
        return
    unfinished = output.with_name(f"{output.name}.unfinished")
    try:
        if form is Format.PARQUET:
            with parquet_writer(unfinished, columns) as parquet:
                yield parquet
        else:
            with unfinished.open("w", newline="", encoding="utf-8") as out, _text(form, columns, out) as writer:
                yield writer
        unfinished.replace(output)
    except OSError as error:
        raise AdServerError(f"cannot write {output}: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _text(form: Format, columns: list[str], out: IO[str]) -> Iterator[Writer]:
    if form is Format.CSV:
        yield CsvWriter(out, columns)
        return
    table = TableWriter(out, columns)
    yield table
    table.close()
